"""Decides again, by the versions that decided, and compares every answer with the recorded one.

The trees give the same sums on every machine. The probability is 1 / (1 + e), where e is `exp` of such a sum,
which differs in its last place between C libraries, and between processors in one of them. One place of e can
move the probability by two of its own, which are finer: answers that differ so little are counted apart. Raw
scores are not recorded.
"""

import functools
import itertools
import operator
import random
import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from journal import events, ids, listing, reading, schema
from journal.errors import Damaged, JournalError
from journal.listing import Wanted
from journal.models import Model
from journal.record import SALT_BYTES, Kind
from mlflow_model import machine
from mlflow_model.bundle.scoring import Scorer

MOST_NAMED = 20

_TWO_PLACES_BELOW_1 = 2.0**-52
_OF_THE_POLICY = frozenset({"optimal_threshold", "margin", "lower_bound", "upper_bound"})
_OF_A_DAMAGED_RECEIPT = (struct.error, IndexError, OverflowError, TypeError, ValueError)
_columns = schema.record.c
_READ = (
    _columns.position,
    _columns.id,
    _columns.model,
    _columns.label,
    _columns.writer,
    _columns.lasting,
    _columns.erasable,
)
_MODEL = operator.itemgetter(2)

Load = Callable[[Model], Scorer]
Doubles = npt.NDArray[np.float64]


class CannotLoad(JournalError):
    """The registry does not give back the version that decided."""


@dataclass
class Replayed:
    """How many receipts were the same in every bit, how many in all but the last two places, how many not.

    `last_places`: by the C library of the writer that recorded them. `damaged`: receipts that cannot be read
    or decided on. `differing`, `unreadable`: the ids of the first ones. `unloaded`: why versions cannot be
    loaded, with the numbers of their receipts.
    """

    same: int = 0
    last_places: Counter[str] = field(default_factory=Counter)
    different: int = 0
    damaged: int = 0
    erased: int = 0
    differing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    unloaded: Counter[str] = field(default_factory=Counter)

    @property
    def is_as_recorded(self) -> bool:
        return not (self.different or self.damaged or self.unloaded)

    def add(self, page: "_Page") -> None:
        self.same += page.same
        self.different += page.different
        self.damaged += page.damaged
        self.differing += page.differing[: MOST_NAMED - len(self.differing)]
        self.unreadable += page.unreadable[: MOST_NAMED - len(self.unreadable)]


@dataclass
class _Page:
    """What the receipts of one version in a page came to. `last_places`: the writers that recorded them."""

    count: int = 0
    same: int = 0
    different: int = 0
    damaged: int = 0
    last_places: list[int] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def replay(
    connection: sa.Connection,
    wanted: Wanted,
    sample: int | None,
    load: Load,
    progress: Callable[[int], object],
) -> Replayed:
    """`sample`: so many of the wanted decisions, chosen by chance; all if it is None.

    Pages are decided on in as many threads as there are cores, while the next are read. LightGBM must be held
    to one thread each (`OMP_NUM_THREADS=1`), or its own threads wait for each other.
    """
    done = Replayed(erased=_count_erased(connection, wanted))
    versions = _Versions(reading.all_models(connection), load)
    writers: Counter[int] = Counter()
    for page in _decided(_pages(connection, wanted, sample), versions, done):
        done.add(page)
        writers.update(page.last_places)
        progress(page.count)
    libraries = _c_libraries(connection) if writers else {}
    for writer, count in writers.items():
        done.last_places[libraries.get(writer, "an unknown one")] += count
    return done


def _decided(pages: Iterable[Sequence[Any]], versions: "_Versions", done: Replayed) -> Iterator[_Page]:
    """The pages in their order, of which some are decided on ahead. `done` is told what cannot be loaded."""
    threads = machine.cores()
    pending: deque[Future[_Page]] = deque()
    with ThreadPoolExecutor(threads) as beside:
        for rows in pages:
            for number, own in itertools.groupby(sorted(rows, key=_by_model), key=_MODEL):
                receipts = list(own)
                try:
                    work = versions.comparison(number)
                except CannotLoad as error:
                    done.unloaded[str(error)] += len(receipts)
                    continue
                pending.append(beside.submit(work, receipts))
            while len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _by_model(row: Sequence[Any]) -> int:
    """None, which no receipt of a writer has, before all numbers."""
    number = row[2]
    return number if isinstance(number, int) else -1


def _c_libraries(connection: sa.Connection) -> dict[int, str]:
    """That of each writer, as far as their starts can be read."""
    found = {}
    for one in reading.of_kind(connection, Kind.START):
        try:
            event = one.event
        except Damaged:
            continue
        if isinstance(event, events.Start):
            found[one.writer] = event.c_library
    return found


def of_registry(model: Model) -> Scorer:
    """The version that decided, out of the registry. Raises CannotLoad."""
    # Imported here: MLflow takes seconds, and only this needs it.
    from mlflow_model.errors import LoadingFailed
    from mlflow_model.registry import fetching, versions

    if model.version is None:
        raise CannotLoad(f"{model.name} was served from a file and has no version in the registry")
    try:
        bundle = fetching.download(versions.resolve(f"models:/{model.name}/{model.version}"))
        if bundle.digest == model.digest:
            return bundle.scorer()
    except LoadingFailed as error:
        raise CannotLoad(f"{model.name} version {model.version}: {error.detail}") from error
    raise CannotLoad(f"{model.name} version {model.version} of this registry is another bundle")


