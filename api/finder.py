"""Has the loader process find the model that MODEL_URI names, again and again until it is there."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from api import remembered
from api.news import Copy, News
from mlflow_model.errors import LoadingFailed, ModelUnavailable

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_URI = "models:/scoring-client@champion"
DEFAULT_CACHE = ROOT / ".cache" / "bundles"

_RETRY_SECONDS = 2.0
_LOADING_SECONDS = 60.0

_log = logging.getLogger("scoring_client")

Listener = Callable[[News], bool]


class Finder:
    """Tells a listener, which says whether it can use the copy, what it finds: in a thread of its own."""

    def __init__(self, uri: str, cache: Path, tell: Listener) -> None:
        self._uri = str(Path(uri).absolute()) if remembered.is_pickle(uri) else uri
        self._cache = cache
        self._tell = tell
        self._known: Copy | None = None
        self._told: str | None = None
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._work, name="model-finder", daemon=True)
        self._stopping = threading.Event()
        self._loader: subprocess.Popen[bytes] | None = None
        self._starting_loader = threading.Lock()

    @classmethod
    def from_environment(cls, tell: Listener) -> "Finder":
        """MODEL_URI and MODEL_CACHE, or the champion of this repository's registry."""
        cache = os.environ.get("MODEL_CACHE")
        uri = os.environ.get("MODEL_URI") or DEFAULT_URI
        return cls(uri, Path(cache).absolute() if cache else DEFAULT_CACHE, tell)

    def recall(self) -> bool:
        """Tell at once of the copy that this URI named when it was last looked up, if there is one."""
        self._known = remembered.recall(self._uri, self._cache)
        return self._known is not None and self._tell(News(self._known))

    def start(self) -> None:
        """Look for the model in the background, again and again until there is one."""
        self.recall()
        self.look()

    def look(self) -> None:
        """Ask the loader, or once more if it has been asked before. Returns at once."""
        self._wanted.set()
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Give up looking."""
        self._stopping.set()
        self._wanted.set()
        with self._starting_loader:
            if self._loader is not None:
                self._loader.kill()

    def _work(self) -> None:
        while self._wanted.wait() and not self._stopping.is_set():
            self._wanted.clear()
            if not self._look():
                self._stopping.wait(_RETRY_SECONDS)
                self._wanted.set()

    def _look(self) -> bool:
        """Returns whether the model is found and in use."""
        try:
            copy = self._ask_loader()
        except ModelUnavailable as problem:
            self._regret(str(problem))
            return False
        self._known = copy
        self._told = None
        if used := self._tell(News(copy)):
            _log.info("serving %s version %s (%s)", copy.name, copy.version, copy.digest[:12])
        return used

    def _regret(self, problem: str) -> None:
        if problem != self._told and not self._stopping.is_set():
            _log.warning("%s: %s", "the copy is not confirmed" if self._known else "no model yet", problem)
        self._told = problem
        self._tell(News(self._known, problem))

    def _ask_loader(self) -> Copy:
        command = [sys.executable, "-m", "api.loader", self._uri, str(self._cache)]
        try:
            with self._started_loader(command) as process:
                said, complaint = _heard(process)
            if process.returncode != 0 and not self._stopping.is_set():
                _log.error("the loader process failed: %s", complaint.decode(errors="replace")[-2000:])
            news = News.of(said)
        except subprocess.TimeoutExpired as error:
            raise LoadingFailed("le registre ne répond pas ; vérifiez MLFLOW_TRACKING_URI") from error
        except (OSError, ValueError) as error:
            raise LoadingFailed("le chargeur s’est arrêté ; vérifiez MODEL_URI et MODEL_CACHE") from error
        if news.copy is None:
            raise ModelUnavailable(news.problem)
        return news.copy

    def _started_loader(self, command: list[str]) -> "subprocess.Popen[bytes]":
        """In a session of its own: a Ctrl-C meant for this process does not strike the loader as well."""
        with self._starting_loader:
            if self._stopping.is_set():
                raise LoadingFailed("le service s’arrête")
            self._loader = subprocess.Popen(  # noqa: S603 - this project's own module
                command,
                env=own_modules_first(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        return self._loader


def own_modules_first() -> dict[str, str]:
    """The environment of a child that finds this project's modules first, and relative paths as we do."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}


def _heard(process: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
    try:
        return process.communicate(timeout=_LOADING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
