"""The folders of our own code: the product's, and with the benchmarks all."""

PRODUCT = (
    "api",
    "batch",
    "dashboard",
    "explain",
    "features",
    "journal",
    "mlflow_model",
    "promotion",
    "quality",
    "training",
)
OURS = (*PRODUCT, "benchmarks")
