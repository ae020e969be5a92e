"""Tries a bundle in a process that may die of it: `python -m mlflow_model.bundle.trial`.

LightGBM's parser can kill the process that parses, and a bundle's own code can do anything. The child process
reads one request, a line of JSON followed by the columns of a portfolio, and writes one reply of the same
form. The parent bounds and checks what it reads, because nothing that the child writes can be trusted.
"""

from mlflow_model import machine

if __name__ == "__main__":
    machine.require_of_child("lightgbm", "numpy")

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mlflow_model import processes
from mlflow_model.bundle import bundles
from mlflow_model.bundle.scoring import Doubles, Scorer
from mlflow_model.errors import REGISTER_AGAIN, LoadingFailed, OutOfReach

# A trial ordinarily takes 0.4 GiB of addresses. The largest model text needs more on top of that.
MEMORY_BYTES = 2 * 2**30
PROCESSOR_SECONDS = 30
# Processor time is spent by the version alone. The clock also counts what a busy machine does for others.
CLOCK_SECONDS = 100
_CLIENTS_A_SECOND = 1_000
_CLOCK_TO_PROCESSOR = 3  # for each extra second that the clients of a portfolio may take
_OPEN_FILES = 64

_MOST_HEAD_BYTES = 2**20
_LONGEST_TEXT = 1_000
_LONGEST_LABEL = 100
_NOT_ACCEPTED = 255

_READY = b"ready\n"
_ENDED = f"la version arrête le processus qui la charge ; {REGISTER_AGAIN}"
_MALFORMED = f"la version ne répond pas dans la forme attendue ; {REGISTER_AGAIN}"


@dataclass(frozen=True)
class Answers:
    """A version's answers for a portfolio of n clients.

    `columns`: of its decisions. `lacking`: its features that the portfolio does not have. `refusal`: its own
    sentence, if it refuses the portfolio. With either of the last two no client is accepted. A client who
    lacks a value that the version needs is not accepted: the prediction is then "" and the probability NaN.
    """

    features: tuple[str, ...]
    nullable: frozenset[str]
    reliable: str
    uncertain: str
    risky: str
    threshold: float
    lower_bound: float
    upper_bound: float
    columns: tuple[str, ...]
    lacking: tuple[str, ...]
    refusal: str | None
    accepted: npt.NDArray[np.bool_]
    predictions: npt.NDArray[Any]
    probabilities: Doubles

    @property
    def labels(self) -> tuple[str, str, str]:
        return self.reliable, self.uncertain, self.risky


@dataclass(frozen=True)
class _Request:
    """The bundle to try. `columns`: the names of the portfolio's columns; None only verifies the bundle."""

    folder: str
    digest: str
    columns: Sequence[str] | None = None
    clients: int = 0

    @property
    def more_seconds(self) -> int:
        return self.clients // _CLIENTS_A_SECOND

    @property
    def processor_seconds(self) -> int:
        return PROCESSOR_SECONDS + self.more_seconds

    @property
    def clock_seconds(self) -> int:
        return CLOCK_SECONDS + _CLOCK_TO_PROCESSOR * self.more_seconds


class Trial:
    """A child process for one trial, started ahead, so that it starts up while a copy is being fetched."""

    def __init__(self) -> None:
        self._ahead: subprocess.Popen[bytes] | None = _started()

    def verified(self, folder: Path, digest: str) -> None:
        """Verify a copy and have it answer its golden rows. The caller has checked its signature.

        Raises LoadingFailed; OutOfReach if the version is not to blame.
        """
        process, self._ahead = self._ahead or _started(), None
        _reply_of(process, _Request(str(folder), digest))

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.kill()
            with self._ahead:
                pass


def decide(folder: Path, digest: str, portfolio: Mapping[str, Doubles]) -> Answers:
    """Verify a bundle and have its own code decide on a portfolio. The caller has checked its signature.

    Raises LoadingFailed; OutOfReach if the version is not to blame.
    """
    clients = len(next(iter(portfolio.values())))
    request = _Request(str(folder), digest, list(portfolio), clients)
    columns = np.array([portfolio[name] for name in portfolio], dtype="<f8")
    head, rest = _reply_of(_started(), request, columns.tobytes())
    try:
        return _read_answers(head, rest, clients)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise LoadingFailed(_MALFORMED) from error


# ---- In the parent


