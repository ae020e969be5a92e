"""`python -m benchmarks.explanations`: what an explanation costs, of processor time and on one thread.

500 drawn clients whom the shipped model does not take for reliable, and all that is computed for each of
them, in turn. The last row scores all points of one pair of levers by LightGBM's call for a table instead.
"""

import argparse
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks import clients
from benchmarks.clients import Client
from benchmarks.markdown import table
from explain import contributions, explanation, loans, population
from explain.leaves import Leaves
from explain.loans import LESS_CREDIT, LEVERS, LONGER, Lever
from explain.search import Question, Wanted
from explain.tariff import PLAUSIBLE
from mlflow_model import command
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.handover import model_files
from mlflow_model.processes import ROOT

PICKLE = ROOT / "models" / "lgbm_final_model.pkl"
CLIENTS = 500
AIMS = {"one lever": 3.0, "two levers": 8.0, "the whole answer": 40.0}  # ms, 99th percentile
BY_TABLE = "two levers, every point by LightGBM's call for a table"


def report(count: int = CLIENTS) -> str:
    """The table, as markdown."""
    scorer = model_files.convert(PICKLE)[0].scorer()
    leaves, others = Leaves.of_text(scorer.model_text), population.of_facts(scorer.population)
    seconds: dict[str, list[float]] = defaultdict(list)
    for number, client in enumerate(not_reliable(scorer, count)):
        values = {name: math.nan if value is None else value for name, value in client.items()}
        asked = Question(scorer, leaves, others, loans.loan_of(values), PLAUSIBLE)
        row, decision = [*values.values()], scorer.decide(client)
        probability = float(decision["probability_class_1"])
        _time(seconds["contributions"], contributions.of_row, scorer, row, probability)
        _time(seconds["the whole answer"], explanation.of, scorer, client, decision)
        levers = [*asked.loan.levers(LEVERS)]
        for lever in levers:
            _time(seconds["one lever"], _search, asked, [lever])
        for pair in loans.pairs(levers):
            _time(seconds["two levers"], _search, asked, pair)
        if number % 25 == 0:
            _time(seconds[BY_TABLE], _by_table, asked)
    rows = [
        [
            name,
            f"{len(found):,}",
            *(f"{np.percentile(found, share):.2f}" for share in (50, 99, 100)),
            _aim(name),
        ]
        for name, found in seconds.items()
    ]
    heads = ["processor ms", "calls", "median", "99th percentile", "most", "aim of the 99th"]
    return table(heads, rows)


def not_reliable(scorer: Scorer, count: int) -> list[Client]:
    """The first reference clients whom the model does not take for reliable: all is searched for them."""
    matrix = clients.known(scorer)
    chosen = matrix[scorer.probabilities(matrix) >= scorer.policy.lower_bound][:count]
    return clients.of_rows(scorer, chosen)


def _time(found: list[float], call: Callable[..., object], *arguments: object) -> None:
    """Add the milliseconds of this process that the call takes."""
    started = time.process_time()
    call(*arguments)
    found.append(1e3 * (time.process_time() - started))


def _search(asked: Question, levers: Sequence[Lever]) -> None:
    landscape = asked.landscape(levers)
    landscape.cheapest(Wanted(asked.scorer.policy.lower_bound))
    landscape.extreme(is_lowest=True)


def _by_table(asked: Question) -> None:
    amounts = {
        lever.column: lever.amounts(asked.loan.amount(lever.column)).reshape(shape)
        for lever, shape in ((LESS_CREDIT, (-1, 1)), (LONGER, (1, -1)))
    }
    moved = asked.loan.moved(amounts)
    points = np.broadcast(*amounts.values())
    rows = np.tile(asked.row, (points.size, 1))
    for name, values in moved.items():
        rows[:, asked.scorer.features.index(name)] = np.broadcast_to(values, points.shape).ravel()
    asked.scorer.raw_scores(rows)


def _aim(name: str) -> str:
    return f"{AIMS[name]:g}" if name in AIMS else ""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explanations", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="(default: %(default)s)")
    print(report(parser.parse_args(arguments).clients))


if __name__ == "__main__":
    command.begin()
    command.run(main)
