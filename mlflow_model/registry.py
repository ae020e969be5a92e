"""The MLflow registry: where versions are stored, named by aliases and fetched back, always verified."""

import errno
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode
from sqlalchemy.exc import SQLAlchemyError

from mlflow_model import aliases, leases, signing, store
from mlflow_model import bundle as bundles
from mlflow_model.aliases import Term
from mlflow_model.bundle import Bundle
from mlflow_model.errors import LoadingFailed, NotInRegistry, OutOfReach, RollbackRefused

NAME = "scoring-client"
EXPERIMENT = "scoring-client"
CHAMPION = "champion"
CANDIDATE = "candidate"  # the alias of what awaits its promotion
DEFAULT_MODEL_URI = f"models:/{NAME}@{CHAMPION}"

DIGEST_TAG = "bundle.sha256"
STATEMENT_TAG = "bundle.statement"
_OLD_SIGNATURE_TAG = "bundle.signature"  # of the manifest alone, until statements came
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_FOUND = 404
# How MLflow's own sentences, which hold those of requests and urllib3, tell that nobody answered to the end.
_LOST = (
    "API request to",
    "timed out",
    "Connection broken",
    "Connection aborted",
    "Response ended prematurely",
    "Max retries exceeded",
)
# MLflow's own defaults wait for minutes before they give up.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
_DISK_FULL = "le disque est plein ; libérez de la place"
_UNREACHABLE = "registre injoignable ; vérifiez MLFLOW_TRACKING_URI"
_NO_DRIVER = "le pilote de ce registre n’est pas installé ; passez par « mlflow server » (docs/operations.md)"
_MISSING = ErrorCode.Name(ErrorCode.Value("RESOURCE_DOES_NOT_EXIST"))


@dataclass(frozen=True)
class Version:
    """A registered version, as `register.py list` shows it."""

    number: int
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created: datetime

    @property
    def signed(self) -> str | None:
        """The text of its statement, or of an old signature."""
        return _signed(self.tags)


@dataclass(frozen=True)
class Reference:
    """What a model URI names now. Only a registered model has a version, a digest and a signed statement."""

    source: str
    name: str
    version: str | None = None
    alias: str | None = None
    digest: str | None = None
    statement: str | None = None


