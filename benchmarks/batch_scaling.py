"""`python -m benchmarks.batch_scaling`: rows a second and memory of a book, by the command and by Spark.

From Parquet into Parquet, on one core and on two (taskset), with 10⁵, 10⁶ and, with --most, 10⁷ clients as in
`benchmarks.batch_score`. Start included. Processor time and memory are those of all processes, looked at five
times a second; memory is each one's share (PSS). The picture is docs/images/batch_scaling.svg.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.batch_score import PICKLE, ROOT, write_clients
from benchmarks.markdown import table
from mlflow_model import command
from mlflow_model.handover import model_files

PICTURE = ROOT / "docs" / "images" / "batch_scaling.svg"
ROWS, MOST = (100_000, 1_000_000), 10_000_000
_LOOK_SECONDS = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")
_SETTINGS = "spark.driver.memory 1g\n"


class Cost(NamedTuple):
    engine: str
    cores: int
    rows: int
    seconds: float
    processor: float
    megabytes: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch_scaling", description=__doc__)
    parser.add_argument("--most", action="store_true", help="10 million clients, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scaling-") as place:
        costs = list(_costs(Path(place), (*ROWS, MOST) if options.most else ROWS))
    print(_shown(costs))
    _draw(costs)


def _costs(place: Path, sizes: Sequence[int]) -> Iterator[Cost]:
    bundle, _ = model_files.convert(PICKLE)
    bundle.write(place / "bundle")
    (place / "spark-defaults.conf").write_text(_SETTINGS)
    for rows in sizes:
        write_clients(bundle, rows, place / "book.parquet", row_group=rows // 16)
        for cores in (1, 2):
            for engine in ("the command", "Spark"):
                yield _cost(place, engine, cores, rows)


def _cost(place: Path, engine: str, cores: int, rows: int) -> Cost:
    way = (
        ["--threads", str(cores)]
        if engine != "Spark"
        else ["--engine", "spark", "--master", f"local[{cores}]"]
    )
    places = ["--input", "book.parquet", "--output", "out/", "--model", "bundle"]
    command = [sys.executable, "-m", "batch", "score", *places, *way]
    environment = {**os.environ, "JOURNAL_URL": "off", "PYTHONPATH": str(ROOT), "SPARK_CONF_DIR": str(place)}
    began = time.monotonic()
    with (place / "said").open("wb") as said:
        process = subprocess.Popen(  # noqa: S603 - our own command
            ["taskset", "-c", ",".join(map(str, range(cores))), *command],  # noqa: S607
            cwd=place,
            env=environment,
            stderr=said,
        )
        processor, kilobytes = _watched(process)
    seconds = time.monotonic() - began
    if process.returncode:
        sys.exit((place / "said").read_text(errors="replace"))
    shutil.rmtree(place / "out")
    cost = Cost(engine, cores, rows, seconds, processor, kilobytes / 1024)
    print(cost, file=sys.stderr)
    return cost


def _watched(process: "subprocess.Popen[bytes]") -> tuple[float, float]:
    """Seconds of the processor and kilobytes at the peak, of the process and of all below it."""
    ticks: dict[int, int] = {}
    most = 0
    while process.poll() is None:
        below = _below(process.pid)
        most = max(most, sum(map(_kilobytes, below)))
        ticks |= {pid: used for pid in below if (used := _ticks(pid)) is not None}
        time.sleep(_LOOK_SECONDS)
    return sum(ticks.values()) / _TICKS, most


def _below(root: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [root]
    for one in found:
        found += [pid for pid, parent in parents.items() if parent == one]
    return found


def _ticks(pid: int) -> int | None:
    try:
        cells = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(cells[11]) + int(cells[12])


def _kilobytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def _shown(costs: Sequence[Cost]) -> str:
    rows = [
        [
            f"{one.rows:,}",
            one.engine,
            str(one.cores),
            f"{one.seconds:.1f}",
            f"{one.rows / one.seconds:,.0f}",
            f"{one.processor:.1f}",
            f"{one.megabytes:,.0f}",
        ]
        for one in costs
    ]
    return table(["clients", "by", "cores", "s", "rows/s", "CPU s", "peak MB"], rows)


def _draw(costs: Sequence[Cost]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "scaling"
    from matplotlib import pyplot

    figure, (speed, memory) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for engine, colour in (("the command", "#0b5394"), ("Spark", "#b45f06")):
        for cores, style in ((1, "--o"), (2, "-s")):
            of = [one for one in costs if (one.engine, one.cores) == (engine, cores)]
            name = f"{engine}, {cores} core{'s' if cores > 1 else ''}"
            sizes = [one.rows for one in of]
            speed.plot(sizes, [one.rows / one.seconds for one in of], style, color=colour, label=name)
            memory.plot(sizes, [one.megabytes for one in of], style, color=colour, label=name)
    for axes, title in ((speed, "Clients a second, start included"), (memory, "Megabytes at the peak")):
        axes.set(xscale="log", title=title, xlabel="clients")
        axes.grid(visible=True, alpha=0.3)
        axes.set_ylim(bottom=0)
    speed.legend()
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    command.begin("pyspark", "lightgbm", "pyarrow", "matplotlib")
    command.run(main)
