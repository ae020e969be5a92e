"""A training, from clients to the pickle, its card and its runs in MLflow."""

import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.patches import StepPatch
from mlflow import MlflowClient

import register
from features import aggregate, raw_tables
from quality import bootstrap, measures
from quality.scores import ScoredClients
from tests.test_features_from_tables import ROOT, portfolio, write_portfolio, write_tables
from training.__main__ import NAME, main
from training.protocol import candidates, experiment, policy
from training.protocol.experiment import Settings
from training.protocol.policy import margin_rule
from training.results import figures, report
from training.synthetic import writing

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
SETTINGS = Settings(margin_rule("0.02"))
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_training")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_portfolio(tmp_path_factory.mktemp("portfolio"), portfolio(1500))


@pytest.fixture(scope="module")
def clients(folder: Path) -> pd.DataFrame:
    features = aggregate.client_features(raw_tables.read(folder).by_name)
    return features.to_pyarrow().to_pandas().set_index("SK_ID_CURR")


def silently(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def findings(clients: pd.DataFrame) -> experiment.Findings:
    return experiment.run(clients, SETTINGS, silently)


# ---- The protocol ------------------------------------------------------------------------------------------


def test_no_client_of_the_test_set_is_among_those_that_the_models_saw(
    findings: experiment.Findings, clients: pd.DataFrame
) -> None:
    known, asked = set(findings.development.index), set(findings.test.index)

    assert not known & asked
    assert known | asked == set(clients.index)
    assert len(asked) == 300
    assert findings.test["TARGET"].mean() == pytest.approx(clients["TARGET"].mean(), abs=0.002)


def test_each_client_is_scored_by_a_model_that_has_not_seen_it(clients: pd.DataFrame) -> None:
    """A boosted model that had seen its clients would tell even their shuffled outcomes apart."""
    shuffled = clients.assign(TARGET=clients["TARGET"].sample(frac=1, random_state=0).to_numpy())

    guessed = experiment.out_of_fold(candidates.lightgbm("any"), shuffled, SETTINGS, silently)

    scored = ScoredClients(shuffled["TARGET"], guessed)
    assert measures.auc(scored.distribution()) < 0.6


def test_no_feature_sees_the_outcome(tmp_path: Path) -> None:
    raw = portfolio(300)
    flipped = raw | {
        "application_train": raw["application_train"].assign(TARGET=1 - raw["application_train"]["TARGET"])
    }

    pd.testing.assert_frame_equal(
        _features_of(raw, tmp_path / "some"), _features_of(flipped, tmp_path / "other")
    )
    assert "TARGET" not in candidates.MODEL_FEATURES


def _features_of(raw: dict[str, pd.DataFrame], folder: Path) -> pd.DataFrame:
    folder.mkdir()
    read = raw_tables.read(write_portfolio(folder, raw))
    found = aggregate.client_features(read.by_name).to_pyarrow().to_pandas()
    return found[list(candidates.MODEL_FEATURES)]


def test_four_candidates_compete_and_a_deliverable_one_wins(findings: experiment.Findings) -> None:
    names = [result.candidate.name for result in findings.results]

    assert names == ["constant", "logistic regression", "LightGBM", "LightGBM, class weights"]
    assert findings.champion.candidate.deliverable
    assert findings.champion.extra_cost == (0.0, 0.0, 0.0)


def test_the_champion_is_fitted_on_the_development_clients_alone(findings: experiment.Findings) -> None:
    champion, development = findings.champion, findings.development

    again = experiment.fitted(champion.candidate, development, SETTINGS)

    assert champion.model.booster_.model_to_string() == again.booster_.model_to_string()


def test_the_margin_of_a_capacity_leaves_no_more_development_clients_grey_than_can_be_reviewed(
    clients: pd.DataFrame,
) -> None:
    """A twentieth of 1,200 is 60. They are counted out of fold, where no two clients share a probability."""
    found = experiment.run(clients, Settings(margin_rule("auto:capacity=0.05")), silently)

    chosen, scores = found.champion.policy, found.champion.out_of_fold
    grey = (scores >= chosen.lower_bound) & (scores <= chosen.upper_bound)
    assert len(scores) == 1200
    assert 55 <= grey.sum() <= 60


def draft(candidate: candidates.Candidate, probabilities: np.ndarray) -> experiment._Draft:
    threshold = policy.Threshold(0.5, bootstrap.Interval(0.5, 0.5, 0.5), 0.5)
    return experiment._Draft(candidate, probabilities, threshold)


def test_the_extra_cost_is_how_much_more_than_the_champion_s() -> None:
    """Half of 200 clients repay: refusing all costs 0.5 per client. The other candidate makes no mistake."""
    target = pd.Series(np.repeat([0, 1], 100))
    drafts = [
        draft(candidates.lightgbm("refuses all"), np.ones(200)),
        draft(candidates.lightgbm("right"), target.to_numpy(dtype=float)),
    ]

    charged = np.stack([SETTINGS.costs.of_each(one.probabilities, 0.5, target) for one in drafts])
    refuses_all, right = experiment._compared(drafts, charged, SETTINGS)

    assert (refuses_all.is_champion, right.is_champion) == (False, True)
    assert (refuses_all.cost.value, right.cost.value) == (0.5, 0.0)
    assert (refuses_all.extra_cost.value, right.extra_cost.value) == (0.5, 0.0)
    assert 0.3 < refuses_all.extra_cost.low < 0.5 < refuses_all.extra_cost.high < 0.7


def test_too_few_clients_of_one_outcome_are_refused(clients: pd.DataFrame) -> None:
    few = clients.assign(TARGET=np.where(np.arange(len(clients)) < 4, 1, 0))

    with pytest.raises(
        experiment.TooFewClients, match=r"TARGET is 1 for 4 different client\(s\): at least 10"
    ):
        experiment.run(few, SETTINGS, silently)


def test_the_same_seed_gives_the_same_trees_for_any_number_of_threads(clients: pd.DataFrame) -> None:
    alone, together, other_seed = (
        experiment.fitted(
            candidates.lightgbm("any"), clients, replace(SETTINGS, seed=seed, n_jobs=threads)
        ).booster_.model_to_string()
        for seed, threads in ((7, 1), (7, 4), (8, 1))
    )

    assert alone == together
    assert alone != other_seed


def test_threads_that_wait_leave_the_cores_to_others() -> None:
    environment = {name: value for name, value in os.environ.items() if "OMP_" not in name}
    command = [sys.executable, "-m", "training", "--help"]

    shown = subprocess.run(
        command, cwd=ROOT, env=environment | {"OMP_DISPLAY_ENV": "verbose"}, capture_output=True, check=True
    )

    turns_of_each_openmp = re.findall(rb"GOMP_SPINCOUNT = '(\d+)'", shown.stderr)
    assert set(turns_of_each_openmp) == {b"0"}


def test_a_search_brings_a_fifth_candidate_into_the_same_protocol_and_the_card_tells_what_it_found(
    clients: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(candidates.PARAMETERS, "n_estimators", 100)
    steps: list[str] = []

    searched = experiment.run(clients, Settings(margin_rule("0.02"), search_minutes=0.05), steps.append)

    assert [result.candidate.name for result in searched.results][-1] == "LightGBM, searched"
    assert any(step.startswith("search: trial 1") for step in steps)
    found = dict(searched.results[-1].candidate.parameters)
    card = report.card(searched, report.Source("Somebody.", {}, "python -m training"), "")
    assert yaml.safe_load(card.split("---\n")[1])["searched_parameters"] == found
    assert "any number of threads, but for LightGBM, searched: the search stops by the clock" in card
    assert f"`num_leaves={found['num_leaves']}`" in card


def test_without_a_search_the_card_promises_the_same_trees_of_every_candidate(
    findings: experiment.Findings,
) -> None:
    text = report.text(findings, report.Source("Somebody.", {}, "python -m training"))

    assert "the clock" not in text
    assert text.endswith("for any number of threads.\n")


def test_the_card_says_by_how_much_the_champion_wins(findings: experiment.Findings) -> None:
    text = report.text(findings, report.Source("Somebody.", {}, "python -m training"))

    second = min(result.extra_cost for result in findings.results if result is not findings.champion)
    assert re.search(
        rf"There the runner-up, .+, costs {abs(second.value):.4f} \[.+\] (more|less) per client\.", text
    )


# ---- Fairness ----------------------------------------------------------------------------------------------


def test_groups_are_compared_by_approval_and_by_equal_opportunity() -> None:
    people = pd.DataFrame(
        {
            "TARGET": [0, 0, 1, 0, 0, 1],
            "CODE_GENDER": ["F", "F", "F", "M", "M", "XNA"],
            "DAYS_BIRTH": [-25 * 366, -25 * 366, -25 * 366, -65 * 366, -65 * 366, -65 * 366],
        }
    )
    refuse_above_half = policy.DecisionPolicy(0.5)

    found = experiment.by_group(people, np.array([0.1, 0.6, 0.2, 0.1, 0.2, 0.9]), refuse_above_half, seed=0)
    by_age, by_sex = found

    women, men = by_sex.groups
    assert [group.name for group in by_age.groups] == ["under 30", "60 and over"]
    assert (women.name, women.clients) == ("women", 3)
    assert [women.default_rate.value, women.approval_rate.value] == pytest.approx([1 / 3, 2 / 3])
    assert women.equal_opportunity == 0.5
    assert (men.approval_rate.value, men.equal_opportunity) == (1.0, 1.0)
    assert (by_sex.approval_ratio, by_sex.opportunity_gap) == (None, None)


def test_the_gap_and_the_ratio_of_large_groups_have_intervals_and_four_fifths_is_told() -> None:
    """Of 200 women 140 are approved, of 200 men all: among repayers too."""
    people = pd.DataFrame(
        {
            "TARGET": np.tile([0, 1], 200),
            "CODE_GENDER": np.repeat(["F", "M"], 200),
            "DAYS_BIRTH": np.repeat(-40 * 366, 400),
        }
    )
    probabilities = np.where(np.arange(400) < 60, 0.9, 0.1)

    (by_sex,) = experiment.by_group(people, probabilities, policy.DecisionPolicy(0.5), seed=0)

    ratio, gap = by_sex.approval_ratio, by_sex.opportunity_gap
    assert ratio is not None
    assert gap is not None
    assert (ratio.value, gap.value) == pytest.approx((0.7, 0.3))
    assert ratio.low < 0.7 < ratio.high < 0.8
    assert by_sex.is_below_four_fifths


# ---- The command -------------------------------------------------------------------------------------------


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
def delivered(folder: Path, migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training with its registry, in which the pickle was registered as a candidate."""
    base = tmp_path_factory.mktemp("delivered")
    shutil.copy(migrated_store, base / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{base / 'mlflow.db'}")
        assert main(["--data-dir", str(folder), "--out", str(base / "out"), *ARGUMENTS]) == 0
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


def test_the_card_names_its_data_as_sha256sum_does(delivered: Path, folder: Path) -> None:
    card = front_matter(delivered / "lgbm_final_model.md")

    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
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


def test_training_leaves_two_files_and_no_path_of_this_machine(delivered: Path, folder: Path) -> None:
    files = sorted(delivered.iterdir())

    assert [file.name for file in files] == ["lgbm_final_model.md", "lgbm_final_model.pkl"]
    for file in files:
        content = file.read_bytes()
        assert not any(str(path).encode() in content for path in (ROOT, folder, delivered))


def test_training_again_beside_clients_without_an_outcome_gives_the_same_pickle(
    delivered: Path, folder: Path, tmp_path: Path, store: Path
) -> None:
    data = shutil.copytree(folder, tmp_path / "data")
    applicants = pd.read_csv(data / "application_train.csv").drop(columns="TARGET").head(5)
    applicants["SK_ID_CURR"] += 1_000_000
    applicants.to_csv(data / "application_test.csv", index=False)

    main(["--data-dir", str(data), "--out", str(tmp_path), *ARGUMENTS])

    name = "lgbm_final_model.pkl"
    assert (tmp_path / name).read_bytes() == (delivered / name).read_bytes()


def test_a_refused_margin_leaves_the_files_of_before_and_is_shown_as_failed(
    delivered: Path, folder: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file.name: file.read_bytes() for file in delivered.iterdir()}

    status = main(["--data-dir", str(folder), "--out", str(delivered), "--margin", "0.5"])

    assert status == 2
    assert "Refused: margin 0.5 is not between 0 and" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in delivered.iterdir()} == before
    mlflow.set_tracking_uri(f"sqlite:///{store / 'mlflow.db'}")
    assert runs(MlflowClient())["training"].info.status == "FAILED"


# ---- What MLflow shows -------------------------------------------------------------------------------------

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


def test_the_cost_curve_that_is_drawn_is_the_out_of_fold_one_with_the_test_set_s_beside_it(
    findings: experiment.Findings,
) -> None:
    figure = figures.of_candidate(findings, findings.champion)["cost"]

    (panel,) = figure.axes
    steps = {curve.get_label(): curve for curve in panel.patches if isinstance(curve, StepPatch)}
    assert len(steps["out of fold"].get_data()[0]) > 900  # 1,200 clients, 300 in the test set
    assert len(steps["test set"].get_data()[0]) <= 301
    assert steps["test set"].get_alpha() == 0.3


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
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compared(*arguments: Any) -> experiment.Findings:
        (store / "mlflow.db").write_bytes(b"no database")
        return compare(*arguments)

    compare = experiment.run
    monkeypatch.setattr(experiment, "run", compared)

    status = main(["--data-dir", str(folder), "--out", str(store / "out"), *ARGUMENTS])

    said = capsys.readouterr().err.splitlines()[-1]
    assert status == 2
    assert said.startswith("The files are written. The run in MLflow is not complete, because MLflow")
    assert sorted(file.name for file in (store / "out").iterdir()) == [
        "lgbm_final_model.md",
        "lgbm_final_model.pkl",
    ]
    assert mlflow.active_run() is None


def test_an_interruption_while_mlflow_is_told_says_that_the_files_are_written(
    folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: experiment.Findings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(figures, "of_comparison", interrupted)

    assert main(["--data-dir", str(folder), "--out", str(store / "out"), *ARGUMENTS]) == 130

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