def connect(*, create: bool = False) -> MlflowClient:
    """A client of MLFLOW_TRACKING_URI, or of this repository's own store, by absolute path.

    Only `create` makes a store that is absent: reading must not, and it would take seconds.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    for variable, value in _PATIENCE.items():
        os.environ.setdefault(variable, value)
    mlflow.set_tracking_uri(store.uri())
    _check_store()
    if _absent_store() and not create:
        raise LoadingFailed("aucun registre de modèles : lancez « python register.py »")
    with in_words("ouverture du registre"):
        return MlflowClient()


def promote(
    number: int,
    *,
    name: str = NAME,
    alias: str = CHAMPION,
    why: str | None = None,
    how: str = aliases.PROMOTION,
    by: str | None = None,
    reference: str | None = None,
    ready: Callable[[MlflowClient], object] = lambda _: None,
) -> None:
    """Point the alias at a version under the lease, and write down when, how, by whom and why.

    `ready` is called when nobody else can move an alias of the model, and may still refuse. Raises Overtaken.
    """
    client = connect()
    with in_words(f"promotion de la version {number} de {name}"):
        client.get_model_version(name, str(number))
        with lease(client, name, by) as held:
            ready(client)
            if aliases.named(client, name, alias) != number:
                held.check()
                aliases.move(client, name, alias, number, how, why, by=by, reference=reference)


def rollback(
    *,
    name: str = NAME,
    alias: str = CHAMPION,
    by: str | None = None,
    ready: Callable[[MlflowClient, int], object] = lambda *_: None,
) -> int:
    """Point the alias back at the version that it named before, verified first. Returns that version.

    `ready` is called as for `promote`, with the version. Raises RollbackRefused, Overtaken.
    """
    client = connect()
    with in_words(f"retour à la version précédente de {name}"):
        current, number = aliases.named(client, name, alias), former(name, alias)
        _verify_for_return(name, number)
        with lease(client, name, by) as held:
            if (current, number) != (aliases.named(client, name, alias), former(name, alias)):
                raise aliases.Overtaken(f"{alias} has been moved meanwhile: look at it again")
            ready(client, number)
            held.check()
            aliases.move(client, name, alias, number, aliases.ROLLBACK, by=by)
        return number


def former(name: str = NAME, alias: str = CHAMPION) -> int:
    """The version that a rollback returns to. Raises RollbackRefused where there is none."""
    client = connect()
    with in_words(f"retour à la version précédente de {name}"):
        found = aliases.former(client, name, alias)
    if found is None:
        raise RollbackRefused(f"aucun « {alias} » précédent ; consultez « python register.py list »")
    return found


@contextmanager
def lease(client: MlflowClient, name: str, by: str | None) -> Iterator[leases.Lease]:
    """Nobody else who asks for it moves an alias of the model, or signs a version of it. Raises Overtaken."""
    held = leases.taken(client, name, by)
    try:
        yield held
    finally:
        with suppress(MlflowException):  # what was done is done, and the lease ends by itself
            leases.end(client, name, held)


def _verify_for_return(name: str, number: int) -> None:
    try:
        download(resolve(f"models:/{name}/{number}"))
    except LoadingFailed as error:
        cause, _, _ = error.detail.partition(" ; ")
        raise RollbackRefused(
            f"la version {number} de {name} est inutilisable ({cause}) ; "
            "promouvez-en une autre avec « python register.py promote »"
        ) from error


def history(name: str = NAME, alias: str = CHAMPION) -> list[Term]:
    """Which versions the alias has named, oldest first; nothing where the model is not known."""
    client = connect()
    with in_words("lecture du registre"):
        known = client.search_registered_models(f"name = '{name}'")
        return aliases.history(client, name, alias) if known else []


def version_at(name: str = NAME, alias: str = CHAMPION) -> int | None:
    """The version that the alias points at, or None where there is no store, no model or no such alias."""
    if _absent_store():
        return None
    found = [version.number for version in versions(name) if alias in version.aliases]
    return found[0] if found else None


def versions(name: str = NAME) -> list[Version]:
    """All versions of a model, newest first."""
    client = connect()
    with in_words("lecture du registre"):
        if not client.search_registered_models(f"name = '{name}'"):
            return []
        found = [_described(version) for version in client.search_model_versions(f"name = '{name}'")]
        pointers = client.get_registered_model(name).aliases
    by_number = {version.number: version for version in found}
    for alias, number in pointers.items():
        version = by_number[int(number)]
        by_number[int(number)] = Version(
            version.number, (*version.aliases, alias), version.tags, version.created
        )
    return sorted(by_number.values(), key=lambda version: -version.number)


def resolve(uri: str) -> Reference:
    """What an MLflow model URI names now. Raises LoadingFailed."""
    client = connect()
    with in_words(_shown(uri)):
        version, alias = _version_of(client, uri)
    if version is None:
        return Reference(uri, _shown(uri))
    digest, signed = version.tags.get(DIGEST_TAG), _signed(version.tags)
    number = str(version.version)
    return Reference(f"models:/{version.name}/{number}", version.name, number, alias, digest or "", signed)


def _signed(tags: Mapping[str, str]) -> str | None:
    """One character more than a statement may have is enough to see that it is none."""
    found = tags.get(STATEMENT_TAG) or tags.get(_OLD_SIGNATURE_TAG)
    return None if found is None else found[: signing.LONGEST + 1]


def download(reference: Reference, within: Path | None = None) -> Bundle:
    """The bundle that is meant, with every digest verified. Raises LoadingFailed.

    `within`: the folder for what arrives, where it is not that of temporary files.
    """
    connect()
    with in_words(_shown(reference.source)), _arriving(within) as folder:
        path = mlflow.artifacts.download_artifacts(artifact_uri=reference.source, dst_path=folder)
        bundle = bundles.read(Path(path) / "artifacts" / "bundle")
    if reference.version is not None and reference.digest != bundle.digest:
        raise LoadingFailed(
            f"l’empreinte du bundle n’est pas celle de la version {reference.version} de {reference.name} ; "
            "réenregistrez le modèle avec « python register.py »"
        )
    return bundle


@contextmanager
def _arriving(within: Path | None) -> Iterator[str]:
    if within is not None:
        within.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="arriving-", dir=within) as folder:
        yield folder


def _version_of(client: MlflowClient, uri: str) -> tuple[ModelVersion | None, str | None]:
    """The registered version and alias that a URI names, or (None, None) for a run's or a logged model."""
    reference = uri.removeprefix("models:/")
    if reference == uri or reference.startswith("m-"):
        return None, None
    name, at, alias = reference.partition("@")
    if at:
        return _named(client.get_model_version_by_alias(name, alias), name), alias
    name, _, number = reference.partition("/")
    if number == "latest":
        found = client.search_model_versions(f"name = '{name}'", 1, ["version_number DESC"])
        number = str(found[0].version) if found else "0"
    return _named(client.get_model_version(name, number), name), None


