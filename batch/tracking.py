"""Shows a run in MLflow, which takes seconds and much memory to import: by a process of its own."""

from collections.abc import Mapping
from typing import Any

from batch.errors import Refused
from mlflow_model import machine, processes
from mlflow_model.bundle.scoring import DecisionPolicy

_LOGGING_SECONDS = 300.0


def check() -> None:
    """Before there is something to show. Raises Refused."""
    if machine.missing_packages("mlflow"):
        raise Refused("--log needs mlflow, which is not installed: leave it out")


def log(summary: Mapping[str, Any], policy: DecisionPolicy) -> str:
    """What a run has done, which has ended. Returns the ID of the run in MLflow. Raises Refused."""
    question = {
        "summary": summary,
        "zones": {
            policy.reliable: "reliable",
            policy.uncertain: "uncertain",
            policy.risky: "risky",
        },
    }
    try:
        found: dict[str, str] = processes.ask("batch.tracked_run", question, _LOGGING_SECONDS, None)
    except TimeoutError:
        found = {"problem": f"it did not answer within {_LOGGING_SECONDS:.0f} s"}
    except processes.NoAnswer:
        found = {"problem": "the process that asks it has ended"}
    if "problem" in found:
        output = summary["output"]["name"]
        raise Refused(f"{output} is whole, but the run is not shown in MLflow: {found['problem']}")
    return found["run"]
