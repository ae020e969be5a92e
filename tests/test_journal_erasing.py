"""What an erasure takes, what it leaves, and what stands against it."""

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from journal import __main__ as command_line
from journal import erasing, ids, listing, ranges, reading, receipt, store, verification
from journal.erasing import ByAge, Held
from journal.errors import Refused, Unavailable
from journal.events import Erasure, Review
from journal.record import Kind
from journal.writer import Writer
from tests import servers
from tests.journal_support import bytes_of, erased, journal_at, receipt_of, receipts, rows, write, writer


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return journal_at(tmp_path, monkeypatch)


Act = Callable[[bytes], object]


def held(decision: bytes) -> None:
    with closing(store.opened()) as opened:
        erasing.hold(opened, decision, "test", "litige", "test")


def released(decision: bytes) -> None:
    with closing(store.opened()) as opened:
        erasing.release(opened, decision, "test", "jugé", "test")


def erased_before(moment: int) -> ByAge:
    with closing(store.opened()) as opened:
        return erasing.erase_before(opened, moment, "test", "10 ans", "test", lambda records: None)


def findings() -> list[str]:
    with closing(store.opened()) as opened, opened.reading() as connection:
        return verification.verify(connection).findings


def found(decision: bytes) -> reading.Record:
    with closing(store.opened()) as opened, opened.reading() as connection:
        one = reading.find(connection, decision)
    assert one is not None
    return one


def test_an_erasure_takes_inputs_reference_request_and_salt_and_leaves_the_answer(journal: Path) -> None:
    one = receipt_of(0.3, client_reference="dossier 7", caller="agence")
    write([one])
    before = found(one.id)

    assert erased(one.id) == 1

    after = found(one.id)
    assert (after.is_erased, after.client) == (True, None)
    assert after.salted == before.seal + bytes(len(before.salted) - 32)
    assert after.commitment == before.commitment
    assert after.kept == before.kept
    assert findings() == []


def test_an_erasure_says_who_why_and_which_records(journal: Path) -> None:
    one = receipt_of()
    write([receipt_of(), one])

    erased(one.id)

    with closing(store.opened()) as opened, opened.reading() as connection:
        (event,) = [each.event for each in reading.about(connection, one.id)]
    assert event == Erasure(
        id=event.id, time=event.time, by="test", why="a test", ranges=((2, 2),), decision=one.id
    )


def test_the_reason_of_a_review_goes_with_the_decision_that_it_is_about(journal: Path) -> None:
    one, another = receipts(2)
    write([one, another])
    with writer() as reviewing:
        for decision, reason in ((one.id, "MARKER-of-one"), (another.id, "MARKER-of-another")):
            reviewing.append([Review(decision=decision, outcome="accept", reviewer="léa", reason=reason)])

    erased(one.id)

    content = bytes_of(journal)
    assert b"MARKER-of-one" not in content
    assert b"MARKER-of-another" in content
    assert findings() == []


@pytest.mark.parametrize(("written", "erasures"), [(120, 20), pytest.param(600, 100, marks=pytest.mark.slow)])
def test_nothing_of_the_erased_is_left_in_any_byte_and_all_of_the_others_is(
    journal: Path, written: int, erasures: int
) -> None:
    """Whatever the order of writing and of erasing, with other receipts before, after and between."""
    chance = random.Random(5)  # noqa: S311 - the same clients at every run
    marked = [
        receipt_of(
            inputs=(float.fromhex(f"0x1.{chance.randrange(16**13):013x}p+19"), 0.5, -9_000.0),
            request_id=f"MARKER-request-{n:04d}",
            client_reference=f"MARKER-reference-{n:04d}",
        )
        for n in range(written)
    ]
    with writer() as one:
        for start in range(0, written, 40):
            one.append(marked[start : start + 40])
    gone = set(chance.sample(range(written), erasures))
    salts = {n: found(marked[n].id).salted[:32] for n in gone}

    for n in gone:
        erased(marked[n].id)
        content = bytes_of(journal)
        assert b"MARKER-request-%04d" % n not in content

    for n, one_receipt in enumerate(marked):
        values = one_receipt.entry().erasable
        assert (values[:8] in content) == (n not in gone)
        assert (b"MARKER-request-%04d" % n in content) == (n not in gone)
        assert (b"MARKER-reference-%04d" % n in content) == (n not in gone)
    assert [n for n in gone if salts[n] in content] == []
    assert findings() == []


def test_all_decisions_of_a_client_are_found_by_the_reference(journal: Path) -> None:
    own = [receipt_of(client_reference="dossier 7") for _ in range(3)]
    others = [receipt_of(client_reference=one) for one in ("dossier 77", "7", "", "grand dossier 7")]
    write([*own[:2], *others], [own[2]])

    with closing(store.opened()) as opened, opened.reading() as connection:
        found = listing.of_reference(connection, "dossier 7", damages=print)
    assert [one.id for one in found] == [one.id for one in own]


