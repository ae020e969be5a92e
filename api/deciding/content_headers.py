"""What a request says of its body: the media type, and that it is not compressed."""

from mlflow_model.errors import UnsupportedMediaType


def media_type(content_type: str | None) -> str:
    """Without its parameters, in lower case; empty where there is none."""
    return (content_type or "").partition(";")[0].strip().lower()


def check_json(content_type: str | None, content_encoding: str | None) -> None:
    """Raises UnsupportedMediaType."""
    if media_type(content_type) != "application/json":
        raise UnsupportedMediaType("le type de contenu doit être application/json")
    check_encoding(content_encoding)


def check_encoding(content_encoding: str | None) -> None:
    """Raises UnsupportedMediaType."""
    if (content_encoding or "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("le corps de la requête ne doit pas être compressé (Content-Encoding)")
