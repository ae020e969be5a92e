"""Verifies a journal: each record against its commitment, all against the tree and its checkpoints."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from journal import checkpoints, ids, marks, models, reading, record, schema, structure, tree
from journal.checkpoints import BadCheckpoint, Checkpoint
from journal.errors import Damaged
from journal.events import Erasure
from journal.models import NO_MODEL
from journal.plural import counted
from journal.ranges import Union
from journal.record import SALT_BYTES, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MOST_NAMED = 20

_ERASABLE_KINDS = frozenset(int(kind) for kind in record.ERASED_WITH_THE_DECISION)
_NO_EVENT = (AttributeError, Damaged)


@dataclass
class Report:
    """What a verification found. `findings` names the first of them, `count` counts all.

    `unended`: the writers that have not said that they ended. `checkpoints`: how many the journal holds.
    `has_tables`: whether there was anything to read.
    """

    has_tables: bool = True
    origin: str = ""
    size: int = 0
    receipts: int = 0
    erased: int = 0
    writers: int = 0
    checkpoints: int = 0
    unended: list[int] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    count: int = 0
    last_time: int = 0

    def add(self, sentence: str) -> None:
        self.count += 1
        if len(self.findings) < MOST_NAMED:
            self.findings.append(sentence)


def verify(
    connection: sa.Connection,
    given: Sequence[Checkpoint] = (),
    keys: "Iterable[Ed25519PublicKey]" = (),
    progress: Callable[[int], object] = lambda records: None,
) -> Report:
    """Read the whole journal once, in flat memory, and say everything that does not fit.

    `given`: genuine checkpoints that were kept elsewhere. `keys`: of those that sign checkpoints; without
    any, the signatures of the checkpoints inside the journal are not checked. `progress` is told how many
    records were read.
    """
    report = Report()
    for sentence in structure.missing(connection):
        report.has_tables = False
        report.add(sentence)
    if report.has_tables and (fault := structure.fault_of_own_row(connection)):
        report.add(fault)
    _check_file(connection, report)
    if not report.has_tables:
        return report
    kept = _kept_checkpoints(connection, list(keys), report)
    report.checkpoints = len(kept)
    walk = _Walk(connection, report, {one.size for one in [*kept, *given]})
    for count in walk.pages():
        progress(count)
    _check_own_row(connection, walk, report)
    _check_reviewed(connection, report)
    _check_checkpoints(kept, walk, report, "a checkpoint in the journal")
    _check_checkpoints(given, walk, report, "the checkpoint")
    return report


def _check_file(connection: sa.Connection, report: Report) -> None:
    """SQLite's own check finds what no record shows: a damaged page, or an index that lost a record."""
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
        if found != "ok":
            report.add("the database's own check finds a damaged page or index")
    for sentence in structure.foreign(connection):
        report.add(sentence)
    for index in structure.wrong_indexes(connection) if report.has_tables else ():
        report.add(f"the index {index.name} is missing or another one: python -m journal init makes it again")


def _kept_checkpoints(
    connection: sa.Connection, keys: "list[Ed25519PublicKey]", report: Report
) -> list[Checkpoint]:
    """Those in the journal. A record that is no checkpoint any more fails by its own commitment, too."""
    found = []
    for row in _events(connection, Kind.CHECKPOINT):
        try:
            one = checkpoints.read(row.event.note)
        except (BadCheckpoint, *_NO_EVENT):
            report.add(f"record {row.position} is no readable checkpoint")
            continue
        if keys and not checkpoints.is_genuine(one, keys):
            report.add(f"the checkpoint in record {row.position} was not signed by one of these keys")
        found.append(one)
    return found


def _events(connection: sa.Connection, kind: Kind) -> Iterator[Any]:
    """Those that can be read. The walk names the others."""
    return reading.of_kind(connection, kind)


