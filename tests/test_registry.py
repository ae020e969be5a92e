"""The registry: versions with their provenance, moving aliases, and only verified bundles handed back."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from lightgbm import LGBMClassifier
from mlflow import MlflowClient

from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import OUTPUT_COLUMNS
from mlflow_model.errors import LoadingFailed, OutOfReach
from mlflow_model.handover import model_files
from mlflow_model.handover.card import ModelCard
from mlflow_model.registry import (
    connection,
    fetching,
    listing,
    moves,
    registration,
    versions,
)
from mlflow_model.registry.aliases import RollbackRefused
from tests.registry_support import champion, fetch

CARD = ModelCard(
    "# Card\n\nText.\n", metrics={"auc": 0.75}, parameters={"seed": 0}, provenance={"costs": "5:1"}
)


def with_margin(documented_pickle: Path, margin: float) -> tuple[Bundle, ModelCard]:
    return model_files.convert(documented_pickle, margin=margin)


def artifact_folder(store: Path) -> Path:
    (folder,) = store.glob("mlartifacts/models/m-*/artifacts")
    return folder


@pytest.mark.slow
def test_the_same_bundle_twice_is_registered_once(store: Path, bundle: Bundle) -> None:
    first, again = registration.register(bundle, CARD), registration.register(bundle, CARD)

    assert (first.number, first.is_new, first.alias) == (1, True, "champion")
    assert (again.number, again.is_new, again.alias) == (1, False, "champion")


@pytest.mark.slow
def test_a_margin_alone_is_a_new_version_and_a_candidate(registered: Path, documented_pickle: Path) -> None:
    done = registration.register(*with_margin(documented_pickle, 0.05))

    assert (done.number, done.is_new, champion()) == (2, True, 1)
    assert fetch("models:/scoring-client@candidate").policy["margin"] == 0.05


@pytest.fixture(scope="module")
def described_once(migrated_store: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a registry with a version that has a card, for the tests that only read it."""
    folder = tmp_path_factory.mktemp("described")
    shutil.copy(migrated_store, folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        registration.register(bundle, CARD)
    return uri


@pytest.fixture
def described(described_once: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", described_once)
    connection.connect()


def test_a_version_carries_its_policy_its_source_and_its_card(described: None, bundle: Bundle) -> None:
    version = MlflowClient().get_model_version("scoring-client", "1")
    assert version.tags == {
        "policy.threshold": "0.25",
        "policy.margin": "0.02",
        "source.sha256": bundle.source["sha256"],
        "bundle.sha256": bundle.digest,
    }
    assert version.description == "# Card\n\nText.\n"


def test_a_card_that_is_too_long_for_a_description_ends_with_where_the_rest_is(
    store: Path, bundle: Bundle
) -> None:
    long = "\n\n".join(["# Card", *(f"Paragraph {number} {'x' * 90}" for number in range(80))])
    registration.register(bundle, replace(CARD, text=long))

    described = str(MlflowClient().get_model_version("scoring-client", "1").description)

    *shown, last = described.split("\n\n")
    assert 4_700 < len(described) <= 5_000
    assert "\n\n".join(shown) == long[: len("\n\n".join(shown))]
    assert all(len(paragraph) > 90 for paragraph in shown[1:])
    assert last == "The rest is in `model_card.md`, an artifact of this version's run.\n"


def test_versions_can_be_searched_by_their_policy(described: None) -> None:
    found = MlflowClient().search_model_versions("tags.`policy.threshold` = '0.25'")

    assert [version.version for version in found] in (["1"], [1])


@pytest.mark.slow
def test_a_card_says_nothing_else_than_the_bundle(store: Path, bundle: Bundle) -> None:
    boast = replace(CARD, parameters={"policy.threshold": 0.9}, metrics={"features": 99.0})
    registration.register(bundle, boast)

    data = MlflowClient().get_run(str(MlflowClient().get_model_version("scoring-client", "1").run_id)).data

    assert (data.params["policy.threshold"], data.metrics["features"]) == ("0.25", 17.0)


def test_the_run_shows_parameters_metrics_and_the_card(described: None) -> None:
    experiment = MlflowClient().get_experiment_by_name("scoring-client")
    assert experiment is not None
    (run,) = MlflowClient().search_runs([experiment.experiment_id])
    assert run.data.metrics == {"auc": 0.75, "features": 17.0}
    assert run.data.params == {"policy.threshold": "0.25", "policy.margin": "0.02", "seed": "0"}
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/model_card.md") == CARD.text


def test_the_signature_answers_seven_columns_and_judges_no_input(registered: Path) -> None:
    model = mlflow.models.get_model_info("models:/scoring-client/1")
    signature = model.signature
    assert signature is not None

    assert signature.inputs is None
    assert signature.outputs.input_names() == list(OUTPUT_COLUMNS)
    assert [(param.name, param.default) for param in signature.params] == [("margin", None)]


def test_the_input_example_is_the_documented_client(
    registered: Path, documented_request: dict[str, float]
) -> None:
    example = json.loads((artifact_folder(registered) / "input_example.json").read_text())

    assert dict(zip(example["columns"], example["data"][0], strict=True)) == documented_request


def test_the_stored_model_names_no_folder_of_the_machine_that_built_it(registered: Path) -> None:
    document = yaml.safe_load((artifact_folder(registered) / "MLmodel").read_text())

    flavour = document["flavors"]["python_function"]
    assert flavour["model_code_path"] == "pyfunc.py"
    assert flavour["artifacts"]["bundle"] == {"path": "artifacts/bundle", "uri": "artifacts/bundle"}


@pytest.mark.slow
def test_promote_then_rollback_returns_to_the_former_champion(
    registered: Path, documented_pickle: Path
) -> None:
    for margin in (0.05, 0.06):
        registration.register(*with_margin(documented_pickle, margin), alias="champion")
    moves.promote(1)

    assert [moves.rollback(), moves.rollback()] == [3, 2]
    assert champion() == 2
    with pytest.raises(RollbackRefused, match="No champion was in force before this one"):
        moves.rollback()


@pytest.mark.slow
def test_a_version_that_comes_while_others_are_listed_is_left_out(
    registered: Path, documented_pickle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version appears after the versions were listed and before the aliases are."""
    connect = connection.connect

    class Slow:
        def __init__(self) -> None:
            self._client = connect()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def get_registered_model(self, name: str) -> Any:
            monkeypatch.setattr(connection, "connect", connect)
            registration.register(*with_margin(documented_pickle, 0.05), alias="candidate")
            return self._client.get_registered_model(name)

    monkeypatch.setattr(connection, "connect", Slow)

    assert [(version.number, version.aliases) for version in listing.listed()] == [(1, ("champion",))]


@pytest.mark.slow
def test_another_alias_leaves_the_champion_alone(registered: Path, documented_pickle: Path) -> None:
    registration.register(*with_margin(documented_pickle, 0.05), alias="challenger")

    assert (champion(), listing.version_at(alias="challenger")) == (1, 2)


UNKNOWN: dict[str, Callable[[], Any]] = {
    "promote": lambda: moves.promote(9),
    "alias": lambda: fetch("models:/scoring-client@nope"),
    "version": lambda: fetch("models:/scoring-client/9"),
    "name": lambda: fetch("models:/nope/1"),
    "a name's alias": lambda: fetch("models:/nope@champion"),
    "run": lambda: fetch("runs:/0123456789abcdef0123456789abcdef/model"),
    "logged model": lambda: fetch("models:/m-0123456789abcdef0123456789abcdef"),
    "scheme": lambda: fetch("nope:/x"),
    "empty": lambda: fetch("models:/"),
    "path": lambda: fetch("models:/scoring-client/1/../../x"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_there_is_refused_with_the_way_out(registered: Path, name: str) -> None:
    with pytest.raises(
        LoadingFailed, match=r"^Erreur lors du chargement du modèle : .* ; (lancez|vérifiez) "
    ) as no:
        UNKNOWN[name]()

    assert str(registered) not in str(no.value)


def test_a_logged_model_can_be_fetched_without_a_version(registered: Path, bundle: Bundle) -> None:
    uri = f"models:/{artifact_folder(registered).parent.name}"

    named = versions.resolve(uri)

    assert (fetching.download(named), named.name, named.version) == (bundle, uri, None)


@pytest.mark.slow
def test_a_model_of_another_flavour_is_called_one(registered: Path) -> None:
    """Somebody logs a model with MLflow's own flavour, as a version and without one."""
    classifier = LGBMClassifier(n_estimators=2, n_jobs=1, verbosity=-1).fit(np.eye(40), np.arange(40) % 2)
    logged = mlflow.lightgbm.log_model(
        classifier,
        name="model",
        registered_model_name="theirs",
        pip_requirements=["lightgbm"],  # or MLflow starts a process that looks for them, for seconds
    )

    for uri in ("models:/theirs/1", logged.model_uri):
        with pytest.raises(
            LoadingFailed, match="est un autre modèle MLflow, que Scoring Client n’a pas"
        ) as no:
            fetch(uri)
        assert not isinstance(no.value, OutOfReach)


@pytest.mark.parametrize("name", sorted([*bundles.FILES, "manifest.json"]))
def test_a_tampered_artifact_is_not_served(registered: Path, name: str) -> None:
    path = artifact_folder(registered) / "artifacts" / "bundle" / name
    path.write_bytes(path.read_bytes() + b" ")

    with pytest.raises(LoadingFailed, match=r"empreinte|manifeste"):
        fetch("models:/scoring-client@champion")


def test_a_bundle_exchanged_for_another_whole_one_is_not_served(
    registered: Path, documented_pickle: Path
) -> None:
    folder = artifact_folder(registered) / "artifacts" / "bundle"
    other, _ = with_margin(documented_pickle, 0.2)
    for name, content in {**other.files, "manifest.json": other.manifest}.items():
        (folder / name).write_bytes(content)

    with pytest.raises(LoadingFailed, match="l’empreinte du bundle n’est pas celle de la version 1"):
        fetch("models:/scoring-client@champion")


def test_a_failed_registration_leaves_the_champion(registered: Path, documented_pickle: Path) -> None:
    artifacts = registered / "mlartifacts"
    artifacts.rename(registered / "aside")
    artifacts.write_text("where the artifacts' folder should be")

    with pytest.raises(LoadingFailed, match="enregistrement du modèle : "):
        registration.register(*with_margin(documented_pickle, 0.05))

    artifacts.unlink()
    (registered / "aside").rename(artifacts)
    assert versions.resolve("models:/scoring-client@champion").version == "1"
