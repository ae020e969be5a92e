"""Registers a bundle: first a run with everything known about it, then a version, then the alias."""

import importlib.metadata
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.protos.databricks_pb2 import ErrorCode
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from features.catalogue import example_client
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import OUTPUT_COLUMNS
from mlflow_model.bundle.signing import Signer, SigningRefused
from mlflow_model.handover.card import ModelCard
from mlflow_model.registry import (
    aliases,
    connection,
    failures,
    fetching,
    listing,
    moves,
    signed_versions,
    sqlite,
    versions,
)
from mlflow_model.registry.aliases import Move

_EXISTS = ErrorCode.Name(ErrorCode.Value("RESOURCE_ALREADY_EXISTS"))
_PYFUNC = Path(__file__).parents[1] / "bundle" / "pyfunc.py"
_RUNTIME_PACKAGES = ("mlflow", "lightgbm", "numpy", "pandas")
_DESCRIPTION = (
    "A LightGBM classifier of default with the bank's policy: threshold, margin, grey zone. The alias "
    "`champion` names the version that is served, `candidate` the last one that waits for "
    "`python register.py promote`, `challenger` one that decides beside the champion without being heard."
)
_THE_REST = "\n\nThe rest is in `model_card.md`, an artifact of this version's run.\n"
_DESCRIPTION_LIMIT = 5_000  # characters, the column's size in MLflow's schema


@dataclass(frozen=True)
class Registered:
    """`replaced`: the version that the alias named before, if it was another one."""

    number: int
    is_new: bool
    alias: str
    replaced: int | None


def register(
    bundle: Bundle,
    card: ModelCard,
    *,
    name: str = versions.NAME,
    alias: str | None = None,
    signer: Signer | None = None,
    by: str | None = None,
    unsigned: bool = False,
) -> Registered:
    """Make a bundle a version and point the alias at it. Raises LoadingFailed, SigningRefused, Overtaken.

    Without a given alias, the first version becomes champion, and every later one a candidate for the gate.
    An alias that names a signed version does not move if a service that asks for signatures would refuse the
    next one, unless `unsigned`.
    The alias moves last, and only to a version that was fetched back and verified, so that a failure at any
    point leaves the previous champion. A bundle that is already registered is not registered again.
    """
    with sqlite.alone():
        client = connection.connect(create=True)
        with failures.in_words("enregistrement du modèle"):
            known = _version_of_bundle(client, name, bundle.digest)
            asks = signer is None and alias not in (None, versions.CANDIDATE)
            if asks:
                _must_be_served(name, str(alias), known, unsigned)
            number = known if known is not None else _new_version(client, bundle, card, name)
            fetching.download(versions.resolve(f"models:/{name}/{number}"))
            with moves.lease(client, name, by) as held:
                chosen, overridden = alias or _default_alias(client, name, number), None
                held.check()
                if signer is not None:
                    signed_versions.sign(client, signer, name, number, bundle.digest)
                elif asks:
                    overridden = _must_be_served(name, chosen, number, unsigned)
                held.check()
                before = aliases.named(client, name, chosen)
                if before != number:
                    step = Move(number, aliases.REGISTRATION, by=by, overridden=overridden)
                    aliases.move(client, name, chosen, step)
        return Registered(number, known is None, chosen, None if before == number else before)


def _default_alias(client: MlflowClient, name: str, number: int) -> str:
    champion = aliases.named(client, name, versions.CHAMPION)
    return versions.CHAMPION if champion in (None, number) else versions.CANDIDATE


def _must_be_served(name: str, alias: str, number: int | None, unsigned: bool) -> str | None:
    """Raises SigningRefused if a service that asks for signatures would refuse the alias's next version.

    If `unsigned`, returns the name of the objection that is overridden instead, or None. `number`: the
    version that the alias is to name; None if it does not exist yet.
    """
    present = listing.version_at(name, alias)
    if present is None or present == number:
        return None
    served = versions.resolve(f"models:/{name}/{present}")
    signed = None if number is None else versions.resolve(f"models:/{name}/{number}").statement
    wanted = "the new version" if number is None else f"version {number}"
    foreseen = signed_versions.foreseen(signed, wanted, served)
    if foreseen and not unsigned:
        raise SigningRefused(f"{foreseen}; --sign KEY.pem signs it, --unsigned moves {alias} all the same")
    return aliases.SIGNATURE if foreseen else None


