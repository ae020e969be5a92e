"""The MLflow registry: where versions are stored, named by aliases and fetched back, always verified."""

import contextlib
import errno
import hashlib
import logging
import os
import re
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
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from mlflow_model import aliases, files, leases, processes, signing, store
from mlflow_model import bundle as bundles
from mlflow_model.aliases import Term
from mlflow_model.bundle import MANIFEST, Bundle
from mlflow_model.errors import (
    LoadingFailed,
    NotInRegistry,
    NotRegistered,
    NotUnderstood,
    OutOfReach,
    RollbackRefused,
)

NAME = "scoring-client"
EXPERIMENT = "scoring-client"
CHAMPION = "champion"
CANDIDATE = "candidate"  # the alias of what awaits its promotion

DIGEST_TAG = "bundle.sha256"
STATEMENT_TAG = "bundle.statement"
_OLD_SIGNATURE_TAG = "bundle.signature"  # of the manifest alone, until statements came
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_FOUND = 404
_FAILURES = (MlflowException, OSError, SQLAlchemyError, ImportError, MemoryError)
_LARGEST = max(bundles.MOST_BYTES.values())
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
_READY = "READY"
# How MLflow's own sentences, which hold those of requests and urllib3, tell that nobody answered to the end.
_LOST = (
    "API request to",
    "timed out",
    "Connection broken",
    "Connection aborted",
    "Response ended prematurely",
    "Max retries exceeded",
)
# MLflow's own defaults wait for minutes before they give up, or for as long as a server asks them to. They
# also keep a file of SQLite open, which was then read on after another one had been put in its place.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
_ALWAYS_OPENED_ANEW = {"MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool"}
_DISK_FULL = "le disque est plein ; libérez de la place"
_UNREACHABLE = "registre injoignable ; vérifiez MLFLOW_TRACKING_URI"
_ENDLESS = "le registre répond par plus de données qu’il n’y a de mémoire ; vérifiez MLFLOW_TRACKING_URI"
_WAY_OUT = "réenregistrez le modèle avec « python register.py »"
_NO_DRIVER = "le pilote de ce registre n’est pas installé ; passez par « mlflow server » (docs/operations.md)"
_MISSING = ErrorCode.Name(ErrorCode.Value("RESOURCE_DOES_NOT_EXIST"))
_NO_SUCH_VALUE = ErrorCode.Name(ErrorCode.Value("INVALID_PARAMETER_VALUE"))  # for an alias


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
    anew = _ALWAYS_OPENED_ANEW if _sqlite_file() is not None else {}
    for variable, value in (_PATIENCE | anew).items():
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
        _require_registered(client.get_model_version(name, str(number)))
        with lease(client, name, by) as held:
            held.check()
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
            held.check()
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
        version = by_number.get(int(number))
        if version is None:  # registered after they were listed
            continue
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
    _require_registered(version)
    digest, signed = version.tags.get(DIGEST_TAG), _signed(version.tags)
    number = str(version.version)
    return Reference(f"models:/{version.name}/{number}", version.name, number, alias, digest or "", signed)


def _signed(tags: Mapping[str, str]) -> str | None:
    """One character more than a statement may have is enough to see that it is none."""
    found = tags.get(STATEMENT_TAG) or tags.get(_OLD_SIGNATURE_TAG)
    return None if found is None else found[: signing.LONGEST + 1]


def _require_registered(version: ModelVersion) -> None:
    """Raises NotRegistered; LoadingFailed for what no registry of ours says."""
    number, name = str(version.version), str(version.name)
    if not (_NUMBER.fullmatch(number) and name.isprintable()):
        raise LoadingFailed("le registre répond par un nom ou un numéro impossible ; vérifiez MODEL_URI")
    if version.status != _READY:
        raise NotRegistered(
            f"l’enregistrement de la version {number} de {name} n’est pas terminé ou a échoué ; {_WAY_OUT}"
        )


def download(reference: Reference, folder: Path | None = None) -> Bundle:
    """The bundle that is meant, with every digest verified: its own files alone, none too large.

    `folder`: where they arrive, if not in one for temporary files. Raises LoadingFailed.
    """
    client = connect()
    with in_words(_shown(reference.source)):
        files_of_version = get_artifact_repository(_location(client, reference))
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arriving-")))
        contents = {MANIFEST: _fetched(files_of_version, MANIFEST, reference, folder)}
        digest = hashlib.sha256(contents[MANIFEST]).hexdigest()
        if reference.version is not None and reference.digest != digest:
            raise LoadingFailed(
                "l’empreinte du bundle n’est pas celle de la version "
                f"{reference.version} de {reference.name} ; {_WAY_OUT}"
            )
        for name in sorted(bundles.FILES):
            contents[name] = _fetched(files_of_version, name, reference, folder)
    return bundles.verified(contents)


