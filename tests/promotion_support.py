"""What the tests of promotions share: how two versions compare by hand, and what a promotion left."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

import register
from mlflow_model.bundle.scoring import Doubles, Scorer
from mlflow_model.bundle.trial import Answers
from mlflow_model.handover.card import ModelCard
from mlflow_model.registry import connection, listing, versions
from promotion import comparison, examination, gate
from promotion.comparison import Change, Difference
from promotion.gate import Limits
from quality import costs
from quality.costs import Costs
from quality.portfolio import REFERENCE, Portfolio
from tests.conftest import FEATURES, random_clients

CARD = ModelCard("# Card\n")

ROOT = Path(register.__file__).parent


def champion() -> int | None:
    return listing.version_at()


def damage(store: Path, version: int) -> None:
    """Change one byte of a version's files in the registry."""
    uri = MlflowClient().get_model_version_download_uri(versions.NAME, str(version))
    (file,) = store.glob(f"mlartifacts/models/{Path(uri).parent.name}/artifacts/artifacts/bundle/policy.json")
    file.write_bytes(file.read_bytes() + b" ")


def portfolio(clients: int = 400, **more: Doubles) -> dict[str, Doubles]:
    drawn = random_clients(clients, seed=8)
    return {name: drawn[name].to_numpy(float) for name in FEATURES} | more


def answers(scorer: Scorer, clients: Mapping[str, Doubles]) -> Answers:
    """A bundle's answers, put together by hand as the trial would give them."""
    policy = scorer.policy
    must = [np.isnan(clients[name]) for name in scorer.features if name not in scorer.nullable]
    accepted = ~np.any(must, axis=0)
    decided = scorer.decide_table({name: clients[name][accepted] for name in scorer.features})
    predictions, probabilities = np.full(len(accepted), "", object), np.full(len(accepted), np.nan)
    predictions[accepted] = decided["prediction"]
    probabilities[accepted] = decided["probability_class_1"]
    return Answers(
        tuple(scorer.features),
        frozenset(scorer.nullable),
        *(policy.reliable, policy.uncertain, policy.risky),
        *(policy.threshold, policy.lower_bound, policy.upper_bound),
        columns=tuple(decided),
        lacking=(),
        refusal=None,
        accepted=accepted,
        predictions=predictions,
        probabilities=probabilities,
    )


def compared(
    before: Scorer,
    after: Scorer,
    clients: Mapping[str, Doubles],
    by: Costs = costs.DEFAULT,
) -> Difference:
    reference = Portfolio(clients, "", "made here", {})
    return comparison.compare(answers(before, clients), answers(after, clients), reference, by)


def sentences(difference: Difference, limits: Limits) -> list[str]:
    return [objection.sentence for objection in gate.objections(difference, limits)]


def with_change(difference: Difference, name: str, by: float, low: float, high: float) -> Difference:
    """The difference with one more figure, which rises by this much."""
    return replace(difference, changes=[*difference.changes, Change(name, 0.5, 0.5 + by, low, high)])


def experiment() -> str:
    found = MlflowClient().get_experiment_by_name(connection.EXPERIMENT)
    assert found is not None
    return str(found.experiment_id)


def examined(version: int) -> examination.Examination:
    everything = Limits(1.0, float("inf"), 1, 1.0)
    return examination.examine(
        version, name=versions.NAME, alias="champion", reference_file=REFERENCE, limits=everything
    )


def outcome_of(version: int) -> str:
    client = MlflowClient()
    run = client.get_run(client.get_model_version(versions.NAME, str(version)).tags["examination.run"])
    return str(run.data.tags["outcome"])


def run_of(version: int) -> Any:
    client = MlflowClient()
    return client.get_run(client.get_model_version(versions.NAME, str(version)).tags["examination.run"]).data


def names_of(told: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"^Objection \((.+?)\): ", told, re.MULTILINE)))
