"""Which registered version a model URI names now, and the names and tags that all versions share."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from mlflow_model.bundle import signing
from mlflow_model.errors import REGISTER_AGAIN, LoadingFailed, NotRegistered, NotUnderstood
from mlflow_model.registry import connection, failures

NAME = "scoring-client"
CHAMPION = "champion"
CANDIDATE = "candidate"  # the alias of a version that awaits its promotion
DIGEST_TAG = "bundle.sha256"
STATEMENT_TAG = "bundle.statement"
_OLD_SIGNATURE_TAG = "bundle.signature"  # signed the manifest alone, before statements existed
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_READY = "READY"


@dataclass(frozen=True)
class Reference:
    """What a model URI names now. Only a registered version has a number, a digest and a signed statement."""

    source: str
    name: str
    version: str | None = None
    alias: str | None = None
    digest: str | None = None
    statement: str | None = None


def resolve(uri: str) -> Reference:
    """What an MLflow model URI names now. Raises LoadingFailed."""
    client = connection.connect()
    with failures.in_words(shown(uri)):
        version, alias = _version_of(client, uri)
    if version is None:
        return Reference(uri, shown(uri))
    require_registered(version)
    digest, signed = version.tags.get(DIGEST_TAG), signed_text(version.tags)
    number = str(version.version)
    return Reference(f"models:/{version.name}/{number}", version.name, number, alias, digest or "", signed)


def signed_text(tags: Mapping[str, str]) -> str | None:
    """The text of the version's signed statement, or of an old signature; None if it has neither.

    It is cut one character after the longest statement: enough to see that it is none.
    """
    found = tags.get(STATEMENT_TAG) or tags.get(_OLD_SIGNATURE_TAG)
    return None if found is None else found[: signing.LONGEST + 1]


def require_registered(version: ModelVersion) -> None:
    """Raises NotRegistered, or LoadingFailed for a name or a number that no registry can hold."""
    number, name = str(version.version), str(version.name)
    if not (_NUMBER.fullmatch(number) and name.isprintable()):
        raise LoadingFailed("le registre répond par un nom ou un numéro impossible ; vérifiez MODEL_URI")
    if version.status != _READY:
        raise NotRegistered(
            f"l’enregistrement de la version {number} de {name} n’est pas terminé ou a échoué ; "
            f"{REGISTER_AGAIN}"
        )


def _version_of(client: MlflowClient, uri: str) -> tuple[ModelVersion | None, str | None]:
    """The registered version and alias that a URI names; (None, None) for a run's model or a logged model."""
    path = uri.removeprefix("models:/")
    if path == uri or path.startswith("m-"):
        return None, None
    name, at, alias = path.partition("@")
    if at:
        return _named(client.get_model_version_by_alias(name, alias), name), alias
    name, _, number = path.partition("/")
    if number == "latest":
        found = client.search_model_versions(f"name = '{name}'", 1, ["version_number DESC"])
        number = str(found[0].version) if found else "0"
    return _named(client.get_model_version(name, number), name), None


def _named(version: ModelVersion, name: str) -> ModelVersion:
    """Refuse a version of another model than the one asked for. Raises LoadingFailed.

    The registry's server chooses its answers, and a signature is checked against the name that was asked for.
    """
    if not version.name:
        raise NotUnderstood("version sans nom")
    if version.name != name:
        raise LoadingFailed(
            f"{name} : le registre répond pour un autre modèle ; vérifiez MODEL_URI et MLFLOW_TRACKING_URI"
        )
    return version


def shown(uri: str) -> str:
    """The URI as callers may read it: a path, which would describe the machine, is replaced."""
    return uri if uri.startswith(("models:/", "runs:/")) and uri.isprintable() else "MODEL_URI"
