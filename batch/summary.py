"""What a run has done: clients by label, missing values by feature, warnings. As text and as JSON."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch.clients import Clients
from explain import screening
from features.arrow_columns import Column
from journal.plural import counted
from mlflow_model.bundle.scoring import Scorer


@dataclass
class Counts:
    """Of clients that were decided on; `set_aside`: of rows that were not. Empty counts are left out.

    `first_warned`: where the first client with each warning is.
    """

    clients: int = 0
    set_aside: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    nulls: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    first_warned: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> "Counts":
        """As `state` has given them."""
        counters = {name: Counter(state[name]) for name in ("labels", "nulls", "warnings")}
        return cls(state["clients"], state["set_aside"], **counters, first_warned={**state["first_warned"]})

    def add(self, more: "Counts") -> None:
        self.clients += more.clients
        self.set_aside += more.set_aside
        self.labels += more.labels
        self.nulls += more.nulls
        self.warnings += more.warnings
        self.first_warned = {**more.first_warned, **self.first_warned}

    def state(self) -> dict[str, Any]:
        return {
            "clients": self.clients,
            "set_aside": self.set_aside,
            "labels": dict(self.labels),
            "nulls": dict(self.nulls),
            "warnings": dict(self.warnings),
            "first_warned": self.first_warned,
        }


def of_chunk(scorer: Scorer, clients: Clients, decided: pa.RecordBatch, file: str) -> Counts:
    """`file`: from which they come, as a sentence names it."""
    if not len(decided):
        return Counts()
    doubles = {name: np.asarray(clients.values[name], np.float64) for name in scorer.features}
    labels = decided.column(decided.schema.get_field_index("prediction"))
    codes = np.bincount(np.frombuffer(labels.indices.buffers()[1], np.int32, len(labels)))
    names = [labels.dictionary[place].as_py() for place in range(len(labels.dictionary))]
    nulls = {name: int(np.count_nonzero(np.isnan(column))) for name, column in doubles.items()}
    warned = _warned(scorer, doubles, decided)
    return Counts(
        len(decided),
        0,
        +Counter(dict(zip(names, codes.tolist(), strict=False))),
        +Counter(nulls),
        Counter({warning: len(places) for warning, places in warned.items()}),
        {warning: f"{file}, row {clients.rows[int(places[0])]}" for warning, places in warned.items()},
    )


def _warned(
    scorer: Scorer, doubles: Mapping[str, Column], decided: pa.RecordBatch
) -> dict[str, npt.NDArray[np.intp]]:
    """None of a version whose own policy or values cannot be screened."""
    place = decided.schema.get_field_index("probability_class_1")
    probabilities = np.frombuffer(decided.column(place).buffers()[1], np.float64, len(decided))
    try:
        found = screening.warned(scorer, doubles, probabilities)
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
