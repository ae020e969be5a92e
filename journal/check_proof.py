"""Check a proof of a journal without its owner's code: python check_proof.py PROOF KEY.pem [CHECKPOINT]

PROOF is what `python -m journal prove` wrote, KEY.pem the bank's public Ed25519 key, CHECKPOINT the note that
you were given. Exit codes: 0 it holds, 1 it does not, 2 a file is wrong. Needs the package cryptography."""

import json
import struct
import sys
import uuid
from base64 import b64decode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def check(holds: object, sentence: str) -> None:
    holds or sys.exit(f"THE PROOF DOES NOT HOLD: {sentence}")


def content(file: str) -> bytes:
    with Path(file).open("rb") as stream:
        return stream.read(16 * 2**20)  # of what has no end, so much fits nothing


def checkpoint(note: str, key: Ed25519PublicKey, whose: str) -> tuple[int, bytes]:
    """The size and root in a signed note: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint."""
    text, _, line = str.rpartition(note, "\n\n")
    origin, size, root, *more = text.split("\n")
    _, name, signature = line.rstrip("\n").split(" ")
    check(name == origin, "a checkpoint was signed in another name")
    key.verify(b64decode(signature)[4:], text.encode() + b"\n")
    print(f"Checkpoint {whose}: {origin}, {size} records, {' '.join(more)}")
    return int(size), b64decode(root)


def climb(place: int, last: int, path: list[bytes], hashes: list[bytes]) -> list[bytes]:
    """RFC 9162, 2.1.3.2 and 2.1.4.2. The first hash takes every step, the others only those from the left."""
    for step in path:
        check(last > 0, "the path is too long")
        if place & 1 or place == last:
            hashes = [sha256(b"\1" + step + one).digest() for one in hashes]
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            hashes = [sha256(b"\1" + hashes[0] + step).digest(), *hashes[1:]]
        place, last = place >> 1, last >> 1
    check(last == 0, "the path is too short")
    return hashes


def inclusion(proof: dict, path: list[bytes], size: int, root: bytes) -> None:
    head, lasting, seal, salted = (b64decode(proof[at] or "") for at in ("head", "lasting", "seal", "salted"))
    check(len(head) == 55 and len(seal) == 32, "its parts are not those of a record")
    check(sha256(salted).digest() == seal or not salted, "the inputs are not those of the record")
    check(0 <= proof["position"] < size, "the record came after the checkpoint")
    commitment = sha256(head + sha256(str.encode(proof["model"])).digest() + seal + lasting).digest()
    found = climb(proof["position"], size - 1, path, [sha256(b"\0" + commitment).digest()])
    check(found == [root], "the record is not in the tree of the checkpoint")
    _, kind, label, _, _, time, own_id, _ = struct.unpack(">BBBIQq16s16s", head)
    print(f"Record {uuid.UUID(bytes=own_id)}, {datetime.fromtimestamp(time / 1e6, UTC)}, of kind {kind}")
    if kind == 1:
        model = json.loads(proof["model"])
        print(f"{model['labels'][label]}, by {model['name']} {model['version']}, bundle {model['digest']}")
        for names, doubles in ((model["columns"][1:], lasting), (model["features"], salted[32:])):
            values = struct.iter_unpack(">d", doubles[: 8 * len(names)])
            print({name: value for name, (value,) in zip(names, values, strict=False)} or "(not here)")


def growth(path: list[bytes], first: int, first_root: bytes, second: int, second_root: bytes) -> None:
    path = path if first & (first - 1) else [first_root, *path]
    check(0 < first < second and path, "the second checkpoint is not of more records")
    zeros = (first & -first).bit_length() - 1
    found = climb((first - 1) >> zeros, (second - 1) >> zeros, path[1:], [path[0], path[0]])
    check(found == [second_root, first_root], "the records of the first checkpoint were changed")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(print(__doc__) if "--help" in sys.argv else print(__doc__, file=sys.stderr) or 2)
    try:
        if not isinstance(key := load_pem_public_key(content(sys.argv[at := 2])), Ed25519PublicKey):
            raise TypeError
        at = 3
        own = [checkpoint(content(one).decode().replace("\r\n", "\n"), key, "given") for one in sys.argv[at:]]
        proof = json.loads(content(sys.argv[at := 1]))
        path = [b64decode(one) for one in proof["path"]]
        trees = [checkpoint(proof[one], key, "proved") for one in ("since", "checkpoint") if one in proof]
        own in ([], trees[:1]) or sys.exit("THE PROOF IS OF ANOTHER CHECKPOINT: ask for one of yours")
        growth(path, *trees[0], *trees[1]) if "since" in proof else inclusion(proof, path, *trees[0])
    except InvalidSignature:
        sys.exit("THE PROOF DOES NOT HOLD: a checkpoint was changed, or this key has not signed it")
    except (OSError, UnsupportedAlgorithm, LookupError, TypeError, ValueError, RecursionError) as error:
        kind = ("proof that the journal wrote", "public Ed25519 key in PEM form", "checkpoint")[at - 1]
        reason = getattr(error, "strerror", f"this is no {kind}")
        sys.exit(print(f"NOTHING WAS CHECKED: {sys.argv[at]}: {reason}", file=sys.stderr) or 2)
    print("THE PROOF HOLDS")
