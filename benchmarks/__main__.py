"""`python -m benchmarks [NAME ...]`: run benchmarks and write what they found into benchmarks/RESULTS.md.

Each has a section of its own there, which it replaces; the others stay as they are.
"""

import argparse
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import batch_http, beside, features, live, predict_function, quality, reliability, server

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
REAL = ROOT.parent / "shared" / "data" / "home_credit_sample"
PLOTS = ROOT / "benchmarks"
PACKAGES = ("mlflow", "lightgbm", "uvicorn", "flask", "duckdb", "pandas")

BENCHMARKS: Mapping[str, tuple[str, Callable[[], str]]] = {
    "server": (
        "/predict against other servers",
        lambda: _with_plot("server", server.report, "Requests per second by the number of connections"),
    ),
    "reliability": ("Slow clients and a long run", reliability.report),
    "live": (
        "New versions under load",
        lambda: _with_plot("live", live.report, "Answers by version while the alias moves"),
    ),
    "predict_function": ("The function behind /predict", predict_function.report),
    "batch_http": ("Batches over HTTP", batch_http.report),
    "beside": ("/predict beside batches", beside.report),
    "features": ("Features of 356,255 clients from 28 million rows", features.report),
    "quality": ("The models", lambda: quality.report(real=REAL if REAL.is_dir() else None)),
}
TITLE = """# Results

Made by `make bench`; a section by `make bench BENCH=<its name>`. Ratios travel, times do not.
"""


def _with_plot(name: str, report: Callable[..., str], shown: str) -> str:
    plot = PLOTS / f"{name}.svg"
    return f"{report(plot=plot)}\n\n![{shown}]({plot.name})"


def section(name: str) -> str:
    """A benchmark's part of the page, made now."""
    title, run = BENCHMARKS[name]
    return f"<!-- {name} -->\n## {title}\n\n{_circumstances(name)}\n\n{run()}\n<!-- end of {name} -->\n"


def _circumstances(name: str) -> str:
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    cores = len(os.sched_getaffinity(0))
    return (
        f"`python -m benchmarks {name}`, {datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, "
        f"{_processor()}, {cores} cores, {platform.system()}, Python {platform.python_version()}, {versions}."
    )


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
    names = parser.parse_args(arguments).names or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    for name in names:
        print(f"{name} ...", file=sys.stderr)
        made = section(name)
        write(replaced(RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "", name, made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
