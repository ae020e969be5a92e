"""What somebody changed by SQL behind the journal's back: one sentence each, and the rest is given."""

from pathlib import Path

import pytest
from pyarrow import parquet

from journal.events import Hold, Review
from journal.receipt import Receipt
from tests.journal_support import (
    changed,
    id_of,
    journal_at,
    receipt_of,
    rows,
    typed,
    writer,
    written_keys,
)

Capture = pytest.CaptureFixture[str]
MANY = "[" * 100_000
BEYOND_ALL_DATES = 2**62


class Kept:
    """A journal of four receipts, of two clients in turn, and events about them."""

    def __init__(self, folder: Path) -> None:
        self.receipts = [receipt_of(0.25, client_reference=one) for one in ("ana", "bob", "ana", "bob")]
        with pytest.MonkeyPatch.context() as patch:
            self.file = journal_at(folder, patch)
            with writer() as one:
                one.append(self.receipts)
                last = self.receipts[3].id
                one.append([Review(decision=last, outcome="accept", reviewer="léa", reason="revenus")])
                one.append([Hold(decision=last, by="léa", why="un litige")])

    @property
    def damaged(self) -> Receipt:
        """The one that is changed, at position 2."""
        return self.receipts[1]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def journal(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, which JOURNAL_URL names."""
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{tmp_path}/journal.db")
    copy = tmp_path / "journal.db"
    copy.write_bytes(kept.file.read_bytes())
    return copy


# ---- One row


@pytest.mark.parametrize(
    "change",
    [
        f"time = {BEYOND_ALL_DATES}",
        "erasable = 5",
        "subject = 'x'",
        "id = 'x'",
        "lasting = CAST(x'ff' AS text)",
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in (
                "time = 'abc'",
                "erasable = x'00'",
                "commitment = 5",
                "lasting = x''",
                "label = -1",
                "label = 7",
                "model = 77",
                "writer = 'x'",
                "is_erased = 7",
            )
        ),
    ],
)
def test_a_receipt_that_cannot_be_read_takes_no_other_away(
    kept: Kept, journal: Path, change: str, tmp_path: Path, capsys: Capture
) -> None:
    changed(journal, f"UPDATE record SET {change} WHERE position = 2")  # noqa: S608 - our own text
    others = [id_of(one) for one in kept.receipts if one is not kept.damaged]
    ana = [id_of(kept.receipts[place]) for place in (0, 2)]

    verified, listed, exported = (
        typed(one, capsys) for one in ("verify", "list", f"export --output {tmp_path}/all.parquet")
    )
    of_ana, shown, alone = (
        typed(one, capsys)
        for one in (
            "list --client-reference ana",
            "show --client-reference ana",
            f"show {id_of(kept.damaged)}",
        )
    )
    ready, erased = typed("init", capsys), typed("erase --client-reference ana --why asked", capsys)

    assert verified[0] == 3
    assert "Found: record 2 " in verified[2]
    for code, _, err in (listed, exported):
        assert code == 3
        assert "Damaged: record 2 cannot be read: python -m journal verify says more\n" in err
    assert {line.partition("\t")[0] for line in listed[1].splitlines()[1:]} == {*others}
    assert parquet.read_table(tmp_path / "all.parquet").column("decision_id").to_pylist() == others
    assert {line.partition("\t")[0] for line in of_ana[1].splitlines()[1:]} == {*ana}
    assert [one in shown[1] for one in others] == [one in ana for one in others]
    # A receipt whose erasable part is none may be of any client, and is named.
    assert {of_ana[0], shown[0], erased[0]} == {3 if change == "erasable = 5" else 0}
    assert alone[:2] in ((3, ""), (2, ""))  # by an id that is damaged nothing is found
    assert ready[0] == 0
    assert rows(journal, "SELECT count(*) FROM record WHERE is_erased = 1 AND position IN (1, 3)") == [(2,)]


@pytest.mark.parametrize("line", ["erase --decision {} --why asked", "retain --days 1"])
def test_a_damaged_review_is_named_and_keeps_its_client_from_no_erasure(
    kept: Kept, journal: Path, line: str, capsys: Capture
) -> None:
    own = id_of(kept.receipts[3])
    typed(f"release --decision {own} --why settled", capsys)
    ((review,),) = rows(journal, "SELECT position FROM record WHERE kind = 3")
    changed(journal, "UPDATE record SET erasable = 5 WHERE kind = 3")
    changed(journal, "UPDATE record SET time = 1000000")  # long ago

    code, _, said = typed(line.format(own), capsys)

    assert (code, f"record {review} " in said) == (3, True)
    assert rows(journal, "SELECT is_erased FROM record WHERE kind = 1 AND position = 4") == [(1,)]


def test_an_index_of_a_bank_s_own_keeps_no_copy_and_is_no_fault_of_an_erasure(
    kept: Kept, journal: Path, capsys: Capture
) -> None:
    changed(journal, "CREATE INDEX of_the_bank ON record (label)")

    code, _, said = typed("erase --client-reference ana --why asked", capsys)

    assert (code, "of_the_bank" in said) == (0, False)
    assert "the index 'of_the_bank' is not the journal's own" in typed("verify", capsys)[2]


@pytest.mark.parametrize("change", [f"lasting = CAST('{MANY}' AS blob)", "lasting = x'7b7d'", "time = 'abc'"])
def test_a_review_that_cannot_be_read_is_named_with_its_decision_alone(
    kept: Kept, journal: Path, change: str, tmp_path: Path, capsys: Capture
) -> None:
    changed(journal, f"UPDATE record SET {change} WHERE kind = 3")  # noqa: S608 - our own text
    own = id_of(kept.receipts[3])

    verified = typed("verify", capsys)
    said = [typed(one, capsys) for one in ("list", f"export --output {tmp_path}/all.parquet", f"show {own}")]

    assert verified[0] == 3
    assert "Found: record 5 " in verified[2]
    sentence = f"Damaged: record 5, which tells of decision {own}, cannot be read"
    assert [(code, sentence in err, own in out) for code, out, err in said] == [(3, True, False)] * 3


def test_a_hold_of_which_little_can_be_read_still_holds(kept: Kept, journal: Path, capsys: Capture) -> None:
    changed(journal, f"UPDATE record SET lasting = CAST('{MANY}' AS blob) WHERE kind = 5")  # noqa: S608

    code, _, err = typed("erase --client-reference bob --why asked", capsys)

    assert code == 2
    assert f"decision {id_of(kept.receipts[3])} is held and nothing was erased" in err


@pytest.mark.parametrize(
    "description", [MANY, "{}", '{"labels":[],"features":[],"columns":[]}'], ids=["deep", "empty", "short"]
)
def test_a_model_that_cannot_be_read_is_named(journal: Path, description: str, capsys: Capture) -> None:
    changed(journal, f"UPDATE model SET description = CAST('{description}' AS blob)")  # noqa: S608 - our own

    codes = [typed(one, capsys)[0] for one in ("list", "replay", "init")]
    code, _, err = typed("verify", capsys)

    assert (codes, code) == ([3, 3, 0], 3)
    assert "Found: the description of model 0 was changed\n" in err


# ---- The tables and the journal's own row

FORMLESS = "the journal's table journal_version does not tell the form of the others any more"
UNFIT = "the journal's tables do not fit each other: python -m journal verify says more"
OWN_ROW = "the journal's own row holds no "
STRUCTURES = {
    "two rows": ("INSERT INTO journal VALUES ('x', 0, 0, x'')", "the journal has 2 rows of its own, where 1"),
    "no row": ("DELETE FROM journal", "the journal has lost its own row"),
    "no number": ("UPDATE journal SET size = 'many'", f"{OWN_ROW}number of records"),
    "no writers": ("UPDATE journal SET writers = 'x'", f"{OWN_ROW}number of writers"),
    "negative writers": ("UPDATE journal SET writers = -1", f"{OWN_ROW}number of writers"),
    "no end": ("UPDATE journal SET frontier = 'x'", f"{OWN_ROW}end of a tree"),
    "no text": ("UPDATE journal SET origin = CAST(x'ff' AS text)", f"{OWN_ROW}name of a journal"),
    "no name": ("UPDATE journal SET origin = 'a' || char(10) || 'b'", f"{OWN_ROW}name of a journal"),
    "no records": ("DELETE FROM record", "the journal has 8 records by its own count"),
    "no table": ("DROP TABLE record", "the table 'record' is missing"),
    "no model": ("DROP TABLE model", "the table 'model' is missing"),
    "no tree": ("DROP TABLE subtree", "the table 'subtree' is missing"),
    "no column": ("ALTER TABLE journal DROP COLUMN writers", "the column 'journal.writers' is missing"),
    "form of bytes": ("UPDATE journal_version SET version_num = x'30303034'", FORMLESS),
    "form before all": ("UPDATE journal_version SET version_num = '0000'", FORMLESS),
    "no form": ("DELETE FROM journal_version", FORMLESS),
    "two forms": ("INSERT INTO journal_version VALUES ('0003')", FORMLESS),
    "no table of the form": ("DROP TABLE journal_version", FORMLESS),
}


DAILY = ("two rows", "no writers", "no name", "no records", "no table", "form of bytes", "no form")


@pytest.mark.parametrize(
    "kind", [*DAILY, *(pytest.param(one, marks=pytest.mark.slow) for one in STRUCTURES if one not in DAILY)]
)
def test_what_no_writer_can_go_on_from_is_named_and_never_ready(
    journal: Path, kind: str, tmp_path: Path, capsys: Capture
) -> None:
    statement, sentence = STRUCTURES[kind]
    changed(journal, statement)
    key, _ = written_keys(tmp_path)

    verified, ready = typed("verify", capsys), typed("init", capsys)
    appended = typed(f"checkpoint --key {key} --out {tmp_path}/note", capsys)
    others = [typed(one, capsys) for one in ("list", "show --client-reference ana")]

    assert [(one[0], sentence in one[2]) for one in (verified, ready)] == [(3, True)] * 2
    assert "ready" not in ready[2]
    assert "because nobody has written" not in verified[1]
    assert (tmp_path / "note").exists() == (kind in ("no records", "no model", "no tree"))
    assert (appended[0], sentence in appended[2] or UNFIT in appended[2]) in ((3, True), (0, False))
    for code, _, err in others:
        assert code in (0, 2, 3)
        assert "JOURNAL_URL" not in err


def test_a_column_more_is_named_by_a_verification_and_by_an_erasure(journal: Path, capsys: Capture) -> None:
    changed(journal, "ALTER TABLE record ADD COLUMN copy blob", "UPDATE record SET copy = erasable")

    said = [typed(one, capsys) for one in ("verify", "erase --client-reference ana --why asked")]

    sentence = (
        "Found: the column 'record.copy' is not the journal's own: it may change or keep what is written\n"
    )
    assert [(code, sentence in err) for code, _, err in said] == [(3, True)] * 2


def test_old_decisions_are_erased_but_for_one_that_holds_nothing_to_erase(
    journal: Path, capsys: Capture
) -> None:
    changed(journal, "UPDATE record SET time = 1", "UPDATE record SET erasable = 5 WHERE position = 2")

    code, _, err = typed("retain --days 1", capsys)

    assert code == 3
    assert "2 decisions older than 1 day erased, 1 held and kept" in err
    assert "Damaged: record 2 cannot be read" in err
