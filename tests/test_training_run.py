"""The command of a training, from raw tables to the pickle, its card and its runs in MLflow."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

import register
from features import raw_tables
from tests.test_features_from_tables import ROOT, write_tables
from training.__main__ import NAME, main
from training.protocol import experiment
from training.results import figures
from training.synthetic import writing

pytest_plugins = ["tests.training_fixtures"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_training")]


DOCUMENTED_FEATURES = [
    "AMT_ANNUITY",
    "AMT_CREDIT",
    "AMT_GOODS_PRICE",
    "CREDIT_TERM",
    "DAYS_BIRTH",
    "DAYS_ID_PUBLISH",
    "DAYS_REGISTRATION",
    "EXT_SOURCE_1",
    "EXT_SOURCE_2",
    "EXT_SOURCE_3",
    "DEBT_CREDIT_RATIO",
    "ANNUITY_BIRTH_RATIO",
    "ANNUITY_INCOME_PERCENT",
    "CREDIT_GOODS_RATIO",
    "INSTA_AMT_PAYMENT",
    "INSTA_NUM_INSTALMENT_VERSION",
    "POS_CNT_INSTALMENT_FUTURE",
]


# ---- The command


def test_a_missing_table_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (write_tables(tmp_path) / "bureau.csv").unlink()

    assert main(["--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]) == 2

    assert "\nRefused: bureau.csv: the data folder holds neither" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--margin", "0.6"),
        ("--margin", "nan"),
        ("--margin", "auto:capacity=2"),
        ("--margin", "auto:magic"),
        ("--cost-fn", "0"),
        ("--seed", "-1"),
        ("--n-jobs", "0"),
    ],
)
def test_an_option_out_of_its_range_is_refused_before_anything_is_read(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--data-dir", "nowhere", f"{option}={value}"])

    assert f"argument {option}: must be" in capsys.readouterr().err


ARGUMENTS = ["--margin", "0.01", "--cost-fn", "4"]


@pytest.fixture(scope="module")
def delivered(raw_folder: Path, migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training with its registry, in which the pickle was registered as a candidate."""
    base = tmp_path_factory.mktemp("delivered")
    shutil.copy(migrated_store, base / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{base / 'mlflow.db'}")
        assert main(["--data-dir", str(raw_folder), "--out", str(base / "out"), *ARGUMENTS]) == 0
        pickled = base / "out" / "lgbm_final_model.pkl"
        assert register.main(["--pickle", str(pickled), "--alias", "candidate"]) == 0
    return base / "out"


def front_matter(card: Path) -> dict[str, Any]:
    _, block, _ = card.read_text().split("---\n", 2)
    return dict(yaml.safe_load(block))


def test_the_pickle_holds_exactly_what_is_documented(delivered: Path) -> None:
    content = pickle.loads((delivered / "lgbm_final_model.pkl").read_bytes())

    assert list(content) == ["model", "features", "optimal_threshold", "margin"]
    assert content["features"] == DOCUMENTED_FEATURES
    assert content["model"].booster_.feature_name() == content["features"]
    assert isinstance(content["optimal_threshold"], float)
    assert content["margin"] == 0.01


def test_the_card_describes_the_pickle_beside_it(delivered: Path) -> None:
    pickled = (delivered / "lgbm_final_model.pkl").read_bytes()

    card = front_matter(delivered / "lgbm_final_model.md")

    assert card["pickle_sha256"] == hashlib.sha256(pickled).hexdigest()
    assert card["policy"]["threshold"] == pickle.loads(pickled)["optimal_threshold"]
    assert card["policy"]["threshold_in_theory"] == 0.2
    assert card["policy"]["margin_chosen"] == "0.01: given, not estimated"
    assert card["policy"]["costs"] == {"false_negative": 4.0, "false_positive": 1.0}
    assert card["command"] == (
        "python -m training --data-dir DIR --seed 0 --margin 0.01 --cost-fn 4 --cost-fp 1"
    )


def test_the_card_names_its_data_as_sha256sum_does(delivered: Path, raw_folder: Path) -> None:
    card = front_matter(delivered / "lgbm_final_model.md")

    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in raw_folder.iterdir()}
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    assert {name: data["sha256"] for name, data in card["data"].items()} == digests
    assert card["data"]["bureau.csv"]["rows"] == 4500
    assert card["policy"]["data_sha256"] == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize(
    "part", ["## Data", "## Protocol", "## Figures", "Equal opportunity", "## Limits", "python -m training"]
)
def test_the_card_tells_all_that_a_risk_committee_asks(delivered: Path, part: str) -> None:
    text = (delivered / "lgbm_final_model.md").read_text().split("---\n", 2)[2]

    assert part in text


