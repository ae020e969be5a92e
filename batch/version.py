"""The version that scores: named by a URI and fetched by a process of its own, or a bundle's folder.

MLflow takes seconds and 170 MB, and imports pandas. So another process resolves the URI, checks the signature
if MODEL_PUBLIC_KEY asks for one, and verifies the bundle; this one reads the files that it leaves.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from batch import temporary
from batch.errors import Refused
from mlflow_model import processes
from mlflow_model.bundle import bundles, signing
from mlflow_model.bundle.bundles import MANIFEST, Bundle
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.registry.store import DEFAULT_MODEL_URI

_FETCHING_SECONDS = 300.0


@dataclass(frozen=True)
class Version:
    """`number`: in the registry; None of a bundle or a file that stands alone."""

    name: str
    number: str | None
    bundle: Bundle
    scorer: Scorer

    @property
    def digest(self) -> str:
        return self.bundle.digest


def default_uri() -> str:
    return os.environ.get("MODEL_URI") or DEFAULT_MODEL_URI


def of(uri: str) -> Version:
    """Raises ModelUnavailable, or Refused."""
    folder = Path(uri)
    if os.path.isfile(folder / MANIFEST):  # noqa: PTH113 - which has no name too long
        signing.check("", folder.name, None)
        bundle = bundles.read(folder)
        return Version(folder.name, None, bundle, bundle.scorer())
    if sys.stderr.isatty():
        sys.stderr.write(f"{'Reading' if folder.is_file() else 'Fetching'} the model\n")
    with temporary.folder("arriving-") as place:
        fetched = _fetched(uri, place)
        bundle = bundles.read(place / "bundle", fetched["digest"])
    return Version(str(fetched["name"]), fetched["number"], bundle, bundle.scorer())


def _fetched(uri: str, folder: Path) -> dict[str, str]:
    question = {"uri": uri, "folder": str(folder / "bundle")}
    try:
        found: dict[str, str] = processes.ask("batch.fetching", question, _FETCHING_SECONDS, None)
    except TimeoutError as error:
        raise Refused(
            f"{uri} was not there within {_FETCHING_SECONDS:.0f} s: is the registry at work?"
        ) from error
    except processes.NoAnswer as error:
        raise Refused(f"{uri} is not there: the process that fetches it has ended") from error
    if "problem" in found:
        raise Refused(found["problem"])
    return found
