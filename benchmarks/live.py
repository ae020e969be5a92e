"""`python -m benchmarks.live`: the champion moves between two versions while clients ask 200 times a second.

Every answer names the version that gave it, and is held against that version's threshold. A version has
arrived when the last answer of the former one has been given.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from benchmarks import load
from benchmarks.markdown import table
from benchmarks.serving import EARLIER, OURS, Contender, contenders, serving
from mlflow_model import command

WORKERS = 4
RATE = 200
CLIENTS = 16
# A client takes another connection so often, and thereby meets every worker.
PER_CONNECTION = 10
QUIET_SECONDS = 1.5
PATIENCE = 60.0
OTHER_THRESHOLD = 0.5


@dataclass(frozen=True)
class Given:
    """One answer: when it came, how long it took, its status, the version it names, the threshold in it."""

    at: float
    seconds: float
    status: int
    version: str
    threshold: float


@dataclass
class Course:
    """What was answered, and when the alias was moved to which version."""

    answers: list[Given] = field(default_factory=list)
    lost: int = 0
    moves: list[tuple[float, str]] = field(default_factory=list)

    def arrivals(self) -> list[float]:
        """Seconds from each move to the last answer of the former version."""
        ends = [*(when for when, _ in self.moves[1:]), float("inf")]
        return [
            max(
                (one.at for one in self.answers if when < one.at < end and one.version != version),
                default=when,
            )
            - when
            for (when, version), end in zip(self.moves, ends, strict=True)
        ]


@dataclass(frozen=True)
class Served:
    """What a checkout's service answered, and the thresholds of its two versions."""

    course: Course
    thresholds: Mapping[str, float]


def report(moves: int = 20, plot: Path | None = None, earlier: Path | None = None) -> str:
    """The table, as markdown; the plot, if it has a place.

    `earlier`: another checkout of this project, which has its turn after this one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        found = [
            _served(one, moves) for one in contenders(Path(scratch), earlier) if one.name in (OURS, EARLIER)
        ]
    if plot is not None:
        _draw(found[0].course, plot)
    before_and_after = [_before_and_after(*found)] if earlier is not None else []
    return "\n\n".join([*before_and_after, _table(found[0])])


def _served(one: Contender, moves: int) -> Served:
    thresholds = _two_versions(one)
    with serving(one, os.sched_getaffinity(0), WORKERS) as running:
        return Served(asyncio.run(_observed(running.port, one, moves)), thresholds)


def _two_versions(one: Contender) -> dict[str, float]:
    """Version 1 is champion. Gives the thresholds by version."""
    os.environ.update(one.variables)
    command = [sys.executable, "register.py", "--threshold", str(OTHER_THRESHOLD), "--alias", "candidate"]
    subprocess.run(command, cwd=one.checkout, check=True, capture_output=True)  # noqa: S603 - our own command
    from mlflow_model.registry import listing

    found = listing.listed()
    return {str(version.number): float(version.tags["policy.threshold"]) for version in found}


async def _observed(port: int, ours: Contender, count: int) -> Course:
    from mlflow_model.registry import moves

    course, stop = Course(), asyncio.Event()
    clients = [asyncio.create_task(_ask(port, ours, course, stop, number)) for number in range(CLIENTS)]
    await asyncio.sleep(2 * QUIET_SECONDS)
    for number in tqdm(range(count), unit=" moves", disable=None):
        version = str(2 - number % 2)
        moved = time.monotonic()
        await asyncio.to_thread(moves.promote, int(version))
        course.moves.append((moved, version))
        while not _is_settled(course, version):
            if time.monotonic() > moved + PATIENCE:
                raise TimeoutError(f"version {version} does not arrive")
            await asyncio.sleep(0.1)
    stop.set()
    await asyncio.gather(*clients)
    return course


def _is_settled(course: Course, version: str) -> bool:
    """Whether all answers of the last seconds were this version's."""
    since = time.monotonic() - QUIET_SECONDS
    recent = []
    for one in reversed(course.answers):
        if one.at < since:
            break
        recent.append(one.version)
    return set(recent) == {version}


