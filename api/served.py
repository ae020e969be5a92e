"""The model that this process serves: none at first, then the one that the loader process has brought."""

import json
import logging
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api import loader
from mlflow_model import bundle as bundles
from mlflow_model.errors import LoadingFailed, ModelUnavailable
from mlflow_model.scoring import Scorer

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_URI = "models:/scoring-client@champion"
DEFAULT_CACHE = ROOT / ".cache" / "bundles"

_RETRY_SECONDS = 2.0
_LOADING_SECONDS = 60.0

_log = logging.getLogger("scoring_client")


@dataclass(frozen=True)
class Model:
    """One verified model in use. `version` and `alias` are None for a pickle or a bare model URI."""

    scorer: Scorer
    name: str
    version: str | None
    alias: str | None
    digest: str


class ServedModel:
    """Holds the current model, or the reason why there is none.

    Loading never happens on the path of a request.
    """

    def __init__(self, uri: str, cache: Path = DEFAULT_CACHE) -> None:
        self._uri = str(Path(uri).absolute()) if loader.is_pickle(uri) else uri
        self._cache = cache
        self._model: Model | None = None
        self._stopping = threading.Event()
        self._loader: subprocess.Popen[bytes] | None = None
        self._starting_loader = threading.Lock()
        self._problem: ModelUnavailable = LoadingFailed(
            "chargement en cours ; réessayez dans quelques secondes"
        )

    @classmethod
    def from_environment(cls) -> "ServedModel":
        """MODEL_URI and MODEL_CACHE, or the champion of this repository's registry."""
        cache = os.environ.get("MODEL_CACHE")
        return cls(
            os.environ.get("MODEL_URI") or DEFAULT_URI, Path(cache).absolute() if cache else DEFAULT_CACHE
        )

    @property
    def model(self) -> Model:
        """The model in use. Raises ModelUnavailable, with the reason, while there is none."""
        if self._model is None:
            raise self._problem.with_traceback(None)  # or each answer would lengthen it
        return self._model

    def start(self) -> None:
        """Look for the model in the background, again and again until there is one."""
        threading.Thread(target=self._look, name="model-loading", daemon=True).start()

    def stop(self) -> None:
        """Give up looking."""
        self._stopping.set()
        with self._starting_loader:
            if self._loader is not None:
                self._loader.kill()

    def _look(self) -> None:
        while not self._stopping.is_set():
            try:
                self._model = self._load()
            except ModelUnavailable as problem:
                if str(problem) != str(self._problem) and not self._stopping.is_set():
                    _log.warning("no model yet: %s", problem)
                self._problem = problem
                self._stopping.wait(_RETRY_SECONDS)
            else:
                _log.info(
                    "serving %s version %s (%s)",
                    self._model.name,
                    self._model.version,
                    self._model.digest[:12],
                )
                return

    def _load(self) -> Model:
        outcome = self._ask_loader()
        bundle = bundles.read(Path(outcome["folder"]))
        return Model(bundle.scorer(), outcome["name"], outcome["version"], outcome["alias"], bundle.digest)

    def _ask_loader(self) -> dict[str, Any]:
        command = [sys.executable, "-m", "api.loader", self._uri, str(self._cache)]
        try:
            with self._started_loader(command) as process:
                said, complaint = _heard(process)
            if process.returncode != 0 and not self._stopping.is_set():
                _log.error("the loader process failed: %s", complaint.decode(errors="replace")[-2000:])
            outcome: dict[str, Any] = json.loads(said)
        except subprocess.TimeoutExpired as error:
            raise LoadingFailed("le registre ne répond pas ; vérifiez MLFLOW_TRACKING_URI") from error
        except (OSError, ValueError) as error:
            raise LoadingFailed("le chargeur s’est arrêté ; vérifiez MODEL_URI et MODEL_CACHE") from error
        if "error" in outcome:
            raise ModelUnavailable(outcome["error"])
        return outcome

    def _started_loader(self, command: list[str]) -> "subprocess.Popen[bytes]":
        """In a session of its own: a Ctrl-C meant for this process does not strike the loader as well."""
        with self._starting_loader:
            if self._stopping.is_set():
                raise LoadingFailed("le service s’arrête")
            self._loader = subprocess.Popen(  # noqa: S603 - this project's own module
                command,
                env=_loader_environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        return self._loader


def _heard(process: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
    try:
        return process.communicate(timeout=_LOADING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _loader_environment() -> dict[str, str]:
    """The loader finds this project's modules first, and relative paths mean what they mean here."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
