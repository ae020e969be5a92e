"""`python -m benchmarks.spark_cluster`: Spark on a cluster of this machine, with kills, beside one process.

A standalone cluster on 127.0.0.1: a master, and two workers of one core each. Clients as in
`benchmarks.batch_score`. After each scenario the output is compared with that of the command alone, by
SK_ID_CURR, in every bit. It ends with 1 if anything differs. The seconds are of the clock, start included.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.batch_score import PICKLE, ROOT, write_clients
from benchmarks.markdown import table
from mlflow_model import command
from mlflow_model.handover import model_files

CLIENTS = 300_000
KEY = "SK_ID_CURR"
_PATIENCE = 600.0
_SETTINGS = """
spark.driver.host 127.0.0.1
spark.driver.bindAddress 127.0.0.1
spark.driver.memory 1g
spark.executor.memory 1g
spark.ui.enabled false
spark.master.rest.enabled false
spark.sql.files.maxPartitionBytes 4m
"""


def main() -> int:
    options = _options()
    with command.terminable(), tempfile.TemporaryDirectory(prefix="cluster-") as place:
        found = []
        for one in _Scenarios(Path(place), options).all():
            found.append(one)
            print(f"{one.scenario}: {one.outcome}, {one.seconds:.1f} s", file=sys.stderr)
    rows = [[one.scenario, one.outcome, f"{one.seconds:.1f}"] for one in found]
    print(table([f"{options.clients:,} clients", "outcome", "s"], rows))
    return int(not all(one.is_right for one in found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark_cluster", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument(
        "--packed", type=Path, metavar="FILE", help="this environment on executors, too (.tar.gz)"
    )
    parser.add_argument("--packed-alone", action="store_true", help="and no other scenario")
    return parser.parse_args()


# ---- The cluster


class Cluster:
    """`workers`: their processes, each of which leads a group with its executors in it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, _free_port()
        self.url = f"spark://127.0.0.1:{self._port}"
        self.environment = _environment(folder)
        self.workers: list[subprocess.Popen[bytes]] = []
        web = ["--webui-port", "0"]
        self._master = self._started("Master", "--host", "127.0.0.1", "--port", str(self._port), *web)
        _until(lambda: _answers(self._port))
        for _ in range(2):
            self.add_worker()

    def add_worker(self) -> None:
        size = ["--cores", "1", "--memory", "1g", "--webui-port", "0", "--host", "127.0.0.1"]
        work = ["--work-dir", str(self._folder / f"work-{len(self.workers)}")]
        self.workers.append(self._started("Worker", *size, *work, self.url))

    def pack(self, archive: Path) -> None:
        """Have executors take their Python out of an archive that travels to them."""
        conf = self._folder / "conf" / "spark-defaults.conf"
        conf.write_text(f"{_SETTINGS}spark.archives {archive}#environment\n")
        self.environment["PYSPARK_PYTHON"] = "./environment/bin/python"

    def unpack(self) -> None:
        self.environment = _environment(self._folder)

    def kill_worker(self) -> None:
        """With its executor."""
        os.killpg(self.workers.pop().pid, signal.SIGKILL)

    def stop(self) -> None:
        for one in (*self.workers, self._master):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()

    def _started(self, role: str, *arguments: str) -> "subprocess.Popen[bytes]":
        import pyspark

        start = Path(pyspark.__file__).parent / "bin" / "spark-class"
        name = f"org.apache.spark.deploy.{role.lower()}.{role}"
        with (self._folder / "spark.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - Spark's own
                [str(start), name, *arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _environment(folder: Path) -> dict[str, str]:
    (folder / "conf").mkdir(exist_ok=True)
    (folder / "conf" / "spark-defaults.conf").write_text(_SETTINGS)
    python = {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    spark = {
        "SPARK_CONF_DIR": str(folder / "conf"),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    java = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}  # short lives on two cores
    return {**os.environ, **python, **spark, **java, "JOURNAL_URL": "off"}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > end:
            sys.exit("Nothing happens: see spark.log")
        time.sleep(0.05)


# ---- The scenarios


class Done(NamedTuple):
    scenario: str
    outcome: str
    is_right: bool
    seconds: float


class _Scenarios:
    def __init__(self, place: Path, options: argparse.Namespace) -> None:
        self._place, self._options = place, options
        clients = options.clients
        bundle, _ = model_files.convert(PICKLE)
        bundle.write(place / "bundle")
        write_clients(
            bundle, clients, place / "book.parquet", place / "book.csv", row_group=clients // 16 + 1
        )
        self._cluster: Cluster | None = None

    def all(self) -> Iterator[Done]:
        yield self._alone("book.parquet", "the command alone, Parquet")
        cluster = self._cluster = Cluster(self._place)
        try:
            if self._options.packed is not None:
                cluster.pack(self._options.packed.absolute())
                yield self._whole("book.parquet", "executors with a packed environment", lambda _: None)
                cluster.unpack()
            if self._options.packed_alone:
                return
            yield self._alone("book.csv", "the command alone, CSV")
            yield self._whole("book.parquet", "Spark, Parquet", lambda _: None)
            yield self._whole("book.csv", "Spark, CSV", lambda _: None)
            yield self._whole("book.parquet", "a worker killed after a task was committed", self._lose_worker)
            cluster.add_worker()
            yield from self._lose_driver()
        finally:
            cluster.stop()

    def _alone(self, book: str, scenario: str) -> Done:
        began = time.monotonic()
        running = self._run(book, f"{book}.here.parquet", {**os.environ, "JOURNAL_URL": "off"})
        _, said = running.communicate()
        seconds = time.monotonic() - began
        if running.returncode:
            sys.exit(said)
        return Done(
            scenario, f"{pq.read_metadata(self._place / f'{book}.here.parquet').num_rows:,}", True, seconds
        )

    def _whole(self, book: str, scenario: str, disturb: Callable[["subprocess.Popen[str]"], None]) -> Done:
        began = time.monotonic()
        output = f"{scenario.replace(' ', '-')}/"
        running = self._by_spark(book, output)
        disturb(running)
        _, said = running.communicate()
        seconds = time.monotonic() - began
        return self._judged(book, scenario, output, running.returncode, said, seconds)

    def _lose_worker(self, _: object) -> None:
        assert self._cluster is not None  # noqa: S101 - for mypy
        _until(lambda: any(self._place.glob("*.part/of-*/_temporary/0/task_*")))
        self._cluster.kill_worker()

    def _lose_driver(self) -> Iterator[Done]:
        book, output = "book.parquet", "driver/"
        began = time.monotonic()
        first = self._by_spark(book, output)
        _until(lambda: any((self._place / "driver.part").glob("of-*/_temporary/0/task_*")))
        first.kill()
        first.communicate()
        is_absent = not (self._place / "driver").exists()
        yield Done("the driver killed", "no output has its name", is_absent, time.monotonic() - began)
        again = self._by_spark(book, output)
        _, said = again.communicate()
        refused = f"exit code {again.returncode}: {said.strip().rpartition(': ')[2]}"
        yield Done("run again", refused, again.returncode == 2, 0.0)
        began = time.monotonic()
        resumed = self._by_spark(book, output, "--resume")
        _, said = resumed.communicate()
        seconds = time.monotonic() - began
        yield self._judged(book, "run again with --resume", output, resumed.returncode, said, seconds)

    def _judged(self, book: str, scenario: str, output: str, code: int, said: str, seconds: float) -> Done:
        if code:
            return Done(scenario, f"exit code {code}: {said.strip()[-200:]}", False, seconds)
        wanted, found = _sorted(self._place / f"{book}.here.parquet"), _sorted(self._place / output)
        once = len(set(found[KEY].to_pylist())) == len(found) == len(wanted)
        differing = sum(_bits(found[name]) != _bits(wanted[name]) for name in wanted.column_names)
        parts = len(list((self._place / output).glob("*.parquet")))
        outcome = f"{parts} parts, each client {'once' if once else 'NOT once'}, {differing} columns differ"
        return Done(scenario, outcome, once and not differing, seconds)

    def _by_spark(self, book: str, output: str, *more: str) -> "subprocess.Popen[str]":
        assert self._cluster is not None  # noqa: S101 - for mypy
        master = ("--engine", "spark", "--master", self._cluster.url)
        return self._run(book, output, self._cluster.environment, *master, *more)

    def _run(
        self, book: str, output: str, environment: Mapping[str, str], *more: str
    ) -> "subprocess.Popen[str]":
        places = ["--input", book, "--output", output, "--model", "bundle"]
        return subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "batch", "score", *places, *more],
            cwd=self._place,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )


def _sorted(output: Path) -> pa.Table:
    found = pq.read_table(output)
    place = found.schema.get_field_index("prediction")
    plain = found["prediction"].cast(pa.utf8())
    key = found[KEY].cast(pa.int64())
    return found.set_column(place, "prediction", plain).set_column(0, KEY, key).sort_by(KEY)


def _bits(column: pa.ChunkedArray) -> bytes:
    """What a column holds, so that two doubles are the same only if all bits are."""
    whole = column.combine_chunks()
    whole = whole.view(pa.int64()) if whole.type == pa.float64() else whole
    return "\n".join(map(str, whole.to_pylist())).encode()


if __name__ == "__main__":
    command.begin("pyspark", "lightgbm", "pyarrow")
    command.run(main)
