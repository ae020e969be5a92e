"""Imports MLflow without what reading a registry does not need, in a process that does nothing else."""

import gc
import logging
import sys

# MLflow imports these if they are installed, which takes a sixth of the time until it is there. Reading a
# registry needs neither: mlflow-skinny comes without them.
_NOT_NEEDED = ("pandas", "scipy")
_NOISY = ("mlflow", "urllib3", "alembic")


def prepare() -> None:
    """To be called before the first import of MLflow, and of nothing that needs pandas."""
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.ERROR)
    gc.disable()  # a tenth of the time that importing MLflow takes
    for package in _NOT_NEEDED:
        sys.modules[package] = None  # type: ignore[assignment]  # as if it were absent
