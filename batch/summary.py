"""What a run has done: clients by label, missing values by feature, warnings. As text and as JSON."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from explain import screening
from features.arrow_columns import Column
from journal.plural import counted
from mlflow_model.bundle.scoring import Scorer


@dataclass
class Counts:
    """Of clients that were decided on; `set_aside`: of rows that were not. Empty counts are left out."""

    clients: int = 0
    set_aside: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    nulls: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Counts":
        """As `state` has given them."""
        counters = {name: Counter(state[name]) for name in ("labels", "nulls", "warnings")}
        return cls(state["clients"], state["set_aside"], **counters)

    def add(self, more: "Counts") -> None:
        self.clients += more.clients
        self.set_aside += more.set_aside
        self.labels += more.labels
        self.nulls += more.nulls
        self.warnings += more.warnings

    def state(self) -> dict[str, Any]:
        return {
            "clients": self.clients,
            "set_aside": self.set_aside,
            "labels": dict(self.labels),
            "nulls": dict(self.nulls),
            "warnings": dict(self.warnings),
        }


def of_chunk(scorer: Scorer, values: Mapping[str, Column], decided: pa.RecordBatch) -> Counts:
    if not len(decided):
        return Counts()
    doubles = {name: np.asarray(values[name], np.float64) for name in scorer.features}
    labels = decided.column(decided.schema.get_field_index("prediction"))
    codes = np.bincount(np.frombuffer(labels.indices.buffers()[1], np.int32, len(labels)))
    names = [labels.dictionary[place].as_py() for place in range(len(labels.dictionary))]
    nulls = {name: int(np.count_nonzero(np.isnan(column))) for name, column in doubles.items()}
    return Counts(
        len(decided),
        0,
        +Counter(dict(zip(names, codes.tolist(), strict=False))),
        +Counter(nulls),
        _warnings(scorer, doubles, decided),
    )


def _warnings(scorer: Scorer, doubles: Mapping[str, Column], decided: pa.RecordBatch) -> Counter[str]:
    """None of a version whose own policy or values cannot be screened."""
    place = decided.schema.get_field_index("probability_class_1")
    probabilities = np.frombuffer(decided.column(place).buffers()[1], np.float64, len(decided))
    try:
        found = screening.of_columns(scorer, doubles, probabilities)
    except Exception:  # noqa: BLE001 - whatever a bundle's own code raises
        return Counter()
    return Counter({" ".join(filter(None, warned)): count for warned, count in found.items()})


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
    if counts["nulls"]:
        found.append("missing values: " + ", ".join(f"{k} {v:,}" for k, v in counts["nulls"].items()))
    if counts["warnings"]:
        found.append("warnings: " + ", ".join(f"{k} {v:,}" for k, v in counts["warnings"].items()))
    if counts["set_aside"]:
        is_one = counts["set_aside"] == 1
        rows = counted(counts["set_aside"], "row was", "rows were")
        found.append(f"{rows} not decided on: {summary['quarantine']} holds {'it' if is_one else 'them'}")
    return found
