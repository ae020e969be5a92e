"""The files that commands make: refused in one sentence before any work is done, never written over."""

from pathlib import Path

from journal.errors import Refused
from mlflow_model import files, machine


def require_new(file: Path) -> None:
    """Raises Refused where no new file of this name can be made."""
    if file.is_dir():
        raise Refused(f"{file} is a folder: name a file in it")
    if file.exists() or file.is_symlink():
        raise Refused(f"{file.name} exists: name another file")
    require_folder(file.parent)


def require_folder(folder: Path) -> None:
    """Raises Refused."""
    if not folder.is_dir():
        raise Refused(f"there is no folder {folder}: make it first, or name another place")


def write(file: Path, content: bytes) -> None:
    """Write a new file, and have it on the disk. Raises Refused."""
    require_new(file)
    try:
        files.write(file, content)
        files.settle(file)
    except OSError as error:
        raise Refused(f"{file.name} cannot be written: {machine.why_not_written(error)}") from None
