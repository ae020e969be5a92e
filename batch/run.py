"""Decides on chunks of clients with all cores, and gives them back in the order of the input."""

import collections
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pyarrow as pa

from batch import deciding, summary
from batch.clients import Bad, Chunk, Clients, Source
from batch.errors import Refused
from batch.summary import Counts
from mlflow_model.bundle.decision_columns import NotADecision
from mlflow_model.bundle.scoring import Scorer

_Item = TypeVar("_Item")
_Done = TypeVar("_Done")

_WAY_OUT = "--bad-rows quarantine=FILE sets such rows aside, and goes on"


@dataclass(frozen=True)
class Decided:
    """A chunk that was decided on. `file`: its name. `bad`: its rows that were not, in their order."""

    file: str
    batch: pa.RecordBatch
    bad: Sequence[Bad]
    counts: Counts


@dataclass(frozen=True)
class Run:
    """`schema`: of what comes out. `allows_bad`: whether bad rows are set aside, or end the run."""

    scorer: Scorer
    schema: pa.Schema
    allows_bad: bool
    threads: int

    def decided(self, chunks: Iterable[tuple[Source, Chunk]]) -> Generator[Decided, None, None]:
        """Chunks in their order, while others are at work. Raises Refused."""
        return in_order(lambda found: self.decide(found[0].name, found[1]), chunks, self.threads)

    def decide(self, file: str, chunk: Chunk) -> Decided:
        """Raises Refused."""
        clients = chunk.clients()
        bad = list(clients.bad)
        try:
            batch = self._batch(clients)
        except self.scorer.Refusal:
            found = dict(self._refused(clients))
            clients = _without(clients, [*found])
            bad = sorted([*bad, *found.values()], key=lambda one: one.row)
            batch = self._batch(clients)
        if bad and not self.allows_bad:
            raise refused(file, bad[0].row, bad[0].reason)
        counts = summary.of_chunk(self.scorer, clients, batch, file)
        counts.set_aside = len(bad)
        return Decided(file, batch, bad, counts)

    def _batch(self, clients: Clients) -> pa.RecordBatch:
        if not len(clients.rows):
            return pa.RecordBatch.from_arrays(
                [pa.nulls(0, one.type) for one in self.schema], schema=self.schema
            )
        try:
            batch = deciding.with_decisions(clients.others, clients.values, self.scorer)
        except NotADecision as error:
            raise Refused("the version answers with something that is no decision") from error
        try:
            return batch if batch.schema == self.schema else batch.cast(self.schema)
        except pa.ArrowException as error:  # its words may quote a client
            raise Refused("the version's own columns are of another kind for some clients") from error

    def _refused(self, clients: Clients) -> Iterator[tuple[int, Bad]]:
        """The rows that the scorer refuses, by their places among the clients."""
        for place, detail in deciding.refusals(clients.values, self.scorer):
            name = next((name for name in self.scorer.features if f"'{name}'" in detail), None)
            fault = None if name is None else clients.fault(clients.values[name][place])
            reason = detail if fault is None else f"la variable '{name}' {fault}"
            yield place, Bad(clients.rows[place], reason, clients.came(place))


def refused(file: str, row: int, reason: str) -> Refused:
    return Refused(f"{file}, row {row}: {reason} ({_WAY_OUT})")


def _without(clients: Clients, places: Sequence[int]) -> Clients:
    kept = np.delete(np.arange(len(clients.rows)), places)
    indices = pa.Array.from_buffers(pa.int64(), len(kept), [None, pa.py_buffer(kept.astype(np.int64))])
    return replace(
        clients,
        values={name: column[kept] for name, column in clients.values.items()},
        others=clients.others.take(indices) if clients.others.num_columns else clients.others,
        rows=[clients.rows[place] for place in kept.tolist()],
    )


def in_order(
    work: Callable[[_Item], _Done], items: Iterable[_Item], threads: int
) -> Generator[_Done, None, None]:
    """Work on some items at the same time: no more of them are in memory than there are threads, and two."""
    with ThreadPoolExecutor(threads, thread_name_prefix="deciding") as pool:
        waiting: collections.deque[Future[_Done]] = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
