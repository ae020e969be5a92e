"""`python -m batch score`: decide on every client of a file, as POST /predict would."""

import os

from mlflow_model import command, machine

_MEBIBYTES, _MEBIBYTES_A_THREAD = 768, 256  # of addresses. Few of them become memory


def _require_addresses(threads: int) -> None:
    named = f"--threads {threads}"
    machine.require_addresses(_MEBIBYTES + threads * _MEBIBYTES_A_THREAD, named)


if __name__ == "__main__":
    _require_addresses(1)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here multiplies matrices
    command.begin("numpy", "pyarrow", "lightgbm", "sqlalchemy", "cryptography")

from collections.abc import Sequence

from batch import command_options
from batch.errors import Refused
from batch.score import say, score
from mlflow_model.bundle.signing import BadKey
from mlflow_model.errors import ModelUnavailable

REFUSED = 2


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code; the help explains each."""
    options = command_options.parser().parse_args(given)
    _require_addresses(options.threads or machine.cores())
    try:
        score(options)
    except (Refused, ModelUnavailable, BadKey) as error:
        say(f"Refused: {error}")
        return REFUSED
    except KeyboardInterrupt:
        return command.INTERRUPTED
    return 0


if __name__ == "__main__":
    command.run(main)
