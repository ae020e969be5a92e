"""Turns a model's file into a bundle without executing it: the documented pickle, or a model by itself.

A child process with limits reads the file (`model_child`): it takes off compression (`file_kinds`), reads the
pickle with names in the place of all objects (`inert`, `arrays`), and takes LightGBM's text from where a real
classifier keeps it (`classifiers`).
"""

import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mlflow_model import files, processes
from mlflow_model.bundle import bundles
from mlflow_model.bundle.scoring import DecisionPolicy, Refusal
from mlflow_model.errors import LoadingFailed, OutOfReach, PickleNotFound, PickleWithoutKeys
from mlflow_model.handover import card, model_child
from mlflow_model.handover.model_child import MOST_BYTES, WAY_OUT

_CHILD_PROCESSOR_SECONDS = 30
# Processor time bounds the reading, also on a busy machine; the clock is only for a child that was stopped.
# It and a whole trial after it end before the service gives up on a silent loader (api/delivery/finder.py).
_CHILD_SECONDS = 180


@dataclass(frozen=True)
class ReadModel:
    """What a model's file holds: everything that a bundle needs, but perhaps the threshold.

    `is_bare`: the file is a model by itself, without the documented dictionary. `unused`: the dictionary's
    other keys.
    """

    text: str
    features: tuple[str, ...]
    threshold: float | None
    margin: float
    sha256: str
    is_bare: bool = False
    unused: tuple[str, ...] = ()

    def policy(self, threshold: float | None = None, margin: float | None = None) -> DecisionPolicy:
        """The file's policy. A given value takes the place of the file's own.

        Raises LoadingFailed; PickleWithoutKeys for a model by itself without a given threshold.
        """
        chosen = self.threshold if threshold is None else threshold
        if chosen is None and self.is_bare:
            raise PickleWithoutKeys("C’est un modèle seul : donnez son seuil (register.py --threshold).")
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


def read(path: Path, default_class: str | None = None) -> ReadModel:
    """Read a model's file without executing it.

    `default_class`: the class that means default, for a classifier whose classes are not 0 and 1. Raises
    PickleNotFound, PickleWithoutKeys, LoadingFailed.
    """
    content = _bytes(path)
    answer = _ask_child(content, default_class)
    if "lacking" in answer:
        raise OutOfReach(f"la lecture du fichier : {answer['lacking']}")
    if "refused" in answer:
        _raise_refusal(answer["refused"])
    return ReadModel(
        answer["text"],
        tuple(answer["features"]),
        answer["threshold"],
        answer["margin"],
        hashlib.sha256(content).hexdigest(),
        answer["is_bare"],
        tuple(answer["unused"]),
    )


def convert(
    path: Path, threshold: float | None = None, margin: float | None = None
) -> tuple[bundles.Bundle, card.ModelCard]:
    """The bundle of a model's file, and its model card. Arguments and errors: see `bundle_of` and `read`."""
    return bundle_of(read(path), path, threshold, margin)


def bundle_of(
    model: ReadModel, path: Path, threshold: float | None = None, margin: float | None = None
) -> tuple[bundles.Bundle, card.ModelCard]:
    """The bundle of a model that was read from `path`, and the model card that lies beside that file.

    A given threshold or margin takes the place of the file's. Raises LoadingFailed, PickleWithoutKeys.
    """
    model_card = card.beside(path, model.sha256)
    provenance = model_card.provenance
    if threshold is not None or margin is not None:  # the costs are the portfolio's, whoever chose the policy
        costs = {"costs": provenance["costs"]} if "costs" in provenance else {}
        provenance = {"chosen_by": "operator", **costs}
    built = bundles.build(
        model.text,
        model.features,
        model.policy(threshold, margin),
        source={"kind": "pickle", "sha256": model.sha256},
        provenance=provenance,
        population=model_card.population,
    )
    return built, model_card


def _bytes(path: Path) -> bytes:
    try:
        return files.read(path, MOST_BYTES, own=False, link=True)
    except FileNotFoundError as error:
        raise PickleNotFound(path.name) from error
    except (IsADirectoryError, files.NotTrusted) as error:
        raise LoadingFailed(f"« {path.name} » n’est pas un fichier ; {WAY_OUT}") from error
    except files.TooLarge as error:
        raise LoadingFailed(
            f"le fichier « {path.name} » dépasse {MOST_BYTES // 2**20} Mio ; {WAY_OUT}"
        ) from error
    except files.StillWritten as error:
        raise LoadingFailed(
            f"« {path.name} » change pendant la lecture ; attendez qu’il soit écrit"
        ) from error
    except OSError as error:
        raise LoadingFailed(f"le fichier « {path.name} » est illisible ; vérifiez ses droits") from error


def _ask_child(content: bytes, default_class: str | None) -> dict[str, Any]:
    """Have a child process read the file. Raises LoadingFailed if the child does not end well.

    The sentence blames the file only if the file is the cause.
    """
    command = [sys.executable, "-m", model_child.__name__, str(_CHILD_PROCESSOR_SECONDS)]
    command += [] if default_class is None else [default_class]
    try:
        child = subprocess.run(  # noqa: S603 - our own module
            command,
            input=content,
            capture_output=True,
            cwd=processes.ROOT,
            env=processes.bare_environment(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1", LANG="C.UTF-8"),
            timeout=_CHILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OutOfReach(
            f"la lecture du fichier n’a pas fini en {_CHILD_SECONDS} s ; "
            "réessayez quand la machine est moins chargée"
        ) from error
    except OSError as error:
        raise OutOfReach("la machine ne peut démarrer aucun processus ; libérez de la mémoire") from error
    try:
        return dict(json.loads(child.stdout.removeprefix(model_child.READY)))
    except ValueError as error:
        raise _unanswered(child.returncode, child.stdout == model_child.READY) from error


def _unanswered(returncode: int, had_begun: bool) -> LoadingFailed:
    if -returncode in processes.SENT_FROM_OUTSIDE:
        return OutOfReach(f"la lecture du fichier a été interrompue (signal {-returncode}) ; réessayez")
    lacking = processes.not_begun(returncode) or processes.lower_limit(model_child.MEMORY_BYTES)
    if lacking or not had_begun:
        lacking = lacking or "elle n’a pas pu commencer ; vérifiez la mémoire de la machine"
        return OutOfReach(f"la lecture du fichier : {lacking}")
    if returncode == -signal.SIGXCPU:
        return LoadingFailed(
            f"la lecture du fichier demande plus de {_CHILD_PROCESSOR_SECONDS} s de calcul ; {WAY_OUT}"
        )
    if returncode < 0:
        return LoadingFailed(
            f"la lecture du fichier s’est arrêtée : il est corrompu, ou trop profond ; {WAY_OUT}"
        )
    return LoadingFailed("la lecture du fichier a échoué sur une erreur interne ; signalez-la")


def _raise_refusal(detail: str | None) -> NoReturn:
    if detail is None:
        raise PickleWithoutKeys
    raise LoadingFailed(detail)
