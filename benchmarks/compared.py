"""`python -m benchmarks.compared CHECKOUT`: this checkout's service beside that of an earlier one.

A machine's speed changes from one second to the next. Both are therefore measured in pairs, one right after
the other and each first in turn; what is reported is the median of the pairs' ratios, and their middle half.
"""

import argparse
import compileall
import functools
import hashlib
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from benchmarks import load
from benchmarks.markdown import table
from benchmarks.serving import EARLIER, OURS, Contender, Running, contenders, cores, serving
from mlflow_model import command

ROOT = Path(__file__).resolve().parents[1]
CONNECTIONS = (1, 8, 32, 200)
RATE = 500

T = TypeVar("T")
R = TypeVar("R")

# By what was measured: this checkout's value and the earlier one's, pair by pair.
Pairs = dict[str, list[tuple[float, float]]]


def report(earlier: Path, pairs: int = 12, seconds: int = 1, starts: int = 8) -> str:
    """The table, as markdown."""
    load.need_wrk()
    _compile(ROOT, earlier)
    found: Pairs = {}
    with tempfile.TemporaryDirectory() as scratch, tqdm(total=pairs + starts, disable=None) as bar:
        both = [one for one in contenders(Path(scratch), earlier) if one.name in (OURS, EARLIER)]
        _under_load(both, pairs, seconds, found, bar)
        _starts(both, Path(scratch), starts, found, bar)
    rows = [_row(name, values) for name, values in found.items()]
    heads = ["medians", "this checkout", "the earlier one", "ratio (middle half)"]
    title = f"{pairs} pairs of {seconds} s under load, {starts} pairs of starts, one worker."
    models = " and ".join(_model(checkout) for checkout in (ROOT, earlier))
    return f"{title} The models served have the SHA-256 {models}.\n\n{table(heads, rows)}"


def _compile(*checkouts: Path) -> None:
    """As every start after the first finds them, also where Python is told to keep no bytecode.

    Not the tests: bundles lie among them, and one with another file in its folder is refused.
    """
    for checkout in checkouts:
        packages = {file.parent for file in checkout.glob("*/__init__.py")} | {checkout / "api"}
        for package in sorted(packages - {checkout / "tests"}):
            compileall.compile_dir(package, quiet=2)


def _model(checkout: Path) -> str:
    content = (checkout / "models" / "lgbm_final_model.pkl").read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


def _under_load(both: Sequence[Contender], pairs: int, seconds: int, found: Pairs, bar: tqdm) -> None:
    mine, theirs = cores()
    with ExitStack() as stack:
        running = [stack.enter_context(serving(one, {min(mine)})) for one in both]
        for number in range(pairs):
            for connections in CONNECTIONS:
                loads = _in_turn(running, number, functools.partial(_flood, connections, seconds, theirs))
                title = f"{connections} connection{'s' if connections > 1 else ''}"
                _note(found, f"requests/s, {title}", [one.rate for one in loads])
                _note(found, f"CPU µs/request, {title}", [one.cpu for one in loads])
            loads = _in_turn(running, number, lambda one: _stream(one, 2 * seconds))
            _note(found, f"p50 at {RATE} requests/s, ms", [one.p50 for one in loads])
            _note(found, f"p99 at {RATE} requests/s, ms", [one.p99 for one in loads])
            bar.update()
        _note(found, "MB of a worker", [one.worker_megabytes() for one in running])
        _note(found, "MB of all processes", [one.megabytes() for one in running])


def _flood(connections: int, seconds: int, theirs: set[int], one: Running) -> load.Load:
    return one.flood(connections, seconds, theirs)


def _stream(one: Running, seconds: int) -> load.Load:
    return load.stream(one.port, one.contender.path, one.contender.bodies, RATE, seconds)


def _starts(both: Sequence[Contender], folder: Path, starts: int, found: Pairs, bar: tqdm) -> None:
    mine, _ = cores()
    for number in range(starts):
        empty = [
            replace(one, variables={**one.variables, "MODEL_CACHE": str(folder / f"{number}-{place}")})
            for place, one in enumerate(both)
        ]
        _note(found, "start from the verified copy, s", _in_turn(both, number, lambda one: _start(one, mine)))
        _note(found, "start without a copy, s", _in_turn(empty, number, lambda one: _start(one, mine)))
        bar.update()


def _start(one: Contender, mine: set[int]) -> float:
    with serving(one, mine) as started:
        return started.took


def _in_turn(both: Sequence[T], number: int, measure: Callable[[T], R]) -> list[R]:
    """What is measured of this checkout and of the earlier one, each first in every other pair."""
    found = [measure(one) for one in (both if number % 2 else both[::-1])]
    return found if number % 2 else found[::-1]


def _note(found: Pairs, name: str, values: Sequence[float]) -> None:
    ours, its = values
    found.setdefault(name, []).append((ours, its))


def _row(name: str, values: Sequence[tuple[float, float]]) -> list[str]:
    ours, its = zip(*values, strict=True)
    ratios = sorted(mine / former for mine, former in values)
    middle = statistics.median(ratios)
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    spread = f"{middle:.3f} ({low:.3f} to {high:.3f})" if len(ratios) > 1 else f"{middle:.3f}"
    return [name, f"{statistics.median(ours):,.4g}", f"{statistics.median(its):,.4g}", spread]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compared", description=__doc__)
    parser.add_argument("earlier", type=Path, metavar="CHECKOUT", help="another checkout of this project")
    parser.add_argument("--pairs", type=int, default=12, help="(default: 12)")
    parser.add_argument("--seconds", type=int, default=1, help="of each flood (default: 1)")
    parser.add_argument("--starts", type=int, default=8, help="pairs of starts (default: 8)")
    options = parser.parse_args(arguments)
    print(report(options.earlier, options.pairs, options.seconds, options.starts))


if __name__ == "__main__":
    command.begin()
    command.run(main)
