"""`python -m benchmarks.predict_function`: what one POST /predict costs, without the transport.

The shipped model and the documented body, every contender in each round, in turn, on one thread.
"""

import argparse
import json
import os
import statistics
import tempfile
import timeit
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

os.environ.setdefault("OMP_NUM_THREADS", "1")

from api.counting.tally import Tally
from api.deciding import one_client, strict_json
from api.deciding.service import Service
from api.delivery.news import Copy, News
from api.delivery.served import ServedModel
from benchmarks.markdown import table
from features.catalogue import example_client
from mlflow_model import command
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.handover import model_files

PICKLE = Path(__file__).resolve().parents[1] / "models" / "lgbm_final_model.pkl"
CALLS = 500
WHOLE, UNCOUNTED = "Service.predict", "the same, nothing counted"


def contenders(service: Service) -> dict[str, Callable[[], object]]:
    """The booster alone comes first: the others are told as multiples of it."""
    scorer = service.served.model.scorer
    client = example_client(scorer.features)
    missing = client | dict.fromkeys(scorer.nullable & {"EXT_SOURCE_1"})
    body, with_null = json.dumps(client).encode(), json.dumps(missing).encode()
    row = [float(client[name]) for name in scorer.features]
    decision = scorer.decide(client)
    uncounted = Service(service.served, tally=NoTally())
    return {
        "the booster's own call": lambda: scorer._booster.probability(row),
        "Scorer.decide": lambda: scorer.decide(client),
        "reading the body": lambda: strict_json.parse(body, scorer.features),
        "writing the answer": lambda: one_client.written(decision),
        WHOLE: lambda: service.predict("application/json", None, None, body, "0"),
        UNCOUNTED: lambda: uncounted.predict("application/json", None, None, body, "0"),
        "the same, EXT_SOURCE_1 null": lambda: service.predict(
            "application/json", None, None, with_null, "0"
        ),
        "the careful path": lambda: careful(scorer, body),
    }


class NoTally(Tally):
    def decided(self, *_: object) -> None:
        """Counts nothing."""


def careful(scorer: Scorer, body: bytes) -> bytes:
    """The same answer by the strict reader, the rule of each value, and json.dumps."""
    client = MappingProxyType(strict_json.strict(body, scorer.features))  # no dict is no ordinary client
    return json.dumps(scorer.decide(client), ensure_ascii=False).encode()


def measure(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Microseconds a call, sorted, by contender."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(timeit.timeit(call, number=CALLS) / CALLS * 1e6)
    return {name: sorted(found) for name, found in times.items()}


def report(rounds: int = 200) -> str:
    """The table, as markdown."""
    bundle, _ = model_files.convert(PICKLE)
    served = ServedModel()
    with tempfile.TemporaryDirectory() as folder:
        bundle.write(Path(folder) / bundle.digest)
        served.hear(News(Copy(str(Path(folder) / bundle.digest), PICKLE.name, None, None)))
    times = measure(contenders(Service(served)), rounds)
    alone, whole, uncounted = (
        statistics.median(times[name]) for name in (next(iter(times)), WHOLE, UNCOUNTED)
    )
    rows = [
        [name, f"{statistics.median(found):.2f}", *_tenths(found), f"{statistics.median(found) / alone:.2f}"]
        for name, found in times.items()
    ]
    found = table(["microseconds a call", "median", "10 %", "90 %", "times the booster's"], rows)
    return (
        f"{found}\n\nWith metrics it keeps {uncounted / whole:.2f} of its speed without (aim: at least 0.9)."
    )


def _tenths(found: Sequence[float]) -> tuple[str, str]:
    return f"{found[len(found) // 10]:.2f}", f"{found[-len(found) // 10]:.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.predict_function", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args(arguments).rounds
    print(report(rounds))


if __name__ == "__main__":
    command.begin()
    command.run(main)