def _started() -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "mlflow_model.bundle.trial"]
    more = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
    try:
        return subprocess.Popen(  # noqa: S603 - our own module
            command,
            env=processes.bare_environment(**more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise OutOfReach("la machine ne peut démarrer aucun processus ; libérez de la mémoire") from error


def _reply_of(
    process: "subprocess.Popen[bytes]", request: _Request, columns: bytes = b""
) -> tuple[dict[str, Any], bytes]:
    """Send the request, and return the head and the rest of the reply. Raises LoadingFailed."""
    most = len(_READY) + _MOST_HEAD_BYTES + request.clients * (8 + 1)
    deadline = time.monotonic() + request.clock_seconds
    with process:
        try:
            said = _heard(process, json.dumps(asdict(request)).encode() + b"\n" + columns, most, deadline)
            if len(said) <= most:
                _await_end(process, deadline)
        finally:  # also on Ctrl-C; killing a process that has ended does nothing
            process.kill()
    is_late = time.monotonic() >= deadline
    if len(said) > most:
        raise LoadingFailed(_MALFORMED)
    head, _, rest = said.removeprefix(_READY).partition(b"\n")
    if said.startswith(_READY) and process.returncode == 0:
        return _read_head(head), rest
    raise _failure(process.returncode, said, request.clock_seconds if is_late else None)


def _heard(process: "subprocess.Popen[bytes]", message: bytes, most: int, deadline: float) -> bytes:
    """Write the message and read what the process says, until it ends, says too much or is late.

    The end of the pipe is not awaited: a process that the child has started may hold the pipe for longer.
    """
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    to_child, from_child = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(to_child, False)
    said, unsent = bytearray(), memoryview(message)
    pipes = select.poll()
    pipes.register(to_child, select.POLLOUT)
    pipes.register(from_child, select.POLLIN)
    while len(said) <= most and time.monotonic() < deadline:
        has_ended = process.poll() is not None  # asked before polling, so that nothing it wrote is missed
        ready = dict(pipes.poll(200))
        if to_child in ready:
            unsent = unsent[_written(to_child, unsent) :]
            if not unsent:
                pipes.unregister(to_child)
                process.stdin.close()
        if from_child in ready:
            more = os.read(from_child, 2**16)
            if not more:
                break
            said += more
        elif has_ended:
            break
    return bytes(said)


def _written(pipe: int, content: memoryview) -> int:
    try:
        return os.write(pipe, content)
    except BrokenPipeError:  # it has ended; its reply or its exit code tells why
        return len(content)


def _await_end(process: "subprocess.Popen[bytes]", deadline: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, deadline - time.monotonic()))


def _read_head(head: bytes) -> dict[str, Any]:
    """The head of a reply that is sound. Raises LoadingFailed with what the child found wrong, if it did."""
    try:
        content = dict(json.loads(head))
    except (ValueError, TypeError, RecursionError):
        content = {}
    if content.get("outcome") == "sound":
        return content
    detail = content.get("detail")
    if type(detail) is not str or not detail.isprintable():
        raise LoadingFailed(_ENDED)
    raise (OutOfReach if content.get("outcome") == "out of reach" else LoadingFailed)(detail[:_LONGEST_TEXT])


def _failure(code: int, said: bytes, passed: int | None) -> LoadingFailed:
    """Why there is no reply: OutOfReach if the machine is the cause, LoadingFailed if the version is.

    `passed`: the seconds that the child had, if it used all of them.
    """
    if passed is not None:
        return OutOfReach(
            f"l’essai de la version n’a pas fini en {passed} secondes ; "
            "elle attend sans fin, ou la machine est surchargée"
        )
    if lacking := processes.not_begun(code):
        return OutOfReach(f"l’essai de la version : {lacking}")
    if -code == signal.SIGXCPU:
        return LoadingFailed(f"la version demande trop de temps de calcul ; {REGISTER_AGAIN}")
    if -code in processes.SENT_FROM_OUTSIDE:
        return OutOfReach(
            "l’essai de la version a été arrêté de l’extérieur ; vérifiez la mémoire de la machine"
        )
    if limit := processes.lower_limit(MEMORY_BYTES):
        return OutOfReach(f"l’essai de la version : {limit}")
    if not said.startswith(_READY):
        return OutOfReach("l’essai de la version n’a pas pu commencer ; vérifiez la mémoire de la machine")
    return LoadingFailed(_ENDED)


def _read_answers(head: Mapping[str, Any], rest: bytes, clients: int) -> Answers:
    """The answers in a reply. Raises ValueError, KeyError, TypeError or OverflowError if it holds none."""
    features, lacking = _texts(head["features"]), _texts(head["lacking"])
    reliable, uncertain, risky = labels = _texts(head["labels"], _LONGEST_LABEL)
    threshold, lower_bound, upper_bound = (float(number) for number in head["numbers"])
    refusal = head["refusal"]
    if not features or not all(map(math.isfinite, (threshold, lower_bound, upper_bound))):
        raise ValueError
    if refusal is not None:
        (refusal,) = _texts([refusal])
    probabilities = np.frombuffer(rest[: 8 * clients], "<f8")
    codes = np.frombuffer(rest[8 * clients :], np.uint8)
    accepted = codes != _NOT_ACCEPTED
    if not len(probabilities) == len(codes) == clients:
        raise ValueError
    known = probabilities[accepted]
    if not ((known >= 0) & (known <= 1)).all():
        raise ValueError
    names = np.array([*labels, *[None] * (_NOT_ACCEPTED - len(labels)), ""], dtype=object)
    predictions = names[codes]
    if any(label is None for label in predictions):
        raise ValueError
    return Answers(
        features=features,
        nullable=frozenset(_texts(head["nullable"])) & frozenset(features),
        reliable=reliable,
        uncertain=uncertain,
        risky=risky,
        threshold=threshold,
        lower_bound=lower_bound,
        upper_bound=upper_bound,
        columns=_texts(head["columns"]),
        lacking=lacking,
        refusal=refusal,
        accepted=accepted,
        predictions=predictions,
        probabilities=np.where(accepted, probabilities, math.nan),
    )


def _texts(values: object, longest: int = _LONGEST_TEXT) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError
    for value in values:
        if type(value) is not str or not value.isprintable() or len(value) > longest:
            raise ValueError
    return tuple(values)


# ---- In the child process


def main() -> None:
    """Answer one request. What the bundle prints, or leaves running, cannot reach the reply."""
    processes.end_with_parent()
    processes.limit(memory=MEMORY_BYTES, file_bytes=0, open_files=_OPEN_FILES)
    with os.fdopen(processes.set_aside(1), "wb") as pipe:
        if line := sys.stdin.buffer.readline():
            request = _Request(**json.loads(line))
            columns = sys.stdin.buffer.read()
            processes.limit(processor_seconds=request.processor_seconds)
            pipe.write(_READY)
            pipe.flush()
            _reply(request, columns, pipe)
    os._exit(0)


def _reply(request: _Request, columns: bytes, pipe: BinaryIO) -> None:
    head: dict[str, Any]
    rest = b""
    try:
        scorer = _verified(request)
        head = {"outcome": "sound"}
        if request.columns is not None:
            answers, rest = _written_answers(scorer, _portfolio(request, columns))
            head |= answers
    except OutOfReach as problem:
        head = {"outcome": "out of reach", "detail": problem.detail}
    except LoadingFailed as problem:
        head = {"outcome": "refused", "detail": problem.detail}
    except MemoryError:
        head = {"outcome": "refused", "detail": f"la version demande trop de mémoire ; {REGISTER_AGAIN}"}
        if limit := processes.lower_limit(MEMORY_BYTES):
            head = {"outcome": "out of reach", "detail": f"l’essai de la version : {limit}"}
    pipe.write(json.dumps(head).encode() + b"\n" + rest)


def _verified(request: _Request) -> Scorer:
    bundle = bundles.read(Path(request.folder), request.digest)
    return bundle.scorer()


def _portfolio(request: _Request, columns: bytes) -> dict[str, Doubles]:
    names = list(request.columns or ())
    table = np.frombuffer(columns, "<f8").reshape(len(names), request.clients)
    return dict(zip(names, table, strict=True))


def _written_answers(scorer: Scorer, portfolio: Mapping[str, Doubles]) -> tuple[dict[str, Any], bytes]:
    """The head and the rest of the reply: all probabilities, then all labels as indices into the labels."""
    policy = scorer.policy
    labels = [policy.reliable, policy.uncertain, policy.risky]
    clients = len(next(iter(portfolio.values())))
    probabilities, codes = np.full(clients, math.nan), np.full(clients, _NOT_ACCEPTED, np.uint8)
    lacking = [name for name in scorer.features if name not in portfolio]
    refusal = None
    if not lacking:
        known = {name: portfolio[name] for name in scorer.features}
        must = [np.isnan(values) for name, values in known.items() if name not in scorer.nullable]
        accepted = ~np.any(must, axis=0) if must else np.ones(clients, dtype=bool)
        try:
            decisions = scorer.decide_table({name: values[accepted] for name, values in known.items()})
            codes[accepted] = [labels.index(label) for label in decisions["prediction"]]
            probabilities[accepted] = decisions["probability_class_1"]
        except scorer.Refusal as refused:
            refusal = refused.detail
    head = {
        "features": list(scorer.features),
        "columns": bundles.columns(scorer),
        "nullable": sorted(scorer.nullable),
        "labels": labels,
        "numbers": [policy.threshold, policy.lower_bound, policy.upper_bound],
        "lacking": lacking,
        "refusal": refusal,
    }
    return head, probabilities.astype("<f8").tobytes() + codes.tobytes()


if __name__ == "__main__":
    main()
