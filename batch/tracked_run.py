"""Shows a run in MLflow: a process of its own, which is told what the run has done.

It answers the run's ID, or what is wrong with MLflow.
"""

import json
from collections.abc import Mapping
from typing import Any

from mlflow_model import processes
from mlflow_model.errors import ModelUnavailable
from mlflow_model.registry import lean_import


def main() -> None:
    processes.end_with_parent()
    lean_import.prepare()
    processes.answer(_shown)


def _shown(summary: dict[str, Any], zones: dict[str, str]) -> dict[str, str]:
    from mlflow_model.registry import runs

    text = json.dumps(summary, ensure_ascii=False, indent=1)
    try:
        run = runs.show(
            f"batch score by {summary['model']['name']}",
            _parameters(summary),
            _metrics(summary, zones),
            {"summary.json": text},
        )
    except ModelUnavailable as problem:
        return {"problem": str(problem)}
    return {"run": run}


def _parameters(summary: Mapping[str, Any]) -> dict[str, str]:
    model = summary["model"]
    return {
        "model": model["name"],
        "version": model["version"] or "",
        "model_sha256": model["digest"],
        "code": summary["code"],
        "input": summary["input"]["name"],
        "input_sha256": summary["input"]["sha256"],
        "output_sha256": summary["output"]["sha256"],
    }


def _metrics(summary: Mapping[str, Any], zones: Mapping[str, str]) -> dict[str, float]:
    """By names that every store of MLflow takes, as labels are not. A version's own labels are `other`."""
    counts = summary["counts"]
    found = {
        "clients": counts["clients"],
        "set_aside": counts["set_aside"],
        "seconds": summary["seconds"],
    }
    for what, by_label in (("clients", counts["labels"]), ("expected_cost", counts["costs"])):
        for label, value in by_label.items():
            name = f"{what}_{zones.get(label, 'other')}"
            found[name] = found.get(name, 0) + value
    return found


if __name__ == "__main__":
    main()
