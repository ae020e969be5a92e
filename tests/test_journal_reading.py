"""list, show, export, and what erasures say: as a person reads them, and as a program does."""

import os
import pty
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pyarrow.parquet
import pytest

from journal import ids
from journal.__main__ import main
from journal.events import Review
from journal.receipt import Receipt
from tests.journal_support import (
    MODEL,
    changed,
    id_of,
    journal_at,
    receipt_of,
    receipts,
    reviewed,
    rows,
    typed,
    write,
    writer,
)

ROOT = Path(__file__).resolve().parents[1]
Capture = pytest.CaptureFixture[str]
REFERENCE = "dossier-41"


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return journal_at(tmp_path, monkeypatch)


def written_of_client(count: int) -> list[Receipt]:
    """Among those of others."""
    made = [receipt_of(client_reference=REFERENCE) for _ in range(count)]
    write([receipt_of(client_reference="dossier-4"), *made, receipt_of()])
    return made


# ---- A client's decisions


def test_a_clients_decisions_are_listed_by_the_reference_newest_first(journal: Path, capsys: Capture) -> None:
    made = written_of_client(3)

    code, out, err = typed(f"list --client-reference {REFERENCE}", capsys)
    assert [line.partition("\t")[0] for line in out.splitlines()[1:]] == [id_of(one) for one in made[::-1]]
    assert (code, err) == (0, "3 decisions\n")

    _, out, err = typed(f"list --client-reference {REFERENCE} --limit 1", capsys)
    assert out.splitlines()[1].startswith(id_of(made[2]))
    assert err == "1 of 3 decisions: --limit shows more\n"


def test_the_other_conditions_hold_for_a_clients_decisions_too(journal: Path, capsys: Capture) -> None:
    old = receipt_of(client_reference=REFERENCE, time=1_000)
    (young,) = written_of_client(1)
    write([old])

    _, out, _ = typed(f"list --client-reference {REFERENCE} --since 2026-01-01", capsys)

    assert id_of(young) in out
    assert id_of(old) not in out


def test_a_clients_decisions_are_shown_by_the_reference_newest_first(journal: Path, capsys: Capture) -> None:
    made = written_of_client(2)

    code, out, _ = typed(f"show --client-reference {REFERENCE}", capsys)

    assert code == 0
    assert re.findall(r"^Décision (.+)$", out, re.MULTILINE) == [id_of(one) for one in made[::-1]]


@pytest.mark.parametrize("command", ["list", "show", "erase --why w"])
def test_a_reference_that_no_decision_has_is_refused_without_being_repeated(
    journal: Path, command: str, capsys: Capture
) -> None:
    written_of_client(1)

    said = typed(f"{command} --client-reference unknown-7", capsys)

    assert said == (2, "", "Refused: no decision that is not erased has this reference\n")


@pytest.mark.parametrize("options", ["", f"{ids.written(bytes(16))} --client-reference x"])
def test_show_needs_one_of_id_and_reference(journal: Path, options: str, capsys: Capture) -> None:
    sentence = "Refused: name the decision by its ID, or all of a client by --client-reference\n"
    assert typed(f"show {options}", capsys) == (2, "", sentence)


# ---- Lines for a person, and for a program


