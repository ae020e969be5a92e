"""The scoring model: its rules, the bundle that holds them, and MLflow, which keeps the versions."""

import os

# MLflow reports over the network how it is used, unless it is told not to before it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
