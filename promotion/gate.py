"""Compares two models on a reference portfolio: what would change if the candidate became champion.

Costs follow the rule of `quality.costs`. Outcomes are the clients' true default probabilities if the
portfolio has them (TRUE_PROBABILITY), else what became of them (TARGET). If it has neither, costs are not
known.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from features import csv_dialect
from mlflow_model import files
from quality.bootstrap import interval_of_mean
from quality.costs import Costs
from quality.scores import Doubles

if TYPE_CHECKING:
    from mlflow_model.bundle.trial import Answers

TRUE_PROBABILITY, TARGET = _OUTCOMES = "TRUE_PROBABILITY", "TARGET"
REFERENCE = Path(__file__).resolve().parents[1] / "models" / "reference.parquet"
MOST_CHANGED = 10
_MOST_BYTES = 2**28
DEFAULT_COSTS = Costs()


class BadReference(ValueError):
    """The reference portfolio cannot be read, or one of the models cannot decide on it."""


@dataclass(frozen=True)
class Limits:
    """How far a candidate may go without an objection. A value equal to its limit is allowed.

    `changed`: share of clients with another label. `cost_increase`: per client. `clients`: the fewest
    different clients. `left_out`: share of the portfolio's clients who cannot be compared.
    """

    changed: float = 0.10
    cost_increase: float = 0.002
    clients: int = 1_000
    left_out: float = 0.05


@dataclass(frozen=True)
class Portfolio:
    """The reference clients: columns of doubles, with NaN for a missing value. `sha256`: of the file."""

    columns: Mapping[str, Doubles]
    sha256: str
    name: str

    @property
    def known(self) -> dict[str, Doubles]:
        """The columns that a model may see: not the outcomes."""
        return {name: values for name, values in self.columns.items() if name not in _OUTCOMES}


@dataclass(frozen=True)
class Decisions:
    """One model's decisions on the compared clients. `cost` is per client, None if outcomes are not known."""

    probabilities: Doubles
    labels: np.ndarray[Any, Any]
    cost: Doubles | None

    def share(self, label: str) -> float:
        return float((self.labels == label).mean())


@dataclass(frozen=True)
class Change:
    """A figure under the champion and the candidate. `low` and `high` bound the difference, if known."""

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
    """What differs between two models on the compared clients. `moves[from, to]` counts clients by labels.

    `most_changed` holds row numbers among the compared clients. `left_out` counts clients with a missing
    value that one of the models does not accept. `distinct` counts clients who differ in a feature of either
    model.
    """

    clients: int
    distinct: int
    left_out: int
    labels: tuple[str, ...]
    moves: dict[tuple[str, str], int]
    changes: list[Change]
    champion: Decisions
    candidate: Decisions
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
        """Why the candidate should be promoted only if somebody gives a reason."""
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
    from pyarrow import parquet

    try:
        # Read once, so that the digest is that of what is compared.
        content = files.read(file, _MOST_BYTES, own=False, link=True)
        is_csv = file.suffix.lower() == ".csv"
        table = _csv_table(content) if is_csv else parquet.read_table(pa.BufferReader(content))
        names = table.column_names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadReference(f"{file} has more than one column {', '.join(twice)}")
        columns = {name: _doubles(table[name]) for name in names if _is_numeric(table[name].type)}
    except FileNotFoundError as error:
        raise BadReference(f"{file} is not there: --reference names no file") from error
    except files.TooLarge as error:
        raise BadReference(f"{file} is larger than {_MOST_BYTES // 2**20} MiB") from error
    except MemoryError as error:
        raise BadReference(f"{file} needs more memory than there is") from error
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise BadReference(f"{file} cannot be read as a portfolio in Parquet or UTF-8 CSV") from error
    if not columns or not table.num_rows:
        raise BadReference(f"{file} has no clients")
    if not columns.keys() - set(_OUTCOMES):
        raise BadReference(f"{file} has no features, only {', '.join(columns)}")
    return Portfolio(columns, hashlib.sha256(content).hexdigest(), file.name)


