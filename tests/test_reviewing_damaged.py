"""A past decision that cannot be read is told as damage, is not reviewed, and takes no other away."""

import math
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests import servers
from tests.journal_support import changed, rows
from tests.live import children_of
from tests.recording_support import WRITER
from tests.review_support import DAMAGED, Bank, ids_of
from tests.test_recording import UNRECORDED

pytest_plugins = ["tests.api_support", "tests.review_fixtures"]

NOTHING_ELSE = bytes(2)  # no door, and no name of a token
# What is harmed, how, and of which column.
HARMS = {
    "no date": ("record", f"time = {2**62}"),
    "no call": ("record", "subject = 'x'"),
    "no bytes": ("record", "erasable = 5"),
    "no text": ("record", "lasting = CAST(x'ff' AS text)"),
    "no number": ("record", f"lasting = x'{(struct.pack('>6d', *[math.nan] * 6) + NOTHING_ELSE).hex()}'"),
    "no model": ("model", f"description = CAST('{'[' * 50_000}' AS blob)"),
}


@contextmanager
def harmed(bank: Bank, table: str, change: str, where: str = "TRUE") -> Iterator[None]:
    """The rows are given back as they were."""
    file, column = bank.folder / "journal.db", change.partition(" ")[0]
    before = rows(file, f"SELECT rowid, {column} FROM {table} WHERE {where}")  # noqa: S608 - our own text
    changed(file, f"UPDATE {table} SET {change} WHERE {where}")  # noqa: S608
    try:
        yield
    finally:
        with closing(sqlite3.connect(file)) as database, database:
            for row, value in before:
                database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))  # noqa: S608


@pytest.mark.parametrize("kind", HARMS)
def test_what_cannot_be_read_is_told_as_damage_is_not_reviewed_and_takes_nothing_away(
    bank: Bank, kind: str
) -> None:
    table, change = HARMS[kind]
    decision, other = bank.decided("grey"), bank.decided("grey")
    where = f"id = x'{decision.replace('-', '')}'" if table == "record" else "TRUE"

    with harmed(bank, table, change, where):
        asked = [bank.get("anna", f"/decisions/{decision}{more}") for more in ("", "/explanation")]
        asked.append(bank.review("anna", decision, "accept"))
        page = bank.get("anna", "/decisions?limit=3")

    assert [(one.status, one.error) for one in asked] == [(500, DAMAGED)] * 3
    assert not any("Retry-After" in one.headers for one in asked)
    assert page.status == 200
    assert decision in ids_of(page.content["damaged"])
    assert (other in ids_of(page.content["decisions"])) == (table == "record")
    assert bank.review("anna", decision, "accept").status == 201


def test_a_writer_says_what_is_wrong_with_the_journals_own_row_and_goes_on_when_it_is_sound(
    bank: Bank,
) -> None:
    decision = bank.decided("grey")
    (writer,) = children_of(bank.door, WRITER)

    with harmed(bank, "journal", "writers = 'x'"):
        refused = [bank.send("scorer", "POST", "/predict", bank.clients["grey"]) for _ in range(2)]
        review = bank.review("anna", decision, "accept")
    servers.eventually(lambda: bank.get(None, "/ready").content["journal"] == "writable" or None, "a journal")
    again = bank.decided("grey")

    assert [(one.status, one.error) for one in refused] == [(503, UNRECORDED)] * 2
    assert (review.status, review.error) == (500, DAMAGED)
    assert bank.door.said.count("the journal cannot be written: the journal's tables do not fit") == 1
    assert [writer] == children_of(bank.door, WRITER)
    assert bank.get("anna", f"/decisions/{again}").status == 200
