"""What the environment says of the service. Beside it, `api.server.kept_files` alone asks the environment.

Each process reads it anew. Its parent may have changed what it says: `api.server.kept_files` has it name
copies of the operator's files, so that settings which were read before must not be passed on.
MLFLOW_TRACKING_URI and MODEL_PUBLIC_KEY are read by mlflow_model: they concern every command.
"""

import math
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mlflow_model import machine, processes
from mlflow_model.registry.store import DEFAULT_MODEL_URI

TOKENS_FILE, TARIFF_FILE = "API_TOKENS_FILE", "TARIFF_FILE"
JOURNAL_URL = "JOURNAL_URL"  # read by the journal itself
CHECKPOINTS, KEY, MINUTES = "JOURNAL_CHECKPOINTS", "JOURNAL_KEY", "JOURNAL_CHECKPOINT_MINUTES"
COMMAND = "JOURNAL_CHECKPOINT_COMMAND"

REFUSED = 2  # the exit code, as that of a wrong option

_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", re.ASCII)
_DEFAULT_CACHE = processes.ROOT / ".cache" / "bundles"
_DEFAULT_REFERENCE = processes.ROOT / "models" / "reference.parquet"
_DEFAULT_PORT = "5000"
_DEFAULT_RELOAD_SECONDS = 5.0
_LONGEST_RELOAD_SECONDS = 1_000_000  # the clocks that count them know no century
_DEFAULT_CHALLENGER_SHARE = 0.1
_DEFAULT_MINUTES, _MOST_MINUTES = 10.0, 10_000


@dataclass(frozen=True)
class Checkpointing:
    """How the service makes checkpoints of its journal. `command`: gets each one's file, if there is one."""

    key: Path
    folder: Path
    minutes: float
    command: str


@dataclass(frozen=True)
class Settings:
    """`port` and `workers` are defaults of the command line, which checks them.

    `reload_text` and `share_text` are checked where their numbers are asked for. `log_format`: empty where a
    terminal decides.
    """

    model_uri: str
    cache: Path
    reload_text: str
    share_text: str
    tokens_file: Path | None
    tariff_file: Path | None
    reference: Path
    records: bool
    checkpoints: str
    minutes_text: str
    log_format: str
    port: str
    workers: str

    @classmethod
    def from_environment(cls) -> "Settings":
        get = os.environ.get
        cache, tokens, tariff = get("MODEL_CACHE"), get(TOKENS_FILE), get(TARIFF_FILE)
        reference = get("REFERENCE")
        return cls(
            model_uri=get("MODEL_URI") or DEFAULT_MODEL_URI,
            cache=Path(cache).absolute() if cache else _DEFAULT_CACHE,
            reload_text=get("RELOAD_SECONDS", ""),
            share_text=get("SHADOW_SHARE", ""),
            tokens_file=Path(tokens) if tokens else None,
            tariff_file=Path(tariff) if tariff else None,
            reference=Path(reference).absolute() if reference else _DEFAULT_REFERENCE,
            records=get(JOURNAL_URL) != "off",
            checkpoints=get(CHECKPOINTS, ""),
            minutes_text=get(MINUTES, ""),
            log_format=get("LOG_FORMAT", ""),
            port=get("PORT", _DEFAULT_PORT),
            workers=get("WORKERS", str(machine.cores())),
        )

    @property
    def reload_seconds(self) -> float:
        """How often to look whether the alias has moved; 0 looks once. Ends the process if not valid."""
        found = _number(self.reload_text, _DEFAULT_RELOAD_SECONDS)
        if not 0 <= found <= _LONGEST_RELOAD_SECONDS:
            refuse(
                f"RELOAD_SECONDS must be a number of seconds up to {_LONGEST_RELOAD_SECONDS:,}, or 0 to look "
                f"only once, not {self.reload_text!r}"
            )
        return found

    @property
    def challenger_share(self) -> float:
        """The share of clients that a challenger decides on too. Ends the process if not valid."""
        found = _number(self.share_text, _DEFAULT_CHALLENGER_SHARE)
        if not 0 <= found <= 1:
            refuse(f"SHADOW_SHARE must be a share from 0 to 1, not {self.share_text!r}")
        return found

    @property
    def checkpoint_minutes(self) -> float | None:
        """Between two checkpoints; None where none are made. Ends the process if not valid."""
        if not self.checkpoints:
            return None
        minutes = _number(self.minutes_text, _DEFAULT_MINUTES)
        if not 0 < minutes <= _MOST_MINUTES:
            refuse(
                f"{MINUTES} must be a number of minutes up to {_MOST_MINUTES:,}, not {self.minutes_text!r}"
            )
        return minutes

    @property
    def checkpointing(self) -> Checkpointing | None:
        """None where the service makes no checkpoints. Ends the process if what is said makes no sense."""
        if not self.checkpoints:
            return None
        if not self.records:
            refuse(f"{CHECKPOINTS} needs a journal: {JOURNAL_URL}=off says that there is none")
        key, folder = os.environ.get(KEY), Path(self.checkpoints)
        if not key:
            refuse(f"{CHECKPOINTS} needs {KEY}, the file of the private Ed25519 key that signs checkpoints")
        if not Path(key).is_file():
            refuse(f"{KEY} must name a file that is there, of the private Ed25519 key: {key} is none")
        if not folder.is_dir():
            refuse(f"{CHECKPOINTS} must name a folder that is there: make it first")
        minutes = self.checkpoint_minutes or _DEFAULT_MINUTES
        command = os.environ.get(COMMAND, "")
        try:
            is_command = not command or bool([*shlex.split(command), ""][0])
        except ValueError:
            refuse(f"{COMMAND} must be a command as in a shell: a quote is not closed in it")
        if not is_command:
            refuse(f"{COMMAND} must be a command, and names none: leave it unset for none")
        return Checkpointing(Path(key).absolute(), folder.absolute(), minutes, command)


def refuse(sentence: str) -> NoReturn:
    """End the process before it serves: what it was told makes no sense."""
    print(sentence, file=sys.stderr)  # noqa: T201 - nothing is logged yet
    sys.exit(REFUSED)


def _number(text: str, default: float) -> float:
    """The number in a text, the default if it is empty, NaN if it is none."""
    if not text:
        return default
    return float(text) if _DECIMAL.fullmatch(text) else math.nan
