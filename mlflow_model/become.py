"""`python -m mlflow_model.become COMMAND...`: becomes a command, which ends with its parent."""

import os
import sys

from mlflow_model import processes


def main() -> None:
    processes.end_with_parent()
    command = sys.argv[1:]
    try:
        os.execvp(command[0], command)  # noqa: S606 - the operator's
    except OSError as error:
        os.write(2, (error.strerror or "").encode())
    sys.exit(processes.NO_COMMAND)


if __name__ == "__main__":
    main()