def test_training_leaves_two_files_and_no_path_of_this_machine(delivered: Path, raw_folder: Path) -> None:
    files = sorted(delivered.iterdir())

    assert [file.name for file in files] == ["lgbm_final_model.md", "lgbm_final_model.pkl"]
    for file in files:
        content = file.read_bytes()
        assert not any(str(path).encode() in content for path in (ROOT, raw_folder, delivered))


@pytest.mark.endurance
def test_training_again_beside_clients_without_an_outcome_gives_the_same_pickle(
    delivered: Path, raw_folder: Path, tmp_path: Path, store: Path
) -> None:
    data = shutil.copytree(raw_folder, tmp_path / "data")
    applicants = pd.read_csv(data / "application_train.csv").drop(columns="TARGET").head(5)
    applicants["SK_ID_CURR"] += 1_000_000
    applicants.to_csv(data / "application_test.csv", index=False)

    main(["--data-dir", str(data), "--out", str(tmp_path), *ARGUMENTS])

    name = "lgbm_final_model.pkl"
    assert (tmp_path / name).read_bytes() == (delivered / name).read_bytes()


def test_a_refused_margin_leaves_the_files_of_before_and_is_shown_as_failed(
    delivered: Path, raw_folder: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file.name: file.read_bytes() for file in delivered.iterdir()}

    status = main(["--data-dir", str(raw_folder), "--out", str(delivered), "--margin", "0.5"])

    assert status == 2
    assert "Refused: margin 0.5 is not between 0 and" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in delivered.iterdir()} == before
    mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
    assert runs(MlflowClient())["training"].info.status == "FAILED"


# ---- What MLflow shows


FIGURES = ["calibration", "cost", "gains", "precision_recall", "roc", "scores"]


@pytest.fixture
def registry_of(delivered: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{delivered.parent / 'mlflow.db'}")
    mlflow.set_tracking_uri(f"sqlite:///{delivered.parent / 'mlflow.db'}")
    return MlflowClient()


def runs(client: MlflowClient) -> dict[str, Any]:
    found = client.get_experiment_by_name("scoring-client")
    assert found is not None
    return {run.info.run_name: run for run in client.search_runs([found.experiment_id])}


def test_candidates_are_sibling_runs_below_the_training(registry_of: MlflowClient) -> None:
    found = runs(registry_of)
    parent = found.pop("training")

    assert set(found) == {
        "constant",
        "logistic regression",
        "LightGBM",
        "LightGBM, class weights",
        "registration of version 1",
    }
    assert {run.data.tags["mlflow.parentRunId"] for run in found.values()} == {parent.info.run_id}


@pytest.mark.parametrize(
    "name",
    ["auc", "gini", "ks", "pr_auc", "brier", "ece", "cost_per_client", "approval_rate", "grey_rate"],
)
def test_every_figure_has_its_interval(registry_of: MlflowClient, name: str) -> None:
    shown = runs(registry_of)["LightGBM"].data.metrics

    assert shown[f"{name}_low"] <= shown[name] <= shown[f"{name}_high"]


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("constant", []),
        ("logistic regression", FIGURES),
        ("LightGBM", sorted([*FIGURES, "importance", "shap"])),
        ("training", sorted(["candidates", *FIGURES, "importance", "shap"])),
    ],
)
def test_a_candidate_is_drawn_unless_it_has_no_shape(
    registry_of: MlflowClient, name: str, figures: list[str]
) -> None:
    run = runs(registry_of)[name]

    drawn = [Path(file.path).stem for file in registry_of.list_artifacts(run.info.run_id, "figures")]

    assert sorted(drawn) == figures


