"""Decides on chunks of clients with all cores, and gives them back in the order of the input."""

import collections
import contextlib
import functools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pyarrow as pa

from batch import deciding, explaining, summary, together
from batch.clients import Bad, Chunk, Clients, Source
from batch.errors import Refused
from batch.explaining import NotExplained
from batch.summary import Counts
from features.arrow_columns import Column
from mlflow_model.bundle.decision_columns import NotADecision
from mlflow_model.bundle.scoring import Scorer
from quality.costs import Costs

_Item = TypeVar("_Item")
_Done = TypeVar("_Done")

_NOT_EXPLAINED = "the reasons do not sum to the version's probability: leave out --explain"
_WAY_OUT = "--bad-rows quarantine=FILE sets such rows aside, and goes on"


@dataclass(frozen=True)
class Decided:
    """A chunk that was decided on, or several. `bad`: rows of `file` that were not, in their order."""

    file: str
    chunks: int
    batch: pa.RecordBatch
    bad: Sequence[Bad]
    counts: Counts


@dataclass(frozen=True)
class Run:
    """`schema`: of what comes out, with so many `reasons` of each client. `allows_bad`: whether bad rows are
    set aside, or end the run. `costs`: of mistakes, if they are known."""

    scorer: Scorer
    schema: pa.Schema
    allows_bad: bool
    threads: int
    reasons: int = 0
    costs: Costs | None = None

    def decided(self, chunks: Iterable[tuple[Source, Chunk]]) -> Generator[Decided, None, None]:
        """Chunks in their order, while others are at work. Raises Refused."""
        groups = in_order(self._decided_group, together.grouped(chunks), self.threads)
        with contextlib.closing(groups):
            for group in groups:
                yield from group

    def _decided_group(self, group: Sequence[tuple[Source, Chunk]]) -> list[Decided]:
        """All at once. If a row is bad, chunk by chunk, so that the first bad row of the input is told."""
        found, problem = [], None
        try:
            for source, chunk in group:
                found.append((source.name, chunk.clients()))
        except Refused as error:
            problem = error
        if problem is None and len(found) > 1 and not any(clients.bad for _, clients in found):
            with contextlib.suppress(self.scorer.Refusal):
                return [self._whole(found)]
        decided = [self.decide(file, clients) for file, clients in found]
        if problem is not None:
            raise problem
        return decided

    def decide(self, file: str, clients: Clients) -> Decided:
        """Clients of one file. Raises Refused."""
        try:
            decided = self._whole([(file, clients)])
        except self.scorer.Refusal:
            found = dict(self._refused(clients))
            decided = self._whole([(file, _without(clients, [*found]))])
            bad = sorted([*clients.bad, *found.values()], key=lambda one: one.row)
        else:
            bad = [*clients.bad]
        if bad and not self.allows_bad:
            raise refused(file, bad[0].row, bad[0].reason)
        decided.counts.set_aside = len(bad)
        return replace(decided, bad=bad)

    def _whole(self, found: Sequence[tuple[str, Clients]]) -> Decided:
        """All of these clients, or the scorer's Refusal."""
        values, others = together.merged([clients for _, clients in found])
        where = functools.partial(together.place, found)
        batch = self._batch(values, others, where)
        counts = summary.of_clients(self.scorer, values, batch, where, self.costs)
        return Decided(found[0][0], len(found), batch, [], counts)

    def _batch(
        self, values: Mapping[str, Column], others: pa.RecordBatch, where: Callable[[int], str]
    ) -> pa.RecordBatch:
        if not len(values[self.scorer.features[0]]):
            return pa.RecordBatch.from_arrays(
                [pa.nulls(0, one.type) for one in self.schema], schema=self.schema
            )
        try:
            batch = deciding.with_decisions(others, values, self.scorer)
            if self.reasons:
                batch = explaining.with_reasons(batch, values, self.scorer, self.reasons)
        except NotADecision as error:
            raise Refused("the version answers with something that is no decision") from error
        except NotExplained as error:
            raise Refused(f"{where(error.place)}: {_NOT_EXPLAINED}") from error
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
