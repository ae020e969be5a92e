"""What would change on a reference portfolio if the candidate decided instead of the champion.

Costs are told in the unit of one good client refused, and count each client as decided by the threshold
alone, as training does. Outcomes are the clients' true default probabilities where the portfolio has them
(TRUE_PROBABILITY), else what became of them (TARGET); without either, costs are not known.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlflow_model.scoring import Doubles

if TYPE_CHECKING:
    from mlflow_model.trial import Answers

TRUE_PROBABILITY, TARGET = _OUTCOMES = "TRUE_PROBABILITY", "TARGET"
REFERENCE = Path(__file__).resolve().parents[1] / "models" / "reference.parquet"
RESAMPLINGS = 1_000
MOST_CHANGED = 10
DEFAULT_COSTS = {"false_negative": 5.0, "false_positive": 1.0}


class BadReference(ValueError):
    """A reference portfolio that cannot be read, or on which one of the models cannot decide."""


@dataclass(frozen=True)
class Limits:
    """`changed`: share of clients with another label. `cost_increase`: per client. `clients`: the fewest.

    `left_out`: share of the reference's clients who cannot be compared. All may be reached.
    """

    changed: float = 0.10
    cost_increase: float = 0.002
    clients: int = 1_000
    left_out: float = 0.05


@dataclass(frozen=True)
class Portfolio:
    """Reference clients: their columns as doubles, NaN where a value is missing. `sha256`: of the file."""

    columns: Mapping[str, Doubles]
    sha256: str
    name: str

    @property
    def known(self) -> dict[str, Doubles]:
        """What a model may see of them: not what became of them."""
        return {name: values for name, values in self.columns.items() if name not in _OUTCOMES}


@dataclass(frozen=True)
class Decided:
    """A model's answers to the reference portfolio."""

    probabilities: Doubles
    labels: np.ndarray[Any, Any]
    cost: Doubles | None

    def share(self, label: str) -> float:
        return float((self.labels == label).mean())


@dataclass(frozen=True)
class Change:
    """A figure under the champion and the candidate; `low` and `high` are of the difference, if known."""

    name: str
    champion: float
    candidate: float
    low: float = math.nan
    high: float = math.nan

    @property
    def difference(self) -> float:
        return self.candidate - self.champion


@dataclass(frozen=True)
class Difference:
    """The decision diff. `moves[from, to]` counts clients; `most_changed` holds rows of those compared.

    `left_out` counts clients with a missing value that one of the models does not accept. `distinct` counts
    clients who differ in something that one of the models reads.
    """

    clients: int
    distinct: int
    left_out: int
    labels: tuple[str, ...]
    moves: dict[tuple[str, str], int]
    changes: list[Change]
    champion: Decided
    candidate: Decided
    most_changed: list[int]
    added: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def changed(self) -> float:
        """The share of clients whose label changes."""
        return sum(count for (before, after), count in self.moves.items() if before != after) / self.clients

    @property
    def cost(self) -> Change | None:
        return next((change for change in self.changes if change.name == "cost per client"), None)

    def objections(self, limits: Limits) -> list[str]:
        """Why the candidate should not be promoted without a word from somebody."""
        found = []
        if self.distinct < limits.clients:
            found.append(f"{self.distinct:,} different clients are compared, fewer than {limits.clients:,}")
        if not (share := self.left_out / (self.clients + self.left_out)) <= limits.left_out:
            found.append(f"{share:.1%} of the clients are left out, more than {limits.left_out:.1%}")
        if not self.changed <= limits.changed:
            found.append(f"{self.changed:.1%} of the labels change, more than {limits.changed:.1%}")
        cost = self.cost
        if cost is None:
            found.append(f"the cost is not known: the reference has neither {TRUE_PROBABILITY} nor {TARGET}")
        elif not cost.difference <= limits.cost_increase:
            found.append(
                f"the cost per client rises by {cost.difference:.4f} [{cost.low:.4f}, {cost.high:.4f}], "
                f"more than {limits.cost_increase:g}"
            )
        if self.added:
            found.append(f"callers would have to send {', '.join(self.added)}")
        if self.removed:
            found.append(f"the candidate leaves out {', '.join(self.removed)}")
        return found


def read(file: Path = REFERENCE) -> Portfolio:
    """A reference portfolio in Parquet or CSV. Raises BadReference."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        content = file.read_bytes()  # once: what is compared is what its digest names
        source = pa.BufferReader(content)
        table = csv.read_csv(source) if file.suffix.lower() == ".csv" else parquet.read_table(source)
        names = table.column_names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadReference(f"{file} has more than one column {', '.join(twice)}")
        columns = {name: _doubles(table[name]) for name in names if _is_numeric(table[name].type)}
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise BadReference(f"{file} cannot be read as a portfolio in Parquet or UTF-8 CSV") from error
    if not columns or not table.num_rows:
        raise BadReference(f"{file} has no clients")
    if not columns.keys() - set(_OUTCOMES):
        raise BadReference(f"{file} has no features, only {', '.join(columns)}")
    return Portfolio(columns, hashlib.sha256(content).hexdigest(), file.name)


def costs(stated: object) -> dict[str, float] | None:
    """The costs in a policy's provenance; None unless they are two positive numbers."""
    if not isinstance(stated, Mapping):
        return None
    found: dict[str, Any] = {name: stated.get(name) for name in DEFAULT_COSTS}
    is_usable = all(type(cost) in (int, float) and 0 < cost < math.inf for cost in found.values())
    return {name: float(cost) for name, cost in found.items()} if is_usable else None


