"""Fetches a version's bundle from the registry's storage: its own files only, bounded and verified."""

import contextlib
import hashlib
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from requests import RequestException

from mlflow_model import files, processes
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import MANIFEST, Bundle
from mlflow_model.bundle.limits import MOST_BYTES
from mlflow_model.errors import REGISTER_AGAIN, LoadingFailed, NotInRegistry, OutOfReach
from mlflow_model.registry import connection, failures, versions
from mlflow_model.registry.versions import Reference


class _Absent(OutOfReach):
    """The storage answers, and has no such file."""


_LARGEST = max(MOST_BYTES.values())


def download(reference: Reference, folder: Path | None = None) -> Bundle:
    """The bundle of this version, with every digest verified. Fetches its own files only, none too large.

    `folder`: where the files arrive, by default a temporary folder. Raises LoadingFailed.
    """
    client = connection.connect()
    with failures.in_words(versions.shown(reference.source)):
        files_of_version = get_artifact_repository(_location(client, reference))
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arriving-")))
        contents = {MANIFEST: _manifest(files_of_version, reference, folder)}
        digest = hashlib.sha256(contents[MANIFEST]).hexdigest()
        if reference.version is not None and reference.digest != digest:
            raise LoadingFailed(
                "l’empreinte du bundle n’est pas celle de la version "
                f"{reference.version} de {reference.name} ; {REGISTER_AGAIN}"
            )
        for name in sorted(bundles.file_names(contents[MANIFEST])):
            contents[name] = _fetched(files_of_version, name, reference, folder)
    return bundles.verified(contents)


def _location(client: MlflowClient, reference: Reference) -> str:
    """The URI of the folder with the version's files."""
    location = reference.source
    if reference.version is not None:
        location = client.get_model_version_download_uri(reference.name, reference.version)
    kind, _, path = location.partition(":/")
    if kind == "runs":
        return _location_in_run(client, *path.partition("/")[::2])
    is_logged_model = kind == "models" and path.startswith("m-")
    return str(client.get_logged_model(path).artifact_location) if is_logged_model else location


def _location_in_run(client: MlflowClient, run_id: str, path: str) -> str:
    """The location of the model that the run logged under this name, or else of the run's own files."""
    run = client.get_run(run_id)
    for model in client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'"):
        if model.name == path:
            return str(model.artifact_location)
    return f"{run.info.artifact_uri}/{path}"


def _manifest(files_of_version: ArtifactRepository, reference: Reference, folder: Path) -> bytes:
    """The manifest. Raises LoadingFailed, also for a model that somebody else logged to MLflow."""
    if reference.version is not None and not reference.digest:
        raise _of_another_kind(reference)
    try:
        return _fetched(files_of_version, MANIFEST, reference, folder)
    except _Absent:
        if reference.version is None and _is_there(files_of_version, "MLmodel", folder):
            raise _of_another_kind(reference) from None
        raise


def _of_another_kind(reference: Reference) -> LoadingFailed:
    version = "" if reference.version is None else f"la version {reference.version} de "
    return LoadingFailed(
        f"{version}{reference.name} est un autre modèle MLflow, que Scoring Client n’a pas enregistré ; "
        "enregistrez son fichier avec « python register.py --pickle »"
    )


def _is_there(files_of_version: ArtifactRepository, name: str, folder: Path) -> bool:
    try:
        with processes.no_file_beyond(_LARGEST):
            files_of_version._download_file(name, str(folder / name))
    except failures.FAILURES:
        return False
    return True


def _fetched(files_of_version: ArtifactRepository, name: str, reference: Reference, folder: Path) -> bytes:
    """One file of the bundle. Raises LoadingFailed.

    It is fetched by the private method that each of MLflow's repositories must have. The public
    `download_artifacts` first asks the server whether the file is a folder, then fetches all that it names.
    """
    arriving = folder / name
    try:
        with processes.no_file_beyond(_LARGEST):
            files_of_version._download_file(f"artifacts/bundle/{name}", str(arriving))
        return files.read(arriving, MOST_BYTES[name], own=False)
    except files.TooLarge as error:
        raise LoadingFailed(bundles.too_large(name)) from error
    except failures.FAILURES as error:
        if arriving.exists() and arriving.stat().st_size >= _LARGEST:
            raise LoadingFailed(bundles.too_large(name)) from error
        raise _unfetched(error, name, reference) from error


def _unfetched(error: Exception, name: str, reference: Reference) -> LoadingFailed:
    """Why a file could not be fetched: the machine, the network, or a version without that file."""
    said = failures.said(versions.shown(reference.source), error)
    is_missing = isinstance(said, NotInRegistry) or isinstance(error, FileNotFoundError)
    is_missing = is_missing or failures.status(error) == failures.NOT_FOUND
    if is_missing and name != MANIFEST:
        return LoadingFailed(f"bundle incomplet ou illisible ; {REGISTER_AGAIN}")
    is_cut = isinstance(error, RequestException) and failures.status(error) is None
    if (not isinstance(error, OSError) and not is_missing) or is_cut or failures.wrong_here(error):
        return said
    version = "" if reference.version is None else f"la version {reference.version} de "
    return (_Absent if is_missing else OutOfReach)(
        f"les fichiers de {version}{reference.name} sont hors d’atteinte ; vérifiez le stockage du registre"
    )
