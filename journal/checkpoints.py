"""Checkpoints: the size and root of the tree at a moment, as a signed note that is kept elsewhere.

The forms are public: https://c2sp.org/tlog-checkpoint for the text, https://c2sp.org/signed-note for the
signature by Ed25519. An extension line holds the time.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from journal import checkpoint_files, events, new_files
from journal.code_version import code_version
from journal.errors import Refused
from journal.store import Journal
from journal.writer import Writer
from mlflow_model import files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

LONGEST_NOTE = 4_096

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_NOTE = re.compile(
    r"(?P<text>(?P<origin>[^\s+]+)\n(?P<size>0|[1-9][0-9]{0,18})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"time (?P<time>[0-9T:-]{19}Z)\n)\n(?P<signatures>(?:— [^\s+]+ [A-Za-z0-9+/]+=*\n)+)"
)


@dataclass(frozen=True)
class Checkpoint:
    """What a note says of the tree of a journal; whether it is genuine is another question."""

    origin: str
    size: int
    root: bytes
    time: datetime
    note: str


class BadCheckpoint(Refused):
    """The text is no checkpoint, or none of these keys has signed it."""


def read(note: str) -> Checkpoint:
    """What the note says, without checking its signature. Raises BadCheckpoint."""
    match = _NOTE.fullmatch(note) if len(note) <= LONGEST_NOTE else None
    if match is None:
        raise BadCheckpoint("the text is not a checkpoint of a journal")
    try:
        moment = datetime.strptime(match["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise BadCheckpoint("the checkpoint's time is none") from None
    root = base64.b64decode(match["root"])
    return Checkpoint(match["origin"], int(match["size"]), root, moment, note)


def of_file_unchecked(file: Path) -> Checkpoint:
    """What a file says, whoever signed it. Raises BadCheckpoint."""
    try:
        return read(files.read(file, LONGEST_NOTE, own=False, link=True).decode())
    except FileNotFoundError:
        raise BadCheckpoint(f"there is no file or folder {file}") from None
    except (files.NotTrusted, files.TooLarge, IsADirectoryError, UnicodeDecodeError, BadCheckpoint):
        raise BadCheckpoint(f"{file.name} is not a checkpoint of a journal") from None
    except OSError as error:
        raise BadCheckpoint(f"{file.name} cannot be read: {error.strerror}") from None


def of_file(file: Path, keys: "Iterable[Ed25519PublicKey]") -> Checkpoint:
    """The checkpoint in a file, if one of the keys has signed it. Raises BadCheckpoint."""
    found = of_file_unchecked(file)
    if not is_genuine(found, keys):
        raise BadCheckpoint(f"{file.name} was not signed by this key, or was changed after it was signed")
    return found


def files_at(place: Path) -> list[Path]:
    """The place itself, or all that a folder has of the checkpoints' kind of file. Raises BadCheckpoint."""
    if not place.is_dir():
        return [place]
    found = sorted(place.glob(f"*{checkpoint_files.SUFFIX}"))
    if not found:
        raise BadCheckpoint(
            f"the folder {place} holds no checkpoint, which is a file *{checkpoint_files.SUFFIX}"
        )
    return found


def is_genuine(checkpoint: Checkpoint, keys: "Iterable[Ed25519PublicKey]") -> bool:
    """Whether one of the keys has signed it in the name of its journal."""
    text, _, lines = checkpoint.note.rpartition("\n\n")
    given = [line.split(" ")[1:] for line in lines.splitlines()]
    return any(
        _is_signed(f"{text}\n".encode(), name, signature, key)
        for name, signature in given
        if name == checkpoint.origin
        for key in keys
    )


def signed(text: str, name: str, key: "Ed25519PrivateKey") -> str:
    """The signed note of a text that ends with a line break."""
    signature = base64.b64encode(key_id(name, key.public_key()) + key.sign(text.encode())).decode()
    return f"{text}\n— {name} {signature}\n"


def key_id(name: str, key: "Ed25519PublicKey") -> bytes:
    """The signed note's id of a key, which also depends on the name that it signs for."""
    return hashlib.sha256(f"{name}\n".encode() + _ED25519 + key.public_bytes_raw()).digest()[:_KEY_ID_BYTES]


def _is_signed(text: bytes, name: str, signature: str, key: "Ed25519PublicKey") -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        decoded = base64.b64decode(signature, validate=True)
        if decoded[:_KEY_ID_BYTES] != key_id(name, key):
            return False
        key.verify(decoded[_KEY_ID_BYTES:], text)
    except (binascii.Error, InvalidSignature):
        return False
    return True


# ---- Making one


def make(journal: Journal, key: "Ed25519PrivateKey", process: str) -> Checkpoint:
    """Sign the tree as it is now, and keep the note in the journal, too. Raises JournalError.

    The note is returned when it is on the disk: a note of a tree that was not written would be a false alarm.
    """
    with Writer(journal, process, code_version()) as writer, writer.group() as group:
        moment = datetime.now(UTC).replace(microsecond=0)
        root = base64.b64encode(group.root).decode()
        text = f"{group.origin}\n{group.size}\n{root}\ntime {moment:%Y-%m-%dT%H:%M:%SZ}\n"
        note = signed(text, group.origin, key)
        group.append([events.Checkpoint(note=note).entry()])
    return read(note)


def place_for(named: str) -> Path:
    """The folder or new file that is named so. A folder that is named with a slash at its end is made.

    Raises Refused. To be asked before a checkpoint is made, which would otherwise have no place.
    """
    place = Path(named)
    if named.endswith("/"):
        new_files.require_folder(place.parent)
        try:
            place.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Refused(f"the folder {place} cannot be made: {error.strerror}") from None
    if not place.is_dir():
        new_files.require_new(place)
    return place


def write(checkpoint: Checkpoint, place: Path) -> Path:
    """Write the note into a new file, or into a folder under a name of its own. Raises Refused."""
    name = checkpoint_files.name(checkpoint.time, checkpoint.size)
    file = place / name if place.is_dir() else place
    new_files.write(file, checkpoint.note.encode())
    return file
