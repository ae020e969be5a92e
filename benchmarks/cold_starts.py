"""`python -m benchmarks.cold_starts`: starts without a copy, each asked every 2 ms from the beginning.

After the first 200 no worker may say 503: readiness is the service's, whichever worker is asked.
"""

import argparse
import itertools
import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.markdown import table
from benchmarks.serving import OURS, PATIENCE, ROOT, Contender, contenders
from mlflow_model import command

WORKERS = 4
_PERIOD = 0.002


def statuses_after_the_first_200(contender: Contender, cache: Path, seconds: float) -> Counter[int]:
    """Of /ready and /predict in turns, each on a connection of its own, from a start with this cache."""
    questions = itertools.cycle([("GET", "/ready", None), ("POST", contender.path, contender.bodies[0])])
    found: Counter[int] = Counter()
    with _started(contender, cache) as port:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            status = _status(port, *next(questions))
            if status == 200 and not found:
                ends = time.monotonic() + seconds
            if status == 200 or found:
                found[status] += 1
            time.sleep(_PERIOD)
    return found


@contextmanager
def _started(contender: Contender, cache: Path) -> Iterator[int]:
    """The port, as soon as it is listened on."""
    with (
        tempfile.NamedTemporaryFile() as log,
        subprocess.Popen(  # noqa: S603 - our own command
            contender.command(0, WORKERS),
            cwd=ROOT,
            env={"JOURNAL_URL": "off", **os.environ, **contender.variables, "MODEL_CACHE": str(cache)},
            stderr=log,
        ) as process,
    ):
        try:
            while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", Path(log.name).read_text())):
                time.sleep(_PERIOD)
            yield int(found[1])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def _status(port: int, method: str, path: str, body: bytes | None) -> int:
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            return connection.getresponse().status
        except OSError:
            return 0


def report(starts: int = 20, seconds: float = 2.0) -> str:
    """The table, as markdown."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        ours = next(one for one in contenders(Path(scratch)) if one.name == OURS)
        for number in range(1, starts + 1):
            found = statuses_after_the_first_200(ours, Path(scratch) / f"empty-{number}", seconds)
            rows.append([str(number), str(found[200]), str(found.total() - found[200])])
    title = f"{starts} starts without a copy, {WORKERS} workers, {seconds:g} s from the first 200 on."
    return f"{title}\n\n{table(['start', 'answers of 200', 'others'], rows)}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_starts", description=__doc__)
    parser.add_argument("--starts", type=int, default=20, help="(default: 20)")
    print(report(parser.parse_args(arguments).starts))


if __name__ == "__main__":
    command.begin()
    command.run(main)