def _csv_table(content: bytes) -> Any:
    """The columns that have a name. Texts are numbers where all of a column are, with decimal commas."""
    import pyarrow as pa
    from pyarrow import csv

    dialect, text = csv_dialect.opened(content.decode())
    table = csv.read_csv(
        pa.BufferReader(dialect.without_empty_end(text).encode()),
        parse_options=csv.ParseOptions(delimiter=dialect.delimiter),
        convert_options=csv.ConvertOptions(strings_can_be_null=True),
    )
    table = table.select([place for place, name in enumerate(table.column_names) if name.strip()])
    if not dialect.has_decimal_commas:
        return table
    return pa.table([_with_points(column) for column in table.columns], names=table.column_names)


def _with_points(column: Any) -> Any:
    import pyarrow as pa
    from pyarrow import compute

    if column.type != pa.string():
        return column
    try:
        return compute.replace_substring(column, ",", ".").cast(pa.float64())
    except pa.ArrowInvalid:
        return column


def usable_costs(stated: object) -> Costs | None:
    """The costs that a policy's provenance states; None unless they are two positive numbers."""
    if not isinstance(stated, Mapping):
        return None
    found: dict[str, Any] = {name: stated.get(name) for name in asdict(DEFAULT_COSTS)}
    is_usable = all(type(cost) in (int, float) and 0 < cost < math.inf for cost in found.values())
    return Costs(**{name: float(cost) for name, cost in found.items()}) if is_usable else None


def compare(
    champion: "Answers",
    candidate: "Answers",
    portfolio: Mapping[str, Doubles],
    costs: Costs = DEFAULT_COSTS,
) -> Difference:
    """Compare two models' answers to this portfolio, on the clients whom both accept. Raises BadReference.

    A model does not accept a client who lacks a value that it needs.
    """
    outcome = outcome_of(portfolio)
    for answers in (champion, candidate):
        _must_have_decided(answers, portfolio)
    accepted = champion.accepted & candidate.accepted
    if not accepted.any():
        raise BadReference("no client of the reference portfolio is accepted by both models")
    outcome = None if outcome is None else outcome[accepted]
    before, after = (_decisions(answers, accepted, outcome, costs) for answers in (champion, candidate))
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
    """Raises BadReference. The answers come from the version's own code, so they are checked here."""
    if lacking := [name for name in answers.features if name not in portfolio]:
        raise BadReference(f"the reference portfolio lacks {', '.join(lacking)}")
    if answers.refusal is not None:
        raise BadReference(f"a model cannot decide on the reference portfolio: {answers.refusal}")


def _distinct(columns: list[Doubles]) -> int:
    """The number of different rows. By their bytes: NumPy's `unique` treats two NaN as different."""
    return len({row.tobytes() for row in np.column_stack(columns)})


def _is_numeric(kind: Any) -> bool:
    """Whether a column holds numbers. A CSV column without any value has the type null."""
    from pyarrow import types

    return bool(
        types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind)
    )


def _doubles(column: Any) -> Doubles:
    import pyarrow as pa

    return np.asarray(column.cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False))


def _decisions(
    answers: "Answers",
    accepted: np.ndarray[Any, np.dtype[np.bool_]],
    outcome: Doubles | None,
    costs: Costs,
) -> Decisions:
    probabilities = answers.probabilities[accepted]
    cost = None if outcome is None else costs.of_each(probabilities, answers.threshold, outcome)
    return Decisions(probabilities, answers.predictions[accepted], cost)


def outcome_of(portfolio: Mapping[str, Doubles]) -> Doubles | None:
    """Each client's outcome, or its expectation, the default probability. Raises BadReference."""
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
    before: Decisions,
    after: Decisions,
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
        float(outcome[decisions.labels == label].mean()) if decisions.share(label) else math.nan
        for decisions, label in ((before, one.reliable), (after, other.reliable))
    ]
    _, low, high = interval_of_mean(after.cost - before.cost, seed=0)
    return [
        *changes,
        Change("default rate of the approved", *defaults),
        Change("cost per client", float(before.cost.mean()), float(after.cost.mean()), low, high),
    ]


def _most_changed(before: Decisions, after: Decisions, labels: tuple[str, ...]) -> list[int]:
    """The rows of the most changed clients: by how far the label moves, then how far the probability does."""
    places = {label: place for place, label in enumerate(labels)}
    steps = np.abs([places[after.labels[row]] - places[label] for row, label in enumerate(before.labels)])
    distance = np.abs(after.probabilities - before.probabilities)
    order = np.lexsort((-distance, -steps))[:MOST_CHANGED]
    return [int(row) for row in order if steps[row] or distance[row]]
