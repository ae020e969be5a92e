"""What MODEL_URI may name: a documented pickle, one version, or an alias that moves."""

DEFAULT = "models:/scoring-client@champion"
CHALLENGER = "challenger"


def is_pickle(uri: str) -> bool:
    """Whether it is the path of a documented pickle rather than an MLflow model URI."""
    return uri.endswith(".pkl")


def can_move(uri: str) -> bool:
    """Whether it may name another version tomorrow."""
    return not is_pickle(uri) and ("@" in uri or uri.endswith("/latest"))


def challenger_of(uri: str) -> str | None:
    """The URI of the model's challenger; None where the URI names no alias, or that one."""
    model, at, alias = uri.partition("@")
    return f"{model}@{CHALLENGER}" if at and alias != CHALLENGER else None