def test_the_cost_of_each_threshold_is_logged_out_of_fold_and_on_the_test_set(
    registry_of: MlflowClient, delivered: Path
) -> None:
    """At 0 everybody is refused, and the cost is the share of repayers; at 1 nobody is refused."""
    run = runs(registry_of)["LightGBM"]

    table = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/cost_curve.json")

    rate = front_matter(delivered / "lgbm_final_model.md")["metrics"]["test_default_rate"]
    assert table["columns"] == ["threshold", "out-of-fold cost", "test cost"]
    assert table["data"][0] == pytest.approx([0.0, 1 - rate, 1 - rate], abs=0.002)
    assert table["data"][-1] == pytest.approx([1.0, 4 * rate, 4 * rate], abs=0.008)


def test_version_training_and_data_are_linked(registry_of: MlflowClient, delivered: Path) -> None:
    found = runs(registry_of)
    version = registry_of.get_model_version_by_alias("scoring-client", "candidate")
    assert version.tags["training.run"] == found["training"].info.run_id
    assert version.run_id == found["registration of version 1"].info.run_id
    assert found["training"].data.tags["registered.version"] == f"scoring-client/{version.version}"
    for name in ("training", "LightGBM", "registration of version 1"):
        data = found[name].inputs.dataset_inputs
        assert sorted(entry.dataset.name for entry in data) == ["test", "training"]
        assert len({entry.dataset.digest for entry in data}) == 2


def test_a_data_set_names_the_files_that_it_is_from(registry_of: MlflowClient, delivered: Path) -> None:
    card = front_matter(delivered / "lgbm_final_model.md")

    for entry in runs(registry_of)["training"].inputs.dataset_inputs:
        tags = json.loads(entry.dataset.source)["tags"]
        assert tags.pop("mlflow.source.name") == card["command"]
        assert tags == {name: file["sha256"] for name, file in card["data"].items()}


def test_the_training_tells_its_parameters(registry_of: MlflowClient, delivered: Path) -> None:
    told = runs(registry_of)["training"].data.params

    assert told == {
        "command": front_matter(delivered / "lgbm_final_model.md")["command"],
        "labelled_clients": "1500",
        "n_features": "17",
        "search_minutes": "0.0",
        "seed": "0",
        "folds": "5",
        "cost_false_negative": "4.0",
        "cost_false_positive": "1.0",
        "margin_rule": "0.01",
        "champion": "LightGBM",
    }


