"""`python -m benchmarks gate`: how often the gate lets candidates pass whose cost is known.

A population of clients is made of the reference's true default probabilities. A model's score is the true
log odds with noise, calibrated again; more noise costs more, so that candidates of any cost can be made.
Reference portfolios are then drawn from the population, and the gate itself judges. How often a candidate at
the limit passes is the size of the test; how often one passes that costs no more is its power.
"""

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks.markdown import table
from mlflow_model import arguments, command
from mlflow_model.bundle.trial import Answers
from promotion import comparison, gate
from promotion.gate import Limits
from quality import costs, groups
from quality.portfolio import TARGET, TRUE_PROBABILITY, Portfolio
from quality.scores import Doubles, ScoredClients
from training import command_line

POPULATION = 200_000
SIZES = (500, 2_000, 10_000)
ROUNDS = 300
LIMITS = Limits(clients=1)  # the number of clients is what is varied
MARGIN = 0.02
# Of the log odds: an AUC 0.003 below that of the true probabilities, as the shipped model's.
CHAMPIONS_NOISE = 0.25
LABELS = ("reliable", "uncertain", "risky")
OUTCOMES = {TRUE_PROBABILITY: "expected", TARGET: "observed"}
# How much more than the champion a candidate costs, per client.
CANDIDATES = {
    "better": -0.001,
    "equal": 0.0,
    "at the limit": LIMITS.cost_increase,
    "five times the limit": 5 * LIMITS.cost_increase,
}
_INTRODUCTION = f"""{{}} reference portfolios of each kind. The limits are the gate's defaults, but for the
fewest clients; the cost may rise by {LIMITS.cost_increase:g} per client. Outcomes are expected (the true
default probabilities) or observed (drawn from these). A candidate at the limit should pass in at most 2.5 %
of the rounds: that is the size of the test."""
# Candidates that are worse otherwise, by exactly the limit of an objection.
_CALIBRATION, _GROUPS = "calibrated worse", "approving fewer of the youngest"
OTHERS = {_CALIBRATION: gate.CALIBRATION, _GROUPS: gate.GROUPS}
_MOST_NOISE = 4.0
_NEIGHBOURS = 400


@dataclass(frozen=True)
class Population:
    """Clients with their true default probabilities, and the champion's probabilities for them."""

    truth: Doubles
    days_birth: Doubles
    champion: Doubles
    noise: Doubles

    @classmethod
    def made(cls) -> "Population":
        reference, generator = Portfolio.read(), np.random.default_rng(0)
        clients = generator.integers(0, len(reference.columns[TRUE_PROBABILITY]), POPULATION)
        truth = reference.columns[TRUE_PROBABILITY][clients]
        own, shared = generator.normal(size=(2, POPULATION))
        champion = calibrated(truth, CHAMPIONS_NOISE * shared)
        return cls(truth, reference.columns["DAYS_BIRTH"][clients], champion, (own + shared) / math.sqrt(2))

    def cost(self, probabilities: Doubles) -> Doubles:
        return costs.DEFAULT.of_each(probabilities, costs.DEFAULT.ideal_threshold, self.truth)

    def candidate(self, dearer: float) -> Doubles:
        """The probabilities of a model that costs so much more per client, by bisection of its noise."""
        wanted = self.cost(self.champion).mean() + dearer
        return _largest(
            _MOST_NOISE,
            lambda noise: calibrated(self.truth, noise * self.noise),
            lambda found: bool(self.cost(found).mean() < wanted),
        )

    def calibrated_worse(self, by: float) -> Doubles:
        """The champion with all log odds shifted, so that its calibration error is larger by so much."""
        wanted = self._calibration_error(self.champion) + by
        return _largest(
            1.0,
            lambda shift: _shifted(self.champion, shift),
            lambda found: self._calibration_error(found) < wanted,
        )

    def _calibration_error(self, probabilities: Doubles) -> float:
        scored = ScoredClients(self.truth, probabilities)
        return scored.calibration_error(scored.distribution())

    def approving_fewer(self, by: float) -> Doubles:
        """The champion with the log odds of the youngest shifted, so that its approval ratio is lower."""
        names = groups.attributes(self.days_birth, None)["age band"]
        youngest = names == next(iter(groups.AGE_BANDS))
        wanted = self._approval_ratio(names, self.champion) - by
        return _largest(
            1.0,
            lambda shift: _shifted(self.champion, shift * youngest),
            lambda found: self._approval_ratio(names, found) > wanted,
        )

    def _approval_ratio(self, names: groups.Names, probabilities: Doubles) -> float:
        approved = probabilities < costs.DEFAULT.ideal_threshold - MARGIN
        return groups.approval_ratio(names, groups.large(names), approved).value


