"""Reads the model card that training writes beside a pickle: markdown under a YAML header for machines."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mlflow_model import files
from mlflow_model.errors import LoadingFailed

_MOST_BYTES = 2**20
_NAME = re.compile(r"\w[\w .-]{0,249}")
_WAY_OUT = "refaites la fiche avec « python -m training », ou retirez-la"


@dataclass(frozen=True)
class ModelCard:
    """What training recorded: `text` for people, and values for machines."""

    text: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    population: Mapping[str, Any] = field(default_factory=dict)


def beside(pickle_path: Path, sha256: str) -> ModelCard:
    """The card of exactly this pickle, recognised by its digest, or a short card that says there is none.

    Raises LoadingFailed if the card is this pickle's and is damaged.
    """
    card = pickle_path.with_suffix(".md")
    content = _content(card)
    if not re.search(rb"(?m)^pickle_sha256: *['\"]?" + sha256.encode(), content):
        body = f"Converted from a pickle that has no model card (SHA-256 {sha256})."
        return ModelCard(f"# {pickle_path.stem}\n\n{body}\n")
    header, text = _split(card, content)
    try:
        metrics = {name: float(one) for name, one in _named(card, header, "metrics").items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise _bad_section(card, "metrics") from error
    return ModelCard(
        text,
        metrics=metrics,
        parameters=_named(card, header, "parameters"),
        provenance=_section(card, header, "policy"),
        population=_section(card, header, "population"),
    )


def _content(card: Path) -> bytes:
    """The bytes of the card; none if there is no such file. Raises LoadingFailed."""
    try:
        return files.read(card.resolve(), _MOST_BYTES, own=False)
    except files.TooLarge as error:
        raise _damaged(card, f"dépasse {_MOST_BYTES // 2**20} Mio") from error
    except (OSError, RuntimeError):  # a loop of links is the latter
        return b""


def _named(card: Path, header: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section whose keys MLflow takes for names. Raises LoadingFailed."""
    section = _section(card, header, name)
    if not all(_NAME.fullmatch(key) for key in section):
        raise _bad_section(card, name)
    return section


def _section(card: Path, header: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section of the header. Raises LoadingFailed for values that JSON has not: dates, infinities."""
    section = header.get(name, {})
    try:
        json.dumps(section, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _bad_section(card, name) from error
    if not (isinstance(section, dict) and all(isinstance(key, str) for key in section)):
        raise _bad_section(card, name)
    return section


def _bad_section(card: Path, name: str) -> LoadingFailed:
    return LoadingFailed(f"la rubrique « {name} » de la fiche « {card.name} » est corrompue ; {_WAY_OUT}")


def _damaged(card: Path, fault: str) -> LoadingFailed:
    return LoadingFailed(f"la fiche « {card.name} » {fault} ; {_WAY_OUT}")


class _Loader(yaml.SafeLoader):
    """Reads no alias: a few lines of them would be gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError
        return super().compose_node(parent, index)


def _split(card: Path, content: bytes) -> tuple[Mapping[str, Any], str]:
    """The YAML header and the Markdown below. Raises LoadingFailed."""
    try:
        _, head, text = re.split(r"(?m)^---\n", content.decode().replace("\r\n", "\n"), maxsplit=2)
        header = _Loader(head).get_single_data()
        json.dumps(header, default=str)  # also as deep as other code can follow
    except (ValueError, TypeError, yaml.YAMLError, RecursionError) as error:
        raise _damaged(card, "est corrompue") from error
    if not isinstance(header, dict):
        raise _damaged(card, "est corrompue")
    return header, text.strip() + "\n"