@pytest.mark.slow
def test_while_many_decisions_are_erased_others_write_and_wait_for_no_long(journal: Path) -> None:
    known = [receipt_of(client_reference="dossier 7") for _ in range(2_000)]
    write(known)
    waited = []

    with ThreadPoolExecutor() as pool, closing(store.opened(patience=5.0)) as others:
        erasing_them = pool.submit(erased, *(one.id for one in known))
        with Writer(others, "test", "0") as other:
            while not erasing_them.done():
                began = time.monotonic()
                other.append([receipt_of()])
                waited.append(time.monotonic() - began)

    assert erasing_them.result() == 2_000
    assert len(waited) > 5
    assert sorted(waited)[len(waited) * 9 // 10] < 0.5  # a busy machine may stop anybody once
    assert findings() == []


@pytest.mark.slow
def test_who_is_killed_while_erasing_goes_on_by_erasing_again(journal: Path) -> None:
    write([receipt_of(client_reference="dossier 7") for _ in range(3_000)], [receipt_of()])
    command = [sys.executable, "-m", "journal", "erase", "--client-reference", "dossier 7", "--why", "a test"]
    count = "SELECT count(*) FROM record WHERE is_erased"

    with subprocess.Popen(command, cwd=store.ROOT, stderr=subprocess.DEVNULL) as first:
        servers.eventually(lambda: rows(journal, count)[0][0] or None, "the first of them")
        first.kill()
    [(some,)] = rows(journal, count)
    damage = findings()
    second = subprocess.run(command, cwd=store.ROOT, capture_output=True, text=True, check=False)

    assert 0 < some < 3_000
    assert damage == findings() == []
    assert second.returncode == 0
    assert second.stderr.startswith(f"{3_000 - some:,} decisions erased")
    assert rows(journal, count) == [(3_000,)]
    assert b"dossier 7" not in bytes_of(journal)


def test_a_hold_that_comes_while_others_are_erased_is_told_with_their_number(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "_TOGETHER", 2)
    known = [receipt_of(request_id=f"MARKER-{place}") for place in range(6)]
    write(known)

    def hold_the_last(_: int) -> None:
        with suppress(Refused):  # it is held already
            held(known[-1].id)

    sentence = f"{ids.written(known[-1].id)} is held and 4 others were erased"
    with closing(sqlite3.connect(journal)) as another, closing(store.opened()) as opened:
        another.execute("SELECT count(*) FROM record").fetchone()  # as a service: so the log stays
        with pytest.raises(Held, match=sentence):
            erasing.erase(opened, [one.id for one in known], "test", "a test", "test", hold_the_last)
        content = bytes_of(journal)

    assert [b"MARKER-%d" % place in content for place in range(6)] == [False] * 4 + [True] * 2
    assert [found(one.id).is_erased for one in known] == [True] * 4 + [False] * 2
    assert findings() == []


def test_a_reference_that_ends_with_another_and_its_length_is_not_that_other(journal: Path) -> None:
    one = receipt_of(client_reference="x\x01a")
    write([one])

    assert receipt.ends_with_reference(one.entry().erasable, "a")
    with closing(store.opened()) as opened, opened.reading() as connection:
        assert listing.of_reference(connection, "a", damages=print) == []


def test_a_hold_refuses_the_erasure_of_all_until_it_is_released(journal: Path) -> None:
    one, another = receipts(2)
    write([one, another])
    held(one.id)

    with pytest.raises(Held, match=f"decision {ids.written(one.id)} is held and nothing was erased"):
        erased(another.id, one.id)
    assert not found(another.id).is_erased
    released(one.id)
    assert erased(another.id, one.id) == 2


@pytest.mark.parametrize(
    ("acts", "sentence"),
    [
        ([held, held], "is held already"),
        ([released], "is not held"),
        ([held, released, released], "is not held"),
    ],
)
def test_a_hold_and_its_release_take_turns(journal: Path, acts: list[Act], sentence: str) -> None:
    one = receipt_of()
    write([one])
    *first, last = acts
    for act in first:
        act(one.id)

    with pytest.raises(Refused, match=sentence):
        last(one.id)


def test_what_is_no_decision_is_neither_erased_nor_held(journal: Path) -> None:
    write(receipts(1))
    (start,) = rows(journal, "SELECT id FROM record WHERE position = 0")[0]

    for act in (erased, held, released):
        for one in (ids.new(), start):
            with pytest.raises(Refused, match="no decision of the journal has the id"):
                act(one)


def test_a_decision_is_erased_once_and_a_second_time_says_so(journal: Path) -> None:
    one = receipt_of()
    write([one])

    assert (erased(one.id), erased(one.id)) == (1, 0)
    assert findings() == []


def test_by_age_all_are_erased_that_are_older_and_not_held(journal: Path) -> None:
    old = [receipt_of(time=1_000 + n) for n in range(5)]
    young = [receipt_of(time=2_000 + n) for n in range(5)]
    write(old, young)
    held(old[2].id)

    assert erased_before(2_000) == ByAge(erased=4, held=1)

    assert [found(one.id).is_erased for one in old] == [True, True, False, True, True]
    assert [found(one.id).is_erased for one in young] == [False] * 5
    assert findings() == []


def test_by_age_the_review_of_a_held_decision_stays(journal: Path) -> None:
    one = receipt_of(time=1_000)
    write([one])
    with writer() as reviewing:
        reviewing.append(
            [Review(decision=one.id, outcome="refuse", reviewer="léa", reason="MARKER", time=1_001)]
        )
    held(one.id)

    assert erased_before(2_000) == ByAge(erased=0, held=1)
    assert b"MARKER" in bytes_of(journal)


def test_by_age_more_than_a_page_is_erased_page_by_page(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "_TOGETHER", 7)
    write([receipt_of(time=1_000 + n) for n in range(30)])

    assert erased_before(2_000) == ByAge(erased=30, held=0)

    with closing(store.opened()) as opened, opened.reading() as connection:
        assert len(list(reading.of_kind(connection, Kind.ERASURE))) == 5
    assert findings() == []


def test_by_age_the_reason_of_a_younger_review_goes_with_the_decision(journal: Path) -> None:
    one = receipt_of(time=1_000)
    write([one])
    with writer() as reviewing:
        reviewing.append(
            [Review(decision=one.id, outcome="refuse", reviewer="léa", reason="MARKER", time=3_000)]
        )

    assert erased_before(2_000) == ByAge(erased=1, held=0)
    assert b"MARKER" not in bytes_of(journal)
    assert findings() == []


def test_while_a_reader_keeps_the_log_alive_others_write(journal: Path) -> None:
    one = receipt_of(request_id="MARKER")
    write([one])
    waits: list[float] = []
    with closing(sqlite3.connect(journal)) as reader, ThreadPoolExecutor(1) as pool:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM record").fetchone()
        erasing_it = pool.submit(erased, one.id)
        while len(waits) < 20:
            started = time.monotonic()
            write([receipt_of()])
            waits.append(time.monotonic() - started)
        reader.rollback()
        assert erasing_it.result() == 1

    assert max(waits) < 1.0
    assert b"MARKER" not in bytes_of(journal)


def erased_while_somebody_reads(journal: Path, decision: bytes) -> None:
    with closing(sqlite3.connect(journal)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM record").fetchone()
        with (
            pytest.raises(Unavailable, match=r"the log of the database still holds them, .* erase again"),
            closing(store.opened(patience=0.2)) as opened,
        ):
            erasing.erase(opened, [decision], "test", "a test", "test")
        assert b"MARKER" in bytes_of(journal)


def test_who_erases_again_by_the_reference_clears_the_log(
    journal: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one = receipt_of(client_reference="MARKER")
    write([one])
    erased_while_somebody_reads(journal, one.id)

    code = command_line.main(["erase", "--client-reference", "MARKER", "--why", "asked for"])

    assert code == 2
    assert "no decision that is not erased has this reference" in capfd.readouterr().err
    assert b"MARKER" not in bytes_of(journal)


def test_a_reason_that_names_the_client_is_refused(journal: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one = receipt_of(client_reference="dossier-12")
    write([one])

    code = command_line.main(["erase", "--client-reference", "dossier-12", "--why", "Mme D., dossier-12"])

    assert code == 2
    assert "--why names the client, and would stay" in capfd.readouterr().err
    assert not found(one.id).is_erased


def test_an_erasure_says_when_a_reader_keeps_the_log_alive(journal: Path) -> None:
    one = receipt_of(request_id="MARKER")
    write([one])
    erased_while_somebody_reads(journal, one.id)
    erased(one.id)

    assert b"MARKER" not in bytes_of(journal)


@pytest.mark.parametrize(
    ("positions", "expected"),
    [([], ()), ([4], ((4, 4),)), ([1, 2, 3, 5, 6, 9], ((1, 3), (5, 6), (9, 9)))],
)
def test_ranges_hold_the_positions_and_no_others(
    positions: list[int], expected: tuple[tuple[int, int], ...]
) -> None:
    assert ranges.of(positions) == expected
    union = ranges.Union([*expected, *expected[:1]])
    assert [place for place in range(12) if place in union] == positions


def test_a_union_holds_what_lies_in_the_longer_of_two_ranges() -> None:
    assert 7 in ranges.Union([(1, 9), (2, 3)])
