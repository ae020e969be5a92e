"""A session of Spark: quiet, on this machine alone unless a master is named, with this project's code."""

import atexit
import contextlib
import functools
import logging
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from batch import bundle_archive, temporary
from batch.arriving import writing
from batch.clients import MOST_ROWS
from batch.errors import Refused
from batch.spark_needs import MASTER
from journal.code_version import code_version
from mlflow_model import files, machine
from mlflow_model.bundle.bundles import Bundle

ROOT = Path(__file__).resolve().parents[1]
_ROOMS = ("batch", "explain", "features", "journal", "mlflow_model", "quality")
_LOCAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
}
PARTITIONS = "spark.sql.files.minPartitionNum"
# Exact values, all rows, and files for their owner alone.
_OURS = {
    "spark.executorEnv.OMP_NUM_THREADS": "1",
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",  # without files of checksums
    "spark.hadoop.fs.permissions.umask-mode": "077",
    "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "1",
    "spark.sql.caseSensitive": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(MOST_ROWS),
    "spark.sql.files.ignoreCorruptFiles": "false",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.session.timeZone": "UTC",
}


@contextlib.contextmanager
def opened(master: str | None, log: Path) -> Iterator[SparkSession]:
    """The session that there is already, or a new one, which ends with the block. Raises Refused.

    `master`: None for the usual one. `log`: where a new one writes, which stays if Spark fails.
    """
    active = SparkSession.getActiveSession()
    if active is not None:
        if master is not None:
            raise Refused("--master is not for the session of Spark that is there: leave it out")
        with _failures_in_words("the log of its driver has its own words"), _settings_of_ours(active):
            yield active
        return
    with _kept_if_spark_fails(log), _failures_in_words(f"its own words are in {log}"):
        session = _started(master or MASTER, log)
        try:
            yield session
        finally:
            with contextlib.suppress(Py4JError, OSError):  # of a Java process that is gone
                session.stop()


@contextlib.contextmanager
def _settings_of_ours(session: SparkSession) -> Iterator[None]:
    """In a session of somebody else's, who goes on with their own afterwards."""
    ours = {name: value for name, value in _OURS.items() if name.startswith("spark.sql.")}
    before = {name: session.conf.get(name, None) for name in (*ours, PARTITIONS)}
    try:
        for name, value in ours.items():
            session.conf.set(name, value)
        yield
    finally:
        with contextlib.suppress(Py4JError, OSError):  # of a Java process that is gone
            for name, former in before.items():
                if former is None:
                    session.conf.unset(name)
                else:
                    session.conf.set(name, former)


@contextlib.contextmanager
def _failures_in_words(where: str) -> Iterator[None]:
    try:
        yield
    except (PySparkException, Py4JError, ConnectionError) as error:  # the last: Java is gone
        room = machine.lacks_room(error)
        why = "Spark did not finish" if room is None else machine.NO_ROOM[room]
        raise SparkFailed(f"{why}; {where}") from error


class SparkFailed(Refused):
    """Spark, or the Java that it runs in, has ended the work, and not this project's code."""


@contextlib.contextmanager
def _kept_if_spark_fails(log: Path) -> Iterator[None]:
    """The file into which Spark's processes write instead of standard error. The next run writes it anew."""
    with writing(log):
        log.unlink(missing_ok=True)
        files.write(log, b"")
    try:
        yield
    except SparkFailed:
        raise
    except BaseException:
        log.unlink(missing_ok=True)
        raise
    log.unlink(missing_ok=True)


def _started(master: str, log: Path) -> SparkSession:
    with temporary.making():
        tempfile.gettempdir()  # which Spark asks for, too, in its own way
    for variable in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):
        os.environ.setdefault(variable, sys.executable)
    builder = SparkSession.builder.master(master).appName("scoring-client")
    is_here = master.startswith("local")
    for name, value in {**_OURS, **(_LOCAL if is_here else {})}.items():
        builder = builder.config(name, value)
    logging.getLogger().addFilter(_is_no_interruption)
    interrupted = signal.getsignal(signal.SIGINT)
    try:
        with _standard_error_into(log):
            return builder.getOrCreate()
    except OSError as error:
        why = machine.why_not_written(error)
        way_out = f"{log} has its own words, if it said any; check SPARK_HOME and what begins with PYSPARK_"
        raise SparkFailed(f"Spark does not start ({why}): {way_out}") from error
    finally:
        signal.signal(signal.SIGINT, interrupted)  # Spark's own would not let the command end in order


def _is_no_interruption(record: logging.LogRecord) -> bool:
    """Ctrl-C is no error; py4j shows a stack trace of it."""
    return not str(record.msg).startswith("KeyboardInterrupt while sending command")


@contextlib.contextmanager
def _standard_error_into(log: Path) -> Iterator[None]:
    """Of the processes that are started meanwhile, and of theirs."""
    kept = os.dup(2)
    try:
        with log.open("ab") as stream:
            os.dup2(stream.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def mapped(rows: DataFrame, work: Callable[[Any], Any], schema: StructType | pa.Schema) -> DataFrame:
    """`DataFrame.mapInArrow`, which speaks of pandas, though it uses none of it."""
    kinds = from_arrow_schema(schema) if isinstance(schema, pa.Schema) else schema
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        return rows.mapInArrow(work, kinds)


# ---- What travels


def sent(session: SparkSession, bundle: Bundle) -> str:
    """Have the code and the bundle sent to all executors. Returns the archive's name there."""
    context = session.sparkContext
    code = _kept(context.applicationId, f"scoring-client-{code_version()}.zip")
    if not code.exists():
        code.write_bytes(code_that_travels())
        context.addPyFile(str(code))
    archive = _kept(context.applicationId, f"bundle-{bundle.digest}.zip")
    if not archive.exists():
        archive.write_bytes(bundle_archive.pack(bundle))
        context.addFile(str(archive))
    return archive.name


def code_that_travels() -> bytes:
    """An archive of all rooms that `spark_task` imports from."""
    modules = {
        str(path.relative_to(ROOT)): path.read_bytes()
        for room in _ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
    }
    return bundle_archive.packed(modules)


def _kept(application: str, name: str) -> Path:
    return _folder(application) / name


@functools.cache
def _folder(application: str) -> Path:
    """Files that Spark serves as long as it lives."""
    with temporary.making():
        folder = Path(tempfile.mkdtemp(prefix="to-executors-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
