"""What the child processes of this project share: environment, limits, and an end with their parent."""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_model import machine

ROOT = Path(__file__).resolve().parents[1]

NICENESS, SESSION_NICENESS = 15, 5  # of what computes beside a process that decides
_PARENT = "SCORING_PARENT_PID"
_OF_THE_SESSION = Path("/proc/self/autogroup")  # sched(7)
# Variables that some machines need to find libraries, and to compute as in the other processes. None holds a
# secret. LD_PRELOAD is left out, because the library that it names may need variables of its own.
_OF_THE_MACHINE = (
    "PATH",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "GLIBC_TUNABLES",
    "NPY_DISABLE_CPU_FEATURES",
    "OPENBLAS_CORETYPE",
)
# A child that ends by one of these did not end by itself: somebody sent the signal, or the kernel did because
# the machine ran out of memory.
SENT_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LONGEST_ERRORS = 64 * 1024
NO_COMMAND = 119  # exit code of a command that could not be begun
_LOOK_SECONDS = 0.1  # how often it is looked whether a command that says nothing has ended
_asked: "set[subprocess.Popen[bytes]]" = set()
_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2), PR_SET_PDEATHSIG


def environment(**more: str) -> dict[str, str]:
    """Our environment, for a child that finds this project's modules first."""
    return {**os.environ, **bare_environment(**more)}


