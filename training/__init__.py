"""From the raw tables of a portfolio to the pickle that is handed over, with all that must be known of it."""

import mlflow_model  # noqa: F401 - before MLflow, which it keeps from reporting its use
