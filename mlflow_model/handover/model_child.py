"""Reads a model's file in a process of its own: `python -m mlflow_model.handover.model_child`.

A pickle can ask for all the memory, and a model text can kill LightGBM's parser: neither may end the process
that asks. Standard input holds the file. Standard output gets READY once the reading begins, then one JSON
object with the parts, a refusal, or what this machine lacks.
"""

from mlflow_model import machine

if __name__ == "__main__":
    machine.require_of_child("lightgbm", "numpy", "pyarrow")

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from mlflow_model import processes
from mlflow_model.bundle import model_text
from mlflow_model.bundle.scoring import Booster
from mlflow_model.handover import arrays, classifiers, file_kinds, inert, unused
from mlflow_model.handover.refusals import NotUsable, shown

WAY_OUT = "fournissez le dictionnaire documenté {model, features, optimal_threshold, margin} (docs/models.md)"
_RENAME = "renommez les colonnes, et entraînez le modèle de nouveau"
_COPY_AGAIN = "copiez le fichier de nouveau"
READY = b"ready\n"
MOST_BYTES = 256 * 2**20
MEMORY_BYTES = 2 * 2**30
_LONGEST_NAME = 256


class Refused(Exception):
    """The documented dictionary is not as documented. The message is French, and WAY_OUT follows it."""


def _parts(content: bytes, default_class: str | None) -> dict[str, Any]:
    """The model's text, the features, the threshold, the margin, and what is not used. Raises Refused."""
    is_text, content = file_kinds.recognised(content, MOST_BYTES)
    if is_text:
        classifiers.check_default_class(default_class)
        return _of_a_model(_decoded(content))
    document = _mapping(inert.whole(content, arrays.completed))
    if classifiers.is_model(document):
        return _of_a_model(classifiers.text_of(document, default_class))
    if not (isinstance(document, dict) and {"model", "features"} <= set(document)):
        raise _WithoutKeys
    not_used = unused.keys(document)
    features = _feature_list(document["features"])
    return {
        "is_bare": False,
        "text": _checked_text(classifiers.text_of(document["model"], default_class), features),
        "features": features,
        "threshold": _double(document, "optimal_threshold"),
        "margin": _double(document, "margin") or 0.0,
        "unused": not_used,
    }


_DICTIONARIES = (
    inert.Name("collections", "OrderedDict"),
    inert.Name("collections", "defaultdict"),
    *(inert.Name(module, "Bunch") for module in ("sklearn.utils", "sklearn.utils._bunch")),
)


class _WithoutKeys(Refused):
    """The documented sentence about the keys."""


def _mapping(document: Any) -> Any:
    """The dictionary that an OrderedDict, a defaultdict or scikit-learn's Bunch is; others as they are."""
    if isinstance(document, inert.Object) and document.maker in _DICTIONARIES:
        unused.check("le dictionnaire", document.state)
        return inert.pairs(document)
    return document


def _of_a_model(text: str) -> dict[str, Any]:
    """The parts that a model has by itself: it names its features, and says no threshold."""
    features = model_text.names(text)
    _check_names(features)
    return {
        "is_bare": True,
        "text": _checked_text(text, features),
        "features": features,
        "threshold": None,
        "margin": 0.0,
        "unused": [],
    }


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise model_text.BadModelText("le texte du modèle est corrompu : il n’est pas en UTF-8") from error


def _feature_list(features: Any) -> list[str]:
    names = arrays.values(features)
    if not names:
        raise Refused("'features' n’est pas une liste de noms")
    _check_names(names)
    return names


def _check_names(names: Sequence[Any]) -> None:
    """Raises NotUsable for a name that a client of the API could not send, or two that are the same."""
    for place, name in enumerate(names, start=1):
        if type(name) is not str:
            raise NotUsable(f"le nom {place} des variables n’est pas un texte ; {_RENAME}")
        if not _is_name(name):
            raise NotUsable(
                f"le nom {place} des variables est vide, dépasse {_LONGEST_NAME} caractères ou contient "
                f"une tabulation, une espace insécable ou un autre caractère invisible ; {_RENAME}"
            )
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise NotUsable(f"deux variables s’appellent « {shown(twice[0])} » ; {_RENAME}")


def _is_name(name: object) -> bool:
    """Whether JSON, a log and a page can hold it: no control character, no half of a surrogate pair."""
    return type(name) is str and 0 < len(name) <= _LONGEST_NAME and name.isprintable()


def _double(document: Mapping[Any, Any], key: str) -> float | None:
    value = document.get(key)
    if value is None:
        return None
    number = arrays.number(value)
    if number is None or type(number) is bool:
        raise Refused(f"'{key}' n’est pas un nombre")
    try:
        return float(number)
    except OverflowError as error:
        raise Refused(f"'{key}' dépasse la plage des doubles") from error


def _checked_text(text: str, features: list[str]) -> str:
    """The text, once it is checked and LightGBM has decided a row with it. Raises Refused, BadModelText."""
    model_text.check(text, features)
    Booster(text, len(features)).probability([0.0] * len(features))
    return text


# Beside what the reading itself finds: what Python raises where a value has a shape that no library writes.
_UNREADABLE = (
    inert.BadPickle,
    *(AttributeError, TypeError, IndexError, KeyError, OverflowError, RecursionError, UnicodeDecodeError),
)


def _answer(content: bytes, default_class: str | None) -> dict[str, Any]:
    try:
        return _parts(content, default_class)
    except _WithoutKeys:
        return {"refused": None}
    except (file_kinds.NotAModel, NotUsable, model_text.UnsupportedModel) as error:
        return {"refused": str(error)}
    except Refused as error:
        return {"refused": f"{error} ; {WAY_OUT}"}
    except model_text.BadModelText as error:
        return {"refused": f"{error} ; {_COPY_AGAIN}"}
    except inert.Unsupported as error:
        return {"refused": str(error)}
    except inert.Foreign:
        return {"refused": "le fichier Pickle renvoie à d’autres fichiers ; écrivez-le en un seul"}
    except _UNREADABLE:
        return {"refused": f"le fichier Pickle est corrompu ou tronqué ; {_COPY_AGAIN}"}
    except RuntimeError:  # LightGBM's own, about a text that passed our checks
        return {"refused": f"LightGBM refuse le texte du modèle ; {classifiers.ONLY_LIGHTGBM}"}
    except MemoryError:
        if limit := processes.lower_limit(MEMORY_BYTES):
            return {"lacking": limit}
        return {"refused": f"le fichier demande plus de {MEMORY_BYTES // 2**30} Gio de mémoire ; {WAY_OUT}"}


def _answer_only_through(pipe: BinaryIO, seconds: int, default_class: str | None) -> None:
    """Answer under limits. No file can be written: the answer leaves through a pipe that is already open."""
    processes.limit(memory=MEMORY_BYTES, file_bytes=0, processor_seconds=seconds, open_files=64)
    pipe.write(READY)
    pipe.flush()
    pipe.write(json.dumps(_answer(sys.stdin.buffer.read(), default_class)).encode())


def _main() -> None:
    """Arguments: the limit of processor time in seconds, and perhaps the class that means default.

    The answer's pipe is kept apart from standard output, to which LightGBM prints its complaints.
    """
    processes.end_with_parent()
    seconds = int(sys.argv[1])
    default_class = sys.argv[2] if len(sys.argv) > 2 else None
    with os.fdopen(processes.set_aside(1), "wb") as pipe:
        _answer_only_through(pipe, seconds, default_class)


if __name__ == "__main__":
    _main()