def _largest(most: float, made: Callable[[float], Doubles], fits: Callable[[Doubles], bool]) -> Doubles:
    """The probabilities made with the largest number up to `most` with which they fit, by bisection."""
    low, high = 0.0, most
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(made(middle)) else (low, middle)
    return made(low)


def _shifted(probabilities: Doubles, shift: float | Doubles) -> Doubles:
    """With this added to their log odds."""
    odds = probabilities / (1.0 - probabilities) * np.exp(shift)
    return np.asarray(odds / (1.0 + odds))


def calibrated(truth: Doubles, noise: Doubles) -> Doubles:
    """The mean of the truth among the clients of about this score: that is what the score is worth."""
    order = np.argsort(np.log(truth / (1.0 - truth)) + noise)
    means = truth[order].reshape(-1, _NEIGHBOURS).mean(axis=1)
    places = (np.arange(len(means)) + 0.5) * _NEIGHBOURS
    found = np.empty(len(truth))
    found[order] = np.interp(np.arange(len(truth)), places, np.maximum.accumulate(means))
    return found


def report(rounds: int = ROUNDS, jobs: int = 2) -> str:
    population = Population.made()
    models = {name: population.candidate(dearer) for name, dearer in CANDIDATES.items()}
    models[_CALIBRATION] = population.calibrated_worse(LIMITS.calibration)
    models[_GROUPS] = population.approving_fewer(LIMITS.groups)
    cells = [(kind, name, size) for kind in OUTCOMES for name in models for size in SIZES]
    judge = functools.partial(judged, population, models, rounds)
    with ProcessPoolExecutor(jobs) as pool:
        counted = list(tqdm(pool.map(judge, cells), total=len(cells), unit=" cells", disable=None))
    found = dict(zip(cells, counted, strict=True))
    return "\n\n".join(
        [
            _INTRODUCTION.format(rounds),
            _shares("passes the limit of cost", CANDIDATES, found, rounds, lambda _, seen: seen[gate.COST]),
            "With the rule of before, which asked only whether the measured rise was within the limit:",
            _shares("passed", CANDIDATES, found, rounds, lambda _, seen: seen[_ONLY_MEASURED]),
            "Candidates at the limit of another objection, and how often that one let them pass:",
            _shares("passes", OTHERS, found, rounds, lambda name, seen: seen[OTHERS[name]]),
            "All objections together, and which of them came how often at the largest size:",
            _shares("passes the gate", CANDIDATES, found, rounds, lambda _, seen: seen[_ANY]),
            _by_name(found, rounds),
            "So many clients let an equal candidate pass the limit of cost in 80 % of all cases:",
            _clients_needed(population, models["equal"]),
        ]
    )


_ANY, _ONLY_MEASURED = "any", "only measured"
_Cell = tuple[str, str, int]


def judged(population: Population, models: dict[str, Doubles], rounds: int, cell: _Cell) -> Counter[str]:
    """How often each objection came, any at all, and the objection of the rule of before."""
    kind, name, size = cell
    seen: Counter[str] = Counter()
    for number in range(rounds):
        difference = drawn(population, models[name], kind, size, number)
        names = {objection.name for objection in gate.objections(difference, LIMITS)}
        assert difference.cost is not None  # noqa: S101 - both kinds tell it
        seen.update(names)
        seen[_ANY] += bool(names)
        seen[_ONLY_MEASURED] += difference.cost.difference > LIMITS.cost_increase
    return seen


