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

    Raises LoadingFailed if the card is this pickle's and its header is damaged.
    """
    header, text = _split(pickle_path.with_suffix(".md"))
    if header.get("pickle_sha256") != sha256:
        body = f"Converted from a pickle that has no model card (SHA-256 {sha256})."
        return ModelCard(f"# {pickle_path.stem}\n\n{body}\n")
    try:
        metrics = {name: float(one) for name, one in _section(pickle_path, header, "metrics").items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise _bad_section(pickle_path, "metrics") from error
    return ModelCard(
        text,
        metrics=metrics,
        parameters=_section(pickle_path, header, "parameters"),
        provenance=_section(pickle_path, header, "policy"),
        population=_section(pickle_path, header, "population"),
    )


def _section(pickle_path: Path, header: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section of the header. Raises LoadingFailed for values that JSON has not: dates, infinities."""
    section = header.get(name, {})
    try:
        json.dumps(section, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _bad_section(pickle_path, name) from error
    if not (isinstance(section, dict) and all(isinstance(key, str) for key in section)):
        raise _bad_section(pickle_path, name)
    return section


def _bad_section(pickle_path: Path, name: str) -> LoadingFailed:
    return LoadingFailed(
        f"la rubrique « {name} » de la fiche « {pickle_path.with_suffix('.md').name} » est corrompue ; "
        "refaites la fiche avec « python -m training », ou retirez-la"
    )


def _split(path: Path) -> tuple[dict[str, Any], str]:
    """The YAML header and the Markdown below; an empty header if none can be read."""
    try:
        card = files.read(path.resolve(), _MOST_BYTES, own=False)
        _, head, text = re.split(r"(?m)^---\n", card.decode().replace("\r\n", "\n"), maxsplit=2)
        header = yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError):
        return {}, ""
    return (header if isinstance(header, dict) else {}), text.strip() + "\n"