def compare(
    champion: "Answers",
    candidate: "Answers",
    portfolio: Mapping[str, Doubles],
    costs: Mapping[str, float] = DEFAULT_COSTS,
) -> Difference:
    """The decision diff on the clients of whom both models accept what is missing. Raises BadReference.

    The answers are those to this portfolio.
    """
    outcome = _outcome(portfolio)
    for answers in (champion, candidate):
        _must_have_decided(answers, portfolio)
    accepted = champion.accepted & candidate.accepted
    if not accepted.any():
        raise BadReference("no client of the reference portfolio is accepted by both models")
    outcome = None if outcome is None else outcome[accepted]
    before, after = (_decided(answers, accepted, outcome, costs) for answers in (champion, candidate))
    labels = tuple(dict.fromkeys(champion.labels + candidate.labels))
    moves = {
        (one, other): int(((before.labels == one) & (after.labels == other)).sum())
        for one in labels
        for other in labels
    }
    features = dict.fromkeys(champion.features + candidate.features)
    return Difference(
        clients=len(before.labels),
        distinct=_distinct([portfolio[name][accepted] for name in features]),
        left_out=int((~accepted).sum()),
        labels=labels,
        moves=moves,
        changes=_changes(champion, candidate, before, after, outcome),
        champion=before,
        candidate=after,
        most_changed=_most_changed(before, after, labels),
        added=tuple(name for name in candidate.features if name not in champion.features),
        removed=tuple(name for name in champion.features if name not in candidate.features),
    )


def _must_have_decided(answers: "Answers", portfolio: Mapping[str, Doubles]) -> None:
    """The answers are a version's own word: it may name features and not say that they are lacking."""
    if lacking := [name for name in answers.features if name not in portfolio]:
        raise BadReference(f"the reference portfolio lacks {', '.join(lacking)}")
    if answers.refusal is not None:
        raise BadReference(f"a model cannot decide on the reference portfolio: {answers.refusal}")


def _distinct(columns: list[Doubles]) -> int:
    """NumPy's own `unique` takes two missing values for different ones."""
    return len({row.tobytes() for row in np.column_stack(columns)})


def _is_numeric(kind: Any) -> bool:
    """Null is the type of a CSV's column without any value."""
    from pyarrow import types

    return bool(
        types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind)
    )


def _doubles(column: Any) -> Doubles:
    import pyarrow as pa

    return np.asarray(column.cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False))


def _decided(
    answers: "Answers",
    accepted: np.ndarray[Any, np.dtype[np.bool_]],
    outcome: Doubles | None,
    costs: Mapping[str, float],
) -> Decided:
    probabilities = answers.probabilities[accepted]
    cost = None
    if outcome is not None:
        is_refused = probabilities > answers.threshold
        cost = np.where(
            is_refused, costs["false_positive"] * (1 - outcome), costs["false_negative"] * outcome
        )
    return Decided(probabilities, answers.predictions[accepted], cost)


def _outcome(portfolio: Mapping[str, Doubles]) -> Doubles | None:
    """What became of each client, or would on average. Raises BadReference."""
    name = TRUE_PROBABILITY if TRUE_PROBABILITY in portfolio else TARGET
    if name not in portfolio:
        return None
    outcome = portfolio[name]
    wrong = int((~((outcome >= 0) & (outcome <= 1))).sum())
    if wrong:
        raise BadReference(
            f"{name} must be a number from 0 to 1 for every client of the reference portfolio; "
            f"for {wrong} of {len(outcome)} it is not"
        )
    return outcome


def _changes(
    one: "Answers",
    other: "Answers",
    before: Decided,
    after: Decided,
    outcome: Doubles | None,
) -> list[Change]:
    changes = [
        Change("approved", before.share(one.reliable), after.share(other.reliable)),
        Change("grey", before.share(one.uncertain), after.share(other.uncertain)),
        Change("refused", before.share(one.risky), after.share(other.risky)),
        Change(
            "mean default probability", float(before.probabilities.mean()), float(after.probabilities.mean())
        ),
    ]
    if outcome is None or before.cost is None or after.cost is None:
        return changes
    defaults = [
        float(outcome[decided.labels == label].mean()) if decided.share(label) else math.nan
        for decided, label in ((before, one.reliable), (after, other.reliable))
    ]
    low, high = _interval(after.cost - before.cost)
    return [
        *changes,
        Change("default rate of the approved", *defaults),
        Change("cost per client", float(before.cost.mean()), float(after.cost.mean()), low, high),
    ]


def _interval(differences: Doubles) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of paired differences (Efron, Annals of Statistics 7, 1979)."""
    generator = np.random.default_rng(0)
    clients = len(differences)
    means = [differences[generator.integers(0, clients, clients)].mean() for _ in range(RESAMPLINGS)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _most_changed(before: Decided, after: Decided, labels: tuple[str, ...]) -> list[int]:
    """Those whose label moves furthest come first, and among them those whose probability does."""
    places = {label: place for place, label in enumerate(labels)}
    steps = np.abs([places[after.labels[row]] - places[label] for row, label in enumerate(before.labels)])
    distance = np.abs(after.probabilities - before.probabilities)
    order = np.lexsort((-distance, -steps))[:MOST_CHANGED]
    return [int(row) for row in order if steps[row] or distance[row]]
