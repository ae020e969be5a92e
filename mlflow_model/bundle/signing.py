"""Signed statements: the owner of a key states that a bundle may be served under a name from now on.

A statement holds the model's name, the SHA-256 of the bundle's manifest, a number that only grows, two dates
and the id of the key. The manifest in turn holds the digest of everything else. A statement is canonical
JSON: it is refused unless writing it again gives the same bytes. It travels with its Ed25519 signature as one
text, both in URL-safe base64, joined by a dot.
"""

import base64
import hashlib
import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_model import files
from mlflow_model.errors import LoadingFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    Keys = Mapping[str, Ed25519PublicKey]

PUBLIC_KEY = "MODEL_PUBLIC_KEY"
LONGEST = 4_096  # characters of a statement with its signature
GREATEST = 2**53 - 1  # of the numbers: the largest that JSON readers with doubles read exactly

_FORM = 1
# Signed before the payload, so that no other signature of the same key can pass for that of a statement.
_PREFIX = b"scoring-client statement 1\n"
_WRITTEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})", re.ASCII)
_SHA256, _KEY_ID = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{16}")
_OLD_SIGNATURE = re.compile(r"[A-Za-z0-9+/]{86}==", re.ASCII)
_PEM = re.compile(rb"-----BEGIN ([^-]+)-----.+?-----END \1-----", re.DOTALL)
_LARGEST_KEY_FILE = 64 * 1024
_REGISTER_AGAIN = "réenregistrez-la avec une clé en vigueur : « python register.py … --sign CLE.pem »"
_SIGN_AGAIN = "signez-la de nouveau avec « python register.py sign NUMÉRO --key CLE.pem »"


class SigningRefused(ValueError):
    """Nothing was signed. The message is a sentence that says why."""


class BadKey(SigningRefused):
    """The file holds no Ed25519 key in PEM form, or cannot be read."""


class Unreadable(ValueError):
    """The text is not a statement."""


@dataclass(frozen=True)
class Statement:
    """The bundle of this manifest may be served under this name, in place of any with a lower number."""

    name: str
    manifest: str
    number: int
    signed_at: datetime
    expires: datetime | None
    key_id: str

    @property
    def payload(self) -> bytes:
        content = {
            "statement": _FORM,
            "name": self.name,
            "manifest": self.manifest,
            "number": self.number,
            "signed_at": _written_time(self.signed_at),
            "expires": None if self.expires is None else _written_time(self.expires),
            "key": self.key_id,
        }
        return json.dumps(content, separators=(",", ":")).encode()


class Signer:
    """A private key that signs statements. They hold for `valid_for`, or for ever. Raises BadKey."""

    def __init__(self, file: Path, valid_for: timedelta | None = None) -> None:
        self._key, self._valid_for = private_key(file), valid_for
        self.key_id = key_id(self._key.public_key())

    def sign(self, name: str, manifest: str, number: int) -> tuple[Statement, str]:
        """The statement, and the text that holds it with its signature."""
        now = datetime.now(UTC).replace(microsecond=0)
        if not 0 < number <= GREATEST:
            raise SigningRefused(f"the number of a statement is at most {GREATEST}")
        expires = None if self._valid_for is None else now + self._valid_for
        made = Statement(name, manifest, number, now, expires, self.key_id)
        text = _joined(made.payload, self._key.sign(_PREFIX + made.payload))
        if len(text) > LONGEST:
            raise SigningRefused("the model's name is too long for a statement")
        return made, text

    def known_keys(self) -> "Keys":
        """Its own public key, and those of MODEL_PUBLIC_KEY. Raises LoadingFailed."""
        return {**(trusted_keys() or {}), self.key_id: self._key.public_key()}


def check(manifest_digest: str, name: str, signed: str | None) -> Statement | None:
    """Check a version's statement and return it; None if MODEL_PUBLIC_KEY is not set. Raises LoadingFailed.

    `signed`: the text of the version's tag.
    """
    keys = trusted_keys()
    return None if keys is None else checked(manifest_digest, name, signed, keys)


def checked(manifest_digest: str, name: str, signed: str | None, keys: "Keys") -> Statement:
    """The statement, if one of these keys has signed it for this manifest and name, and it has not expired.

    Raises LoadingFailed.
    """
    if signed is None:
        raise LoadingFailed(
            "la version n’est pas signée ; répétez la commande qui l’a enregistrée, avec la clé : "
            "« python register.py … --sign CLE.pem »"
        )
    if _OLD_SIGNATURE.fullmatch(signed):
        raise LoadingFailed(
            "la signature de la version est de l’ancienne forme, qui ne dit ni nom, ni numéro, ni date ; "
            f"{_REGISTER_AGAIN}"
        )
    statement = _verified(signed, keys)
    if statement.name != name:
        raise LoadingFailed(f"la version est signée pour le modèle {statement.name} ; {_REGISTER_AGAIN}")
    if statement.manifest != manifest_digest:
        raise LoadingFailed(
            f"la signature est celle d’un autre bundle ({statement.manifest[:12]}) ; {_SIGN_AGAIN}"
        )
    if statement.expires is not None and statement.expires <= datetime.now(UTC):
        raise LoadingFailed(
            f"la signature a expiré le {statement.expires:%Y-%m-%d à %H:%M} (UTC) ; {_SIGN_AGAIN}"
        )
    return statement


