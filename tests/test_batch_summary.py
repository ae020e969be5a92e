"""What a run of `python -m batch score` tells at its end: costs by label, and a run in MLflow."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlflow_model import machine
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import DecisionPolicy
from tests import batch_support
from tests.batch_support import TABLE, batch, read
from tests.conftest import FEATURES

COSTS = {"false_negative": 8.0, "false_positive": 2.0}
THRESHOLD, MARGIN = 0.3, 0.1


@pytest.fixture(scope="module")
def model(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version whose policy states what mistakes cost."""
    folder = tmp_path_factory.mktemp("bundles") / "sealed"
    made = bundles.build(
        bundle.files["model.txt"].decode(),
        FEATURES,
        DecisionPolicy(THRESHOLD, MARGIN),
        source=bundle.source,
        provenance={"costs": COSTS},
    )
    made.write(folder)
    return folder


@pytest.fixture
def places(model: Path, tmp_path: Path) -> tuple[object, ...]:
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")
    return ("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.parquet", "--model", model)


def on_paper(decided: list[dict[str, Any]]) -> dict[str, float]:
    """8 times p for who is accepted, 2 times 1 - p for who is refused."""
    found: dict[str, float] = {}
    for one in decided:
        p = one["probability_class_1"]
        found[one["prediction"]] = found.get(one["prediction"], 0.0) + (
            2.0 * (1 - p) if p > THRESHOLD else 8.0 * p
        )
    return found


def test_the_summary_tells_what_the_clients_with_each_label_are_expected_to_cost(
    places: tuple[object, ...], tmp_path: Path
) -> None:
    done = batch(*places, "--summary", tmp_path / "s")

    assert done.returncode == 0, done.stderr
    decided = read(tmp_path / "o.parquet")
    grey = [one["probability_class_1"] for one in decided if one["prediction"] == "Zone grise (incertain)"]
    assert min(grey) < THRESHOLD < max(grey)
    summary = json.loads((tmp_path / "s").read_text())
    assert summary["costs"] == COSTS
    assert summary["counts"]["costs"] == pytest.approx(on_paper(decided), rel=1e-12)
    assert len(summary["counts"]["costs"]) == 3
    assert "expected costs, where a default costs 8 and a repayer who is refused 2:" in done.stderr


def test_a_policy_that_states_no_costs_is_said_to_state_none(bundle: Bundle, tmp_path: Path) -> None:
    bundle.write(tmp_path / "sealed")
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")

    done = batch(
        *("--input", tmp_path / "in.parquet", "--output", tmp_path / "o.csv", "--model", tmp_path / "sealed"),
        *("--summary", tmp_path / "s"),
    )

    summary = json.loads((tmp_path / "s").read_text())
    assert (summary["costs"], summary["counts"]["costs"]) == (None, {})
    assert "expected costs: not told, for the version's policy states none" in done.stderr


# ---- In MLflow


@pytest.mark.slow
def test_a_run_is_shown_in_mlflow(places: tuple[object, ...], store: Path, tmp_path: Path) -> None:
    from mlflow_model.registry import connection

    done = batch(*places, "--summary", tmp_path / "s", "--log")

    assert done.returncode == 0, done.stderr
    client, summary = connection.connect(), json.loads((tmp_path / "s").read_text())
    experiment = client.get_experiment_by_name("scoring-client")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["input_sha256"] == summary["input"]["sha256"]
    assert run.data.params["output_sha256"] == summary["output"]["sha256"]
    assert f"its run in MLflow: {run.info.run_id}\n" in done.stderr
    assert (run.data.params["model"], run.data.params["version"]) == ("sealed", "")
    labels, metrics = pq.read_table(tmp_path / "o.parquet")["prediction"].to_pylist(), run.data.metrics
    assert (metrics["clients"], metrics["seconds"]) == (len(TABLE), summary["seconds"])
    assert metrics["clients_risky"] == labels.count("Classe_1 (risqué)")
    assert metrics["expected_cost_uncertain"] == summary["counts"]["costs"]["Zone grise (incertain)"]
    kept = client.download_artifacts(run.info.run_id, "summary.json", str(tmp_path))
    assert json.loads(Path(kept).read_text(encoding="utf-8")) == summary


@pytest.mark.slow
def test_where_mlflow_cannot_be_asked_the_output_is_whole_and_the_exit_code_tells(
    places: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'absent' / 'mlflow.db'}")

    done = batch(*places, "--log")

    assert (done.returncode, len(read(tmp_path / "o.parquet"))) == (2, len(TABLE))
    assert "o.parquet is whole, but the run is not shown in MLflow: " in done.stderr
    assert done.stderr.count("MLFLOW_TRACKING_URI") == 1


def test_an_installation_without_mlflow_refuses_to_show_a_run_before_it_begins(
    places: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "missing_packages", lambda *names: [*names])

    done = batch(*places, "--log")

    assert (done.returncode, (tmp_path / "o.parquet").exists()) == (2, False)
    assert "--log needs mlflow, which is not installed" in done.stderr
