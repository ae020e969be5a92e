"""Where no byte more can be written, the cause is told: a full disk, a quota, or a limit of file sizes."""

import errno

import pytest
from mlflow.exceptions import MlflowException

import install
from mlflow_model import machine
from mlflow_model.errors import OutOfReach
from mlflow_model.registry import failures

CAUSES = {
    "[Errno 28] No space left on device: 'x'": ("the disk is full", "le disque est plein"),
    "[Errno 122] Disk quota exceeded: 'x'": ("the quota of the disk", "le quota du disque est épuisé"),
    "[Errno 27] File too large: 'x'": (r"ulimit -f", r"plus gros \(ulimit -f\) ; relevez cette limite"),
}


@pytest.mark.parametrize("told", CAUSES)
def test_the_registry_installer_and_commands_tell_the_cause(told: str) -> None:
    english, french = CAUSES[told]

    with pytest.raises(OutOfReach, match=french), failures.in_words("essai"):
        raise MlflowException(told)
    assert english in install._reason(["Collecting x\n", f"ERROR: Could not install: {told}\n"])
    assert english in machine.why_not_written(OSError(told))


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EFBIG, "a file may not become larger (ulimit -f): raise this limit"),
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EROFS, "Read-only file system"),
        (None, "the system refuses it"),
    ],
)
def test_an_error_of_the_system_is_told_by_its_number(number: int | None, sentence: str) -> None:
    error = OSError("words of a library") if number is None else OSError(number, "words of a library")

    assert machine.why_not_written(error) == sentence