class _Walk:
    """Goes through all records in their order, and builds the tree anew."""

    def __init__(self, connection: sa.Connection, report: Report, sizes: set[int]) -> None:
        self._connection, self._report = connection, report
        self._digests = _model_digests(connection, report)
        self._unnamed: set[int | None] = {*self._digests}
        self._erased = Union(_erased_ranges(connection))
        self._sizes = sorted(sizes)
        self._next_position = 0
        self._sequences: dict[int, int] = {}
        self._ended: dict[int, bool] = {}
        self._receipts_of_calls: Counter[bytes] = Counter()  # that no event has counted yet
        self.frontier, self.subtrees, self.roots = tree.Frontier(), 0, {0: tree.EMPTY}

    def pages(self) -> Iterator[int]:
        """Check a page, and yield how many records it had."""
        for rows in reading.pages(self._connection, list(schema.record.c)):
            self._grow([self._look(row) for row in rows])
            self._report.last_time = rows[-1].time
            yield len(rows)
        self._report.size, self._report.writers = self.frontier.size, len(self._sequences)
        self._report.unended = sorted(number for number, is_ended in self._ended.items() if not is_ended)
        for number in self._unnamed:
            self._report.add(f"model {number} is described, and no record names it")

    def _look(self, row: Any) -> bytes:
        """Check one record by itself, and its place. Returns its commitment."""
        try:
            self._check(row)
        except reading.OF_A_DAMAGED_ROW:
            self._report.add(f"record {row.position} cannot be read")
        return row.commitment if isinstance(row.commitment, bytes) else b""

    def _check(self, row: Any) -> None:
        """Raises one of reading.OF_A_DAMAGED_ROW for a row that no writer can have written."""
        head, position, kind, own_id = reading.checked_head(row), row.position, row.kind, row.id
        self._check_place(position, own_id, row.writer, row.sequence)
        if row.is_reviewed not in (0, kind == Kind.RECEIPT):
            self._report.add(f"{_named(position, own_id)} has a mark that no review makes")
        self._ended[row.writer] = kind == Kind.END
        self._report.receipts += kind == Kind.RECEIPT
        if row.subject is not None:
            self._check_call(position, kind, own_id, row.subject, row.lasting)
        self._unnamed.discard(row.model)
        digest = NO_MODEL if row.model is None else self._digests.get(row.model)
        seal = row.erasable[:SALT_BYTES] if row.is_erased else record.seal(row.erasable)
        if digest is None or record.commitment(head, digest, seal, row.lasting) != row.commitment:
            self._report.add(f"{_named(position, own_id)} was changed")
        if row.is_erased or position in self._erased:
            self._check_erasure(position, kind, own_id, row.is_erased, row.erasable)

    def _check_call(self, position: int, kind: int, own_id: bytes, call: bytes, lasting: bytes) -> None:
        """Count the receipts of a call up to the event that tells how many they are."""
        if kind == Kind.RECEIPT:
            self._receipts_of_calls[call] += 1
        elif kind == Kind.ANSWERED:
            told, there = json.loads(lasting)["receipts"], self._receipts_of_calls.pop(call, 0)
            if told != there:
                named = _named(position, own_id)
                self._report.add(
                    f"{named} tells of {counted(told, 'receipt')} of a call, and {there:,} are there"
                )

    def _check_place(self, position: int, own_id: bytes, writer: int, sequence: int) -> None:
        if position != self._next_position:
            self._report.add(f"{_span(self._next_position, position - 1)} missing")
        self._next_position = position + 1
        due = self._sequences.get(writer, 0)
        if sequence != due:
            named = _named(position, own_id)
            self._report.add(f"{named} is number {sequence} of writer {writer}, where {due} is due")
        self._sequences[writer] = sequence + 1

    def _check_erasure(
        self, position: int, kind: int, own_id: bytes, is_erased: int, erasable: bytes
    ) -> None:
        named = _named(position, own_id)
        self._report.erased += bool(is_erased) and kind == Kind.RECEIPT
        if is_erased and (position not in self._erased or kind not in _ERASABLE_KINDS):
            self._report.add(f"{named} was erased, and no erasure tells of it")
        if is_erased and any(erasable[SALT_BYTES:]):
            self._report.add(f"{named} says that it was erased, and still holds values")
        if not is_erased and kind in _ERASABLE_KINDS:
            self._report.add(f"{named} has its values back after an erasure: erase it again")

    def _grow(self, commitments: list[bytes]) -> None:
        """Append to the tree, stopping at the sizes of checkpoints, and compare it with the stored one."""
        completed, done = [], 0
        due = [size - self.frontier.size for size in self._sizes if size > self.frontier.size]
        for end in [*(size for size in due if size <= len(commitments)), len(commitments)]:
            completed += self.frontier.extend(commitments[done:end])
            self.roots[self.frontier.size] = self.frontier.root()
            done = end
        self.subtrees += len(completed)
        stored = _stored_subtrees(self._connection, [(level, number) for level, number, _ in completed])
        for level, number, root in completed:
            if stored.get((level, number)) != root:
                first, last = number << level, (number + 1 << level) - 1
                self._report.add(f"the stored tree does not fit records {first} to {last}")