def _verified(signed: str, keys: "Keys") -> Statement:
    """The statement, if one of the keys has signed it. Raises LoadingFailed."""
    try:
        statement = read(signed)
    except Unreadable as error:
        raise LoadingFailed(f"la signature est illisible ; {_SIGN_AGAIN}") from error
    if statement.key_id not in keys:
        raise LoadingFailed(
            f"la version est signée par la clé {statement.key_id}, que {PUBLIC_KEY} ne contient pas ; "
            f"{_REGISTER_AGAIN}"
        )
    if genuine(signed, keys) is None:
        raise LoadingFailed(f"la signature n’est pas celle de la clé {statement.key_id} ; {_SIGN_AGAIN}")
    return statement


def genuine(signed: str | None, keys: "Keys") -> Statement | None:
    """The statement if one of the keys has signed it, else None. It may be for another name, or expired."""
    from cryptography.exceptions import InvalidSignature

    try:
        statement = read(signed or "")
        payload, signature = _parts(signed or "")
        keys[statement.key_id].verify(signature, _PREFIX + payload)
    except (Unreadable, KeyError, InvalidSignature):
        return None
    return statement


def read(signed: str) -> Statement:
    """The statement in a text, without checking its signature. Raises Unreadable."""
    payload, _ = _parts(signed)
    try:
        content = json.loads(payload)
        statement = Statement(
            content["name"],
            content["manifest"],
            content["number"],
            datetime.fromisoformat(content["signed_at"]),
            None if content["expires"] is None else datetime.fromisoformat(content["expires"]),
            content["key"],
        )
        is_one = _is_sound(statement) and statement.payload == payload
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise Unreadable("no statement") from error
    if not is_one:
        raise Unreadable("no canonical statement")
    return statement


def _is_sound(statement: Statement) -> bool:
    dates = [statement.signed_at, *([] if statement.expires is None else [statement.expires])]
    return (
        type(statement.name) is str
        and type(statement.number) is int
        and 0 < statement.number <= GREATEST
        and _SHA256.fullmatch(statement.manifest) is not None
        and _KEY_ID.fullmatch(statement.key_id) is not None
        and all(date.tzinfo is not None for date in dates)
    )


def is_old(signed: str | None) -> bool:
    """Whether it signs the manifest alone, as signatures did before statements existed."""
    return signed is not None and _OLD_SIGNATURE.fullmatch(signed) is not None


def _parts(signed: str) -> tuple[bytes, bytes]:
    """The payload and the signature. Raises Unreadable."""
    match = _WRITTEN.fullmatch(signed) if len(signed) <= LONGEST else None
    if match is None or len(match[1]) % 4 == 1:
        raise Unreadable("no statement with its signature")
    payload, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in match.groups())
    if _joined(payload, signature) != signed:
        raise Unreadable("not written as we write it")
    return payload, signature


def _joined(payload: bytes, signature: bytes) -> str:
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (payload, signature))


def _written_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


# ---- Keys


def key_id(key: "Ed25519PublicKey") -> str:
    """The first 16 digits of the SHA-256 of the key's 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def require_keys_in(content: bytes) -> None:
    """Raises BadKey unless the content is a key file that MODEL_PUBLIC_KEY may name."""
    try:
        _keys_in(content)
    except LoadingFailed as error:
        raise BadKey(f"{PUBLIC_KEY} names no readable public Ed25519 keys in PEM form") from error


def trusted_keys() -> "Keys | None":
    """The keys in the file that MODEL_PUBLIC_KEY names, by their ids; None if it names no file.

    The file is read at every call, so that removing a key from it revokes the key. Raises LoadingFailed.
    """
    if not (file := os.environ.get(PUBLIC_KEY)):
        return None
    try:
        return _keys_in(_read_key_file(Path(file)))
    except OSError as error:
        raise LoadingFailed(f"la clé {PUBLIC_KEY} est illisible") from error


def _read_key_file(file: Path) -> bytes:
    """A key file may be a symbolic link, as mounted secrets are. Raises OSError, at once for a pipe."""
    return files.read(file, _LARGEST_KEY_FILE, own=False, link=True)


def _keys_in(content: bytes) -> "Keys":
    """The public Ed25519 keys in a PEM file, by their ids. Raises LoadingFailed for anything else."""
    # Imported here, so that a service without signatures does not pay for it.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        keys = [load_pem_public_key(match[0]) for match in _PEM.finditer(content)]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise LoadingFailed(f"la clé {PUBLIC_KEY} est illisible") from error
    found = {key_id(key): key for key in keys if isinstance(key, Ed25519PublicKey)}
    if not keys or content.count(b"-----BEGIN") != len(keys) or len(content) > _LARGEST_KEY_FILE:
        raise LoadingFailed(f"la clé {PUBLIC_KEY} est illisible")
    if not all(isinstance(key, Ed25519PublicKey) for key in keys):
        raise LoadingFailed(f"une clé de {PUBLIC_KEY} n’est pas une clé publique Ed25519")
    return found


def public_keys(file: Path) -> "Keys":
    """The public keys in a file, by their ids. Raises BadKey."""
    try:
        return _keys_in(_read_key_file(file))
    except FileNotFoundError as error:
        raise BadKey(f"{file} is not there") from error
    except (OSError, LoadingFailed) as error:
        raise BadKey(f"{file.name} holds no readable public Ed25519 keys in PEM form") from error


def private_key(file: Path) -> "Ed25519PrivateKey":
    """Raises BadKey."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read_key_file(file), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKey(f"{file.name} is no readable private key in PEM form without password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKey(f"{file.name} is no Ed25519 key: openssl genpkey -algorithm ed25519 makes one")
    return key
