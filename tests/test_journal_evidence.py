"""Checkpoints, verification and proofs at the command line: what a newcomer does wrong, and what is said."""

import base64
import json
import os
import pty
import re
import shlex
import shutil
import stat
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from journal import check_proof, command_help, command_options, ids
from journal.__main__ import main
from tests.journal_support import changed, journal_at, receipt_of, receipts, rows, typed, write, written_keys

ROOT = Path(__file__).resolve().parents[1]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the current folder, with keys beside it."""
    monkeypatch.chdir(tmp_path)
    written_keys(tmp_path)
    return journal_at(tmp_path, monkeypatch)


def made(place: str) -> None:
    assert main(["checkpoint", "--key", "private.pem", "--out", place]) == 0


# ---- Verify


def test_a_new_journal_is_verified_in_words(journal: Path, capsys: Capture) -> None:
    code, out, err = typed("verify", capsys)

    looked_at, compared, *excluded = out.splitlines()
    assert (code, err) == (0, "")
    assert looked_at.endswith(": no records, because nobody has written to it yet.")
    assert compared.endswith("with no checkpoints inside the journal and with no checkpoints kept elsewhere.")
    assert excluded[0].startswith("Without a checkpoint that was kept elsewhere, this excludes damage")


def test_one_record_of_each_kind_is_counted_in_the_singular(journal: Path, capsys: Capture) -> None:
    write(receipts(1))

    assert ": 3 records by 1 writer: 1 receipt and 2 events." in typed("verify", capsys)[1]


def test_signatures_that_were_not_checked_are_said_not_to_be(journal: Path, capsys: Capture) -> None:
    made("note.txt")

    assert "with 1 checkpoint inside" in typed("verify", capsys)[1]
    assert "kept elsewhere, without their signatures." in typed("verify", capsys)[1]
    assert "kept elsewhere, with their signatures." in typed("verify --public-key public.pem", capsys)[1]


def test_every_checkpoint_that_somebody_kept_is_compared(journal: Path, capsys: Capture) -> None:
    write(receipts(3))
    made("notes/")
    write(receipts(3))
    made("notes/")
    made("last.txt")
    verify = "verify --checkpoint notes --checkpoint last.txt --public-key public.pem"

    code, out, _ = typed(verify, capsys)
    assert code == 0
    assert "with 3 checkpoints kept elsewhere" in out
    assert "The first 17 records are as they were at" in out

    changed(journal, "UPDATE record SET commitment = zeroblob(32) WHERE position = 8")
    code, out, err = typed(verify, capsys)
    assert code == 3
    assert "Found: record 8" in err
    assert err.count("Found: the checkpoint of ") == 2
    assert "as they were" not in out


def test_a_folder_without_checkpoints_and_a_file_that_is_none_are_named(
    journal: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "shopping.txt").write_text("milk")

    for place, sentence in (
        ("empty", "the folder empty holds no checkpoint, which is a file *.txt"),
        ("other", "shopping.txt is not a checkpoint of a journal"),
        ("absent.txt", "there is no file or folder absent.txt"),
    ):
        said = typed(f"verify --checkpoint {place} --public-key public.pem", capsys)
        assert said == (2, "", f"Refused: {sentence}\n")


# ---- Checkpoint


def test_a_folder_for_checkpoints_is_made_where_its_name_ends_with_a_slash(
    journal: Path, tmp_path: Path, capsys: Capture
) -> None:
    code, _, err = typed("checkpoint --key private.pem --out notes/", capsys)

    (file,) = (tmp_path / "notes").iterdir()
    assert (code, file.suffix) == (0, ".txt")
    assert err.startswith(f"notes/{file.name} holds the checkpoint of 1 record: keep it where")
    assert stat.S_IMODE((tmp_path / "notes").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("absent/note.txt", "there is no folder absent: make it first, or name another place"),
        ("absent/notes/", "there is no folder absent: make it first, or name another place"),
        ("private.pem", "private.pem exists: name another file"),
        ("private.pem/", "the folder private.pem cannot be made: File exists"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_a_checkpoint_is_made(
    journal: Path, place: str, sentence: str, capsys: Capture
) -> None:
    assert typed(f"checkpoint --key private.pem --out {place}", capsys) == (2, "", f"Refused: {sentence}\n")
    assert rows(journal, "SELECT count(*) FROM record") == [(0,)]


# ---- Prove


@pytest.fixture
def proved(journal: Path, tmp_path: Path) -> str:
    """The id of a decision behind the checkpoint old.txt, which new.txt and proof.json hold."""
    made("old.txt")
    one = receipt_of()
    write([one])
    made("new.txt")
    (tmp_path / "another.pem").write_bytes(written(Ed25519PrivateKey.generate().public_key()))
    assert main(["prove", ids.written(one.id), "--out", "proof.json"]) == 0
    return ids.written(one.id)


def written(key: object) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            "ID --checkpoint old.txt",
            "the checkpoint is older than this record: it holds the first 1, and this is number 5: "
            "take a newer one",
        ),
        ("ID --checkpoint foreign.txt", "the checkpoint is of another journal, scoring-client/"),
        (
            "ID --checkpoint new.txt --public-key another.pem",
            "new.txt was not signed by this key, or was changed after it was signed",
        ),
        ("ID --public-key another.pem", "the journal's newest checkpoint, of "),
        ("ID --checkpoint public.pem", "public.pem is not a checkpoint of a journal"),
        ("--since new.txt", "the journal has no checkpoint of more than 7 records yet"),
        ("--since foreign.txt", "the checkpoint is of another journal, scoring-client/"),
        ("--since old.txt --public-key another.pem", "old.txt was not signed by this key"),
        ("--since old.txt --checkpoint new.txt", "--since proves the growth up to the newest checkpoint"),
        (str(ids.written(bytes(16))), "no decision of the journal has this ID"),
    ],
)
def test_each_reason_for_no_proof_is_a_sentence_of_its_own(
    proved: str, options: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        journal_at(tmp_path / "elsewhere", patch)
        made("foreign.txt")

    code, out, err = typed(f"prove {options.replace('ID', proved)} --out other.json", capsys)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"Refused: {sentence}")
    assert not (tmp_path / "other.json").exists()


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("proof.json", "proof.json exists: name another file"),
        ("absent/p.json", "there is no folder absent: make it first, or name another place"),
        (".", ". is a folder: name a file in it"),
    ],
)
def test_a_proof_needs_a_new_file(proved: str, place: str, sentence: str, capsys: Capture) -> None:
    assert typed(f"prove {proved} --out {place}", capsys) == (2, "", f"Refused: {sentence}\n")


# ---- A stranger's script


def checked(folder: Path, *files: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(check_proof.__file__, folder / "check.py")
    command = [sys.executable, "-I", "check.py", *files]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_script_checks_what_the_command_line_wrote(proved: str, tmp_path: Path) -> None:
    said = checked(tmp_path, "proof.json", "public.pem", "new.txt")

    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.endswith("THE PROOF HOLDS\n")


@pytest.mark.parametrize("bytes_moved", [-32, -8, 3, 8, 16])
def test_the_script_is_not_deceived_by_parts_that_begin_elsewhere(
    proved: str, tmp_path: Path, bytes_moved: int
) -> None:
    """The same bytes in a row have the same hash: of a decision that is told to be erased, other numbers."""
    proof = json.loads((tmp_path / "proof.json").read_text())
    seal, lasting = base64.b64decode(proof["seal"]), base64.b64decode(proof["lasting"])
    place, row = len(seal) + bytes_moved, seal + lasting
    parts = {"seal": row[:place], "lasting": row[place:]}
    proof |= {name: base64.b64encode(part).decode() for name, part in parts.items()} | {"salted": None}
    (tmp_path / "proof.json").write_text(json.dumps(proof))

    said = checked(tmp_path, "proof.json", "public.pem", "new.txt")

    assert said.returncode == 1
    assert said.stderr == "THE PROOF DOES NOT HOLD: its parts are not those of a record\n"


NO_PROOF = "this is no proof that the journal wrote"
NO_KEY = "this is no public Ed25519 key in PEM form"
WRONG_PROOFS = {
    "nothing": "",
    "no JSON": "{",
    "a list": "[]",
    "a number": "7",
    "other keys": '{"a": 1}',
    "numbers for texts": '{"path": [], "checkpoint": 7}',
    "a nest": "[" * 100_000,
}


@pytest.mark.parametrize("content", WRONG_PROOFS.values(), ids=WRONG_PROOFS.keys())
def test_the_script_says_that_a_file_is_no_proof(proved: str, tmp_path: Path, content: str) -> None:
    (tmp_path / "proof.json").write_text(content)

    said = checked(tmp_path, "proof.json", "public.pem")

    assert (said.returncode, said.stderr) == (2, f"NOTHING WAS CHECKED: proof.json: {NO_PROOF}\n")


@pytest.mark.parametrize("part", ["head", "model", "seal", "salted", "lasting", "path", "position"])
def test_the_script_says_that_a_part_of_a_proof_is_missing(proved: str, tmp_path: Path, part: str) -> None:
    proof = json.loads((tmp_path / "proof.json").read_text())
    del proof[part]
    (tmp_path / "proof.json").write_text(json.dumps(proof))

    said = checked(tmp_path, "proof.json", "public.pem")

    assert (said.returncode, said.stderr) == (2, f"NOTHING WAS CHECKED: proof.json: {NO_PROOF}\n")


def _private() -> bytes:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


WRONG_KEYS = {
    "no PEM": lambda: b"hello",
    "bytes": lambda: b"\xff\xfe",
    "a private key": _private,
    "RSA": lambda: written(rsa.generate_private_key(65537, 2048).public_key()),
    "a curve": lambda: written(ec.generate_private_key(ec.SECP256R1()).public_key()),
    "Ed448": lambda: written(ed448.Ed448PrivateKey.generate().public_key()),
}


@pytest.mark.parametrize("content", WRONG_KEYS.values(), ids=WRONG_KEYS.keys())
def test_the_script_says_that_a_file_is_no_key(proved: str, tmp_path: Path, content: object) -> None:
    (tmp_path / "public.pem").write_bytes(content())  # type: ignore[operator]

    said = checked(tmp_path, "proof.json", "public.pem")

    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"NOTHING WAS CHECKED: public.pem: {NO_KEY}\n"


@pytest.mark.parametrize(
    ("files", "code", "sentence"),
    [
        (["absent", "public.pem"], 2, "NOTHING WAS CHECKED: absent: No such file or directory"),
        (["proof.json", "absent"], 2, "NOTHING WAS CHECKED: absent: No such file or directory"),
        (["proof.json", "."], 2, "NOTHING WAS CHECKED: .: Is a directory"),
        (["proof.json", "public.pem", "absent"], 2, "NOTHING WAS CHECKED: absent: No such file or directory"),
        (
            ["proof.json", "public.pem", "proof.json"],
            2,
            "NOTHING WAS CHECKED: proof.json: this is no checkpoint",
        ),
        (["public.pem", "proof.json"], 2, f"NOTHING WAS CHECKED: proof.json: {NO_KEY}"),
        (
            ["proof.json", "public.pem", "old.txt"],
            1,
            "THE PROOF IS OF ANOTHER CHECKPOINT: ask for one of yours",
        ),
        (
            ["/dev/zero", "public.pem"],
            2,
            "NOTHING WAS CHECKED: /dev/zero: this is no proof that the journal wrote",
        ),
        (["proof.json", "/dev/zero"], 2, f"NOTHING WAS CHECKED: /dev/zero: {NO_KEY}"),
        (
            ["proof.json", "another.pem"],
            1,
            "THE PROOF DOES NOT HOLD: a checkpoint was changed, or this key has not signed it",
        ),
    ],
)
def test_the_script_names_the_file_that_is_wrong(
    proved: str, tmp_path: Path, files: list[str], code: int, sentence: str
) -> None:
    said = checked(tmp_path, *files)

    assert (said.returncode, said.stderr) == (code, f"{sentence}\n")
    assert "HOLDS" not in said.stdout


# ---- Help and progress


@pytest.mark.parametrize("name", command_help.BY_COMMAND)
def test_each_command_helps_with_an_example_that_it_understands(name: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])

    said = capsys.readouterr().out
    assert re.search(r"\n(Prints|Says on standard error) ", said)
    assert "\nExit codes: 0 " in said
    (example,) = [line for line in said.splitlines() if line.startswith("Example: ")]
    python, module, journal, *words = shlex.split(example.removeprefix("Example: "))
    assert (python, module, journal, words[0]) == ("python", "-m", "journal", name)
    commands = dict.fromkeys(command_help.BY_COMMAND, main)
    assert command_options.parser(commands).parse_args(words).command == name  # type: ignore[arg-type]


@pytest.mark.slow
def test_long_work_shows_how_far_it_is_in_a_terminal_alone(journal: Path) -> None:
    write(receipts(50))
    command = [sys.executable, "-m", "journal", "verify"]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    os.set_blocking(ours, False)

    with subprocess.Popen(command, cwd=ROOT, stderr=theirs, stdout=subprocess.DEVNULL) as process:
        code = process.wait()
    shown = os.read(ours, 65_536).decode()
    for end in (ours, theirs):
        os.close(end)
    piped = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert code == 0
    assert "/52.0 [" in shown
    assert piped.stderr == ""
