"""Checkpoints and proofs: signed in public forms, and checked by a stranger's script without our code."""

import base64
import json
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from journal import check_proof, checkpoints, proofs, store, tree
from journal.checkpoints import BadCheckpoint, Checkpoint
from journal.errors import Refused
from tests.journal_support import KEY, changed, erased, journal_at, receipt_of, receipts, write, written_keys

# Of golang.org/x/mod/sumdb/note, whose signed notes are the form of C2SP.
GO_KEY = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_NOTE = (
    f"{GO_TEXT}\n— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return journal_at(tmp_path, monkeypatch)


def checkpoint() -> Checkpoint:
    with closing(store.opened()) as opened:
        return checkpoints.make(opened, KEY, "test")


def proof_of(own_id: bytes, given: Checkpoint | None = None) -> dict[str, object]:
    with closing(store.opened()) as opened, opened.reading() as connection:
        return proofs.of_inclusion(connection, own_id, given)


def growth_since(one: Checkpoint) -> dict[str, object]:
    with closing(store.opened()) as opened, opened.reading() as connection:
        return proofs.of_growth(connection, one)


def strangers_verdict(proof: dict[str, object], folder: Path, *own: Path) -> subprocess.CompletedProcess[str]:
    """Of the script alone, in a folder without our code, by Python without our path."""
    place = folder / "elsewhere"
    place.mkdir(exist_ok=True)
    shutil.copy(check_proof.__file__, place / "check.py")
    _, public = written_keys(place)
    (place / "proof.json").write_text(json.dumps(proof))
    command = [sys.executable, "-I", "check.py", "proof.json", public.name, *map(str, own)]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


# ---- Signed notes


def test_a_note_is_signed_as_go_signs_it() -> None:
    key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(GO_KEY)[1:])

    assert checkpoints.key_id("PeterNeumann", key.public_key()).hex() == "c74f20a3"
    assert checkpoints.signed(GO_TEXT, "PeterNeumann", key) == GO_NOTE


def test_a_checkpoint_says_which_journal_how_many_records_and_when(journal: Path) -> None:
    write(receipts(5))

    one = checkpoint()

    origin, size, root, moment, empty, signature, _ = one.note.split("\n")
    assert origin.startswith("scoring-client/")
    assert size == str(1 + 5 + 1 + 1)
    assert base64.b64decode(root) == one.root
    assert moment == f"time {one.time:%Y-%m-%dT%H:%M:%SZ}"
    assert abs((datetime.now(UTC) - one.time).total_seconds()) < 60
    assert (empty, signature.split(" ")[:2]) == ("", ["—", origin])
    assert checkpoints.is_genuine(one, [KEY.public_key()])


@pytest.mark.parametrize("place", range(0, 200, 7))
def test_a_changed_character_of_a_note_is_noticed(journal: Path, place: int, tmp_path: Path) -> None:
    note = checkpoint().note
    file = tmp_path / "note.txt"
    file.write_text(note[:place] + ("1" if note[place] == "0" else "0") + note[place + 1 :])

    with pytest.raises(BadCheckpoint, match=r"note\.txt was not signed|not a checkpoint|time is none"):
        checkpoints.of_file(file, [KEY.public_key()])


def test_another_key_and_another_name_sign_for_nobody(journal: Path) -> None:
    one = checkpoint()
    text = one.note.partition("\n\n")[0] + "\n"
    in_another_name = checkpoints.read(checkpoints.signed(text, "another", KEY))

    assert not checkpoints.is_genuine(one, [Ed25519PrivateKey.generate().public_key()])
    assert not checkpoints.is_genuine(in_another_name, [KEY.public_key()])


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"origin\n-1\n\n", b"x" * 5_000],
    ids=["nothing", "no text", "no numbers", "too long"],
)
def test_a_file_that_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_bytes(content)

    with pytest.raises(BadCheckpoint, match=r"note\.txt is not a checkpoint of a journal"):
        checkpoints.of_file(tmp_path / "note.txt", [KEY.public_key()])


