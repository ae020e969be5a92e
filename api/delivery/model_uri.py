"""What MODEL_URI may name: a documented pickle, one version, or an alias that moves."""

import re
from pathlib import Path

CHALLENGER = "challenger"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")


def is_pickle(uri: str) -> bool:
    """Whether it is the path of a documented pickle rather than an MLflow model URI."""
    return uri.endswith(".pkl")


def fault(uri: str) -> str | None:
    """Why this can name no model, whatever the registry holds: a French sentence, or None.

    A path may be that of a folder with an MLflow model. A file must be a documented pickle.
    """
    if is_pickle(uri) or _SCHEME.match(uri) or Path(uri).is_dir():
        return None
    return (
        "MODEL_URI ne nomme ni un fichier « .pkl », ni un modèle du registre (models:/NOM@ALIAS) ; "
        "enregistrez un autre fichier avec « python register.py --pickle »"
    )


def can_move(uri: str) -> bool:
    """Whether it may name another version later: an alias, or the latest version."""
    return not is_pickle(uri) and ("@" in uri or uri.endswith("/latest"))


def challenger_of(uri: str) -> str | None:
    """The URI of the model's challenger. None if the URI names no alias, or the challenger itself."""
    model, at, alias = uri.partition("@")
    return f"{model}@{CHALLENGER}" if at and alias != CHALLENGER else None
