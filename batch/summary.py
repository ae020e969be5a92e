"""What a run has done: clients and costs by label, missing values by feature, warnings. As text and JSON."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from explain import screening
from features.arrow_columns import Column
from journal.plural import counted
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Doubles, Scorer
from quality import costs
from quality.costs import Costs


@dataclass
class Counts:
    """Of clients that were decided on; `set_aside`: of rows that were not. Empty counts are left out.

    `costs`: what the clients with each label are expected to cost, if the policy states what mistakes cost.
    `first_warned`: where the first client with each warning is.
    """

    clients: int = 0
    set_aside: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    costs: dict[str, float] = field(default_factory=dict)
    nulls: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    first_warned: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Counts":
        """As `state` has given them."""
        counters = {name: Counter(state[name]) for name in ("labels", "nulls", "warnings")}
        return cls(
            state["clients"],
            state["set_aside"],
            costs={**state["costs"]},
            first_warned={**state["first_warned"]},
            **counters,
        )

    def add(self, more: "Counts") -> None:
        self.clients += more.clients
        self.set_aside += more.set_aside
        self.labels += more.labels
        for label, cost in more.costs.items():
            self.costs[label] = self.costs.get(label, 0.0) + cost
        self.nulls += more.nulls
        self.warnings += more.warnings
        self.first_warned = {**more.first_warned, **self.first_warned}

    def state(self) -> dict[str, Any]:
        return {
            "clients": self.clients,
            "set_aside": self.set_aside,
            "labels": dict(self.labels),
            "costs": self.costs,
            "nulls": dict(self.nulls),
            "warnings": dict(self.warnings),
            "first_warned": self.first_warned,
        }


def costs_of(bundle: Bundle) -> Costs | None:
    """What mistakes cost, if the version's policy states it."""
    return costs.usable(bundle.provenance.get("costs"))


def of_clients(
    scorer: Scorer,
    values: Mapping[str, Column],
    decided: pa.RecordBatch,
    where: Callable[[int], str],
    by: Costs | None,
) -> Counts:
    """`where`: one of them is, as a sentence names it. `by`: what mistakes cost, if that is known."""
    if not len(decided):
        return Counts()
    doubles = {name: np.asarray(values[name], np.float64) for name in scorer.features}
    labels = decided.column(decided.schema.get_field_index("prediction"))
    codes = np.frombuffer(labels.indices.buffers()[1], np.int32, len(labels))
    names = [labels.dictionary[place].as_py() for place in range(len(labels.dictionary))]
    counted_labels = +Counter(dict(zip(names, np.bincount(codes).tolist(), strict=False)))
    nulls = {name: int(np.count_nonzero(np.isnan(column))) for name, column in doubles.items()}
    warned = _warned(scorer, doubles, decided)
    return Counts(
        len(decided),
        0,
        counted_labels,
        _costs(scorer, decided, codes, names, by),
        +Counter(nulls),
        Counter({warning: len(places) for warning, places in warned.items()}),
        {warning: where(int(places[0])) for warning, places in warned.items()},
    )


def _costs(
    scorer: Scorer,
    decided: pa.RecordBatch,
    codes: npt.NDArray[np.int32],
    names: Sequence[str],
    by: Costs | None,
) -> dict[str, float]:
    """What the clients with each label are expected to cost, if their probabilities are right."""
    if by is None:
        return {}
    probabilities = _probabilities(decided)
    of_each = by.of_each(probabilities, scorer.policy.threshold, probabilities)
    sums = np.bincount(codes, of_each, len(names)).tolist()
    return {name: sums[code] for code, name in enumerate(names) if code in codes}


def _probabilities(decided: pa.RecordBatch) -> Doubles:
    place = decided.schema.get_field_index("probability_class_1")
    return np.frombuffer(decided.column(place).buffers()[1], np.float64, len(decided))


def _warned(
    scorer: Scorer, doubles: Mapping[str, Column], decided: pa.RecordBatch
) -> dict[str, npt.NDArray[np.intp]]:
    """None of a version whose own policy or values cannot be screened."""
    try:
        found = screening.warned(scorer, doubles, _probabilities(decided))
    except Exception:  # noqa: BLE001 - whatever a bundle's own code raises
        return {}
    return {" ".join(filter(None, warning)): places for warning, places in found.items()}


def lines(summary: Mapping[str, Any]) -> list[str]:
    """The summary as people read it."""
    counts = summary["counts"]
    model = summary["model"]
    version = f" version {model['version']}" if model["version"] else ""
    clients, seconds = counted(counts["clients"], "client"), summary["seconds"]
    found = [
        f"{clients} scored by {model['name']}{version} in {seconds:,.1f} s",
        *(f"  {label}: {count:,}" for label, count in counts["labels"].items()),
    ]
    found += _lines_of_costs(counts["costs"], summary["costs"])
    if counts["nulls"]:
        found.append("missing values: " + ", ".join(f"{k} {v:,}" for k, v in counts["nulls"].items()))
    if counts["warnings"]:
        first = counts["first_warned"]
        found.append("warnings, and where the first client is:")
        found += [f"  {name}: {count:,} ({first[name]})" for name, count in counts["warnings"].items()]
    if counts["set_aside"]:
        is_one = counts["set_aside"] == 1
        rows = counted(counts["set_aside"], "row was", "rows were")
        found.append(f"{rows} not decided on: {summary['quarantine']} holds {'it' if is_one else 'them'}")
    return found


def _lines_of_costs(by_label: Mapping[str, float], of_mistakes: Mapping[str, float] | None) -> list[str]:
    if of_mistakes is None:
        return ["expected costs: not told, for the version's policy states none"]
    default, repayer = of_mistakes["false_negative"], of_mistakes["false_positive"]
    head = f"expected costs, where a default costs {default:g} and a repayer who is refused {repayer:g}:"
    return [head, *(f"  {label}: {cost:,.1f}" for label, cost in by_label.items())]