def test_a_terminal_gets_aligned_columns_with_a_heading(journal: Path) -> None:
    write([receipt_of(0.1), receipt_of(0.9)])
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)

    command = [sys.executable, "-m", "journal", "list"]
    with subprocess.Popen(command, cwd=ROOT, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        assert process.wait() == 0
    heads, *lines = os.read(ours, 65_536).decode().splitlines()
    for end in (ours, theirs):
        os.close(end)

    assert "\t" not in "".join([heads, *lines])
    assert [lines[0].index("Classe_1"), lines[1].index("Classe_0")] == [heads.index("label")] * 2
    assert [one.index("/predict") for one in lines] == [heads.index("door")] * 2


def test_no_decisions_are_a_heading_and_a_sentence(journal: Path, capsys: Capture) -> None:
    heads = "\t".join(("id", "time (UTC)", "version", "label", "door", "state", "review"))
    assert typed("list", capsys) == (0, f"{heads}\n", "No decisions\n")


@pytest.mark.parametrize(
    "change", ["model = 77", "label = 9", "lasting = x'00'", "kind = 1, label = NULL, model = NULL"]
)
def test_a_damaged_receipt_is_not_shown_and_named(journal: Path, change: str, capsys: Capture) -> None:
    one = receipt_of()
    write([one])
    changed(journal, f"UPDATE record SET {change} WHERE position = 1")  # noqa: S608

    code, out, err = typed(f"show {id_of(one)}", capsys)

    assert (code, out) == (3, "")
    assert re.fullmatch(
        r"(Found|Damaged): record 1 .*cannot be read: python -m journal verify says more\n", err
    )


@pytest.mark.parametrize("change", ["model = 77", "lasting = x'00'", "id = 'x'", "id = x'00'"])
def test_a_damaged_decision_is_named_and_the_others_are_listed(
    journal: Path, change: str, capsys: Capture
) -> None:
    written = receipts(4)
    write(written)
    changed(journal, f"UPDATE record SET {change} WHERE position = 2")  # noqa: S608

    code, out, err = typed("list", capsys)

    _, *lines = out.splitlines()
    assert [line.split("\t")[0] for line in lines] == [id_of(written[place]) for place in (3, 2, 0)]
    assert err == (
        "Damaged: record 2 cannot be read: python -m journal verify says more\n"
        "3 of 4 decisions, and 1 is damaged\n"
    )
    assert code == 3


def test_a_damaged_review_is_told_apart_from_its_decision(journal: Path, capsys: Capture) -> None:
    written = receipts(2)
    write(written)
    with writer() as one:
        one.append([Review(decision=written[0].id, outcome="accept", reviewer="léa", reason="revenus")])
    changed(journal, "UPDATE record SET lasting = x'00' WHERE kind = 3")

    code, _, err = typed("list", capsys)

    sentence = f"record 5, which tells of decision {id_of(written[0])}, cannot be read"
    assert (code, err.splitlines()[0]) == (3, f"Damaged: {sentence}: python -m journal verify says more")


def test_a_decision_that_an_index_alone_still_has_is_damaged_and_the_others_are_listed(
    journal: Path, capsys: Capture
) -> None:
    written = receipts(3)
    write(written)
    _remove_behind_the_index(journal, 2)

    code, out, err = typed("list", capsys)

    _, *lines = out.splitlines()
    assert [line.split("\t")[0] for line in lines] == [id_of(written[2]), id_of(written[0])]
    assert "Damaged: record 2 cannot be read" in err
    assert code == 3


def _remove_behind_the_index(journal: Path, position: int) -> None:
    """Take the index of times out of the schema while the row is deleted, as a damaged page would."""
    with closing(sqlite3.connect(journal)) as database, database:
        database.execute("PRAGMA writable_schema = ON")
        found = database.execute("SELECT * FROM sqlite_master WHERE name = 'record_by_time'").fetchone()
        database.execute("DELETE FROM sqlite_master WHERE name = 'record_by_time'")
    with closing(sqlite3.connect(journal)) as database, database:
        database.execute("DELETE FROM record WHERE position = ?", (position,))
        database.execute("PRAGMA writable_schema = ON")
        database.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", found)


# ---- Export


@pytest.mark.parametrize("name", ["x.csv", "x", "x.PARQUET", "x.parquet.gz"])
def test_another_suffix_than_parquet_is_refused(journal: Path, name: str, capsys: Capture) -> None:
    sentence = f"export writes Parquet and nothing else: name a file *.parquet, not {name}"
    assert typed(f"export --output {name}", capsys) == (2, "", f"Refused: {sentence}\n")


def test_an_export_needs_a_folder_that_is_there(journal: Path, capsys: Capture) -> None:
    sentence = "there is no folder absent: make it first, or name another place"
    assert typed("export --output absent/x.parquet", capsys) == (2, "", f"Refused: {sentence}\n")


def test_the_columns_begin_with_id_time_and_version_and_end_with_features_and_outputs(
    journal: Path, capsys: Capture
) -> None:
    write(receipts(1))

    assert typed("export --output x.parquet", capsys) == (
        0,
        "",
        "x.parquet holds 1 receipt, with what clients have told: keep it as the journal\n",
    )

    names = pyarrow.parquet.read_schema("x.parquet").names
    assert names[:3] == ["decision_id", "time", "model_version"]
    assert names[-10:] == [*MODEL.features, *MODEL.columns]


# ---- What is said of erasures


def test_an_erasure_says_how_many_and_how_many_were_erased_before(journal: Path, capsys: Capture) -> None:
    made = receipts(3)
    write(made)
    first, both = id_of(made[0]), " ".join(f"--decision {id_of(one)}" for one in made[:2])
    copies = "Backups, replicas and exports may still hold what they told: see docs/journal.md"

    assert typed(f"erase --decision {first} --why w", capsys)[2] == f"1 decision erased. {copies}\n"
    assert typed(f"erase {both} --why w", capsys)[2] == (f"1 decision erased, 1 had been before. {copies}\n")


def test_an_erasure_that_finds_nothing_says_so_and_ends_with_2(journal: Path, capsys: Capture) -> None:
    one = receipt_of()
    write([one])
    erase = f"erase --decision {id_of(one)} --why w"
    typed(erase, capsys)

    sentence = "nothing to erase: 1 decision was erased before, and no log holds anything of it"
    assert typed(erase, capsys) == (2, "", f"Refused: {sentence}\n")


def test_a_decision_that_is_named_twice_is_erased_once(journal: Path, capsys: Capture) -> None:
    one = receipt_of()
    write([one])

    said = typed(f"erase --decision {id_of(one)} --decision {id_of(one)} --why w", capsys)

    assert said[2].startswith("1 decision erased. ")


def test_a_hold_and_a_release_say_what_they_allow_and_a_held_decision_is_named(
    journal: Path, capsys: Capture
) -> None:
    one, another = receipts(2)
    write([one, another])
    named = f"--decision {id_of(one)} --why w"

    assert typed(f"hold {named}", capsys) == (
        0,
        "",
        "1 decision held: it cannot be erased before python -m journal release\n",
    )
    assert typed(f"erase --decision {id_of(another)} {named}", capsys) == (
        2,
        "",
        f"Refused: decision {id_of(one)} is held and nothing was erased: "
        f'python -m journal release --decision {id_of(one)} --why "…" lets it go\n',
    )
    assert typed(f"release {named}", capsys) == (0, "", "1 decision released: it can be erased\n")
    assert rows(journal, "SELECT sum(is_erased) FROM record") == [(0,)]


def test_a_retention_says_how_many_were_erased_and_how_many_were_held(journal: Path, capsys: Capture) -> None:
    old = [receipt_of(time=1_000 + n) for n in range(3)]
    write([*old, receipt_of()])
    typed(f"hold --decision {id_of(old[1])} --why w", capsys)

    assert typed("retain --days 3650", capsys)[2].startswith(
        "2 decisions older than 3,650 days erased, 1 held and kept. Backups"
    )
    assert typed("retain --days 3650", capsys) == (
        0,
        "",
        "No decision older than 3,650 days was there to erase, 1 held and kept\n",
    )


def test_the_last_review_is_listed_and_exported(journal: Path, tmp_path: Path, capsys: Capture) -> None:
    one, another = receipt_of(), receipt_of()
    write([one, another])
    reviewed(one)
    file = tmp_path / "receipts.parquet"

    main(["list"])
    main(["export", "--output", str(file)])

    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert {line[0]: line[-1] for line in lines[1:]} == {id_of(one): "accept by léa", id_of(another): "-"}
    table = {row["decision_id"]: row for row in pyarrow.parquet.read_table(file).to_pylist()}
    assert [(table[id_of(each)]["outcome"], table[id_of(each)]["reviewer"]) for each in (one, another)] == [
        ("accept", "léa"),
        (None, None),
    ]
    assert table[id_of(one)]["reviewed"] > table[id_of(one)]["time"]


def test_a_receipt_that_was_changed_is_shown_as_such(journal: Path, capsys: Capture) -> None:
    one = receipt_of(0.3)
    write([one])
    changed(journal, "UPDATE record SET label = 0 WHERE kind = 1")

    assert main(["show", id_of(one)]) == 3

    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("l’écrivain 0, MODIFIÉ\u00a0: il n’est pas conforme à son empreinte")


def test_an_erased_decision_cannot_be_held(journal: Path, capsys: Capture) -> None:
    one = receipt_of()
    write([one])
    main(["erase", "--decision", id_of(one), "--why", "RGPD 17"])
    capsys.readouterr()

    assert main(["hold", "--decision", id_of(one), "--why", "a complaint"]) == 2

    assert capsys.readouterr().err == f"Refused: decision {id_of(one)} is erased: nothing is left to hold\n"