def bare_environment(**more: str) -> dict[str, str]:
    """A minimal environment, for a child that gets no token, key or address of ours."""
    machine = {name: os.environ[name] for name in _OF_THE_MACHINE if name in os.environ}
    return {**machine, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", _PARENT: str(os.getpid()), **more}


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, even if the process is stopped.

    It must have been started with one of our environments. Outside Linux this does nothing: there a child
    ends when its pipes do.
    """
    parent = os.environ.get(_PARENT)
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != int(parent):  # the parent ended before prctl was called
        os._exit(1)


def give_way() -> None:
    """Give way to the process that decides, and to every other one. For a process of a session of its own.

    Linux may weigh a session as a whole, and priorities only within it: the session needs a niceness, too.
    """
    os.nice(NICENESS)
    for _ in range(20):
        try:
            _OF_THE_SESSION.write_text(str(SESSION_NICENESS))
            return
        except BlockingIOError:  # somebody changed another session in the same tenth of a second
            time.sleep(0.05)
        except OSError:  # not every system has it
            return


def not_begun(returncode: int) -> str | None:
    """What this machine lacks, in French, if that is why a child ended before it began."""
    if returncode == machine.WITHOUT_PACKAGES:
        return "des paquets Python manquent ; lancez « make serve »"
    if returncode == machine.WITHOUT_LIBRARY:
        return f"la bibliothèque {machine.LIBRARY} manque ; installez {machine.ITS_PACKAGE}"
    return None


def lower_limit(memory: int) -> str | None:
    """That the system gives a process less memory than this, in French; None if it does not."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or most >= memory:
        return None
    return (
        f"la machine limite un processus à {most // 2**20} Mio de mémoire (ulimit -v) ; "
        f"il en faut jusqu’à {memory // 2**20}"
    )


def end(process: "subprocess.Popen[bytes]", seconds: float = 5.0) -> None:
    """Wait for a child that has nothing left to do, then kill it if it still runs."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()


class NoAnswer(Exception):
    """A process that was asked could not be started, has died, or said something else."""


def ask(module: str, question: Mapping[str, Any], seconds: float | None, errors: int | None) -> Any:
    """What a module of ours says in a process of its own, which `answer`s. All in JSON.

    `seconds`: after which it is killed with all that it has begun. `errors`: the descriptor of its standard
    error; None: ours. Raises TimeoutError, or NoAnswer.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - this project's own module
            [sys.executable, "-m", module],
            env=environment(OMP_NUM_THREADS="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    except OSError as error:
        raise NoAnswer from error
    with process:
        _asked.add(process)
        try:
            said, _ = process.communicate(json.dumps(question).encode(), seconds)
            return json.loads(said)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        except ValueError as error:
            raise NoAnswer from error
        finally:
            _asked.discard(process)
            _end_all(process)


def end_asked() -> None:
    """Kill all that are being asked now, in whichever threads: these get NoAnswer."""
    for process in [*_asked]:
        _end_all(process)


def answer(respond: Callable[..., Any]) -> None:
    """In the process that was asked: write what `respond` returns for the question's members."""
    output = set_aside(1)  # a library may write to the output itself
    told = respond(**json.load(sys.stdin))
    with os.fdopen(output, "w", encoding="utf-8") as written:
        json.dump(told, written)


class Done(NamedTuple):
    """How a command ended, and the end of what it said on standard error."""

    exit_code: int
    errors: str


def run(command: Sequence[str], seconds: float, is_over: Callable[[], bool] = lambda: False) -> Done:
    """Run a command that nobody talks with. Raises OSError, or TimeoutError.

    It is killed with all that it has begun if it takes longer, or once `is_over`; where this process is
    killed, so is the command. What it leaves behind in the background keeps nobody waiting.
    """
    with subprocess.Popen(  # noqa: S603 - the caller's
        [sys.executable, "-m", "mlflow_model.become", *command],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            errors = _heard(process, time.monotonic() + seconds, is_over)
        finally:
            _end_all(process)
    if process.returncode == NO_COMMAND:
        raise OSError(0, errors.decode(errors="replace"))
    return Done(process.returncode, errors.decode(errors="replace"))


def _heard(process: "subprocess.Popen[bytes]", until: float, is_over: Callable[[], bool]) -> bytes:
    """The end of what it says until it ends. Raises TimeoutError."""
    heard, stream = b"", process.stderr
    if stream is None:
        raise ValueError("its standard error is not heard")
    os.set_blocking(stream.fileno(), False)
    while True:
        has_ended = process.poll() is not None
        ready, _, _ = select.select([stream], [], [], 0.0 if has_ended else _LOOK_SECONDS)
        part = stream.read(_LONGEST_ERRORS) if ready else b""
        heard = (heard + (part or b""))[-_LONGEST_ERRORS:]
        if has_ended and not (part and time.monotonic() < until):
            return heard
        if not has_ended and (is_over() or time.monotonic() > until):
            raise TimeoutError
        if ready and not part:  # it has closed its standard error, and runs
            time.sleep(_LOOK_SECONDS)


def _end_all(process: "subprocess.Popen[bytes]") -> None:
    """If it still runs, kill it with its session, which it must have begun."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def set_aside(descriptor: int) -> int:
    """A private duplicate of an output. What is then written to the output itself, also from C, is lost."""
    private = os.dup(descriptor)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
        os.dup2(nowhere.fileno(), descriptor)
    return private


def limit(
    *,
    memory: int | None = None,
    file_bytes: int | None = None,
    processor_seconds: int | None = None,
    open_files: int | None = None,
) -> None:
    """Bound this process's address space, size of each file written, processor time and open files.

    Out of processor time, the process ends by SIGXCPU, which nothing else sends. A lower limit of the system
    stays in force.
    """
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CPU: processor_seconds,
        resource.RLIMIT_NOFILE: open_files,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        if value is not None:
            # One second more than the soft limit: if both are equal, Linux sends SIGKILL at once.
            most = value + 1 if kind == resource.RLIMIT_CPU else value
            _, hard = resource.getrlimit(kind)
            hard = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (min(value, hard), hard))


def beside_the_log(file_bytes: int) -> int:
    """A `file_bytes` for `limit` that still lets the process write to its log.

    If standard error is a file, it may already be larger than `file_bytes`. It may then grow by a gigabyte
    while this process lives.
    """
    log = os.fstat(2)
    return log.st_size + 1024**3 if stat.S_ISREG(log.st_mode) else file_bytes


_lowered = threading.Lock()
_lowering = 0
_soft_before = resource.RLIM_INFINITY


@contextlib.contextmanager
def no_file_beyond(most: int) -> Iterator[None]:
    """Inside, writing more than `most` bytes to a file fails with EFBIG, in every thread.

    Threads that are inside at the same time must pass the same number.
    """
    global _lowering, _soft_before
    with _lowered:
        if not _lowering:
            _soft_before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            unlimited = _soft_before == resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (most if unlimited else min(most, _soft_before), hard))
        _lowering += 1
    try:
        yield
    finally:
        with _lowered:
            _lowering -= 1
            if not _lowering:
                _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (_soft_before, hard))
