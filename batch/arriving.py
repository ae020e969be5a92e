"""A file or folder on its way: NAME.part, which no other run can write, until it is whole and is named."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from batch.errors import Refused
from mlflow_model import files, machine

UNFINISHED = ".part"


@contextlib.contextmanager
def writing(name: object) -> Iterator[None]:
    """Say what the system refuses to write. Raises Refused."""
    try:
        yield
    except (BrokenPipeError, MemoryError):
        raise
    except OSError as error:
        raise Refused(f"{name} cannot be written: {machine.why_not_written(error)}") from error
    except pa.ArrowException as error:  # its words may quote a client
        raise Refused(f"{name} cannot be written: its format has no place for what is there") from error


def part_of(path: Path) -> Path:
    return path.with_name(path.name + UNFINISHED)


class ArrivingFile:
    """For its owner alone, as it may hold what clients have told. Raises Refused.

    `path`: the name that it gets, which a file may have already. `kept`: how many bytes of what a former run
    has left stay.
    """

    def __init__(self, path: Path, kept: int = 0) -> None:
        self.path, self.part = path, part_of(path)
        with writing(path):
            descriptor = _held(self.part, os.O_RDWR | os.O_CREAT, path)
            self.stream = os.fdopen(descriptor, "r+b")
            self.stream.truncate(kept)
            self.stream.seek(kept)

    def settle(self) -> None:
        """Have all of it on the disk."""
        with writing(self.path):
            self.stream.flush()
            os.fsync(self.stream.fileno())

    def publish(self) -> None:
        """Give it its name. It is held until then, so that it is whole."""
        self.settle()
        with writing(self.path):
            self.part.replace(self.path)
            files.settle(self.path.parent)
        self.stream.close()

    def abandon(self, *, keep: bool = False) -> None:
        """`keep`: for a run that goes on."""
        if self.stream.closed:
            return
        if not keep:
            self.part.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # of what was not written yet
            self.stream.close()


def held_folder(folder: Path, name: Path) -> int:
    """A descriptor that holds the folder against other runs. Raises Refused, or OSError."""
    return _held(folder, os.O_RDONLY | os.O_DIRECTORY, name)


def name_folder(whole: Path, name: Path) -> None:
    """Give a folder that is whole its name, which an empty folder may have. Raises Refused."""
    with writing(name):
        if name.exists():
            name.rmdir()
        whole.rename(name)
        files.settle(name.parent)


def _held(place: Path, flags: int, name: Path) -> int:
    """Only what still has its name once it is held: a run that ended meanwhile has given it another."""
    while True:
        descriptor = os.open(place, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), place.lstat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise Refused(f"another run writes {name}") from None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
