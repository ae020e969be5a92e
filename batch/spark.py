"""Has Spark decide on the clients of files: the driver's side of `--engine spark`."""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyspark import InheritableThread
from pyspark.sql import SparkSession
from pyspark.sql import types as kinds

from batch import run, spark_reading, spark_session, spark_task
from batch.clients import Bad
from batch.errors import Refused
from batch.inputs import Inputs
from batch.progress import Progress
from batch.quarantine import Quarantine
from batch.spark_output import SparkFolder
from batch.spark_reading import Read
from batch.spark_task import Place, Task, Told
from batch.summary import Counts
from batch.version import Version

_LOOK_SECONDS = 0.2
_LEAVE_SECONDS = 20.0
_GROUP = "scoring-client"
_COMMITTER = ("mapreduce.fileoutputcommitter.algorithm.version", 1)  # in a session of others, too
_AT_ONCE = 1_000  # rows that were set aside
_KINDS: Mapping[Any, kinds.DataType] = {
    pa.float64(): kinds.DoubleType(),
    pa.int64(): kinds.LongType(),
    pa.bool_(): kinds.BooleanType(),
}


def decide(
    master: str | None,
    found: Version,
    inputs: Inputs,
    columns: pa.Schema,
    output: SparkFolder,
    quarantine: Quarantine | None,
) -> Counts:
    """Write the decisions on all clients into `output`. `columns`: those that come out. Raises Refused."""
    with spark_session.opened(master, output.log) as session:
        archive = spark_session.sent(session, found.bundle)
        read = spark_reading.read(session, inputs, found.scorer.features)
        task = Task(archive, found.digest, read.chunks, quarantine is not None)
        counts = _Decision(session, read, task, inputs).write(_schema(read, columns), output)
        if quarantine is not None and counts.set_aside:
            _set_aside(read, task, inputs, quarantine, counts.set_aside)
        inputs.check_unchanged()
        return counts


def _schema(read: Read, columns: pa.Schema) -> kinds.StructType:
    """Those that come through are as Spark reads them, and those of the decision as Arrow has them."""
    text = kinds.StringType()
    found = {one.name: read.read_as.get(one.name, _KINDS.get(one.type, text)) for one in columns}
    return kinds.StructType([kinds.StructField(name, kind) for name, kind in found.items()])


class _Decision:
    """One job of Spark, and what its tasks tell."""

    def __init__(self, session: SparkSession, read: Read, task: Task, inputs: Inputs) -> None:
        self._session, self._read, self._task = session, read, task
        self._told = session.sparkContext.accumulator({}, spark_task.Union())
        self._order = {str(path): n for n, path in enumerate(inputs.paths)}
        self._failed: Exception | None = None

    def write(self, schema: kinds.StructType, output: SparkFolder) -> Counts:
        """Raises Refused, or what Spark raises."""
        decided = spark_session.mapped(self._read.rows, spark_task.decide(self._task, self._told), schema)
        writer = decided.write.option("compression", "zstd").option(*_COMMITTER).mode("append")
        self._watch(lambda: writer.parquet(f"file://{output.data.absolute()}"))
        counts = Counts()
        for _, told in self._pieces():
            counts.add(Counts.of_state(told["counts"]))
        _require_all(self._read.count, counts.clients + counts.set_aside, "clients")
        return counts

    def _watch(self, job: Callable[[], None]) -> None:
        """Until it has ended. What a task refuses ends it at once."""
        context = self._session.sparkContext
        context.setJobGroup(_GROUP, "score")
        thread = InheritableThread(target=self._do, args=(job,), daemon=True)
        thread.start()
        try:
            with Progress(0) as progress:
                self._look(thread, progress)
        except BaseException:
            context.cancelJobGroup(_GROUP)
            thread.join(_LEAVE_SECONDS)
            raise
        if self._failed is not None:
            raise self._failed

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001 - raised again in the main thread
            self._failed = error

    def _look(self, thread: threading.Thread, progress: Progress) -> None:
        shown = 0
        while True:
            thread.join(_LOOK_SECONDS)
            is_over = not thread.is_alive()
            pieces = self._pieces()
            for place, told in pieces:
                _refuse(place, told)
            clients = sum(told["counts"]["clients"] + told["counts"]["set_aside"] for _, told in pieces)
            progress.show(clients - shown, clients / self._read.count if self._read.count else None)
            shown = clients
            if is_over:
                return

    def _pieces(self) -> list[tuple[Place, dict[str, Any]]]:
        """In the order of the input."""
        told: Told = dict(self._told.value)
        return sorted(told.items(), key=lambda one: (self._order.get(one[0][0], -1), one[0][1]))


def _refuse(place: Place, told: Mapping[str, Any]) -> None:
    if "problem" in told:
        raise Refused(told["problem"])
    if "bad" in told:
        raise run.refused(*place, told["bad"])


def _set_aside(read: Read, task: Task, inputs: Inputs, quarantine: Quarantine, expected: int) -> None:
    """A second pass, of which the driver takes each row once. Raises Refused."""
    order = {str(path): n for n, path in enumerate(inputs.paths)}
    found = spark_session.mapped(read.rows, spark_task.set_aside(task, order), spark_task.SET_ASIDE)
    rows = found.repartition(1).sortWithinPartitions("place", "row").toLocalIterator()
    taken = 0
    for file, bad in _by_file(rows):
        quarantine.add(file, bad)
        taken += len(bad)
    _require_all(expected, taken, "rows that are not decided on")


def _require_all(expected: int, found: int, of_what: str) -> None:
    """Raises Refused."""
    if found != expected:
        raise Refused(f"Spark has given {found:,} {of_what}, and there are {expected:,}: begin anew")


def _by_file(rows: Iterator[Any]) -> Iterator[tuple[str, Sequence[Bad]]]:
    for file, of_it in itertools.groupby(rows, lambda row: str(row.file)):
        while some := list(itertools.islice(of_it, _AT_ONCE)):
            yield file, [Bad(row.row, row.reason, row.cells) for row in some]
