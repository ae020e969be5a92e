"""Folders for what a run needs while it lives."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from batch.errors import Refused
from mlflow_model import machine


@contextlib.contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """One that goes with the block. Raises Refused."""
    with contextlib.ExitStack() as stack:
        with making():
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix))
        yield Path(place)


@contextlib.contextmanager
def making() -> Iterator[None]:
    """Say what the system refuses. Raises Refused."""
    try:
        yield
    except FileNotFoundError as error:  # Python has looked in several places
        raise Refused("no folder takes temporary files: set TMPDIR to one that does") from error
    except OSError as error:
        why = machine.why_not_written(error)
        raise Refused(f"temporary files cannot be written ({why}): set TMPDIR to another folder") from error
