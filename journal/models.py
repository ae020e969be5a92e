"""What all receipts of a version have in common: stored once, and committed to by each of them."""

import functools
import hashlib
import json
from dataclasses import asdict, dataclass

from mlflow_model.bundle import bundles
from mlflow_model.bundle.scoring import Scorer

LABELS = RELIABLE, GREY, RISKY = ("reliable", "grey", "risky")  # by a label's number among a model's own
NO_MODEL = hashlib.sha256(b"").digest()  # in the commitment of a record that names no model


@dataclass(frozen=True)
class Model:
    """A version as it was served. `code`: the version of this project that answered.

    `labels`: of the policy, from reliable to risky. `columns`: the names of a decision's columns, of which
    the first is the label. A model that is served from a file has no version.
    """

    name: str
    version: str | None
    digest: str
    threshold: float
    margin: float
    labels: tuple[str, ...]
    features: tuple[str, ...]
    columns: tuple[str, ...]
    code: str

    @functools.cached_property
    def description(self) -> bytes:
        """Canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @functools.cached_property
    def description_digest(self) -> bytes:
        return digest_of(self.description)


def of_scorer(scorer: Scorer, name: str, version: str | None, digest: str, code: str) -> Model:
    """What the receipts of a served version share. `digest`: of its bundle; `code`: what answers with it."""
    policy = scorer.policy
    return Model(
        name,
        version,
        digest,
        policy.threshold,
        policy.margin,
        (policy.reliable, policy.uncertain, policy.risky),
        scorer.features,
        tuple(bundles.columns(scorer)),
        code,
    )


def digest_of(description: bytes) -> bytes:
    return hashlib.sha256(description).digest()


def read(description: bytes) -> Model:
    """Raises ValueError, KeyError, TypeError or RecursionError for what describes no model."""
    content = json.loads(description)
    lists = {name: tuple(content[name]) for name in ("labels", "features", "columns")}
    model = Model(**(content | lists))
    texts = model.name, model.version or "", model.digest, model.code, *model.labels, *model.features
    numbers = model.threshold, model.margin
    if not all(isinstance(one, str) for one in (*texts, *model.columns)):
        raise TypeError("a name is no text")
    if not all(isinstance(one, int | float) for one in numbers):
        raise TypeError("a bound is no number")
    if len(model.labels) != len(LABELS) or not model.features or not model.columns:
        raise ValueError("labels, features or columns are missing")
    _ = model.description  # fails for text that no bytes can hold
    return model
