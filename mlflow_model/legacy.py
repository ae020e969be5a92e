"""Turns the documented pickle into a bundle without executing it: the only place that reads pickles.

A pickle is a program. Here no name in it reaches a real object: each becomes an inert stand-in that records
how it was used, and LightGBM's text is then found where a real classifier keeps it. All of it happens in a
child process with limits: a pickle can also ask for all the memory, a model text can kill LightGBM's parser.
"""

import hashlib
import io
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from mlflow_model import bundle, card, model_text, processes
from mlflow_model.errors import LoadingFailed, ModelUnavailable, PickleNotFound, PickleWithoutKeys
from mlflow_model.scoring import Booster, DecisionPolicy, Refusal

_WAY_OUT = "fournissez le dictionnaire documenté {model, features, optimal_threshold, margin} (docs/api.md)"
_MAX_PICKLE_BYTES = 256 * 2**20
_LONGEST_NAME = 256
_CHILD_MEMORY_BYTES = 2 * 2**30
_CHILD_PROCESSOR_SECONDS = 30
# Processor time bounds a pickle, on a busy machine too. The clock is for a child that is stopped: it strikes,
# even with a whole trial after it, before the service gives up on a loader that is silent (api/finder.py).
_CHILD_SECONDS = 180
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class LegacyModel:
    """What the documented pickle holds: everything that a bundle needs.

    `threshold` is None where it has none.
    """

    text: str
    features: tuple[str, ...]
    threshold: float | None
    margin: float
    sha256: str

    def policy(self, threshold: float | None = None, margin: float | None = None) -> DecisionPolicy:
        """The pickle's policy, or the given values instead of its own. Raises LoadingFailed."""
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
    """Read a documented pickle, which is never executed.

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
) -> tuple[bundle.Bundle, card.ModelCard]:
    """The bundle of a documented pickle, and its model card.

    A given threshold or margin takes the place of the pickle's. Raises what `read` raises.
    """
    model = read(path)
    model_card = card.beside(path, model.sha256)
    by_operator = threshold is not None or margin is not None
    built = bundle.build(
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
    """Have the pickle read by a process of its own.

    Whatever ends that process otherwise than well is a refusal, but of the pickle only if it is the cause.
    """
    try:
        child = subprocess.run(  # noqa: S603 - this very module
            [sys.executable, "-m", "mlflow_model.legacy", str(_CHILD_PROCESSOR_SECONDS)],
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
    if -returncode in _FROM_OUTSIDE:
        return f"la lecture du fichier Pickle a été interrompue (signal {-returncode}) ; réessayez"
    return f"le fichier Pickle est abîmé ou refusé ; {_WAY_OUT}"


def _raise_refusal(detail: str | None) -> NoReturn:
    if detail is None:
        raise PickleWithoutKeys
    raise LoadingFailed(f"{detail} ; {_WAY_OUT}")


# ---- In the child process


class _StandIn:
    """Takes the place of whatever a pickle names. It keeps what it is given and does nothing."""

    name: ClassVar[tuple[str, str]]
    args: tuple[Any, ...]
    state: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> "_StandIn":
        self = super().__new__(cls)
        self.args = args
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Accept what __new__ has kept."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Containers that are no dict (defaultdict, OrderedDict) are filled this way; none is of interest."""


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> type[_StandIn]:
        return type("StandIn", (_StandIn,), {"name": (module, name)})

    def persistent_load(self, _: Any, /) -> NoReturn:
        raise _Refused("le fichier Pickle renvoie à des objets extérieurs")


class _Refused(ModelUnavailable):
    """A refusal that the child can put in words; None stands for the documented sentence about the keys."""

    def __init__(self, detail: str | None) -> None:
        super().__init__(detail)
        self.detail = detail


def _parts(content: bytes) -> dict[str, Any]:
    stream = io.BytesIO(content)
    document = _InertUnpickler(stream).load()
    if stream.read(1):
        raise _Refused("des octets suivent la fin du fichier Pickle")
    if type(document) is not dict or not {"model", "features"} <= set(document):
        raise _Refused(None)
    features = _feature_list(document["features"])
    return {
        "text": _checked_text(document["model"], features),
        "features": features,
        "threshold": _double(document.get("optimal_threshold"), "optimal_threshold"),
        "margin": _double(document.get("margin"), "margin") or 0.0,
    }


def _feature_list(features: object) -> list[str]:
    names = list(features) if isinstance(features, (list, tuple)) else []
    if not names or not all(map(_is_name, names)) or len(set(names)) < len(names):
        raise _Refused("'features' n’est pas une liste de noms distincts")
    return names


def _is_name(name: object) -> bool:
    """One that JSON, a log and a page can hold: no control character, no half of a surrogate pair."""
    return type(name) is str and 0 < len(name) <= _LONGEST_NAME and name.isprintable()


