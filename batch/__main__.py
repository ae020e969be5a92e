"""`python -m batch score`: decide on every client of a file, as POST /predict would."""

import os

from mlflow_model import command, machine

# Of addresses. Few of them become memory.
_MEBIBYTES, _MEBIBYTES_A_THREAD = 768, 256
_MEBIBYTES_OF_SPARK = 4_096  # Java's


def _require_addresses(threads: int, what_for: str) -> None:
    machine.require_addresses(_MEBIBYTES + threads * _MEBIBYTES_A_THREAD, what_for)


if __name__ == "__main__":
    _require_addresses(1, "one thread")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here multiplies matrices
    command.begin("numpy", "pyarrow", "lightgbm", "sqlalchemy", "cryptography")

from collections.abc import Sequence

from batch import command_options
from batch.errors import Refused
from batch.score import say, score
from batch.spark_needs import SPARK
from mlflow_model.bundle.signing import BadKey
from mlflow_model.errors import ModelUnavailable

REFUSED = 2


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code; the help explains each."""
    options = command_options.parser().parse_args(given)
    if options.engine == SPARK:
        machine.require_addresses(_MEBIBYTES_OF_SPARK, "--engine spark")
    elif options.threads is not None:
        _require_addresses(options.threads, f"--threads {options.threads}")
    else:
        _require_addresses(machine.cores(), f"a thread for each core (--threads {machine.cores()})")
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