def _new_version(client: MlflowClient, bundle: Bundle, card: ModelCard, name: str) -> int:
    """Make a run with parameters, metrics and the bundle, then the version with all its tags at once."""
    given = os.environ.get("MLFLOW_RUN_ID")
    with mlflow.start_run(given, connection.experiment(client), run_name="registration") as run:
        # What the bundle says goes before what a card says.
        mlflow.log_params({**card.parameters, **_policy_tags(bundle)})
        mlflow.log_metrics({**card.metrics, "features": len(_features(bundle))})
        mlflow.log_text(card.text, "model_card.md")
        model = _log_model(client, bundle)
        training = _link_to_training(client, run, bundle)
    _create_model(client, name)
    tags = {
        **_policy_tags(bundle),
        "source.sha256": bundle.source["sha256"],
        versions.DIGEST_TAG: bundle.digest,
    }
    tags |= {"training.run": training} if training is not None else {}
    version = client.create_model_version(
        name,
        model.model_uri,
        run.info.run_id,
        tags,
        description=_described(card.text),
        model_id=model.model_id,  # a tracking server asks for it
    )
    if given is None:
        client.update_run(run.info.run_id, name=f"registration of version {version.version}")
    if training is not None:
        client.set_tag(training, "registered.version", f"{name}/{version.version}")
    return int(version.version)


def _described(card: str) -> str:
    """The card as far as a description may hold it, by whole paragraphs, and where the rest is."""
    if len(card) <= _DESCRIPTION_LIMIT:
        return card
    paragraphs = card[: _DESCRIPTION_LIMIT - len(_THE_REST)].split("\n\n")
    return "\n\n".join(paragraphs[:-1]) + _THE_REST


def _create_model(client: MlflowClient, name: str) -> None:
    """Create the registered model if it is absent. Two registrations at once may both find it absent."""
    if client.search_registered_models(f"name = '{name}'"):
        return
    try:
        client.create_registered_model(name, description=_DESCRIPTION)
    except MlflowException as error:
        if error.error_code != _EXISTS:
            raise


def _link_to_training(client: MlflowClient, run: Run, bundle: Bundle) -> str | None:
    """Make the run a child of the training that made this pickle, with its data sets.

    Returns the training's run, which is found by its tag `pickle.sha256`; None if this registry has none.
    """
    query = f"tags.`pickle.sha256` = '{bundle.source['sha256']}'"
    found = client.search_runs([run.info.experiment_id], query, max_results=1)
    if not found or found[0].info.run_id == run.info.run_id:
        return found[0].info.run_id if found else None
    training = found[0]
    client.set_tag(run.info.run_id, MLFLOW_PARENT_RUN_ID, training.info.run_id)
    if training.inputs is not None:
        client.log_inputs(run.info.run_id, training.inputs.dataset_inputs)
    return str(training.info.run_id)


def _log_model(client: MlflowClient, bundle: Bundle) -> ModelInfo:
    with tempfile.TemporaryDirectory() as folder:
        bundle.write(Path(folder) / "bundle")
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(_PYFUNC),
            artifacts={"bundle": str(Path(folder) / "bundle")},
            signature=signature(),
            input_example=pd.DataFrame([example_client(_features(bundle))]).astype("float64"),
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in _RUNTIME_PACKAGES],
        )
        _strip_paths(client, info.model_id, Path(folder))
    return info


def _strip_paths(client: MlflowClient, model_id: str, folder: Path) -> None:
    """Remove this machine's paths, which MLflow records in MLmodel. Loading needs relative ones only."""
    location = client.get_logged_model(model_id).artifact_location
    path = Path(mlflow.artifacts.download_artifacts(f"{location}/MLmodel", dst_path=str(folder)))
    document = yaml.safe_load(path.read_text())
    flavour = document["flavors"]["python_function"]
    flavour["model_code_path"] = _PYFUNC.name
    flavour["artifacts"]["bundle"]["uri"] = flavour["artifacts"]["bundle"]["path"]
    path.write_text(yaml.safe_dump(document))
    client.log_model_artifact(model_id, str(path))


def signature() -> ModelSignature:
    """Seven columns out. What comes in is not declared: scoring.py judges it, as it does for /predict.

    If a column were declared as double, MLflow would refuse integers in a frame and take true for 1.0 at
    /invocations; if as any, it could read no CSV. The margin has no default: MLflow would always pass it on.
    """
    outputs = [
        ColSpec("string", OUTPUT_COLUMNS[0]),
        *(ColSpec("double", name) for name in OUTPUT_COLUMNS[1:]),
    ]
    return ModelSignature(
        outputs=Schema([*outputs]), params=ParamSchema([ParamSpec("margin", "double", None)])
    )


def _features(bundle: Bundle) -> list[str]:
    return list(json.loads(bundle.files["features.json"]))


def _policy_tags(bundle: Bundle) -> dict[str, str]:
    return {f"policy.{key}": repr(bundle.policy[key]) for key in ("threshold", "margin")}


def _version_of_bundle(client: MlflowClient, name: str, digest: str) -> int | None:
    query = f"name = '{name}' and tags.`{versions.DIGEST_TAG}` = '{digest}'"
    return max((int(version.version) for version in client.search_model_versions(query)), default=None)
