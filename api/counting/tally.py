"""What a process has counted: plain numbers, cheap to add to, in a file of its own that others can read.

Noting a decision takes a tenth of a microsecond; many are counted together later. The server saves the tally
every half second. The process that is asked for /metrics sums the files of all processes. Each of them first
screens clients for warnings, so that no answer of /predict waits for that.
"""

import json
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby
from math import isfinite
from operator import itemgetter
from typing import Any

import numpy as np

from api import logs
from api.counting.counts import (
    PROBABILITIES,
    SCREENED,
    SECONDS,
    UNSCREENED,
    Counts,
    Histogram,
    Key,
    histogram,
    read,
)
from api.counting.tally_files import Incomplete, TallyFile
from api.delivery.served import Model
from api.paths import PREDICT
from explain import screening
from mlflow_model.errors import CountsIncomplete

_log = logging.getLogger("scoring_client")

# Decisions that are counted together, which takes as long as two requests.
TOGETHER = 256

# Clients of /predict who wait to be screened, which takes a millisecond of the interpreter from answers.
MOST_WAITING = 500

# A bundle's code may give each client another label, of any length. Beyond these limits they are counted as
# one.
MOST_KEYS, LONGEST_LABEL = 500, 100
OTHERS = "others"

# The sum over all processes waits so long for a missing or damaged file, which its process writes again.
_PATIENCE_SECONDS, _AGAIN_SECONDS = 3.0, 0.1

# The model, the client (None: it will not be screened), label, probability, seconds, the features that were
# null.
Noted = tuple[Model, Mapping[str, object] | None, str, float, float, tuple[str, ...]]
_client, _probability = itemgetter(1), itemgetter(3)