def _span(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"


def _named(position: int, own_id: bytes) -> str:
    """Also where the id is damaged: only a writer's has bytes."""
    return f"record {position} ({ids.written(own_id)})" if isinstance(own_id, bytes) else f"record {position}"


def _model_digests(connection: sa.Connection, report: Report) -> dict[int, bytes]:
    """Computed from the descriptions: a description that was changed fits none of its receipts."""
    found: dict[int, bytes] = {}
    for number, description, digest in connection.execute(sa.select(schema.model)):
        with suppress(*reading.OF_A_DAMAGED_ROW):
            models.read(description)
            found[number] = models.digest_of(description)
        if found.get(number) != digest:
            report.add(f"the description of model {number} was changed")
    return found


def _erased_ranges(connection: sa.Connection) -> Iterator[tuple[int, int]]:
    for row in _events(connection, Kind.ERASURE):
        with suppress(*_NO_EVENT):
            if isinstance(event := row.event, Erasure):
                yield from event.ranges


def _stored_subtrees(
    connection: sa.Connection, places: list[tuple[int, int]]
) -> dict[tuple[int, int], bytes]:
    stored = schema.subtree.c
    found: dict[tuple[int, int], bytes] = {}
    for level, group in itertools.groupby(sorted(places), key=lambda place: place[0]):
        numbers = [number for _, number in group]
        query = sa.select(stored.number, stored.root).where(stored.level == level)
        rows = connection.execute(query.where(stored.number.between(numbers[0], numbers[-1])))
        found |= {(level, number): root for number, root in rows}
    return found


def _check_own_row(connection: sa.Connection, walk: _Walk, report: Report) -> None:
    """The journal's own row, and what the tables hold beyond the records."""
    if structure.fault_of_own_row(connection):  # which is said already
        return
    row = connection.execute(sa.select(schema.journal)).one()
    report.origin = row.origin
    if row.size != report.size:
        report.add(_miscounted("the journal", row.size, "record", report.size))
    elif row.frontier != b"".join(walk.frontier.roots):
        report.add("the end of the stored tree does not fit the records")
    if row.writers != report.writers:
        report.add(_miscounted("the journal", row.writers, "writer", report.writers))
    count = connection.execute(sa.select(sa.func.count()).select_from(schema.subtree)).scalar_one()
    if count != walk.subtrees:
        report.add(_miscounted("the stored tree", count, "subtree", walk.subtrees))
    _check_starts(connection, row.origin, report)


def _miscounted(what: str, said: int, noun: str, there: int) -> str:
    return f"{what} has {counted(said, noun)} by its own count, and the records make {there:,}"


def _check_starts(connection: sa.Connection, origin: str, report: Report) -> None:
    for row in _events(connection, Kind.START):
        with suppress(*_NO_EVENT):
            if row.event.journal != origin:
                report.add(f"the writer of record {row.position} began in another journal")


def _check_reviewed(connection: sa.Connection, report: Report) -> None:
    for is_wrong, said in (
        (marks.IS_WITHOUT_REVIEW, "is marked as reviewed, and no review tells of it"),
        (marks.IS_WITHOUT_MARK, "is not marked as reviewed, and a review tells of it"),
    ):
        of_it = schema.record.c
        for row in connection.execute(sa.select(of_it.position, of_it.id).where(is_wrong)):
            report.add(f"{_named(row.position, row.id)} {said}: python -m journal init mends it")


def _check_checkpoints(given: Sequence[Checkpoint], walk: _Walk, report: Report, named: str) -> None:
    for one in given:
        said = f"{named} of {one.time:%Y-%m-%d %H:%M:%S}"
        if one.origin != report.origin:
            report.add(f"{said} is of another journal, {one.origin}")
        elif one.size > report.size:
            report.add(
                f"{said} is of {counted(one.size, 'record')}, and {report.size:,} are there: the last were "
                "removed"
            )
        elif walk.roots[one.size] != one.root:
            report.add(
                f"{said} does not fit: of its {counted(one.size, 'record')} some were changed, removed, "
                "inserted or moved since"
            )
