"""`python -m benchmarks [NAME ...]`: run benchmarks and write what they found into benchmarks/RESULTS.md.

Each has a section of its own there, which it replaces; the others stay as they are.
"""

import argparse
import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import (
    batch_http,
    batch_score,
    beside,
    changes,
    compared,
    explanations,
    features,
    gate,
    journal,
    journal_writers,
    live,
    many_rows,
    predict_function,
    quality,
    recording,
    reliability,
    server,
)
from mlflow_model import command

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
REAL = ROOT.parent / "shared" / "data" / "home_credit_sample"
PLOTS = ROOT / "benchmarks"
PACKAGES = ("mlflow", "lightgbm", "uvicorn", "flask", "duckdb", "pandas")


def _with_plot(name: str, report: Callable[..., str], shown: str, **options: object) -> str:
    plot = PLOTS / f"{name}.svg"
    return f"{report(plot=plot, **options)}\n\n![{shown}]({plot.name})"


# These compare with an earlier checkout of this project; the first does nothing else.
COMPARED = "compared"
COMPARABLE = frozenset({COMPARED, "live"})
BENCHMARKS: Mapping[str, tuple[str, Callable[..., str]]] = {
    "server": (
        "/predict against other servers",
        functools.partial(
            _with_plot, "server", server.report, "Requests per second by the number of connections"
        ),
    ),
    COMPARED: ("/predict beside an earlier commit", compared.report),
    "reliability": ("Slow clients and a long run", reliability.report),
    "live": (
        "New versions under load",
        functools.partial(_with_plot, "live", live.report, "Answers by version while the alias moves"),
    ),
    "predict_function": ("The function behind /predict", predict_function.report),
    "many_rows": ("Scoring many clients at once", many_rows.report),
    "batch_http": ("Batches over HTTP", batch_http.report),
    "batch_score": ("Whole books of clients", batch_score.report),
    "beside": ("/predict beside explanations and batches", beside.report),
    "recording": ("/predict with a journal and without", recording.report),
    "journal_writers": ("One process writes the journal", journal_writers.report),
    "explanations": ("What an explanation costs", explanations.report),
    "journal": ("The journal of decisions", journal.report),
    "features": ("Features of 356,255 clients from 28 million rows", features.report),
    "gate": ("Power and size of the gate", gate.report),
    "changes": (
        "What each change of the training brought",
        lambda: changes.report(real=REAL if REAL.is_dir() else None),
    ),
    "quality": ("The models", lambda: quality.report(real=REAL if REAL.is_dir() else None)),
}
# What --short passes to some of them.
SHORT: Mapping[str, Mapping[str, int]] = {
    "server": {"rounds": 3, "seconds": 1, "starts": 1},
    "predict_function": {"rounds": 20},
    "batch_score": {"rounds": 2},
    "beside": {"rounds": 3, "seconds": 3},
}
TITLE = """# Results

Made by `make bench`; a section by `make bench BENCH=<its name>`. Ratios travel, times do not.

Sections up to 2026-11-26 ask /predict about one client again and again. The processor then knows the way
through the trees by heart: these figures flatter, most of all ours. Later ones ask about 1,000 different
clients, all contenders alike; the first two rows of
[the function behind /predict](#the-function-behind-predict) tell the difference.
"""


def section(name: str, options: argparse.Namespace) -> str:
    """A benchmark's part of the page, made now."""
    title, run = BENCHMARKS[name]
    beside = options.earlier if name in COMPARABLE else None
    changed = SHORT.get(name, {}) if options.short else {}
    found = run(**changed) if beside is None else run(earlier=beside, **changed)
    circumstances = _circumstances(name, options, beside)
    return f"<!-- {name} -->\n## {title}\n\n{circumstances}\n\n{found}\n<!-- end of {name} -->\n"


def _circumstances(name: str, options: argparse.Namespace, earlier: Path | None) -> str:
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    cores = len(os.sched_getaffinity(0))
    beside = "" if earlier is None else f" beside commit {_commit(earlier)}"
    command = f"python -m benchmarks {name}{' --short' if options.short else ''}"
    note = f" {options.note}" if options.note else ""
    return (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, commit {_commit(ROOT)}{beside}, {_processor()}, "
        f"{cores} cores, {platform.system()}, Python {platform.python_version()}, {versions}.{note}"
    )


def _commit(checkout: Path) -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    said = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)  # noqa: S603
    return said.stdout.strip() or "unknown"


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def replaced(page: str, name: str, made: str) -> str:
    """The page with this section in its place, in the order of BENCHMARKS."""
    sections = {
        one: found[0]
        for one in BENCHMARKS
        if (found := re.search(rf"<!-- {one} -->\n.*?<!-- end of {one} -->\n", page, re.DOTALL))
    }
    sections[name] = made
    return "\n".join([TITLE, *(sections[one] for one in BENCHMARKS if one in sections)])


def write(page: str) -> None:
    arriving = RESULTS.with_suffix(".arriving")
    arriving.write_text(page, encoding="utf-8")
    arriving.replace(RESULTS)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument(
        "--earlier", type=Path, help=f"another checkout, to compare {' and '.join(sorted(COMPARABLE))} with"
    )
    parser.add_argument("--short", action="store_true", help="fewer rounds, where that is possible")
    parser.add_argument("--note", metavar="SENTENCE", help="what else is to be said of the machine")
    options = parser.parse_args(arguments)
    names = options.names or [name for name in BENCHMARKS if name != COMPARED or options.earlier]
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    if COMPARED in names and options.earlier is None:
        parser.error(f"{COMPARED} needs --earlier CHECKOUT")
    for name in names:
        print(f"{name} ...", file=sys.stderr)
        made = section(name, options)
        write(replaced(RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "", name, made))
    return 0


if __name__ == "__main__":
    command.begin()
    command.run(main)
