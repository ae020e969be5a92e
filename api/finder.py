"""Keeps the loader process at work, and passes on what it finds."""

import collections
import contextlib
import logging
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from api import cache, logs, model_uri, signed_numbers
from api.news import GAVE_UP, News
from mlflow_model import processes
from mlflow_model.errors import LoadingFailed

DEFAULT_CACHE = processes.ROOT / ".cache" / "bundles"
DEFAULT_RELOAD_SECONDS = 5.0

# A loader that ended is started again after so long, and after twice as long each time.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
# Longer than a slow registry takes to hand over a model.
_SILENCE_SECONDS = 300.0
# No news are as long, not even with the signatures of two versions.
_LONGEST_LINE = 1024 * 1024

_TAIL_LINES = 40

_STOPPED = LoadingFailed("le chargeur s’est arrêté ; vérifiez MODEL_URI et MODEL_CACHE")
_SILENT = LoadingFailed("le chargeur ne répond plus ; vérifiez MODEL_URI et MLFLOW_TRACKING_URI")

_log = logging.getLogger("scoring_client")

Listener = Callable[[News], bool]


class Finder:
    """Tells a listener, which says whether it can use the copy, what it finds: in a thread of its own."""

    def __init__(
        self, uri: str, folder: Path, tell: Listener, every: float = 0.0, challenger: str | None = None
    ) -> None:
        self._uri = str(Path(uri).absolute()) if model_uri.is_pickle(uri) else uri
        self._folder = folder
        self._every = every
        self._challenger = challenger
        self._tell = tell
        self._news = News()
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="model-finder", daemon=True)
        self._loader: subprocess.Popen[bytes] | None = None
        self._loader_lock = threading.Lock()

    @classmethod
    def from_environment(cls, tell: Listener, *, challenger: bool = False) -> "Finder":
        """MODEL_URI, MODEL_CACHE, RELOAD_SECONDS; by default the champion of this repository's registry.

        `challenger`: find that one too.
        """
        given = os.environ.get("MODEL_CACHE")
        folder = Path(given).absolute() if given else DEFAULT_CACHE
        if problem := cache.exposure(folder):
            sys.exit(problem)
        uri = os.environ.get("MODEL_URI") or model_uri.DEFAULT
        return cls(
            uri,
            folder,
            tell,
            reload_seconds(),
            model_uri.challenger_of(uri) if challenger else None,
        )

    def recall(self) -> bool:
        """Tell at once of the copy that this URI named when it was last looked up, if there is one."""
        copy = None if model_uri.is_pickle(self._uri) else cache.recall(self._uri, self._folder)
        if copy is None:
            return False
        try:
            signed_numbers.check(self._folder, copy.digest, copy.name, copy.statement)
        except LoadingFailed as problem:
            self._hear(News(problem=str(problem)))
            return False
        self._news = News(copy)
        return self._tell(self._news)

    def start(self) -> None:
        """Look for the model in the background, again and again. Returns at once."""
        if not self._thread.is_alive():
            self._wanted.set()
            self._thread.start()

    def bring_afresh(self) -> None:
        """Have the copy made again, because somebody cannot use it. Returns at once.

        A loader that has ended, because there was nothing more to find, is started again.
        """
        self.start()
        with self._loader_lock:
            self._wanted.set()
            if self._loader is not None and self._loader.stdin is not None:
                with contextlib.suppress(OSError):  # it has just ended
                    os.write(self._loader.stdin.fileno(), b"afresh\n")

    def stop(self) -> None:
        """Give up looking."""
        self._stopping.set()
        self._wanted.set()
        with self._loader_lock:
            if self._loader is not None:
                self._loader.kill()

    def _work(self) -> None:
        pause = _FIRST_PAUSE
        while self._wanted.wait() and not self._stopping.is_set():
            self._wanted.clear()
            former = self._news.looked_at
            if self._listened() and not self._wanted.is_set():
                pause = _FIRST_PAUSE
                continue
            if self._every and self._news.looked_at != former:
                pause = _FIRST_PAUSE
            self._stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._wanted.set()

    def _listened(self) -> bool:
        """The same, whatever happens: without this thread no version would arrive any more."""
        try:
            return self._listen()
        except Exception as error:  # noqa: BLE001 - a bug of ours, which may not end the looking
            _log.error("internal error: %s", logs.told(error))
            return False

    def _listen(self) -> bool:
        """To a loader process, until it ends. Returns whether it ended because there is no more to find."""
        try:
            loader = self._started_loader()
        except OSError:
            self._hear(News(problem=str(_STOPPED)))
            return False
        tail: collections.deque[bytes] = collections.deque(maxlen=_TAIL_LINES)
        threading.Thread(target=tail.extend, args=[logs.lines_of(loader.stderr)], daemon=True).start()
        news = News(problem=str(_STOPPED))
        with loader:
            for line in self._lines_of(loader):
                try:
                    news = News.of(line)
                except (ValueError, TypeError, RecursionError):
                    _log.error("the loader said something that is no news")
                    continue
                self._hear(news)
            with self._loader_lock:
                self._loader = None  # nobody writes to its input any more
            processes.end(loader)  # or talks without an end of the line
        if self._stopping.is_set() or loader.returncode == GAVE_UP:
            return False
        if loader.returncode:
            _log.error("the loader process failed: %s", b"".join(tail).decode(errors="replace"))
            self._hear(News(problem=str(_SILENT if loader.returncode == -signal.SIGKILL else _STOPPED)))
            return False
        is_answered = news.problem is None or news.looked_at is not None
        return self._news.copy is not None and is_answered

    def _lines_of(self, loader: "subprocess.Popen[bytes]") -> Iterator[bytes]:
        """A loader that says nothing for too long hangs: it is killed, and its lines end."""
        assert loader.stdout is not None  # noqa: S101 - it is a pipe
        while True:
            watchdog = threading.Timer(self._every + _SILENCE_SECONDS, loader.kill)
            watchdog.daemon = True
            watchdog.start()
            try:
                line = loader.stdout.readline(_LONGEST_LINE)
            finally:
                watchdog.cancel()
            if not line.endswith(b"\n"):
                return
            yield line

    def _started_loader(self) -> "subprocess.Popen[bytes]":
        """In a session of its own: a Ctrl-C meant for this process does not strike the loader as well."""
        command = [sys.executable, "-m", "api.loader", self._uri, str(self._folder)]
        command += ["--every", str(self._every)]
        command += ["--challenger", self._challenger] if self._challenger else []
        with self._loader_lock:
            if self._stopping.is_set():
                raise ProcessLookupError
            self._loader = subprocess.Popen(  # noqa: S603 - this project's own module
                command,
                env=processes.environment(OMP_NUM_THREADS="1"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        return self._loader

    def _hear(self, news: News) -> None:
        """Add what was known before, log what is new, and tell."""
        former = self._news
        if self._stopping.is_set():
            return
        self._news = news.after(former)
        if news.problem is not None and news.problem != former.problem:
            known = "no model yet" if self._news.copy is None else "the served model stays"
            _log.warning("%s: %s", known, news.problem)
        if news.challenger_problem is not None and news.challenger_problem != former.challenger_problem:
            _log.warning("the challenger is not compared: %s", news.challenger_problem)
        if not self._tell(self._news):
            self.bring_afresh()


def reload_seconds() -> float:
    """How often to look whether the alias has moved: RELOAD_SECONDS, where 0 means never."""
    text = os.environ.get("RELOAD_SECONDS", "")
    try:
        seconds = float(text) if text else DEFAULT_RELOAD_SECONDS
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        sys.exit(f"RELOAD_SECONDS must be a number of seconds, or 0 to look only once, not {text!r}")
    return seconds
