"""Check a proof of a journal without its owner's code: python check_proof.py PROOF KEY.pem [CHECKPOINT]

PROOF is what `python -m journal prove` wrote, KEY.pem the bank's public Ed25519 key, CHECKPOINT the note that
you were given. Exit code 0: the proof holds. Needs Python 3.11 and the package cryptography.
"""

import base64
import hashlib
import json
import struct
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def check(holds: object, sentence: str) -> None:
    if not holds:
        sys.exit(f"THE PROOF DOES NOT HOLD: {sentence}")


def checkpoint(note: str, key: Any) -> tuple[int, bytes]:
    """The size and root in a signed note: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint."""
    text, _, line = note.rpartition("\n\n")
    origin, size, root, *more = text.split("\n")
    _, name, signature = line.rstrip("\n").split(" ")
    key_id, signed = base64.b64decode(signature)[:4], base64.b64decode(signature)[4:]
    own_id = sha256(name.encode(), b"\n\1", key.public_bytes_raw())[:4]
    check(name == origin and key_id == own_id, "another key has signed, or in another name")
    key.verify(signed, text.encode() + b"\n")
    print(f"Checkpoint of {origin}, {size} records, {' '.join(more)}")
    return int(size), base64.b64decode(root)


def climb(place: int, last: int, path: list[bytes], *hashes: bytes) -> list[bytes]:
    """RFC 9162, 2.1.3.2 and 2.1.4.2. The first hash takes every step, the others only those from the left."""
    new, *others = hashes
    for step in path:
        check(last > 0, "the path is too long")
        if place & 1 or place == last:
            new, *others = [sha256(b"\1", step, one) for one in (new, *others)]
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            new = sha256(b"\1", new, step)
        place, last = place >> 1, last >> 1
    check(last == 0, "the path is too short")
    return [new, *others]


def check_inclusion(proof: dict[str, Any], path: list[bytes], size: int, root: bytes) -> None:
    head, lasting, seal = (base64.b64decode(proof[part]) for part in ("head", "lasting", "seal"))
    salted = base64.b64decode(proof["salted"] or "")
    check(sha256(salted) == seal or not salted, "the inputs are not those of the record")
    check(0 <= proof["position"] < size, "the record came after the checkpoint")
    leaf = sha256(b"\0", sha256(head, sha256(proof["model"].encode()), seal, lasting))
    found = climb(proof["position"], size - 1, path, leaf)
    check(found == [root], "the record is not in the tree of the checkpoint")
    _, kind, label, _, _, time, own_id, _ = struct.unpack(">BBBIQq16s16s", head)
    print(f"Record {uuid.UUID(bytes=own_id)}, {datetime.fromtimestamp(time / 1e6, UTC)}, of kind {kind}")
    if kind == 1:
        model = json.loads(proof["model"])
        print(f"{model['labels'][label]}, by {model['name']} {model['version']}, bundle {model['digest']}")
        for names, doubles in ((model["columns"][1:], lasting), (model["features"], salted[32:])):
            values = struct.iter_unpack(">d", doubles[: 8 * len(names)])
            print({name: value for name, (value,) in zip(names, values, strict=False)} or "(erased)")


def check_growth(path: list[bytes], first: int, first_root: bytes, second: int, second_root: bytes) -> None:
    path = path if first & (first - 1) else [first_root, *path]
    check(0 < first < second and path, "the second checkpoint is not of more records")
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    found = climb(place, last, path[1:], path[0], path[0])
    check(found == [second_root, first_root], "the records of the first checkpoint were changed")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(print(__doc__) if "--help" in sys.argv else __doc__)
    proof = json.loads(Path(sys.argv[1]).read_text())
    key = load_pem_public_key(Path(sys.argv[2]).read_bytes())
    given, path = proof.get("since", proof["checkpoint"]), [base64.b64decode(one) for one in proof["path"]]
    check(all(Path(own).read_text() == given for own in sys.argv[3:]), "its checkpoint is not yours")
    try:
        trees = [checkpoint(proof[one], key) for one in ("since", "checkpoint") if one in proof]
    except InvalidSignature:
        sys.exit("THE PROOF DOES NOT HOLD: a checkpoint was changed after it was signed")
    check_growth(path, *trees[0], *trees[1]) if "since" in proof else check_inclusion(proof, path, *trees[0])
    print("THE PROOF HOLDS")