def _checked_text(model: object, features: list[str]) -> str:
    is_classifier = _is(model, "lightgbm.sklearn", "LGBMClassifier")
    booster = _state(model).get("_Booster") if is_classifier else model
    if is_classifier and any(str(name).startswith("pred_early_stop") for name in _parameters(model)):
        raise _Refused("'model' arrête ses prédictions avant le dernier arbre (pred_early_stop)")
    if not _is(booster, "lightgbm.basic", "Booster"):
        raise _Refused("'model' n’est ni un LGBMClassifier entraîné ni un Booster de LightGBM")
    state = _state(booster)
    text = state.get("_handle", state.get("handle"))
    if type(text) is not str or len(text) > model_text.MOST_BYTES:
        raise _Refused("'model' ne contient pas le texte d’un modèle LightGBM entraîné")
    try:
        model_text.check(text, features)
    except model_text.BadModelText as error:
        raise _Refused(str(error)) from error
    text = _as_predicted(text, state.get("best_iteration"))
    Booster(text, len(features)).probability([0.0] * len(features))
    return text


def _parameters(classifier: object) -> set[Any]:
    """The names of those that are LightGBM's own."""
    others = _state(classifier).get("_other_params")
    return set(others) if type(others) is dict else set()


def _as_predicted(text: str, best_iteration: object) -> str:
    """LightGBM predicts with the trees up to the best iteration, although it writes all of them."""
    best = -1 if best_iteration is None else _whole(best_iteration)
    return model_text.first_trees(text, best) if 0 < best < model_text.tree_count(text) else text


def _whole(number: object) -> int:
    """A python integer, or a numpy one as its pickle spells it."""
    if type(number) is int:
        return number
    if isinstance(number, _StandIn) and number.name[1] == "scalar" and len(number.args) == 2:
        dtype, content = number.args
        kind = dtype.args[0] if _is(dtype, "numpy", "dtype") and dtype.args else None
        content = _plain_bytes(content)
        if kind in ("i4", "i8", "u4", "u8") and type(content) is bytes and len(content) == int(kind[1]):
            order: Any = "big" if dtype.state[1] == ">" else "little"
            return int.from_bytes(content, order, signed=kind[0] == "i")
    raise _Refused("'best_iteration' n’est pas un nombre entier")


def _plain_bytes(content: object) -> object:
    """Protocol 2 spells bytes as a call of _codecs.encode."""
    is_spelt = isinstance(content, _StandIn) and content.name == ("_codecs", "encode")
    return content.args[0].encode("latin-1") if is_spelt else content  # type: ignore[attr-defined]


def _is(value: object, module: str, name: str) -> bool:
    return isinstance(value, _StandIn) and value.name == (module, name)


def _state(value: object) -> dict[Any, Any]:
    state = getattr(value, "state", None)
    return state if type(state) is dict else {}


def _double(value: object, key: str) -> float | None:
    """A python number, or a numpy scalar as its pickle spells it: (dtype, bytes)."""
    if value is None:
        return None
    if isinstance(value, _StandIn) and value.name[1] == "scalar" and len(value.args) == 2:
        return _numpy_double(*value.args, key)
    if type(value) in (int, float):
        return float(value)  # type: ignore[arg-type]
    raise _Refused(f"'{key}' n’est pas un nombre")


def _numpy_double(dtype: object, content: object, key: str) -> float:
    kind = dtype.args[0] if _is(dtype, "numpy", "dtype") and dtype.args else None  # type: ignore[attr-defined]
    order = dtype.state[1] if kind in ("f8", "f4") else None  # type: ignore[attr-defined]
    content = _plain_bytes(content)
    if order not in ("<", ">") or type(content) is not bytes:
        raise _Refused(f"'{key}' n’est pas un nombre")
    return float(struct.unpack(order + {"f8": "d", "f4": "f"}[str(kind)], content)[0])


def _answer_only_through(write: Callable[[bytes], object], processor_seconds: int) -> None:
    """Nothing else can be written: results leave through a pipe that is already open."""
    processes.limit(
        memory=_CHILD_MEMORY_BYTES, file_bytes=0, processor_seconds=processor_seconds, open_files=16
    )
    try:
        answer: dict[str, Any] = _parts(sys.stdin.buffer.read())
    except _Refused as refused:
        answer = {"refused": refused.detail}
    write(json.dumps(answer).encode())


def _main() -> None:
    """LightGBM prints its complaints on standard output: keep the answer's pipe apart from it."""
    processes.end_with_parent()
    with os.fdopen(os.dup(1), "wb") as pipe, open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)
        _answer_only_through(pipe.write, int(sys.argv[1]))


if __name__ == "__main__":
    _main()