def _location(client: MlflowClient, reference: Reference) -> str:
    """The URI of the folder with its files."""
    location = reference.source
    if reference.version is not None:
        location = client.get_model_version_download_uri(reference.name, reference.version)
    kind, _, path = location.partition(":/")
    if kind == "runs":
        return _location_in_run(client, *path.partition("/")[::2])
    is_logged_model = kind == "models" and path.startswith("m-")
    return str(client.get_logged_model(path).artifact_location) if is_logged_model else location


def _location_in_run(client: MlflowClient, run_id: str, path: str) -> str:
    """That of the model which the run logged under this name, or of the run's own files."""
    run = client.get_run(run_id)
    for model in client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'"):
        if model.name == path:
            return str(model.artifact_location)
    return f"{run.info.artifact_uri}/{path}"


def _fetched(files_of_version: ArtifactRepository, name: str, reference: Reference, folder: Path) -> bytes:
    """One file of the bundle. Raises LoadingFailed.

    By the method that each of MLflow's repositories must have: the public `download_artifacts` asks the other
    side whether the file is a folder, and takes all that it then names.
    """
    arriving = folder / name
    try:
        with processes.no_file_beyond(_LARGEST):
            files_of_version._download_file(f"artifacts/bundle/{name}", str(arriving))
        return files.read(arriving, bundles.MOST_BYTES[name], own=False)
    except files.TooLarge as error:
        raise LoadingFailed(bundles.too_large(name)) from error
    except _FAILURES as error:
        if arriving.exists() and arriving.stat().st_size >= _LARGEST:
            raise LoadingFailed(bundles.too_large(name)) from error
        raise _unfetched(error, name, reference) from error


def _unfetched(error: Exception, name: str, reference: Reference) -> LoadingFailed:
    """Why a file did not come: the machine, the way, or a version that has a manifest and not the rest."""
    said = _said(_shown(reference.source), error)
    is_missing = isinstance(said, NotInRegistry) or isinstance(error, FileNotFoundError)
    is_missing = is_missing or _status(error) == _NOT_FOUND
    if is_missing and name != MANIFEST:
        return LoadingFailed(f"bundle incomplet ou illisible ; {_WAY_OUT}")
    is_cut = isinstance(error, RequestException) and _status(error) is None
    if (not isinstance(error, OSError) and not is_missing) or is_cut or _wrong_here(error):
        return said
    version = "" if reference.version is None else f"la version {reference.version} de "
    return OutOfReach(
        f"les fichiers de {version}{reference.name} sont hors d’atteinte ; vérifiez le stockage du registre"
    )


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
    if not version.name:
        raise NotUnderstood("version sans nom")
    if version.name != name:
        raise LoadingFailed(
            f"{name} : le registre répond pour un autre modèle ; vérifiez MODEL_URI et MLFLOW_TRACKING_URI"
        )
    return version


def _shown(uri: str) -> str:
    """What a caller may read of a model URI: a path would tell about the machine."""
    return uri if uri.startswith(("models:/", "runs:/")) and uri.isprintable() else "MODEL_URI"


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
    except _FAILURES as error:
        raise _said(attempt, error) from error


def _said(attempt: str, error: Exception) -> LoadingFailed:
    if detail := _wrong_here(error):
        return OutOfReach(f"{attempt} : {detail}")
    if isinstance(error, MlflowException):
        message = str(error.message)
        if any(sign in message for sign in _LOST):
            return OutOfReach(f"{attempt} : {_UNREACHABLE}")
        if error.error_code == _MISSING or (error.error_code == _NO_SUCH_VALUE and "not found" in message):
            return NotInRegistry(attempt)
        return LoadingFailed(f"{attempt} : refusé ; vérifiez MODEL_URI et MLFLOW_TRACKING_URI")
    if isinstance(error, ImportError):
        return LoadingFailed(f"{attempt} : {_NO_DRIVER}")
    is_lost = isinstance(error, FileNotFoundError) or _status(error) == _NOT_FOUND
    return (LoadingFailed if is_lost else OutOfReach)(f"{attempt} : {_UNREACHABLE}")


def _wrong_here(error: BaseException | None) -> str | None:
    """What is wrong with this machine, if that is why: MLflow raises errors of its own over the first one."""
    while error is not None:
        if isinstance(error, MemoryError):
            return _ENDLESS
        is_full = isinstance(error, OSError) and error.errno in _FULL
        if is_full or any(os.strerror(code) in str(error) for code in _FULL):
            return _DISK_FULL
        error = error.__cause__ or error.__context__
    return None


def _status(error: Exception) -> int | None:
    """Of the answer over HTTP, where there was one: `requests` raises an OSError with it."""
    return getattr(getattr(error, "response", None), "status_code", None)