async def _ask(port: int, ours: Contender, course: Course, stop: asyncio.Event, number: int) -> None:
    requests = itertools.cycle([load.request_of(ours.path, body) for body in ours.bodies])
    period = CLIENTS / RATE
    due = time.monotonic() + period * number / CLIENTS
    while not stop.is_set():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(PER_CONNECTION):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += period
            try:
                course.answers.append(await _answer(reader, writer, next(requests)))
            except (OSError, asyncio.IncompleteReadError):
                course.lost += 1
                break
        writer.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Given:
    started = time.monotonic()
    writer.write(request)
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    content = json.loads(await reader.readexactly(int(headers["content-length"])))
    at = time.monotonic()
    version, threshold = headers.get("x-model-version", ""), content.get("optimal_threshold", 0.0)
    return Given(at, at - started, int(status_line.split()[1]), version, threshold)


def _before_and_after(ours: Served, former: Served) -> str:
    """This checkout's figures over the earlier one's: none should rise."""
    rows = []
    for (name, mine), (_, its) in zip(_figures(ours.course), _figures(former.course), strict=True):
        rows.append([name, f"{mine:.3g}", f"{its:.3g}", f"{mine / its:.3f}"])
    return table(["", "this checkout", "the earlier one", "ratio"], rows)


def _figures(course: Course) -> list[tuple[str, float]]:
    arrivals, latencies = course.arrivals(), _latencies(course)
    return [
        ("median arrival, s", statistics.median(arrivals)),
        ("slowest arrival, s", max(arrivals)),
        ("p50, ms", latencies[499]),
        ("p99, ms", latencies[989]),
        ("p99.9, ms", latencies[998]),
    ]


def _latencies(course: Course) -> list[float]:
    """The 999 that part the answers in thousandths, in milliseconds."""
    return statistics.quantiles((1e3 * one.seconds for one in course.answers), n=1000)


def _table(served: Served) -> str:
    course, thresholds = served.course, served.thresholds
    statuses = Counter(one.status for one in course.answers)
    wrong = sum(one.status == 200 and one.threshold != thresholds[one.version] for one in course.answers)
    arrivals = course.arrivals()
    latencies = _latencies(course)
    rows = [
        ("answers", f"{len(course.answers):,}", ""),
        ("of them other than 200", str(sum(statuses.values()) - statuses[200]), "0"),
        ("of them with another threshold than their version's", str(wrong), "0"),
        ("requests lost", str(course.lost), "0"),
        ("slowest arrival at all workers, s", f"{max(arrivals):.1f}", "at most 10"),
        ("median arrival, s", f"{statistics.median(arrivals):.1f}", ""),
        ("p50 / p99 / p99.9, ms", " / ".join(f"{latencies[at]:.3g}" for at in (499, 989, 998)), ""),
    ]
    title = f"{len(course.moves)} moves of the alias, {WORKERS} workers, {RATE} requests/s, looks every 5 s."
    return f"{title}\n\n{table(['', 'measured', 'aim'], [list(row) for row in rows])}"


def _draw(course: Course, place: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "live"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 3.6), layout="constrained")
    begin = course.answers[0].at
    for version, colour in (("1", "tab:blue"), ("2", "tab:orange")):
        chosen = [one for one in course.answers if one.version == version]
        axes.scatter(
            [one.at - begin for one in chosen],
            [1e3 * one.seconds for one in chosen],
            s=1,
            c=colour,
            label=f"version {version}",
            rasterized=True,
        )
    for number, (when, _) in enumerate(course.moves):
        label = "the alias moves" if number == 0 else None
        axes.axvline(when - begin, color="black", linewidth=0.6, linestyle=":", label=label)
    axes.set(xlabel="seconds", ylabel="ms to the answer", yscale="log")
    figure.legend(loc="outside upper center", ncols=3, markerscale=6, fontsize="small")
    figure.savefig(place, dpi=150, metadata={"Date": None})
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--moves", type=int, default=20, help="(default: 20)")
    parser.add_argument("--plot", type=Path, help="an SVG file for the plot")
    parser.add_argument("--earlier", type=Path, help="another checkout of this project, to compare with")
    options = parser.parse_args(arguments)
    print(report(options.moves, options.plot, options.earlier))


if __name__ == "__main__":
    command.begin()
    command.run(main)
