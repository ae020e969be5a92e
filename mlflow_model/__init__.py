"""The scoring model: its rules, the bundle that holds them, and MLflow, which keeps the versions."""

import os

# MLflow reports its usage over the network unless this is set before it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
