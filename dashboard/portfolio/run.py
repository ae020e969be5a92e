"""Has a file's clients decided on, part by part. What is answered is kept, whatever becomes of the rest."""

import re
import time
from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dashboard.api_client import ApiError, DecidedOnMany, Failure, ScoringApi
from dashboard.portfolio.files import BadAnswer, ClientsFile

MOST_REFUSED = 200
LINE = "ligne_du_fichier"  # the column of the result that says where in the file the client is

_AFTER_A_REFUSAL = 1_000  # clients: what is sent again for one bad row more
_AT_ONCE = 2  # parts; the API computes as many
_ATTEMPTS = 5  # while the service has no place
_ROW = re.compile(r"ligne ([0-9]+)\s:\s(.+)", re.DOTALL)
_EMPTY = "la ligne est vide"
_DRAWN = ("probability_class_1", "lower_bound", "upper_bound")
_NO_DECISIONS = "L’API n’a pas rendu une décision pour chaque client du fichier."


@dataclass
class Run:
    """`labels`: the decisions that there are. `numbers`: the columns of a decision that hold some.

    `refused`: the reason for each row that was taken out. `answered`: decisions by their first row,
    all of one version, that of `digest`. `meets_other_version`: whether another one is served meanwhile; then
    no more is sent.
    """

    file: ClientsFile
    keep: Sequence[str]
    with_ids: bool
    labels: Sequence[str]
    numbers: Collection[str]
    meets_other_version: bool = False
    digest: str | None = None
    refused: dict[int, str] = field(default_factory=dict)
    answered: dict[int, pa.Table] = field(default_factory=dict)
    _waiting: deque[tuple[int, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        empty = self.file.empty_rows()
        self.refused |= dict.fromkeys(empty, _EMPTY)
        for start, stop in self.file.spans():
            self._waiting += _without([row for row in empty if start <= row < stop], start, stop)

    @property
    def left(self) -> int:
        """How many clients have not been sent, or not been answered."""
        return sum(stop - start for start, stop in self._waiting)

    @property
    def has_too_many_refused(self) -> bool:
        return len(self.refused) > MOST_REFUSED

    @property
    def is_over(self) -> bool:
        return not self._waiting or self.has_too_many_refused or self.meets_other_version

    def advance(self, api: ScoringApi) -> None:
        """Send the next parts. Raises ApiError, and then a part is still to be sent, and BadFile."""
        parts = list(islice(self._waiting, _AT_ONCE))
        bodies = [self.file.body(start, stop, self.keep) for start, stop in parts]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(partial(self._asked, api), bodies))
        left, failures = [], []
        for (start, stop), answer in zip(parts, answers, strict=True):
            try:
                left += self._parts_after(answer, start, stop)
            except ApiError as error:
                left.append((start, stop))
                failures.append(error)
        self._waiting = deque([*left, *islice(self._waiting, len(parts), None)])
        if failures:
            raise failures[0]

    def _asked(self, api: ScoringApi, body: bytes) -> DecidedOnMany | ApiError:
        for attempt in range(_ATTEMPTS):
            try:
                return api.predict_many(body, self.file.media_type, self.keep, with_ids=self.with_ids)
            except ApiError as error:
                failed = error
            if failed.failure is not Failure.UNAVAILABLE:
                break
            time.sleep(attempt + 1.0)
        return failed

    def _parts_after(self, answer: DecidedOnMany | ApiError, start: int, stop: int) -> list[tuple[int, int]]:
        """What is still to be sent of a part: nothing, all but a bad row, or two halves. Raises ApiError."""
        if isinstance(answer, DecidedOnMany):
            decisions = self._decisions(answer.body, stop - start)
            is_new = bool(self.answered) and answer.digest != self.digest
            if is_new or not _are_all_of(decisions["prediction"], self.labels):
                self.meets_other_version = True
                return [(start, stop)]
            self.answered[start], self.digest = decisions, answer.digest
            return []
        found = _ROW.search(str(answer)) if answer.status == 400 else None
        if found is not None and 0 < int(found[1]) <= stop - start:
            row = start + int(found[1]) - 1
            self.refused[row] = found[2].strip()
            return _without([row], start, stop, _AFTER_A_REFUSAL)
        if answer.status == 413 and stop - start > 1:
            middle = (start + stop) // 2
            return [(start, middle), (middle, stop)]
        raise answer

    def _decisions(self, body: bytes, clients: int) -> pa.Table:
        """Raises ApiError where there are not as many as clients, or not all that a decision has."""
        wanted = {"prediction", *_DRAWN, *self.numbers, *(["decision_id"] if self.with_ids else [])}
        try:
            found = self.file.decisions(body, self.numbers)
        except BadAnswer:
            raise ApiError(_NO_DECISIONS, Failure.OTHER_SERVICE) from None
        if len(found) != clients or not wanted <= {*found.column_names} or not _are_numbers(found, _DRAWN):
            raise ApiError(_NO_DECISIONS, Failure.OTHER_SERVICE)
        return found

    def table(self) -> pa.Table:
        """All decisions in the file's order, with each client's line."""
        parts = sorted(self.answered.items())
        lines = [
            np.fromiter(map(self.file.line, range(at, at + len(one))), np.int64, len(one))
            for at, one in parts
        ]
        named = [
            one.add_column(0, LINE, pa.array(places)) for (_, one), places in zip(parts, lines, strict=True)
        ]
        return pa.concat_tables(named, promote_options="permissive").combine_chunks()


def _are_numbers(table: pa.Table, columns: Collection[str]) -> bool:
    return all(pa.types.is_floating(table[one].type) and not table[one].null_count for one in columns)


def _are_all_of(values: pa.ChunkedArray, known: Sequence[str]) -> bool:
    return bool(pc.all(pc.is_in(values, pa.array(known, pa.string()))).as_py())


def _without(rows: Sequence[int], start: int, stop: int, most: int | None = None) -> list[tuple[int, int]]:
    """The span without these rows, in parts of at most so many clients."""
    parts = []
    for row in [*rows, stop]:
        step = most or max(row - start, 1)
        parts += [(at, min(at + step, row)) for at in range(start, row, step)]
        start = row + 1
    return parts
