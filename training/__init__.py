"""From the raw tables of a portfolio to the pickle that is handed over, with all that must be known of it."""

import os

import mlflow_model  # noqa: F401 - before MLflow, which it keeps from reporting its use

# Threads that wait by spinning take the cores from those they wait for, where others compute too.
# OpenMP reads this once, when LightGBM loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
