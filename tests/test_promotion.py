"""Promotion is a gate: what would change is shown and recorded, and too much of it needs somebody's word."""

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from mlflow import MlflowClient
from pyarrow import csv, parquet

import register
from mlflow_model import aliases, gate, legacy, registry
from mlflow_model.bundle import Bundle
from mlflow_model.card import ModelCard
from mlflow_model.gate import Limits
from mlflow_model.scoring import Doubles
from tests import servers
from tests.conftest import FEATURES, SOMETIMES_MISSING, random_clients
from tests.servers import ROOT

CARD = ModelCard("# Card\n")


def register_py(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, in this process."""
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        code = register.main(arguments)
    return subprocess.CompletedProcess(arguments, code, said.getvalue(), told.getvalue())


@pytest.fixture
def candidates(registered: Path, documented_pickle: Path) -> Path:
    """Version 1 is champion with threshold 0.25; 2 has a slightly larger margin, 3 another threshold."""
    registry.register(*legacy.convert(documented_pickle, margin=0.021), alias="candidate")
    registry.register(*legacy.convert(documented_pickle, threshold=0.6), alias="candidate")
    return registered


def champion() -> int | None:
    return registry.version_at()


# ---- What the comparison says


def portfolio(clients: int = 400, **more: Doubles) -> dict[str, Doubles]:
    drawn = random_clients(clients, seed=8)
    return {name: drawn[name].to_numpy(float) for name in FEATURES} | more


def test_labels_and_rates_are_those_that_each_policy_gives_by_hand(bundle: Bundle) -> None:
    before, after = bundle.scorer(), servers.with_policy(bundle, 0.5, 0.1)
    clients = portfolio()
    probabilities = before.probabilities(before.matrix(clients))

    difference = gate.compare(before, after, clients, None)

    risky_to_reliable = int(((probabilities > 0.27) & (probabilities < 0.4)).sum())
    assert difference.moves["Classe_1 (risqué)", "Classe_0 (fiable)"] == risky_to_reliable
    approved = next(change for change in difference.changes if change.name == "approved")
    assert approved.champion == (probabilities < 0.23).mean()
    assert approved.candidate == (probabilities < 0.4).mean()


def test_the_cost_is_that_of_defaults_lent_to_and_good_clients_refused(bundle: Bundle) -> None:
    """Two clients, of whom the outcome is known: refusing everybody costs the one who would have repaid."""
    lenient, strict = servers.with_policy(bundle, 0.999, 0.0), servers.with_policy(bundle, 0.001, 0.0)
    clients = portfolio(2, TARGET=np.array([1.0, 0.0]))

    difference = gate.compare(lenient, strict, clients, {"false_negative": 7.0, "false_positive": 3.0})

    assert difference.cost is not None
    assert (difference.cost.champion, difference.cost.candidate) == (7.0 / 2, 3.0 / 2)


def test_true_probabilities_go_before_outcomes(bundle: Bundle) -> None:
    lenient = servers.with_policy(bundle, 0.999, 0.0)
    clients = portfolio(2, TARGET=np.array([1.0, 1.0]), TRUE_PROBABILITY=np.array([0.1, 0.3]))

    difference = gate.compare(lenient, lenient, clients, None)

    assert difference.cost is not None
    assert difference.cost.champion == pytest.approx(5 * 0.2)


def test_the_interval_of_the_cost_covers_its_difference_and_nothing_for_twins(bundle: Bundle) -> None:
    before, after = bundle.scorer(), servers.with_policy(bundle, 0.5, 0.1)
    truth = np.random.default_rng(1).random(400)
    clients = portfolio(400, TRUE_PROBABILITY=truth)

    moved, same = (gate.compare(before, other, clients, None).cost for other in (after, before))

    assert moved is not None
    assert moved.low < moved.difference < moved.high
    assert same is not None
    assert (same.low, same.difference, same.high) == (0.0, 0.0, 0.0)


def test_clients_whom_a_model_cannot_take_are_left_out_and_counted(bundle: Bundle) -> None:
    clients = portfolio(50)
    unknown = next(name for name in FEATURES if name not in SOMETIMES_MISSING)
    clients[unknown] = np.concatenate([[np.nan] * 3, clients[unknown][3:]])

    difference = gate.compare(bundle.scorer(), bundle.scorer(), clients, None)

    assert (difference.clients, difference.left_out) == (47, 3)


def test_a_cost_that_nobody_knows_is_an_objection(bundle: Bundle) -> None:
    difference = gate.compare(bundle.scorer(), bundle.scorer(), portfolio(50), None)

    assert difference.objections(Limits()) == [
        "the cost is not known: the reference has neither TRUE_PROBABILITY nor TARGET"
    ]


# ---- The command


def test_a_small_change_is_promoted(candidates: Path) -> None:
    done = register_py("promote", "2", "--max-cost-increase", "9")

    assert (done.returncode, champion()) == (0, 2)
    assert "version 2 beside version 1 (champion)" in done.stdout


def test_too_large_a_change_leaves_the_champion_and_says_why(candidates: Path) -> None:
    refused = register_py("promote", "3")

    assert (refused.returncode, champion()) == (3, 1)
    assert re.search(r"Objection: [\d.]+% of the labels change, more than 10.0%", refused.stderr)
    assert refused.stderr.splitlines()[-1].startswith("champion stays where it is")


def test_force_needs_a_reason_and_keeps_it(candidates: Path) -> None:
    without = register_py("promote", "3", "--force")
    forced = register_py("promote", "3", "--force", "--why", "the new costs")

    assert (without.returncode, forced.returncode, champion()) == (2, 0, 3)
    assert registry.history()[-1].why == "the new costs"
    assert "the new costs" in register_py("list").stdout


def test_a_dry_run_changes_and_records_nothing(candidates: Path) -> None:
    runs = len(MlflowClient().search_runs([experiment()]))

    shown = register_py("promote", "3", "--dry-run")

    assert (shown.returncode, champion()) == (0, 1)
    assert "Most changed clients" in shown.stdout
    assert len(MlflowClient().search_runs([experiment()])) == runs


def experiment() -> str:
    found = MlflowClient().get_experiment_by_name(registry.EXPERIMENT)
    assert found is not None
    return str(found.experiment_id)


@pytest.mark.parametrize(
    ("version", "arguments", "outcome"),
    [("2", ["--max-cost-increase", "9"], "promoted"), ("3", [], "refused")],
)
def test_the_report_is_a_run_that_the_version_names(
    candidates: Path, version: str, arguments: list[str], outcome: str
) -> None:
    register_py("promote", version, *arguments)

    client = MlflowClient()
    run = client.get_run(client.get_model_version(registry.NAME, version).tags["examination.run"])
    artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert run.data.tags["outcome"] == outcome
    assert {"decision_diff.json", "decision_diff.png", "decision_diff.txt"} <= artifacts
    assert "changed" in run.data.metrics


def test_a_reference_of_ones_own_may_be_csv(candidates: Path, tmp_path: Path) -> None:
    columns = portfolio(30, TARGET=np.array([0.0, 1.0] * 15))
    csv.write_csv(pa.table(columns), tmp_path / "mine.csv")

    done = register_py("promote", "2", "--reference", str(tmp_path / "mine.csv"), "--max-changed", "1")

    assert done.returncode == 0
    assert "30 reference clients" in done.stdout


BAD_REFERENCES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda _: None, "cannot be read as a portfolio"),
    "no table": (lambda file: file.write_bytes(b"PAR1 nothing"), "cannot be read as a portfolio"),
    "empty": (lambda file: parquet.write_table(pa.table({"x": [0.0][:0]}), file), "has no clients"),
    "other columns": (lambda file: parquet.write_table(pa.table({"x": [0.0]}), file), "lacks AMT_ANNUITY"),
}


@pytest.mark.parametrize("bad", BAD_REFERENCES)
def test_a_bad_reference_is_one_sentence_and_promotes_nothing(
    candidates: Path, tmp_path: Path, bad: str
) -> None:
    make, sentence = BAD_REFERENCES[bad]
    make(tmp_path / "bad.parquet")

    refused = register_py("promote", "2", "--reference", str(tmp_path / "bad.parquet"))

    assert (refused.returncode, champion()) == (2, 1)
    assert sentence in refused.stderr.splitlines()[-1]


# ---- The history


def test_the_history_tells_who_was_champion_from_when_to_when(candidates: Path) -> None:
    registry.promote(2)
    registry.promote(3)
    registry.rollback()

    terms = registry.history()

    assert [term.version for term in terms] == [1, 2, 3, 2]
    assert [term.how for term in terms] == ["promotion", "promotion", "promotion", "rollback"]
    assert [term.until for term in terms] == [*(term.since for term in terms[1:]), None]


def test_a_move_by_other_hands_is_seen_and_can_be_rolled_back(candidates: Path) -> None:
    registry.connect().set_registered_model_alias(registry.NAME, "champion", "3")

    assert registry.history()[-1].how == "moved elsewhere"
    assert registry.rollback() == 1


def test_a_rollback_passes_over_a_version_that_is_gone(candidates: Path) -> None:
    registry.promote(2)
    registry.promote(3)
    registry.connect().delete_model_version(registry.NAME, "2")

    assert registry.rollback() == 1


def test_a_crash_between_the_move_and_its_history_leaves_one_champion(
    candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(Exception):
        """The process ends here."""

    client = registry.connect()

    class Dying:
        def __getattr__(self, name: str) -> object:
            if name == "set_registered_model_tag":
                raise Cut
            return getattr(client, name)

    with pytest.raises(Cut):
        aliases.move(Dying(), registry.NAME, "champion", 2, aliases.PROMOTION)

    assert champion() == 2
    assert registry.rollback() == 1


def test_promotions_at_once_leave_one_champion_and_all_of_the_history(candidates: Path) -> None:
    code = "import sys; from mlflow_model import registry; registry.promote(int(sys.argv[1]))"
    children = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, version], cwd=ROOT)
        for version in ("2", "3", "2", "3")
    ]
    codes = [child.wait(60) for child in children]

    assert codes == [0] * 4
    assert champion() in (2, 3)
    assert {term.version for term in registry.history()} == {1, 2, 3}


def test_the_shipped_reference_can_be_made_again() -> None:
    from training import reference

    made = reference.drawn(reference.CLIENTS, reference.SEED)

    assert made.equals(parquet.read_table(reference.FILE))
