"""Keeps the loader process at work, and passes on what it finds."""

import collections
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from api import logs
from api.delivery import cache, model_uri, signed_numbers
from api.delivery.news import GAVE_UP, News
from api.settings import Settings
from mlflow_model import processes
from mlflow_model.errors import LoadingFailed

# A loader that ended is started again after a pause, which doubles each time.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
# A loader that is silent for so long hangs. A slow registry takes less to hand over a model.
_SILENCE_SECONDS = 300.0
_STEP_SECONDS = 1.0
# No line of news is as long, not even with the signatures of two versions.
_LONGEST_LINE = 1024 * 1024

_TAIL_LINES = 40

_STOPPED = LoadingFailed("le chargeur s’est arrêté ; vérifiez MODEL_URI et MODEL_CACHE")
_SILENT = LoadingFailed("le chargeur ne répond plus ; vérifiez MODEL_URI et MLFLOW_TRACKING_URI")

_log = logging.getLogger("scoring_client")

Tell = Callable[[News], bool]


class Finder:
    """Tells a listener what the loader finds. The listener returns whether it can use the copy."""

    def __init__(
        self, uri: str, folder: Path, tell: Tell, every: float = 0.0, challenger: str | None = None
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
    def of(cls, settings: Settings, tell: Tell, *, challenger: bool = False) -> "Finder":
        """End the process with one sentence if other users may write to the cache.

        `challenger`: find the challenger too, unless the share of compared clients is 0.
        """
        if problem := cache.exposure(settings.cache):
            sys.exit(problem)
        is_compared = challenger and settings.challenger_share > 0
        return cls(
            settings.model_uri,
            settings.cache,
            tell,
            settings.reload_seconds,
            model_uri.challenger_of(settings.model_uri) if is_compared else None,
        )

    def recall(self) -> bool:
        """Tell of the copy that this URI named last, if it is still there. Return whether it is used.

        Tell at once of a URI that can name no model.
        """
        if fault := model_uri.fault(self._uri):
            self._hear(News(problem=str(LoadingFailed(fault))))
            return False
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
        """Have the copy made again, because a process cannot use it. Return at once.

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
        """Listen, and survive any error: without this thread no new version would arrive."""
        try:
            return self._listen()
        except Exception as error:  # noqa: BLE001 - a bug of ours, which may not end the looking
            _log.error("internal error: %s", logs.told(error))
            return False

    def _listen(self) -> bool:
        """Listen to a loader until it ends. Return whether it ended because nothing more can change."""
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
            said = b"".join(tail).decode(errors="replace") or f"it ended with {loader.returncode}"
            _log.error("the loader process failed: %s", said)
            self._hear(News(problem=str(_SILENT if loader.returncode == -signal.SIGKILL else _STOPPED)))
            return False
        is_answered = news.problem is None or news.looked_at is not None
        return self._news.copy is not None and is_answered

    def _lines_of(self, loader: "subprocess.Popen[bytes]") -> Iterator[bytes]:
        """The loader's lines. Kill a loader that is silent for too long."""
        assert loader.stdout is not None  # noqa: S101 - it is a pipe
        while True:
            is_heard = threading.Event()
            arguments = [is_heard, self._every + _SILENCE_SECONDS, loader.kill]
            threading.Thread(target=_call_unless, args=arguments, daemon=True).start()
            try:
                line = loader.stdout.readline(_LONGEST_LINE)
            finally:
                is_heard.set()
            if not line.endswith(b"\n"):
                return
            yield line

    def _started_loader(self) -> "subprocess.Popen[bytes]":
        """Start a loader, in a session of its own so that Ctrl-C reaches only this process."""
        command = [sys.executable, "-m", "api.delivery.loader", self._uri, str(self._folder)]
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
        """Combine the news with what was known, log what is new, and tell the listener."""
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


def _call_unless(happened: threading.Event, seconds: float, call: Callable[[], object]) -> None:
    """Call after so many seconds in which this process ran: while it is stopped, none are counted."""
    while seconds > 0.0:
        if happened.wait(min(seconds, _STEP_SECONDS)):
            return
        seconds -= _STEP_SECONDS
    call()
