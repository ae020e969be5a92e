"""Turns the documented pickle into a bundle without executing it.

A child process with limits reads the pickle (`pickle_child`), with stand-ins for everything that it names
(`inert`). LightGBM's text is taken from where a real classifier keeps it.
"""

import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mlflow_model import processes
from mlflow_model.bundle import bundles
from mlflow_model.bundle.scoring import DecisionPolicy, Refusal
from mlflow_model.errors import LoadingFailed, PickleNotFound, PickleWithoutKeys
from mlflow_model.handover import card

_WAY_OUT = "fournissez le dictionnaire documenté {model, features, optimal_threshold, margin} (docs/api.md)"
_MAX_PICKLE_BYTES = 256 * 2**20
_CHILD_PROCESSOR_SECONDS = 30
# Processor time bounds the reading, also on a busy machine; the clock is only for a child that was stopped.
# It and a whole trial after it end before the service gives up on a silent loader (api/delivery/finder.py).
_CHILD_SECONDS = 180


@dataclass(frozen=True)
class LegacyModel:
    """What the documented pickle holds: everything that a bundle needs. Its threshold may be absent."""

    text: str
    features: tuple[str, ...]
    threshold: float | None
    margin: float
    sha256: str

    def policy(self, threshold: float | None = None, margin: float | None = None) -> DecisionPolicy:
        """The pickle's policy. A given value takes the place of the pickle's own. Raises LoadingFailed."""
        chosen = self.threshold if threshold is None else threshold
        if chosen is None:
            raise LoadingFailed(
                "le fichier Pickle ne contient pas 'optimal_threshold' : donnez-le avec « --threshold »"
            )
        try:
            return DecisionPolicy(chosen, self.margin if margin is None else margin)
        except Refusal as refusal:
            raise LoadingFailed(
                f"{refusal.detail} ; choisissez d’autres valeurs avec « --threshold » ou « --margin »"
            ) from refusal


def read(path: Path) -> LegacyModel:
    """Read a documented pickle without executing it.

    Raises PickleNotFound, PickleWithoutKeys, LoadingFailed.
    """
    if not path.exists():
        raise PickleNotFound(path.name)
    content = _bytes(path)
    answer = _ask_child(content)
    if "refused" in answer:
        _raise_refusal(answer["refused"])
    digest = hashlib.sha256(content).hexdigest()
    return LegacyModel(
        answer["text"], tuple(answer["features"]), answer["threshold"], answer["margin"], digest
    )


def convert(
    path: Path, threshold: float | None = None, margin: float | None = None
) -> tuple[bundles.Bundle, card.ModelCard]:
    """The bundle of a documented pickle, and its model card.

    A given threshold or margin takes the place of the pickle's. Raises what `read` raises.
    """
    model = read(path)
    model_card = card.beside(path, model.sha256)
    by_operator = threshold is not None or margin is not None
    built = bundles.build(
        model.text,
        model.features,
        model.policy(threshold, margin),
        source={"kind": "pickle", "sha256": model.sha256},
        provenance={"chosen_by": "operator"} if by_operator else model_card.provenance,
    )
    return built, model_card


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise LoadingFailed(f"« {path.name} » n’est pas un fichier ; {_WAY_OUT}")
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_PICKLE_BYTES + 1)
    except OSError as error:
        raise LoadingFailed(
            f"le fichier Pickle « {path.name} » est illisible ; vérifiez ses droits"
        ) from error
    if len(content) > _MAX_PICKLE_BYTES:
        raise LoadingFailed(f"le fichier Pickle dépasse {_MAX_PICKLE_BYTES // 2**20} Mio ; {_WAY_OUT}")
    return content


def _ask_child(content: bytes) -> dict[str, Any]:
    """Have a child process read the pickle. Raises LoadingFailed if the child does not end well.

    The sentence blames the pickle only if the pickle is the cause.
    """
    try:
        child = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "mlflow_model.handover.pickle_child", str(_CHILD_PROCESSOR_SECONDS)],
            input=content,
            capture_output=True,
            cwd=processes.ROOT,
            env=processes.bare_environment(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1", LANG="C.UTF-8"),
            timeout=_CHILD_SECONDS,
            check=True,
        )
        return dict(json.loads(child.stdout))
    except subprocess.TimeoutExpired as error:
        raise LoadingFailed(
            f"la lecture du fichier Pickle n’a pas fini en {_CHILD_SECONDS} s ; "
            "réessayez quand la machine est moins chargée"
        ) from error
    except (subprocess.CalledProcessError, ValueError) as error:
        raise LoadingFailed(_cause(getattr(error, "returncode", 0))) from error


def _cause(returncode: int) -> str:
    if returncode == -signal.SIGXCPU:
        return f"le fichier Pickle demande plus de {_CHILD_PROCESSOR_SECONDS} s de calcul ; {_WAY_OUT}"
    if -returncode in processes.SENT_FROM_OUTSIDE:
        return f"la lecture du fichier Pickle a été interrompue (signal {-returncode}) ; réessayez"
    return f"le fichier Pickle est abîmé ou refusé ; {_WAY_OUT}"


def _raise_refusal(detail: str | None) -> NoReturn:
    if detail is None:
        raise PickleWithoutKeys
    raise LoadingFailed(f"{detail} ; {_WAY_OUT}")