def _named(version: ModelVersion, name: str) -> ModelVersion:
    """A registry's server chooses its answers, and a signature holds for a name: for the one asked for."""
    if version.name != name:
        raise LoadingFailed(
            f"{name} : le registre répond pour un autre modèle ; vérifiez MODEL_URI et MLFLOW_TRACKING_URI"
        )
    return version


def _shown(uri: str) -> str:
    """What a caller may read of a model URI: a path would tell about the machine."""
    return uri if uri.startswith(("models:/", "runs:/")) else "MODEL_URI"


def _described(version: ModelVersion) -> Version:
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return Version(int(version.version), (), dict(version.tags), created)


def experiment(client: MlflowClient) -> str | None:
    """The experiment, made on first use; None inside `mlflow run`, which has chosen one already."""
    if "MLFLOW_RUN_ID" in os.environ:
        return None
    found = client.get_experiment_by_name(EXPERIMENT)
    if found:
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT, _artifact_root()))


def _artifact_root() -> str | None:
    """Artifacts lie beside a SQLite store, whatever the current folder; a server has its own place."""
    file = _sqlite_file()
    return None if file is None else (file.parent / "mlartifacts").as_uri()


def _sqlite_file() -> Path | None:
    scheme, separator, path = store.uri().partition("sqlite:///")
    return Path(path).absolute() if separator and not scheme else None


def _check_store() -> None:
    """Refuse at once what SQLite cannot open, or would forget: MLflow tries that for minutes."""
    file = _sqlite_file()
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        raise LoadingFailed("MLFLOW_TRACKING_URI ne nomme pas un fichier SQLite dans un dossier existant")
    if store.uri().startswith("sqlite:") and (file is None or file.name == ":memory:"):
        raise LoadingFailed("un registre en mémoire serait aussitôt oublié : nommez un fichier SQLite")


def _absent_store() -> bool:
    file = _sqlite_file()
    return file is not None and not file.exists()


@contextmanager
def in_words(attempt: str) -> Iterator[None]:
    """Say what failed and what to do, in the contract's form and without MLflow's own text."""
    try:
        yield
    except MlflowException as error:
        if error.error_code == _MISSING or "not found" in str(error.message):
            raise NotInRegistry(attempt) from error
        if any(os.strerror(code) in str(error.message) for code in _FULL):
            raise OutOfReach(f"{attempt} : {_DISK_FULL}") from error
        if any(sign in str(error.message) for sign in _LOST):
            raise OutOfReach(f"{attempt} : {_UNREACHABLE}") from error
        raise LoadingFailed(f"{attempt} : refusé ; vérifiez MODEL_URI et MLFLOW_TRACKING_URI") from error
    except OSError as error:
        if error.errno in _FULL:
            raise OutOfReach(f"{attempt} : {_DISK_FULL}") from error
        is_lost = isinstance(error, FileNotFoundError) or _status(error) == _NOT_FOUND
        raise (LoadingFailed if is_lost else OutOfReach)(f"{attempt} : {_UNREACHABLE}") from error
    except SQLAlchemyError as error:
        raise OutOfReach(f"{attempt} : {_UNREACHABLE}") from error
    except ImportError as error:
        raise LoadingFailed(f"{attempt} : {_NO_DRIVER}") from error


def _status(error: OSError) -> int | None:
    """Of the answer over HTTP, where there was one: `requests` raises an OSError with it."""
    return getattr(getattr(error, "response", None), "status_code", None)
