"""`python -m benchmarks.predict_function`: what one POST /predict costs, without the transport.

The shipped model and 1,000 different clients, every contender in each round, in turn, on one thread. The
first row alone asks about one client again and again, which the processor then knows by heart.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from api.counting.tally import Tally
from api.deciding import one_client, strict_json
from api.deciding.service import Service
from api.delivery.news import Copy, News
from api.delivery.served import ServedModel
from benchmarks import clients
from benchmarks.markdown import table
from mlflow_model import command
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.handover import model_files

PICKLE = Path(__file__).resolve().parents[1] / "models" / "lgbm_final_model.pkl"
BOOSTER, WHOLE, UNCOUNTED = "the booster's own call", "Service.predict", "the same, nothing counted"

Contender = tuple[Callable[[Any], object], Sequence[Any]]


def contenders(service: Service) -> dict[str, Contender]:
    """Each a function of one argument, and the arguments that it gets in turn."""
    scorer = service.served.model.scorer
    different = clients.different(scorer)
    bodies = clients.bodies(different)
    rows = [[math.nan if value is None else value for value in one.values()] for one in different]
    uncounted = Service(service.served, tally=NoTally())
    return {
        "the booster's own call, one client": (scorer._booster.probability, rows[:1] * len(rows)),
        BOOSTER: (scorer._booster.probability, rows),
        "Scorer.decide": (scorer.decide, different),
        "reading the body": (lambda body: strict_json.parse(body, scorer.features), bodies),
        "writing the answer": (one_client.written, [*map(scorer.decide, different)]),
        WHOLE: (lambda body: service.predict("application/json", None, None, body, "0"), bodies),
        UNCOUNTED: (lambda body: uncounted.predict("application/json", None, None, body, "0"), bodies),
        "the careful path": (lambda body: careful(scorer, body), bodies),
    }


class NoTally(Tally):
    def decided(self, *_: object) -> None:
        """Counts nothing."""


def careful(scorer: Scorer, body: bytes) -> bytes:
    """The same answer by the strict reader, the rule of each value, and json.dumps."""
    client = MappingProxyType(strict_json.strict(body, scorer.features))  # no dict is no ordinary client
    return json.dumps(scorer.decide(client), ensure_ascii=False).encode()


def measure(calls: Mapping[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Microseconds of processor time a call, sorted, by contender."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (call, asked) in calls.items():
            started = time.process_time()
            for one in asked:
                call(one)
            times[name].append((time.process_time() - started) / len(asked) * 1e6)
    return {name: sorted(found) for name, found in times.items()}


def report(rounds: int = 100) -> str:
    """The table, as markdown."""
    bundle, _ = model_files.convert(PICKLE)
    served = ServedModel()
    with tempfile.TemporaryDirectory() as folder:
        bundle.write(Path(folder) / bundle.digest)
        served.hear(News(Copy(str(Path(folder) / bundle.digest), PICKLE.name, None, None)))
    times = measure(contenders(Service(served)), rounds)
    alone, whole, uncounted = (statistics.median(times[name]) for name in (BOOSTER, WHOLE, UNCOUNTED))
    rows = [
        [name, f"{statistics.median(found):.2f}", *_tenths(found), f"{statistics.median(found) / alone:.2f}"]
        for name, found in times.items()
    ]
    found = table(["CPU µs a call", "median", "10 %", "90 %", "times the booster's"], rows)
    return (
        f"{found}\n\nWith metrics it keeps {uncounted / whole:.2f} of its speed without (aim: at least 0.9)."
    )


def _tenths(found: Sequence[float]) -> tuple[str, str]:
    return f"{found[len(found) // 10]:.2f}", f"{found[-len(found) // 10]:.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.predict_function", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args(arguments).rounds
    print(report(rounds))


if __name__ == "__main__":
    command.begin()
    command.run(main)