def test_an_earlier_checkpoint_is_never_overwritten(journal: Path, tmp_path: Path) -> None:
    one = checkpoint()
    file = checkpoints.write(one, tmp_path / "note.txt")

    with pytest.raises(Refused, match=r"note\.txt exists: name another file"):
        checkpoints.write(one, file)
    assert checkpoints.write(one, tmp_path).name == f"{one.time:%Y%m%dT%H%M%SZ}-1.txt"


# ---- Proofs


def test_a_stranger_finds_a_receipt_in_the_tree_of_a_checkpoint(journal: Path, tmp_path: Path) -> None:
    one = receipt_of(0.3, inputs=(200_000.0, 0.5, -12_000.0))
    write(receipts(300), [one, *receipts(400)])
    checkpoint()
    write(receipts(5))

    said = strangers_verdict(proof_of(one.id), tmp_path)

    assert said.returncode == 0, said.stderr
    assert "Zone grise (incertain), by scoring-client 3" in said.stdout
    assert "{'AMT_CREDIT': 200000.0, 'EXT_SOURCE_1': 0.5, 'DAYS_BIRTH': -12000.0}" in said.stdout
    assert "'probability_class_1': 0.3" in said.stdout
    assert said.stdout.endswith("THE PROOF HOLDS\n")


def test_a_stranger_finds_an_erased_receipt_without_its_inputs(journal: Path, tmp_path: Path) -> None:
    one = receipt_of(inputs=(200_000.0, 0.5, -12_000.0))
    write([one])
    checkpoint()
    erased(one.id)

    said = strangers_verdict(proof_of(one.id), tmp_path)

    assert said.returncode == 0, said.stderr
    assert "200000" not in said.stdout
    assert "(not here)" in said.stdout


@pytest.mark.parametrize("first", [1, 2, 5, 300, 511, 512])
def test_a_stranger_sees_that_a_journal_only_grew(journal: Path, tmp_path: Path, first: int) -> None:
    with closing(store.opened()) as opened:
        from journal.writer import Writer

        with Writer(opened, "test", "0") as writer:
            writer.append(receipts(first - 1))
            with writer.group() as group:
                size, root, origin = group.size, group.root, group.origin
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\ntime 2026-01-01T00:00:00Z\n"
    earlier = checkpoints.read(checkpoints.signed(text, origin, KEY))
    write(receipts(300))
    checkpoint()

    said = strangers_verdict(growth_since(earlier), tmp_path)

    assert said.returncode == 0, said.stderr
    assert said.stdout.endswith("THE PROOF HOLDS\n")


def _flipped(text: str) -> str:
    content = bytearray(base64.b64decode(text))
    content[-1] ^= 1
    return base64.b64encode(bytes(content)).decode()


@pytest.mark.parametrize(
    "part", ["head", "model", "seal", "salted", "lasting", "path", "position", "checkpoint"]
)
def test_a_stranger_believes_no_changed_part_of_a_proof(journal: Path, tmp_path: Path, part: str) -> None:
    one = receipt_of()
    write([*receipts(20), one])
    checkpoint()
    proof = proof_of(one.id)
    changes: dict[str, object] = {
        "model": str(proof["model"]).replace('"margin":0.05', '"margin":0.06'),
        "path": [_flipped(step) for step in proof["path"]],  # type: ignore[attr-defined]
        "position": 3,
        "checkpoint": str(proof["checkpoint"]).replace("time 2", "time 3"),
    }

    said = strangers_verdict(proof | {part: changes.get(part) or _flipped(str(proof[part]))}, tmp_path)

    assert said.returncode == 1
    assert "THE PROOF DOES NOT HOLD" in said.stderr
    assert "HOLDS" not in said.stdout


