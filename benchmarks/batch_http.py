"""`python -m benchmarks.batch_http`: rows per second of an Arrow batch over HTTP, against the booster alone.

The server is `python api/app.py` with the shipped pickle, the booster LightGBM's own python package, with the
same number of threads (OMP_NUM_THREADS). Rounds are interleaved; medians and their ratio are printed.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import lightgbm
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc

from benchmarks.markdown import table
from features.catalogue import BY_NAME
from mlflow_model import command
from mlflow_model.handover import model_files

ROOT = Path(__file__).resolve().parents[1]
PICKLE = ROOT / "models" / "lgbm_final_model.pkl"
ROWS = 100_000
ROUNDS = 7
ARROW = "application/vnd.apache.arrow.stream"


def report() -> str:
    """The table, as markdown."""
    bundle, _ = model_files.convert(PICKLE)
    features = bundle.scorer().features
    matrix = clients(features)
    body = stream(features, matrix)
    booster = lightgbm.Booster(model_str=bundle.files["model.txt"].decode())
    with server() as port:
        answer = posted(port, body)
        probabilities = pa.ipc.open_stream(answer).read_all()["probability_class_1"].combine_chunks()
        if not np.array_equal(probabilities, booster.predict(matrix)):
            sys.exit("the two do not agree")
        alone, http = _interleaved(lambda: booster.predict(matrix), lambda: posted(port, body))
    heads = [f"{ROWS:,} rows, {os.environ['OMP_NUM_THREADS']} thread", "rows/s", "share (aim: at least 0.5)"]
    rows = [
        ["Booster.predict alone", f"{ROWS / alone:,.0f}", ""],
        ["Arrow to POST /predict/batch and back", f"{ROWS / http:,.0f}", f"{alone / http:.2f}"],
    ]
    return table(heads, rows)


def main() -> None:
    print(report())


def clients(features: tuple[str, ...]) -> npt.NDArray[np.float64]:
    generator = np.random.default_rng(0)
    bounds = [(BY_NAME[name].low, BY_NAME[name].high) for name in features]
    return np.column_stack([generator.uniform(low, high, ROWS) for low, high in bounds])


def stream(features: tuple[str, ...], matrix: npt.NDArray[np.float64]) -> bytes:
    table = pa.table({name: matrix[:, place] for place, name in enumerate(features)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


@contextmanager
def server() -> Iterator[int]:
    with tempfile.TemporaryDirectory() as cache:
        environment = {"JOURNAL_URL": "off", **os.environ, "MODEL_URI": str(PICKLE), "MODEL_CACHE": cache}
        log = Path(cache) / "log"
        with log.open("wb") as output:
            server = subprocess.Popen(  # noqa: S603 - this project's own command
                [sys.executable, str(ROOT / "api" / "app.py"), "--port", "0", "--workers", "1"],
                env=environment,
                stdout=output,
                stderr=output,
            )
        try:
            yield _ready(log)
        finally:
            server.terminate()
            server.wait()


def _ready(log: Path) -> int:
    for _ in range(300):
        time.sleep(0.1)
        found = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
        if found and _status(int(found[1]), "GET", "/ready")[0] == 200:
            return int(found[1])
    sys.exit(log.read_text())


def posted(port: int, body: bytes, content_type: str = ARROW, path: str = "/predict/batch") -> bytes:
    """The answer to a batch, or at another path."""
    status, answer = _status(port, "POST", path, body, content_type)
    if status != 200:
        sys.exit(answer.decode())
    return answer


def _status(
    port: int, method: str, path: str, body: bytes | None = None, content_type: str = ARROW
) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", port)) as connection:
        connection.request(method, path, body, {"Content-Type": content_type})
        response = connection.getresponse()
        return response.status, response.read()


def _interleaved(*contenders: Callable[[], object]) -> list[float]:
    """The median seconds of each."""
    seconds: list[list[float]] = [[] for _ in contenders]
    for _ in range(ROUNDS):
        for contender, taken in zip(contenders, seconds, strict=True):
            start = time.perf_counter()
            contender()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


if __name__ == "__main__":
    command.begin()
    command.run(main)