def test_a_registry_that_goes_away_costs_the_picture_and_not_the_model(
    raw_folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compared(*arguments: Any) -> experiment.Findings:
        (store / "mlflow.db").write_bytes(b"no database")
        return compare(*arguments)

    compare = experiment.run
    monkeypatch.setattr(experiment, "run", compared)

    status = main(["--data-dir", str(raw_folder), "--out", str(store / "out"), *ARGUMENTS])

    said = capsys.readouterr().err.splitlines()[-1]
    assert status == 2
    assert said.startswith("The files are written. The run in MLflow is not complete, because MLflow")
    assert sorted(file.name for file in (store / "out").iterdir()) == [
        "lgbm_final_model.md",
        "lgbm_final_model.pkl",
    ]
    assert mlflow.active_run() is None


def test_an_interruption_while_mlflow_is_told_says_that_the_files_are_written(
    raw_folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: experiment.Findings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(figures, "of_comparison", interrupted)

    assert main(["--data-dir", str(raw_folder), "--out", str(store / "out"), *ARGUMENTS]) == 130

    assert capsys.readouterr().err.splitlines()[-2:] == [
        "The files are written; the run in MLflow is not complete.",
        "Interrupted.",
    ]
    mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
    assert runs(MlflowClient())["training"].info.status == "FAILED"


@pytest.mark.parametrize("uri", ["sqlite:////nowhere/mlflow.db", "http://127.0.0.1:9"])
def test_mlflow_is_opened_before_anything_is_drawn(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    assert main(["--clients", "100000000", "--out", str(tmp_path / "out")]) == 2

    assert capsys.readouterr().err.splitlines() == [
        "Opening MLflow (the first time takes a few seconds)",
        "Refused: MLflow cannot be opened or does not answer: check MLFLOW_TRACKING_URI and its disk",
    ]
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "file" / "sub"
    out.parent.write_text("mine")

    assert main(["--data-dir", "nowhere", "--out", str(out)]) == 2

    assert capsys.readouterr().err == f"Refused: {out} cannot be written to: Not a directory\n"


@pytest.mark.endurance
def test_a_training_that_is_terminated_leaves_no_file_and_no_run_that_seems_to_go_on(
    store: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "training", "--clients", "3000", "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"TMPDIR": str(scratch)}, stderr=subprocess.PIPE, text=True
    ) as training:
        assert training.stderr is not None
        while "Comparing models" not in training.stderr.readline():
            assert training.poll() is None
        training.terminate()
        _, said = training.communicate()

    mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
    assert (training.returncode, said.splitlines()[-1]) == (130, "Interrupted.")
    assert runs(MlflowClient())["training"].info.status == "FAILED"
    assert not (tmp_path / "out").exists()
    assert list(scratch.iterdir()) == []


@pytest.mark.endurance
def test_a_portfolio_that_was_drawn_before_is_described_as_such_and_compared_with_its_truth(
    store: Path, tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn"
    writing.write_portfolio(1000, 3, drawn, "csv")

    assert main(["--data-dir", str(drawn), "--out", str(tmp_path / "out")]) == 0

    card, text = front_matter(tmp_path / "out" / f"{NAME}.md"), (tmp_path / "out" / f"{NAME}.md").read_text()
    drawing = "python -m training.synthetic --clients 1000 --seed 3 --format csv --out DIR"
    assert card["command"].startswith(f"{drawing} && python -m training --data-dir DIR --seed 0")
    assert "Clients who do not exist, drawn from aggregates of Kaggle's" in text
    assert 0.6 < card["metrics"]["auc_of_true_probabilities"] < 0.95


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "the file is not what training.synthetic writes: remove it"),
        ("[]", "the file is not what training.synthetic writes: remove it"),
        (
            '{"clients": 9, "seed": 0, "format": "csv", "rows": {}, "command": "python -m training.synthetic'
            ' --clients 9 --seed 0 --format csv --out DIR"}',
            "the file does not describe the tables beside it: remove it",
        ),
    ],
)
def test_a_description_of_another_portfolio_is_refused(content: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "portfolio.json").write_text(content)

    with pytest.raises(raw_tables.BadTable, match=f"^portfolio.json: {fault}$"):
        writing.command_of(tmp_path, {"bureau": 27})


def test_the_policy_of_a_version_says_how_threshold_and_margin_were_chosen(
    registry_of: MlflowClient, delivered: Path
) -> None:
    from mlflow_model.registry import fetching, versions

    chosen = fetching.download(versions.resolve("models:/scoring-client@candidate")).policy

    assert "threshold" in chosen["provenance"]["threshold_chosen"]
    assert chosen["provenance"]["margin_chosen"] == "0.01: given, not estimated"
    assert chosen["provenance"]["costs"] == {"false_negative": 4.0, "false_positive": 1.0}