def test_a_stranger_believes_no_growth_from_another_beginning(journal: Path, tmp_path: Path) -> None:
    write(receipts(20))
    first = checkpoint()
    write(receipts(20))
    checkpoint()
    proof = growth_since(first)
    text = first.note.partition("\n\n")[0].replace(
        base64.b64encode(first.root).decode(), _flipped("A" * 43 + "=")
    )
    proof["since"] = checkpoints.signed(f"{text}\n", first.origin, KEY)

    said = strangers_verdict(proof, tmp_path)

    assert said.returncode == 1
    assert "the records of the first checkpoint were changed" in said.stderr


def test_a_stranger_may_insist_on_the_checkpoint_that_they_were_given(journal: Path, tmp_path: Path) -> None:
    one = receipt_of()
    write([one])
    first = checkpoints.write(checkpoint(), tmp_path / "first.txt")
    write(receipts(3))
    checkpoint()
    given = checkpoints.of_file(first, [KEY.public_key()])

    assert strangers_verdict(proof_of(one.id, given), tmp_path, first).returncode == 0
    refused = strangers_verdict(proof_of(one.id), tmp_path, first)
    assert "THE PROOF IS OF ANOTHER CHECKPOINT" in refused.stderr


def test_a_stranger_without_files_reads_how_it_is_done() -> None:
    said = subprocess.run([sys.executable, check_proof.__file__], capture_output=True, text=True, check=False)

    assert said.returncode == 2
    assert "python check_proof.py PROOF KEY.pem [CHECKPOINT]" in said.stderr


def test_the_strangers_script_is_short_and_stands_alone() -> None:
    lines = Path(check_proof.__file__).read_text().splitlines()

    assert len(lines) <= 100
    assert [
        line for line in lines if line.startswith(("import journal", "from journal", "from mlflow"))
    ] == []


def test_the_documentation_prints_the_strangers_script_whole() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "journal.md").read_text()

    assert f"```python\n{Path(check_proof.__file__).read_text()}```\n" in page


def test_a_proof_needs_a_checkpoint_that_holds_the_record(journal: Path) -> None:
    early, late = receipts(2)
    write([early])
    first = checkpoint()
    write([late])

    with pytest.raises(Refused, match="no checkpoint holds this record yet"):
        proof_of(late.id)
    with pytest.raises(Refused, match="older than this record: it holds the first 4, and this is number 8"):
        proof_of(late.id, first)
    with pytest.raises(Refused, match="no record of the journal has this id"):
        proof_of(bytes(16))


def test_a_checkpoint_of_another_journal_or_of_more_records_proves_nothing(journal: Path) -> None:
    one = receipt_of()
    write([one])
    first = checkpoint()
    root = base64.b64encode(first.root).decode()

    for origin, size, sentence in (
        ("another", first.size, "is of another journal, another"),
        (first.origin, 10**6, "is of 1,000,000 records, and 6 are there"),
    ):
        text = f"{origin}\n{size}\n{root}\ntime 2026-01-01T00:00:00Z\n"
        with pytest.raises(Refused, match=sentence):
            proof_of(one.id, checkpoints.read(checkpoints.signed(text, origin, KEY)))


def test_records_that_do_not_fit_a_checkpoint_are_not_proved(journal: Path) -> None:
    one = receipt_of()
    write([one])
    checkpoint()
    changed(journal, "UPDATE record SET commitment = zeroblob(32) WHERE position = 0")

    with pytest.raises(Refused, match="the records do not fit the checkpoint"):
        proof_of(one.id)


def test_the_script_climbs_as_the_tree_does() -> None:
    entries = [bytes([number]) for number in range(70)]
    whole = tree.Frontier()
    whole.extend(entries)

    def subtree(level: int, number: int) -> bytes:
        part = tree.Frontier()
        part.extend(entries[number << level : number + 1 << level])
        return part.root()

    for index in range(70):
        path = tree.inclusion(index, 70, subtree)
        assert check_proof.climb(index, 69, path, [tree.leaf(entries[index])]) == [whole.root()]