class Tally(Counts):
    """Counts since the process began, from any thread."""

    def __init__(self, file: TallyFile | None = None) -> None:
        super().__init__()
        self.file = file
        self._noted: deque[Noted] = deque()
        self._waiting: list[Noted] = []
        self._has_room = True
        self._lock = threading.Lock()
        self._is_saved = True
        self._fails = False
        self._screening_failure = ""

    def answered(self, path: str, status: int, seconds: float) -> None:
        """An answer, and how long it took once the request was whole."""
        with self._lock:
            self._is_saved = False
            histogram(self.seconds, (path, str(status)), SECONDS).add(seconds)

    def decided(
        self, model: Model, client: Mapping[str, object], decision: Mapping[str, Any], seconds: float
    ) -> None:
        """A decision at /predict, which is an answer with status 200 as well."""
        nulls: tuple[str, ...] = ()
        if None in client.values():
            nulls = tuple(name for name in model.scorer.features if client[name] is None)
        label, probability = decision["prediction"], decision["probability_class_1"]
        waits = client if self._has_room else None
        self._noted.append((model, waits, label, probability, seconds, nulls))
        if len(self._noted) >= TOGETHER:
            with self._lock:
                self._count_noted()

    def left_unanswered(self, path: str, decisions: int) -> None:
        """Decisions that were computed, and of which no answer tells, since they could not be recorded."""
        with self._lock:
            self._is_saved = False
            self.unanswered[path,] += decisions

    def not_recorded(self, path: str) -> None:
        """A request that was refused before anything was decided, since the journal could not be written."""
        with self._lock:
            self._is_saved = False
            self.refused_unrecorded[path,] += 1

    def let_wait(self, receipts: int) -> None:
        """Receipts that are not known to be on the disk now."""
        if receipts != self.receipts_waiting:
            with self._lock:
                self.receipts_waiting, self._is_saved = receipts, False

    def recorded(self, path: str, receipts: int, seconds: float) -> None:
        """A group of receipts is on the disk, so long after it was made."""
        with self._lock:
            self._is_saved = False
            self.receipts[path,] += receipts
            histogram(self.commits, (path,), SECONDS).add(seconds)

    def _count_noted(self) -> None:
        """Count what is noted, under the lock, one by one: other threads may note more meanwhile."""
        noted = _numbers([self._noted.popleft() for _ in range(len(self._noted))])
        if not noted:
            return
        self._is_saved = False
        self._let_wait(noted)
        models, _, labels, probabilities, seconds, nulls = zip(*noted, strict=True)
        versions = [model.called for model in models]
        _add_all(histogram(self.seconds, _DECIDED, SECONDS), np.array(seconds))
        if any(nulls):
            self.nulls.update((name,) for names in nulls for name in names)
        for version in set(versions):
            is_its_own = (
                np.array(versions) == version if versions.count(version) < len(noted) else slice(None)
            )
            for label, count in Counter(np.array(labels, object)[is_its_own].tolist()).items():
                self.decisions[self._key(version, label)] += count
            found = np.array(probabilities)[is_its_own]
            _add_all(histogram(self.probabilities, (version,), PROBABILITIES), found)

    def decided_many(self, model: Model, clients: Mapping[str, Any], decisions: Mapping[str, Any]) -> None:
        version, labels = model.called, Counter(np.asarray(decisions["prediction"]).tolist())
        probabilities = np.asarray(decisions["probability_class_1"])
        nulls = {name: _nulls(clients[name]) for name in model.scorer.features}
        with self._lock:
            self._is_saved = False
            for label, count in labels.items():
                self.decisions[self._key(version, label)] += count
            _add_all(histogram(self.probabilities, (version,), PROBABILITIES), probabilities)
            self.nulls.update({(name,): count for name, count in nulls.items() if count})
        self._count_warnings(
            len(probabilities), partial(screening.of_columns, model.scorer, clients, probabilities)
        )

    def decided_elsewhere(self, content: Mapping[str, Any]) -> None:
        """Add the counts that a computing process made of its task."""
        with self._lock:
            self._is_saved = False
            self.add({**content, "decisions": []})
            for (version, label), count in content["decisions"]:
                self.decisions[self._key(version, label)] += count

    def compared(self, version: str, label: str, challenger: str, its_label: str) -> None:
        with self._lock:
            self._is_saved = False
            key = (version, _label(label), challenger, _label(its_label))
            is_known = key in self.compared_with or len(self.compared_with) < MOST_KEYS
            self.compared_with[key if is_known else (version, OTHERS, challenger, OTHERS)] += 1

    def _key(self, version: str, label: object) -> Key:
        key = (version, _label(label))
        return key if key in self.decisions or len(self.decisions) < MOST_KEYS else (version, OTHERS)

    # ---- Warnings

    def _let_wait(self, noted: list[Noted]) -> None:
        """Let clients wait to be screened while there is room, under the lock."""
        room = MOST_WAITING - len(self._waiting)
        waiting = [*filter(_client, noted)][:room]
        self._waiting += waiting
        self._has_room = len(waiting) < room
        self.screenings[UNSCREENED,] += len(noted) - len(waiting)

    def screen(self) -> None:
        """Count the warnings about clients who wait for that. It is never called before an answer."""
        with self._lock:
            self._count_noted()
            waiting, self._waiting, self._has_room = self._waiting, [], True
        for scorer, noted in groupby(waiting, lambda one: one[0].scorer):
            of_one_version = list(noted)
            clients, probabilities = map(_client, of_one_version), map(_probability, of_one_version)
            screened = partial(screening.of_clients, scorer, [*clients], [*probabilities])
            self._count_warnings(len(of_one_version), screened)

    def _count_warnings(self, clients: int, screened: Callable[[], Counter[Key]]) -> None:
        """Count so many clients as screened, or as not screened if that fails, which is logged once."""
        found, outcome, failure = Counter[Key](), SCREENED, ""
        try:
            found = screened()
        except Exception as error:  # noqa: BLE001 - whatever a bundle's own policy and values are
            outcome, failure = UNSCREENED, logs.told(error)
            if failure != self._screening_failure:
                _log.error("clients cannot be screened for warnings: %s", failure)
        self._screening_failure = failure
        with self._lock:
            self._is_saved = False
            self.warnings.update(found)
            self.screenings[outcome,] += clients

    # ---- Sums over processes

    def save(self) -> None:
        """Screen, then replace the file in one step if something has been counted since, or it was changed.

        A full disk is logged once, and costs nothing but the metrics.
        """
        if self.file is None:
            return
        self.screen()
        if self._is_saved and not self._noted and self.file.is_as_written:
            return
        with self._lock:
            content = json.dumps(self._content()).encode()
            self._is_saved = True
        try:
            self.file.write(content)
            self._fails = False
        except OSError as error:
            self._is_saved = False
            if not self._fails:
                _log.error("the metrics cannot be saved (%s)", error.strerror)
            self._fails = True

    def total(self) -> Counts:
        """The sum of this tally and those in other processes' files. Raises CountsIncomplete."""
        found = Counts()
        self.screen()
        others = _patiently(self.file) if self.file is not None else []
        with self._lock:
            found.add(self._content())
        for other in others:
            found.add(other)
        return found

    def content(self) -> dict[str, Any]:
        with self._lock:
            return self._content()

    def _content(self) -> dict[str, Any]:
        self._count_noted()
        return super().content()


_DECIDED = (PREDICT.path, "200")


def _numbers(noted: list[Noted]) -> list[Noted]:
    """Leave out decisions whose probability is no finite number, as a bundle's own code may give."""
    try:
        if isfinite(sum(map(_probability, noted))):
            return noted
    except TypeError:
        pass
    return [one for one in noted if isinstance(_probability(one), float) and isfinite(_probability(one))]


def _add_all(counted: Histogram, values: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    places = np.bincount(np.searchsorted(counted.bounds, values), minlength=len(counted.counts))
    counted.add_counts(places.tolist(), float(values.sum()))


def _label(given: object) -> str:
    return str(given)[:LONGEST_LABEL]


def _nulls(column: Any) -> int:
    values: np.ndarray[Any, Any] = np.asarray(column)
    if values.dtype == object:
        return sum(value is None for value in values.tolist())
    return int(np.isnan(values).sum())


def file_in(folder: str | None) -> TallyFile | None:
    """A file of this process's own in the folder that the supervisor made."""
    return TallyFile(folder) if folder else None


def _patiently(file: TallyFile) -> list[dict[str, Any]]:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return file.others(read)
        except Incomplete as error:
            if time.monotonic() > deadline:
                raise CountsIncomplete from error
            time.sleep(_AGAIN_SECONDS)
