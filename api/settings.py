"""What the environment says of the service, read and checked in one place.

MLFLOW_TRACKING_URI and MODEL_PUBLIC_KEY are read by mlflow_model: they concern every command.
"""

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from mlflow_model import processes

TOKENS_FILE = "API_TOKENS_FILE"
DEFAULT_MODEL_URI = "models:/scoring-client@champion"

_DEFAULT_CACHE = processes.ROOT / ".cache" / "bundles"
_DEFAULT_PORT = "5000"
_DEFAULT_RELOAD_SECONDS = 5.0
_DEFAULT_CHALLENGER_SHARE = 0.1


@dataclass(frozen=True)
class Settings:
    """`port` and `workers` are defaults of the command line, which checks them.

    `reload_seconds`: how often to look whether the alias has moved; 0 looks once. `challenger_share`: the
    share of clients that a challenger decides on, too. `log_format`: empty where a terminal decides.
    """

    model_uri: str
    cache: Path
    reload_seconds: float
    challenger_share: float
    tokens_file: Path | None
    log_format: str
    port: str
    workers: str

    @classmethod
    def from_environment(cls) -> "Settings":
        """End the process with one sentence if a value is not valid."""
        cache, tokens = os.environ.get("MODEL_CACHE"), os.environ.get(TOKENS_FILE)
        return cls(
            model_uri=os.environ.get("MODEL_URI") or DEFAULT_MODEL_URI,
            cache=Path(cache).absolute() if cache else _DEFAULT_CACHE,
            reload_seconds=_number(
                "RELOAD_SECONDS",
                _DEFAULT_RELOAD_SECONDS,
                math.nextafter(math.inf, 0.0),
                "a number of seconds, or 0 to look only once",
            ),
            challenger_share=_number("SHADOW_SHARE", _DEFAULT_CHALLENGER_SHARE, 1.0, "a share from 0 to 1"),
            tokens_file=Path(tokens) if tokens else None,
            log_format=os.environ.get("LOG_FORMAT", ""),
            port=os.environ.get("PORT", _DEFAULT_PORT),
            workers=os.environ.get("WORKERS", str(_cores())),
        )


def _number(variable: str, default: float, largest: float, expected: str) -> float:
    """The variable as a number from 0 to the largest. End the process if it is none."""
    text = os.environ.get(variable, "")
    try:
        found = float(text) if text else default
    except ValueError:
        found = math.nan
    if not 0 <= found <= largest:
        sys.exit(f"{variable} must be {expected}, not {text!r}")
    return found


def _cores() -> int:
    """The cores that this process may use: in a container or under taskset not all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
