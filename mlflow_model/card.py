"""Reads the model card that training writes beside a pickle: markdown under a YAML header for machines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class ModelCard:
    """`text` for people; `metrics`, `parameters` and the policy's `provenance` as training recorded them."""

    text: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


def beside(pickle_path: Path, sha256: str) -> ModelCard:
    """The card of exactly this pickle, recognised by its digest, or a short one that says there is none."""
    header, text = _split(pickle_path.with_suffix(".md"))
    if header.get("pickle_sha256") != sha256:
        body = f"Converted from a pickle that has no model card (SHA-256 {sha256})."
        return ModelCard(f"# {pickle_path.stem}\n\n{body}\n")
    return ModelCard(
        text,
        metrics={name: float(value) for name, value in header.get("metrics", {}).items()},
        parameters=header.get("parameters", {}),
        provenance=header.get("policy", {}),
    )


def _split(path: Path) -> tuple[dict[str, Any], str]:
    """The YAML header and the markdown below; an empty header where there is none to read."""
    try:
        _, head, text = path.read_text(encoding="utf-8").split("---\n", 2)
        header = yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError):
        return {}, ""
    return (header if isinstance(header, dict) else {}), text.strip() + "\n"