class _Versions:
    """Loads each version once, and gives what compares receipts with its answers."""

    def __init__(self, known: reading.Models, load: Load) -> None:
        self._known, self._load = known, load
        self._scorers: dict[int, Scorer | CannotLoad] = {}

    def comparison(self, number: int) -> Callable[[Sequence[Any]], _Page]:
        """Raises CannotLoad."""
        if number not in self._known:
            return _damaged
        scorer = self._scorer(number)
        if isinstance(scorer, CannotLoad):
            raise scorer
        return functools.partial(_compared, self._known[number], scorer)

    def _scorer(self, number: int) -> Scorer | CannotLoad:
        if number not in self._scorers:
            try:
                self._scorers[number] = self._load(self._known[number])
            except CannotLoad as error:
                self._scorers[number] = error
        return self._scorers[number]


def _count_erased(connection: sa.Connection, wanted: Wanted) -> int:
    query = sa.select(sa.func.count()).select_from(schema.record)
    return connection.execute(
        query.where(_columns.is_erased == 1, *wanted.conditions(connection))
    ).scalar_one()


def _pages(connection: sa.Connection, wanted: Wanted, sample: int | None) -> Iterator[Sequence[Any]]:
    conditions = (_columns.is_erased == 0, *wanted.conditions(connection))
    if sample is None:
        yield from reading.pages(connection, _READ, *conditions)
        return
    chosen = sorted(_chosen(listing.positions(connection, *conditions), sample))
    for start in range(0, len(chosen), reading.PAGE):
        places = chosen[start : start + reading.PAGE]
        yield from reading.pages(connection, _READ, *conditions, _columns.position.in_(places))


def _chosen(positions: Iterator[int], most: int) -> list[int]:
    """So many of them by chance, each with the same, without holding all (Vitter's algorithm R)."""
    chance = random.SystemRandom()
    kept: list[int] = []
    for seen, position in enumerate(positions):
        if len(kept) < most:
            kept.append(position)
        elif (place := chance.randrange(seen + 1)) < most:
            kept[place] = position
    return kept


def _compared(model: Model, scorer: Scorer, rows: Sequence[Any]) -> _Page:
    """What cannot be compared together is halved, until the damaged receipts stand alone."""
    try:
        return _compare(model, scorer, rows)
    except _OF_A_DAMAGED_RECEIPT:
        if len(rows) == 1:
            return _damaged(rows)
    middle = len(rows) // 2
    first, second = (_compared(model, scorer, part) for part in (rows[:middle], rows[middle:]))
    return _Page(*(getattr(first, one.name) + getattr(second, one.name) for one in fields(_Page)))


def _damaged(rows: Sequence[Any]) -> _Page:
    return _Page(len(rows), damaged=len(rows), unreadable=[_name(row) for row in rows[:MOST_NAMED]])


def _name(row: Sequence[Any]) -> str:
    try:
        return ids.written(row[1])
    except (TypeError, ValueError):
        return f"record {row[0]}"


def _compare(model: Model, scorer: Scorer, rows: Sequence[Any]) -> _Page:
    """Raises one of _OF_A_DAMAGED_RECEIPT if any of the receipts is damaged."""
    _, own_ids, _, numbers, writers, lasting, salted = zip(*rows, strict=True)
    inputs = _doubles(salted, SALT_BYTES, len(model.features))
    recorded = _doubles(lasting, 0, len(model.columns) - 1)
    labels = np.array(model.labels, dtype=object)[list(numbers)]
    answers = scorer.decide_table(dict(zip(model.features, inputs.T, strict=True)))
    same, near = _agreement(model, answers, labels, recorded)
    far = np.flatnonzero(~near)
    return _Page(
        len(rows),
        int(same.sum()),
        len(far),
        last_places=[writers[place] for place in np.flatnonzero(near & ~same)],
        differing=[ids.written(own_ids[place]) for place in far[:MOST_NAMED]],
    )


def _agreement(
    model: Model, answers: Mapping[str, npt.NDArray[Any]], labels: npt.NDArray[Any], recorded: Doubles
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which rows are the same in every bit, and which but for the last two places of the probability.

    The policy's own numbers come from no C library: they are the same or different.
    """
    has_label = answers[model.columns[0]] == labels
    computed = np.column_stack([answers[name] for name in model.columns[1:]])
    same = (computed.view(np.int64) == recorded.view(np.int64)).all(axis=1)
    allowed = np.full(recorded.shape, _TWO_PLACES_BELOW_1)
    allowed[:, 0] = 2.0 * np.spacing(recorded[:, 0])
    allowed[:, [name in _OF_THE_POLICY for name in model.columns[1:]]] = 0.0
    near = (np.abs(computed - recorded) <= allowed).all(axis=1)
    return has_label & same, has_label & (same | near)


def _doubles(parts: Sequence[bytes], start: int, width: int) -> Doubles:
    """The doubles from this byte of each part on, as an array of shape (parts, width)."""
    joined = b"".join([part[start : start + 8 * width] for part in parts])
    return np.frombuffer(joined, ">f8").reshape(len(parts), width).astype(np.float64)