def drawn(
    population: Population, candidate: Doubles, kind: str, size: int, number: int
) -> comparison.Difference:
    """The comparison on a reference portfolio of this number, drawn from the population."""
    generator = np.random.default_rng([number, size])
    clients = generator.integers(0, POPULATION, size)
    truth = population.truth[clients]
    outcome = truth if kind == TRUE_PROBABILITY else (generator.random(size) < truth).astype(np.float64)
    columns = {
        "CLIENT": clients.astype(np.float64),
        "DAYS_BIRTH": population.days_birth[clients],
        kind: outcome,
    }
    before, after = (answers(found[clients]) for found in (population.champion, candidate))
    return comparison.compare(before, after, Portfolio(columns, "", "drawn", {}))


def answers(probabilities: Doubles) -> Answers:
    """What a version with these probabilities would answer."""
    threshold = costs.DEFAULT.ideal_threshold
    low, high = threshold - MARGIN, threshold + MARGIN
    places = (probabilities >= low).astype(int) + (probabilities > high)
    labels: npt.NDArray[np.object_] = np.array(LABELS, dtype=object)
    return Answers(
        ("CLIENT",),
        frozenset(),
        *LABELS,
        *(threshold, low, high),
        columns=("prediction",),
        lacking=(),
        refusal=None,
        accepted=np.ones(len(probabilities), dtype=bool),
        predictions=labels[places],
        probabilities=probabilities,
    )


# ---- Tables


def _shares(
    title: str,
    names: Iterable[str],
    found: dict[_Cell, Counter[str]],
    rounds: int,
    objections: Callable[[str, Counter[str]], int],
) -> str:
    heads = ["outcomes", f"candidate that {title}", *(f"{size:,} clients" for size in SIZES)]
    rows = [
        [
            shown,
            _named(name),
            *(f"{1 - objections(name, found[kind, name, size]) / rounds:.1%}" for size in SIZES),
        ]
        for kind, shown in OUTCOMES.items()
        for name in names
    ]
    return table(heads, rows)


def _named(name: str) -> str:
    return f"{name} ({CANDIDATES[name]:+g})" if name in CANDIDATES else name


def _by_name(found: dict[_Cell, Counter[str]], rounds: int) -> str:
    names = (gate.CHANGED, gate.APPROVAL, gate.COST, gate.AUC, gate.CALIBRATION, gate.GROUPS)
    rows = [
        [shown, _named(name), *(f"{found[kind, name, SIZES[-1]][one] / rounds:.1%}" for one in names)]
        for kind, shown in OUTCOMES.items()
        for name in CANDIDATES
    ]
    return table(["outcomes", "candidate", *names], rows)


def _clients_needed(population: Population, equal: Doubles) -> str:
    """By the normal approximation: (z of 0.975 + z of 0.8)^2 times the variance, over the squared margin."""
    before, after = (found > costs.DEFAULT.ideal_threshold for found in (population.champion, equal))
    # Of what a client costs more: 1 - 6 times the outcome, if refused anew.
    sign = after.astype(float) - before
    truth, costly = population.truth, costs.DEFAULT.false_negative + costs.DEFAULT.false_positive
    expected = (sign * (1.0 - costly * truth)).var()
    observed = expected + (sign**2 * costly**2 * truth * (1.0 - truth)).mean()
    quantile = NormalDist().inv_cdf
    factor = (quantile(0.975) + quantile(0.8)) ** 2 / LIMITS.cost_increase**2
    rows = [
        [shown, f"{math.sqrt(variance):.3f}", f"{factor * variance:,.0f}"]
        for shown, variance in zip(OUTCOMES.values(), (expected, observed), strict=True)
    ]
    return table(["outcomes", "standard deviation of a client's difference", "clients"], rows)


def main(given: Sequence[str] | None = None) -> int:
    parser = arguments.Parser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--rounds", type=command_line.clients, default=ROUNDS, help="(default: %(default)s)")
    parser.add_argument("--jobs", type=command_line.threads, default=2, help="processes (default: 2)")
    options = parser.parse_args(given)
    print(report(options.rounds, options.jobs))
    return 0


if __name__ == "__main__":
    command.begin()
    command.run(main)
