"""Trains the model: from the raw tables of a portfolio to the pickle that is handed over, and its card."""

import os

import mlflow_model  # noqa: F401 - imported before MLflow, to switch off its usage reports

# Let waiting threads sleep. On a busy machine, threads that spin take the cores from the threads they wait
# for. OpenMP reads this once, when LightGBM loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
