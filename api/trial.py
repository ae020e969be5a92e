"""Tries a copy out, in a process that may die of it: `python -m api.trial`, with the copy as its input.

LightGBM's parser can end the process that parses, and a bundle's own code can do anything.
"""

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from api.news import Copy
from mlflow_model import bundle as bundles
from mlflow_model import signing
from mlflow_model.errors import LoadingFailed

_SOUND = "sound"
_SECONDS = 30
_WAY_OUT = "réenregistrez le modèle avec « python register.py »"


class Trial:
    """Such a process is started ahead, so that its start passes while the copy is being fetched."""

    def __init__(self) -> None:
        self._ahead: subprocess.Popen[str] | None = _started()

    def of(self, copy: Copy) -> None:
        """Have the copy verified and its golden rows answered. Raises LoadingFailed."""
        process, self._ahead = self._ahead or _started(), None
        with process:
            try:
                said, _ = process.communicate(json.dumps(asdict(copy)), _SECONDS)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise LoadingFailed(
                    f"la version n’est pas chargée en {_SECONDS} secondes ; {_WAY_OUT}"
                ) from error
        if process.returncode or not said:
            raise LoadingFailed(f"la version arrête le processus qui la charge ; {_WAY_OUT}")
        if said != _SOUND:
            raise LoadingFailed(said)

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.communicate("")


def _started() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "api.trial"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )


def main() -> None:
    """Print `sound`, or the detail of what is wrong."""
    if not (given := sys.stdin.read()):
        return
    copy = Copy(**json.loads(given))
    signal.alarm(_SECONDS + 1)  # the loader may have been killed, and then nobody else ends this
    try:
        bundle = bundles.read(Path(copy.folder), copy.digest)
        signing.check(bundle.manifest, copy.signature)
        bundle.scorer()
    except LoadingFailed as problem:
        sys.stdout.buffer.write(problem.detail.encode())
    else:
        sys.stdout.buffer.write(_SOUND.encode())


if __name__ == "__main__":
    main()
