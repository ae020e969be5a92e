"""What MODEL_URI may name: a documented pickle, one version, or an alias that moves."""

CHALLENGER = "challenger"


def is_pickle(uri: str) -> bool:
    """Whether it is the path of a documented pickle rather than an MLflow model URI."""
    return uri.endswith(".pkl")


def can_move(uri: str) -> bool:
    """Whether it may name another version later: an alias, or the latest version."""
    return not is_pickle(uri) and ("@" in uri or uri.endswith("/latest"))


def challenger_of(uri: str) -> str | None:
    """The URI of the model's challenger. None if the URI names no alias, or the challenger itself."""
    model, at, alias = uri.partition("@")
    return f"{model}@{CHALLENGER}" if at and alias != CHALLENGER else None
