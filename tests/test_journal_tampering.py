"""Hundreds of different tamperings: what is found with a checkpoint that was kept elsewhere, and without one.

They are what the table in docs/journal.md promises, row by row.
"""

import math
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from journal import ids, record
from journal.checkpoints import Checkpoint
from journal.errors import Damaged, NoJournal, OtherSchema
from journal.events import Hold, Review, Unanswered
from journal.models import NO_MODEL, digest_of
from journal.record import SALT_BYTES, Kind
from journal.tree import Frontier
from tests.journal_support import (
    MODEL,
    Filled,
    changed,
    erased,
    filled_at,
    journal_at,
    receipt_of,
    rows,
    verified,
    write,
    writer,
)

# Tampers with the journal, and returns what a finding must say.
Change = Callable[[sqlite3.Connection, random.Random], str]
TIMES = 25  # of each kind of change, or as often as there are different ones


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return filled_at(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def filled(filled_once: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Filled:
    return filled_once.copied(tmp_path, monkeypatch)


# ---- By SQL, as somebody does who does not know how it is made


def _position(database: sqlite3.Connection, chance: random.Random, where: str = "1") -> int:
    """Of a record that the checkpoint holds."""
    query = f"SELECT position FROM record WHERE position < 355 AND {where} ORDER BY position"  # noqa: S608
    return int(chance.choice(database.execute(query).fetchall())[0])


def _turned(content: bytes, chance: random.Random) -> bytes:
    turned = bytearray(content)
    turned[chance.randrange(len(turned))] ^= 1 << chance.randrange(8)
    return bytes(turned)


def _change_a_column(database: sqlite3.Connection, chance: random.Random) -> str:
    column = chance.choice(("kind", "label", "writer", "sequence", "time", "model", "is_erased"))
    place = _position(database, chance, f"{column} IS NOT NULL")
    database.execute(f"UPDATE record SET {column} = {column} + 1000 WHERE position = ?", (place,))  # noqa: S608
    return f"record {place} "


def _change_the_mark_of_a_review(database: sqlite3.Connection, chance: random.Random) -> str:
    """Hide a decision that waits for its review, or bring one back."""
    place = _position(database, chance)
    statement = "UPDATE record SET is_reviewed = 1 - is_reviewed WHERE position = ?"
    database.execute(statement, (place,))
    return f"record {place} "


def _change_a_byte(database: sqlite3.Connection, chance: random.Random) -> str:
    column = chance.choice(("id", "commitment", "lasting", "erasable"))
    place = _position(database, chance, f"length({column}) > 0")
    (content,) = database.execute(f"SELECT {column} FROM record WHERE position = ?", (place,)).fetchone()  # noqa: S608
    statement = f"UPDATE record SET {column} = ? WHERE position = ?"  # noqa: S608
    database.execute(statement, (_turned(content, chance), place))
    return f"record {place} "


def _remove_one(database: sqlite3.Connection, chance: random.Random) -> str:
    place = _position(database, chance)
    database.execute("DELETE FROM record WHERE position = ?", (place,))
    return f"record {place} is missing"


def _remove_the_tail(database: sqlite3.Connection, chance: random.Random) -> str:
    place = _position(database, chance)
    database.execute("DELETE FROM record WHERE position >= ?", (place,))
    return f"records by its own count, and the records make {place}"


def _remove_a_writer(database: sqlite3.Connection, chance: random.Random) -> str:
    writer = chance.randrange(4)
    first, last = database.execute(
        "SELECT min(position), max(position) FROM record WHERE writer = ?", (writer,)
    ).fetchone()
    database.execute("DELETE FROM record WHERE writer = ?", (writer,))
    return f"records {first} to {last} are missing"


def _remove_what_a_writer_wrote_last(database: sqlite3.Connection, chance: random.Random) -> str:
    """Of a writer in the middle, whose end is not the end of the journal."""
    first = chance.randrange(2, 50)
    (place,) = database.execute(
        "SELECT position FROM record WHERE writer = 1 AND sequence = ?", (first,)
    ).fetchone()
    database.execute("DELETE FROM record WHERE writer = 1 AND sequence >= ?", (first,))
    return f"records {place} to "


def _swap_two(database: sqlite3.Connection, chance: random.Random) -> str:
    one, another = _position(database, chance), _position(database, chance)
    while one == another:
        another = _position(database, chance)
    for before, after in ((one, -1), (another, one), (-1, another)):
        database.execute("UPDATE record SET position = ? WHERE position = ?", (after, before))
    return f"record {min(one, another)} ("


def _insert_a_copy(database: sqlite3.Connection, chance: random.Random) -> str:
    """At the end, as the next record of its writer."""
    place = _position(database, chance, "kind = 1")
    columns = [name for _, name, *_ in database.execute("PRAGMA table_info(record)")]
    values = database.execute("SELECT * FROM record WHERE position = ?", (place,)).fetchone()
    row = dict(zip(columns, values, strict=True))
    (size,) = database.execute("SELECT count(*) FROM record").fetchone()
    (last,) = database.execute(
        "SELECT max(sequence) FROM record WHERE writer = ?", (row["writer"],)
    ).fetchone()
    row |= {"position": size, "sequence": last + 1, "id": chance.randbytes(16)}
    marks = ", ".join("?" * len(columns))
    database.execute(f"INSERT INTO record VALUES ({marks})", tuple(row.values()))  # noqa: S608
    return f"record {size} ("


def _change_a_checkpoint(database: sqlite3.Connection, chance: random.Random) -> str:
    query = "SELECT position, lasting FROM record WHERE kind = 7"
    place, content = database.execute(query).fetchone()
    database.execute("UPDATE record SET lasting = ? WHERE kind = 7", (_turned(content, chance),))
    return f"record {place} "


def _change_a_subtree(database: sqlite3.Connection, chance: random.Random) -> str:
    (root,) = database.execute("SELECT root FROM subtree").fetchone()
    database.execute("UPDATE subtree SET root = ?", (_turned(root, chance),))
    return "the stored tree does not fit records 0 to 255"


def _change_which_subtrees_there_are(database: sqlite3.Connection, chance: random.Random) -> str:
    if chance.random() < 0.1:
        database.execute("DELETE FROM subtree")
    else:
        row = (chance.choice((8, 16, 24)), chance.randrange(1, 9), chance.randbytes(32))
        database.execute("INSERT INTO subtree VALUES (?, ?, ?)", row)
    return "subtrees by its own count"


def _change_the_frontier(database: sqlite3.Connection, chance: random.Random) -> str:
    (frontier,) = database.execute("SELECT frontier FROM journal").fetchone()
    database.execute("UPDATE journal SET frontier = ?", (_turned(frontier, chance),))
    return "the end of the stored tree does not fit the records"


def _change_a_count(database: sqlite3.Connection, chance: random.Random) -> str:
    column = chance.choice(("size", "writers"))
    step = chance.choice([one for one in range(-4, 30) if one])
    database.execute(f"UPDATE journal SET {column} = {column} + ?", (step,))  # noqa: S608
    return "by its own count, and the records make"


def _change_the_name(database: sqlite3.Connection, chance: random.Random) -> str:
    database.execute("UPDATE journal SET origin = ?", (f"scoring-client/{chance.randrange(16**8):08x}",))
    return "began in another journal"


def _change_the_model(database: sqlite3.Connection, chance: random.Random) -> str:
    """With its digest, or without."""
    changed = chance.choice(
        (
            {"threshold": chance.randrange(26, 99) / 100},
            {"margin": chance.randrange(6, 20) / 100},
            {"version": str(chance.randrange(4, 99))},
            {"digest": f"{chance.randrange(16**8):08x}" * 8},
            {"labels": tuple(reversed(MODEL.labels))},
            {"features": tuple(reversed(MODEL.features))},
            {"code": f"0.{chance.randrange(3, 99)}"},
        )
    )
    description = replace(MODEL, **changed).description
    database.execute("UPDATE model SET description = ?", (description,))
    if chance.random() < 0.5:
        database.execute("UPDATE model SET digest = ?", (digest_of(description),))
        return "record 1 ("
    return "the description of model 0 was changed"


CHANGES: dict[Change, int] = {
    _change_a_column: TIMES,
    _change_the_mark_of_a_review: TIMES,
    _change_a_byte: TIMES,
    _remove_one: TIMES,
    _remove_the_tail: TIMES,
    _remove_a_writer: 4,
    _remove_what_a_writer_wrote_last: TIMES,
    _swap_two: TIMES,
    _insert_a_copy: TIMES,
    _change_a_checkpoint: TIMES,
    _change_a_subtree: TIMES,
    _change_which_subtrees_there_are: TIMES,
    _change_the_frontier: TIMES,
    _change_a_count: TIMES,
    _change_the_name: TIMES,
    _change_the_model: TIMES,
}


def _differently(filled: Filled, change: Change, times: int) -> Iterator[str]:
    """Tamper with the whole journal in so many ways, no two the same."""
    seen: set[object] = set()
    whole, seed = filled.file.read_bytes(), 0
    while len(seen) < times:
        filled.file.write_bytes(whole)
        with closing(sqlite3.connect(filled.file)) as database, database:
            named = change(database, random.Random(seed))  # noqa: S311 - the same tampering at every run
        seed += 1
        content = tuple(tuple(rows(filled.file, f"SELECT * FROM {table}")) for table in TABLES)  # noqa: S608
        if content not in seen:
            seen.add(content)
            yield named


TABLES = ("journal", "journal_version", "model", "record", "subtree")


# Of each kind some daily, and all in `make proofs`.
SHARES = pytest.mark.parametrize(
    "share", [pytest.param(0.1, id="some"), pytest.param(1.0, id="all", marks=pytest.mark.slow)]
)


@SHARES
@pytest.mark.parametrize(("change", "times"), CHANGES.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_every_clumsy_tampering_by_sql_is_found_and_named_also_without_a_checkpoint(
    filled: Filled, change: Change, times: int, share: float
) -> None:
    for named in _differently(filled, change, math.ceil(times * share)):
        for given in ((), (filled.checkpoint,)):
            report = verified(*given)
            assert any(named in one for one in report.findings), (named, report.findings)


# ---- By bytes of the file


def _logical(file: Path) -> list[Any] | None:
    """All that the database holds; None if it cannot be read."""
    try:
        with closing(sqlite3.connect(file)) as database:
            if database.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                return None
            return [database.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]  # noqa: S608
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return None


@SHARES
def test_every_tampering_by_bytes_is_found(filled: Filled, share: float) -> None:
    """Of a byte that holds something: a page's unused room may hold anything."""
    whole, held = filled.file.read_bytes(), _logical(filled.file)
    chance = random.Random(11)  # noqa: S311 - the same bytes at every run
    seen: set[bytes] = set()
    while len(seen) < 100 * share:
        turned = bytearray(whole)
        turned[chance.randrange(100, len(turned))] ^= 1 << chance.randrange(8)
        filled.file.write_bytes(turned)
        if bytes(turned) in seen or _logical(filled.file) == held:
            continue
        seen.add(bytes(turned))
        assert _is_found() == _is_found(filled.checkpoint) is True, len(seen)


def _is_found(*given: Checkpoint) -> bool:
    """By a finding, or by a sentence that says why nothing can be verified."""
    try:
        return bool(verified(*given).findings)
    except (Damaged, NoJournal, OtherSchema):
        return True


# ---- By somebody with all rights and our code


class Forger:
    """Changes a journal and computes all of it anew. Checkpoints in it cannot be forged, and are removed."""

    def __init__(self, file: Path, keeps_checkpoints: bool = False) -> None:
        self._database = sqlite3.connect(file)
        self._database.row_factory = sqlite3.Row
        found = [dict(row) for row in self._database.execute("SELECT * FROM record ORDER BY position")]
        self.rows = [row for row in found if keeps_checkpoints or row["kind"] != 7]
        self.model = MODEL

    def receipts(self, most: int = 350) -> list[dict[str, Any]]:
        """Those that can be forged without another one becoming visible."""
        return [row for row in self.rows[:most] if row["kind"] == 1 and not row["is_erased"]]

    def mend_the_erasure(self) -> None:
        """It says which record it took; without any, there is nothing to tell of."""
        places = [place for place, row in enumerate(self.rows) if row["is_erased"]]
        for row in self.rows:
            if row["kind"] == 4:
                row["lasting"] = f'{{"by":"test","ranges":[[{places[0]},{places[0]}]],"why":"a"}}'.encode()

    def write(self) -> bytes:
        """Returns the root of the forged tree."""
        sequences: dict[int, int] = {}
        numbers = {old: new for new, old in enumerate(dict.fromkeys(row["writer"] for row in self.rows))}
        reviewed = {row["subject"] for row in self.rows if row["kind"] == 3}
        frontier = Frontier()
        for position, row in enumerate(self.rows):
            row["is_reviewed"] = int(row["kind"] == 1 and row["id"] in reviewed)
            row["position"], row["writer"] = position, numbers[row["writer"]]
            row["sequence"] = sequences.get(row["writer"], 0)
            sequences[row["writer"]] = row["sequence"] + 1
            row["commitment"] = self._commitment(row)
        completed = frontier.extend(row["commitment"] for row in self.rows)
        with closing(self._database) as database, database:
            database.execute("DELETE FROM record")
            marks = ", ".join(f":{name}" for name in self.rows[0])
            database.executemany(f"INSERT INTO record VALUES ({marks})", self.rows)  # noqa: S608
            database.execute("DELETE FROM subtree")
            database.executemany("INSERT INTO subtree VALUES (?, ?, ?)", completed)
            own = (len(self.rows), len(sequences), b"".join(frontier.roots))
            database.execute("UPDATE journal SET size = ?, writers = ?, frontier = ?", own)
            description = self.model.description
            database.execute(
                "UPDATE model SET description = ?, digest = ?", (description, digest_of(description))
            )
        return frontier.root()

    def _commitment(self, row: dict[str, Any]) -> bytes:
        parts = (row[name] for name in ("kind", "label", "writer", "sequence", "time", "id", "subject"))
        digest = digest_of(b"" if row["model"] is None else self.model.description)
        seal = row["erasable"][:32] if row["is_erased"] else record.seal(row["erasable"])
        return record.commitment(record.head(*parts), digest, seal, row["lasting"])


Forge = Callable[[Forger, random.Random], object]


def _forge_an_answer(forger: Forger, chance: random.Random) -> None:
    one = chance.choice(forger.receipts())
    one["label"] = (one["label"] + 1) % 3


def _forge_an_input(forger: Forger, chance: random.Random) -> None:
    one = chance.choice(forger.receipts())
    one["erasable"] = one["erasable"][:32] + chance.randbytes(8) + one["erasable"][40:]


def _forge_a_time(forger: Forger, chance: random.Random) -> None:
    chance.choice(forger.receipts())["time"] += chance.randrange(1, 10**9)


def _forge_a_removal(forger: Forger, chance: random.Random) -> None:
    forger.rows.remove(chance.choice(forger.receipts(300)))
    forger.mend_the_erasure()


def _forge_an_insertion(forger: Forger, chance: random.Random) -> None:
    one = chance.choice(forger.receipts(300))
    new = {"id": chance.randbytes(16), "is_erased": 0, "erasable": chance.randbytes(90)}
    forger.rows.insert(forger.rows.index(one), one | new)
    forger.mend_the_erasure()


def _forge_an_order(forger: Forger, chance: random.Random) -> None:
    kept = forger.rows
    one, another = chance.sample([place for place in range(20, 300) if kept[place]["kind"] == 1], 2)
    kept[one], kept[another] = kept[another], kept[one]


def _forge_the_tail(forger: Forger, chance: random.Random) -> None:
    """Whoever cuts the erasure off must take the erased receipt away, too."""
    del forger.rows[chance.randrange(200, 350) :]
    forger.rows[:] = [row for row in forger.rows if not row["is_erased"]]


def _forge_a_writer_away(forger: Forger, chance: random.Random) -> None:
    """The second one, whole or from one of its records on."""
    first = chance.randrange(50)
    forger.rows[:] = [row for row in forger.rows if row["writer"] != 1 or 0 < row["sequence"] < first]
    forger.mend_the_erasure()


def _forge_an_erasure_away(forger: Forger, chance: random.Random) -> None:
    """The inputs are back, as somebody remembers them."""
    forger.rows[:] = [row for row in forger.rows if row["kind"] != 4]
    for row in forger.rows:
        if row["is_erased"]:
            row |= {"is_erased": 0, "erasable": chance.randbytes(90)}


def _forge_the_model(forger: Forger, chance: random.Random) -> None:
    forger.model = replace(MODEL, threshold=chance.randrange(26, 99) / 100)


FORGERIES: list[Forge] = [
    _forge_an_answer,
    _forge_an_input,
    _forge_a_time,
    _forge_a_removal,
    _forge_an_insertion,
    _forge_an_order,
    _forge_the_tail,
    _forge_a_writer_away,
    _forge_an_erasure_away,
    _forge_the_model,
]


@SHARES
@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forger_who_computes_all_anew_is_found_with_a_checkpoint_alone(
    filled: Filled, forge: Forge, share: float
) -> None:
    """This is what the sentence about verifying without a checkpoint does not exclude."""
    roots: set[bytes] = set()
    whole, seed = filled.file.read_bytes(), 0
    while len(roots) < 12 * share:
        filled.file.write_bytes(whole)
        forger = Forger(filled.file)
        forge(forger, random.Random(seed))  # noqa: S311 - the same forgery at every run
        roots.add(forger.write())
        seed += 1

        assert verified().findings == []
        (finding,) = verified(filled.checkpoint).findings
        assert finding.startswith("the checkpoint of ")
        assert "the last were removed" in finding or "were changed, removed, inserted or moved" in finding


def test_what_came_after_the_checkpoint_is_vouched_for_by_the_journal_alone(filled: Filled) -> None:
    forger = Forger(filled.file, keeps_checkpoints=True)
    forger.rows[filled.checkpoint.size + 5]["time"] += 1
    forger.write()

    assert verified(filled.checkpoint).findings == []


@pytest.fixture(scope="module")
def of_each_kind(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A journal of two receipts, one of a call, and of events about them."""
    single, of_a_call = receipt_of(0.25), replace(receipt_of(0.25), call_id=ids.new())
    with pytest.MonkeyPatch.context() as patch:
        file = journal_at(tmp_path_factory.mktemp("kinds"), patch)
        with writer() as one:
            one.append([single, of_a_call])
            one.append([Review(decision=single.id, outcome="accept", reviewer="léa", reason="revenus")])
            one.append([Hold(decision=single.id, by="léa", why="litige"), Unanswered(subject=of_a_call.id)])
    return file.read_bytes()


@pytest.mark.parametrize("kind", [Kind.HOLD, Kind.UNANSWERED, Kind.REVIEW, Kind.RECEIPT])
@pytest.mark.parametrize(
    "change",
    [
        "subject = CAST(subject || x'00' AS blob)",
        "subject = CAST(subject || x'ff' AS blob)",
        "id = CAST(id || x'00' AS blob)",
        "subject = coalesce(subject, x'')",
        f"subject = coalesce(subject, x'{bytes(16).hex()}')",
        "label = coalesce(label, 255)",
    ],
)
def test_what_a_head_would_cut_or_take_for_nothing_is_found(
    of_each_kind: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, change: str
) -> None:
    """None of it changes the commitment of the record, if only the bytes that fit are looked at."""
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{tmp_path}/journal.db")
    file = tmp_path / "journal.db"
    file.write_bytes(of_each_kind)
    before = rows(file, "SELECT id, subject, label FROM record")

    changed(file, f"UPDATE record SET {change} WHERE kind = {int(kind)}")  # noqa: S608 - our own text

    is_changed = rows(file, "SELECT id, subject, label FROM record") != before
    assert bool(verified().findings) == is_changed


@pytest.mark.parametrize(
    "changes",
    [
        ["UPDATE record SET is_erased = '' WHERE kind = 1"],
        ["UPDATE record SET is_erased = 2 WHERE kind = 5"],
        ["UPDATE record SET is_reviewed = '' WHERE kind = 1"],
        ["INSERT INTO model VALUES (99, x'', X'{nothing}')", "UPDATE record SET model = 99 WHERE kind = 5"],
        ["INSERT INTO model SELECT 99, replace(description, 'a', 'a'), x'00' FROM model"],
        ["INSERT INTO model SELECT 99, CAST(replace(description, 'v', 'w') AS blob), x'00' FROM model"],
        [
            "PRAGMA writable_schema = ON",
            "CREATE TRIGGER t AFTER INSERT ON record BEGIN SELECT 1; END",
            "UPDATE sqlite_master SET name = 'sqlite_t', sql = replace(sql, 'TRIGGER t', 'TRIGGER sqlite_t')"
            " WHERE name = 't'",
        ],
    ],
    ids=lambda changes: changes[-1][:40],
)
def test_what_no_commitment_holds_is_looked_at_by_itself(
    of_each_kind: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[str]
) -> None:
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{tmp_path}/journal.db")
    file = tmp_path / "journal.db"
    file.write_bytes(of_each_kind)
    assert verified().findings == []

    with closing(sqlite3.connect(file)) as database:
        for change in changes:
            database.execute(change.format(nothing=NO_MODEL.hex()))
        database.commit()

    assert verified().findings


def test_an_erased_receipt_is_not_told_by_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash takes the seal, the digest and what lasts as one text: none may lend bytes to another."""
    file, receipt = journal_at(tmp_path, monkeypatch), receipt_of(0.25)
    write([receipt])
    erased(receipt.id)
    (digest,), (seal_and_zeros, lasting) = (
        rows(file, query)[0]
        for query in ("SELECT digest FROM model", "SELECT erasable, lasting FROM record WHERE kind = 1")
    )

    with closing(sqlite3.connect(file)) as database, database:
        shifted = digest + seal_and_zeros[SALT_BYTES:], seal_and_zeros[:SALT_BYTES] + lasting
        database.execute("UPDATE record SET model = 77, erasable = ?, lasting = ? WHERE kind = 1", shifted)
        database.execute("INSERT INTO model SELECT 77, CAST(description AS text), x'' FROM model")

    assert any("record 1 " in one or "record 0 " in one for one in verified().findings)
