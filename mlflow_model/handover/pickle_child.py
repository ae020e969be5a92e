"""Reads the documented pickle in a process of its own: `python -m mlflow_model.handover.pickle_child`.

A pickle can ask for all the memory, and a model text can kill LightGBM's parser: neither may end the process
that asks. Standard input holds the pickle; standard output gets one JSON object, with the parts or a refusal.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from mlflow_model import processes
from mlflow_model.bundle import model_text
from mlflow_model.bundle.scoring import Booster
from mlflow_model.handover import inert
from mlflow_model.handover.inert import Refused

_MEMORY_BYTES = 2 * 2**30
_LONGEST_NAME = 256


def _parts(content: bytes) -> dict[str, Any]:
    """The model's text, the features, the threshold and the margin. Raises Refused."""
    document = inert.unpickled(content)
    if type(document) is not dict or not {"model", "features"} <= set(document):
        raise Refused(None)
    features = _feature_list(document["features"])
    return {
        "text": _checked_text(document["model"], features),
        "features": features,
        "threshold": inert.double(document.get("optimal_threshold"), "optimal_threshold"),
        "margin": inert.double(document.get("margin"), "margin") or 0.0,
    }


def _feature_list(features: object) -> list[str]:
    names = list(features) if isinstance(features, (list, tuple)) else []
    if not names or not all(map(_is_name, names)) or len(set(names)) < len(names):
        raise Refused("'features' n’est pas une liste de noms distincts")
    return names


def _is_name(name: object) -> bool:
    """Whether JSON, a log and a page can hold it: no control character, no half of a surrogate pair."""
    return type(name) is str and 0 < len(name) <= _LONGEST_NAME and name.isprintable()


def _checked_text(model: object, features: list[str]) -> str:
    is_classifier = inert.stands_for(model, "lightgbm.sklearn", "LGBMClassifier")
    booster = inert.state(model).get("_Booster") if is_classifier else model
    if is_classifier and any(str(name).startswith("pred_early_stop") for name in _parameters(model)):
        raise Refused("'model' arrête ses prédictions avant le dernier arbre (pred_early_stop)")
    if not inert.stands_for(booster, "lightgbm.basic", "Booster"):
        raise Refused("'model' n’est ni un LGBMClassifier entraîné ni un Booster de LightGBM")
    state = inert.state(booster)
    text = state.get("_handle", state.get("handle"))
    if type(text) is not str or len(text) > model_text.MOST_BYTES:
        raise Refused("'model' ne contient pas le texte d’un modèle LightGBM entraîné")
    try:
        model_text.check(text, features)
    except model_text.BadModelText as error:
        raise Refused(str(error)) from error
    text = _as_predicted(text, state.get("best_iteration"))
    Booster(text, len(features)).probability([0.0] * len(features))
    return text


def _parameters(classifier: object) -> set[Any]:
    """The names of LightGBM's own parameters, beside those of scikit-learn."""
    others = inert.state(classifier).get("_other_params")
    return set(others) if type(others) is dict else set()


def _as_predicted(text: str, best_iteration: object) -> str:
    """Cut to the best iteration: LightGBM predicts up to there, although it writes all trees."""
    best = -1 if best_iteration is None else inert.whole(best_iteration)
    return model_text.first_trees(text, best) if 0 < best < model_text.tree_count(text) else text


def _answer_only_through(write: Callable[[bytes], object], processor_seconds: int) -> None:
    """Answer under limits. No file can be written: the answer leaves through a pipe that is already open."""
    processes.limit(memory=_MEMORY_BYTES, file_bytes=0, processor_seconds=processor_seconds, open_files=16)
    try:
        answer: dict[str, Any] = _parts(sys.stdin.buffer.read())
    except Refused as refused:
        answer = {"refused": refused.detail}
    write(json.dumps(answer).encode())


def _main() -> None:
    """Keep the answer's pipe apart from standard output, to which LightGBM prints its complaints."""
    processes.end_with_parent()
    with os.fdopen(os.dup(1), "wb") as pipe, open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)
        _answer_only_through(pipe.write, int(sys.argv[1]))


if __name__ == "__main__":
    _main()
