"""Decides again, by the versions that decided, and compares every answer with the recorded one.

The trees give the same sums on every machine. The probability is `exp` of such a sum, which differs in the
last place between C libraries: such answers are counted apart. Raw scores are not recorded.
"""

import itertools
import operator
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from journal import ids, listing, reading, schema
from journal.errors import JournalError
from journal.listing import Wanted
from journal.models import Model
from journal.record import SALT_BYTES
from mlflow_model.bundle.scoring import Scorer

MOST_NAMED = 20

_LAST_PLACE_BELOW_1 = 2.0**-53
_columns = schema.record.c
_READ = (_columns.position, _columns.id, _columns.model, _columns.label, _columns.lasting, _columns.erasable)

_MODEL = operator.itemgetter(2)

Load = Callable[[Model], Scorer]
Doubles = npt.NDArray[np.float64]


class CannotLoad(JournalError):
    """The registry does not give back the version that decided."""


@dataclass
class Replayed:
    """How many receipts were the same in every bit, how many in all but the last place, how many not.

    `named`: the ids of the first that differ. `unloaded`: why versions cannot be loaded, with the numbers of
    their receipts.
    """

    same: int = 0
    last_place: int = 0
    different: int = 0
    erased: int = 0
    named: list[str] = field(default_factory=list)
    unloaded: dict[str, int] = field(default_factory=dict)


def replay(
    connection: sa.Connection,
    wanted: Wanted,
    sample: int | None,
    load: Load,
    progress: Callable[[int], object],
) -> Replayed:
    """`sample`: so many of the wanted decisions, chosen by chance; all if it is None."""
    done = Replayed(erased=_count_erased(connection, wanted))
    decider = _Decider(reading.all_models(connection), load, done)
    with ThreadPoolExecutor(max_workers=1) as beside:  # LightGBM lets the next page be read meanwhile
        pending: Future[int] | None = None
        for rows in _pages(connection, wanted, sample):
            if pending is not None:
                progress(pending.result())
            pending = beside.submit(decider.compare, rows)
        if pending is not None:
            progress(pending.result())
    return done


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


class _Decider:
    """Loads each version once, and compares pages of receipts with what it decides."""

    def __init__(self, known: reading.Models, load: Load, done: Replayed) -> None:
        self._known, self._load, self._done = known, load, done
        self._scorers: dict[int, Scorer | CannotLoad] = {}

    def compare(self, rows: Sequence[Any]) -> int:
        """Returns the number of rows."""
        for number, own in itertools.groupby(sorted(rows, key=_MODEL), key=_MODEL):
            receipts = list(own)
            scorer = self._scorer(number)
            if isinstance(scorer, CannotLoad):
                why = str(scorer)
                self._done.unloaded[why] = self._done.unloaded.get(why, 0) + len(receipts)
            else:
                _compare(receipts, self._known[number], scorer, self._done)
        return len(rows)

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
    chosen = sorted(_chosen(listing.positions(connection, wanted), sample))
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


def _compare(rows: Sequence[Any], model: Model, scorer: Scorer, done: Replayed) -> None:
    _, _, _, numbers, lasting, salted = zip(*rows, strict=True)
    inputs = _doubles(salted, SALT_BYTES, len(model.features))
    recorded = _doubles(lasting, 0, len(model.columns) - 1)
    answers = scorer.decide_table(dict(zip(model.features, inputs.T, strict=True)))
    labels = np.array(model.labels, dtype=object)[list(numbers)]
    same, near = _agreement(model, answers, labels, recorded)
    done.same += int(same.sum())
    done.last_place += int((near & ~same).sum())
    done.different += int((~near).sum())
    for place in np.flatnonzero(~near)[: MOST_NAMED - len(done.named)]:
        done.named.append(ids.written(rows[place][1]))


def _agreement(
    model: Model, answers: Mapping[str, npt.NDArray[Any]], labels: npt.NDArray[Any], recorded: Doubles
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which rows are the same in every bit, and which at least but for the last place of the probability."""
    has_label = answers[model.columns[0]] == labels
    computed = np.column_stack([answers[name] for name in model.columns[1:]])
    same = (computed.view(np.int64) == recorded.view(np.int64)).all(axis=1)
    distance = np.abs(computed - recorded)
    allowed = np.full(recorded.shape, _LAST_PLACE_BELOW_1)
    allowed[:, 0] = np.spacing(recorded[:, 0])
    return has_label & same, has_label & (distance <= allowed).all(axis=1)


def _doubles(parts: Sequence[bytes], start: int, width: int) -> Doubles:
    """The doubles from this byte of each part on, as an array of shape (parts, width)."""
    joined = b"".join([part[start : start + 8 * width] for part in parts])
    return np.frombuffer(joined, ">f8").reshape(len(parts), width).astype(np.float64)
