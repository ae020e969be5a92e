"""What the tests of explanations share: the shipped model with a population, clients, and how to ask."""

import math
from typing import Any

import numpy as np

from explain import explanation, population
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.handover import model_files
from mlflow_model.processes import ROOT
from quality.portfolio import Portfolio
from tests.servers import Answer, FlaskDoor

SHIPPED = ROOT / "models" / "lgbm_final_model.pkl"
Client = dict[str, Any]


def shipped_bundle() -> Bundle:
    """The shipped model, with the reference clients as the population of its training."""
    model, reference = model_files.read(SHIPPED), Portfolio.read().columns
    return bundles.build(
        model.text,
        model.features,
        model.policy(),
        source={"kind": "test", "sha256": "0" * 64},
        population=population.of_clients({name: reference[name] for name in model.features}),
    )


def reference_clients(scorer: Scorer, count: int) -> list[Client]:
    """Clients who do not exist, some without some values."""
    columns = Portfolio.read().columns
    accepted = np.ones(len(columns["TARGET"]), dtype=bool)
    for name in scorer.features:
        if name not in scorer.nullable:
            accepted &= ~np.isnan(columns[name])
    rows = np.flatnonzero(accepted)[:count]
    known = {name: columns[name][rows].tolist() for name in scorer.features}
    return [
        {name: None if math.isnan(values[place]) else values[place] for name, values in known.items()}
        for place in range(len(rows))
    ]


def ask(door: FlaskDoor, path: str, body: bytes) -> Answer:
    return door.send("POST", path, body, {"Content-Type": "application/json"})


def explained(scorer: Scorer, client: Client) -> dict[str, Any]:
    return explanation.of(scorer, client, scorer.decide(client))
