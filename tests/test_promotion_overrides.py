"""The anchor of a promotion, what may be overridden by name, and the costs that decide."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import register
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import DecisionPolicy
from mlflow_model.registry import connection, moves, registration, versions
from mlflow_model.registry.leases import Overtaken
from promotion import gate, promoting, report
from promotion.comparison import Difference
from promotion.gate import Limits
from quality.portfolio import Portfolio
from tests.command_line import register_py
from tests.conftest import FEATURES
from tests.live import policy_of
from tests.promotion_support import CARD, ROOT, champion, damage, examined, names_of, portfolio, run_of

pytest_plugins = ["tests.promotion_fixtures"]
pytestmark = pytest.mark.usefixtures("few_resamplings")


# ---- An anchor


@pytest.mark.endurance
def test_small_steps_do_not_lead_far_from_the_first_champion(
    registered: Path, bundle: Bundle, tmp_path: Path
) -> None:
    """Each step changes a tenth of the labels at the most, and the second one is too far from the first."""
    first, clients = bundle.scorer(), portfolio(4_000, TRUE_PROBABILITY=np.full(4_000, 0.25))
    parquet.write_table(pa.table(clients), tmp_path / "mine.parquet")
    found = np.sort(first.probabilities(first.matrix(clients)))
    place = int(np.searchsorted(found, first.policy.threshold))
    for step in (140, 280):  # clients more who are approved
        registration.register(policy_of(bundle, float(found[place + step])), CARD, alias="candidate")
    options = ["--max-cost-increase", "inf", "--max-group-change", "1"]
    options += ["--reference", str(tmp_path / "mine.parquet")]

    one, two = (register_py("promote", number, *options) for number in ("2", "3"))

    assert (one.returncode, two.returncode, champion()) == (0, 3, 2)
    assert "Beside the anchor" not in one.stdout
    assert "Beside the anchor, version 1:" in two.stdout
    (objection,) = [line for line in two.stderr.splitlines() if line.startswith("Objection")]
    assert objection.startswith(
        "Objection (anchor-approval): beside the anchor, version 1, the approved share rises by 0.0"
    )


@pytest.mark.slow
def test_the_anchor_is_the_version_that_is_named(candidates: Path) -> None:
    moves.promote(2)

    shown = register_py("promote", "1", "--anchor", "3", "--dry-run")

    assert "Beside the anchor, version 3:" in shown.stdout
    assert "Objection (anchor-changed): beside the anchor, version 3, " in shown.stderr


def test_an_anchor_that_was_never_registered_is_refused_before_any_work(candidates: Path) -> None:
    refused = register_py("promote", "2", "--anchor", "9")

    assert (refused.returncode, refused.stdout, champion()) == (2, "", 1)
    assert "9" in refused.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_first_champion_that_comes_back_has_no_other_anchor(candidates: Path) -> None:
    moves.promote(2)

    register_py("promote", "1")

    assert (run_of(1).tags["champion"], run_of(1).tags["anchor"]) == ("2", "1")


@pytest.mark.parametrize("anchor", ["2", pytest.param("3", marks=pytest.mark.slow)])
def test_an_anchor_that_is_champion_or_candidate_is_compared_with_once(candidates: Path, anchor: str) -> None:
    moves.promote(2)

    shown = register_py("promote", "3", "--anchor", anchor, "--dry-run")

    assert "version 3 beside version 2" in shown.stdout
    assert "anchor" not in shown.stdout + shown.stderr


def test_more_labels_may_change_beside_the_anchor(twins: Difference) -> None:
    reliable, _, risky = twins.labels
    moved = replace(twins, moves={(reliable, reliable): 43, (reliable, risky): 7}, changes=[])

    names = {one.name for one in gate.objections(moved, Limits())}
    beside = {one.name for one in gate.objections_to_drift(moved, Limits(), "1")}

    assert gate.CHANGED in names
    assert f"anchor-{gate.CHANGED}" not in beside
    assert beside <= {*gate.NAMES}


def test_what_the_portfolio_lacks_is_said_once(twins: Difference) -> None:
    unknown = replace(twins, changes=[], left_out=50)

    names = {one.name for one in gate.objections(unknown, Limits())}
    beside = {one.name for one in gate.objections_to_drift(unknown, Limits(), "1")}

    assert names == {gate.CLIENTS, gate.REFERENCE, gate.LEFT_OUT}
    assert beside == {f"anchor-{gate.LEFT_OUT}"}  # others may be left out beside the anchor


@pytest.mark.parametrize("anchor", ["damaged", pytest.param("gone", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_an_anchor_that_cannot_be_loaded_is_an_objection_that_force_overrides(
    candidates: Path, anchor: str
) -> None:
    moves.promote(2)
    if anchor == "damaged":
        damage(candidates, 1)
    else:
        connection.connect().delete_model_version(versions.NAME, "1")
    everything = ("--max-cost-increase", "inf", "--max-changed", "1", "--max-approval-change", "1")

    refused = register_py("promote", "3", *everything, "--max-group-change", "1")
    left = champion()
    forced = register_py("promote", "3", "--force", "--why", "it is gone")

    assert (refused.returncode, left, forced.returncode, champion()) == (3, 2, 0, 3)
    assert "Objection (anchor): the anchor, version 1, cannot be compared with (" in refused.stderr
    assert "; --anchor names another" in refused.stderr


@pytest.mark.slow
def test_an_anchor_that_is_exchanged_meanwhile_stops_the_promotion(candidates: Path) -> None:
    moves.promote(2)
    found = examined(3)
    connection.connect().set_model_version_tag(versions.NAME, "1", "bundle.sha256", "0" * 64)

    with pytest.raises(Overtaken, match="version 1 of scoring-client was exchanged meanwhile"):
        promoting.promote(found, None)


# ---- Overrides by name


@pytest.mark.endurance
def test_only_the_named_objections_are_overridden(candidates: Path) -> None:
    names = names_of(register_py("promote", "3", "--dry-run").stderr)
    first, *others = names

    some = register_py("promote", "3", "--force", first, "--why", "the new costs")
    assert (some.returncode, champion()) == (3, 1)
    assert f"since --force does not name {', '.join(others)}; --force {','.join(names)}" in some.stderr
    assert run_of(3).tags["overridden"] == "none"

    every = register_py("promote", "3", "--force", ",".join(names), "--why", "the new costs")
    assert (every.returncode, champion()) == (0, 3)
    assert (run_of(3).tags["overridden"], run_of(3).tags["outcome"]) == (", ".join(names), "forced")
    assert moves.history()[-1].overridden == ", ".join(names)
    assert ", ".join(names) in register_py("list").stdout


@pytest.mark.slow
def test_force_without_names_overrides_all_and_is_recorded_as_that(candidates: Path) -> None:
    names = names_of(register_py("promote", "3", "--dry-run").stderr)

    register_py("promote", "3", "--force", "--why", "the new costs")

    assert names
    assert moves.history()[-1].overridden == f"all: {', '.join(names)}" == run_of(3).tags["overridden"]


@pytest.mark.slow
def test_what_was_not_objected_to_was_not_overridden(candidates: Path) -> None:
    done = register_py("promote", "2", "--max-cost-increase", "9", "--force", "--why", "to be sure")

    assert done.returncode == 0
    assert run_of(2).tags["outcome"] == "promoted"
    assert moves.history()[-1].overridden == "limits: cost_increase 9" == run_of(2).tags["limits"]


@pytest.mark.slow
def test_limits_that_let_everything_pass_are_kept(candidates: Path) -> None:
    everything = ("--max-changed", "1", "--max-cost-increase", "inf", "--max-approval-change", "1")

    register_py("promote", "3", *everything, "--max-group-change", "1", "--force", "auc", "--why", "x")

    kept = "limits: changed 1, cost_increase inf, approval 1, groups 1"
    assert str(moves.history()[-1].overridden).endswith(kept)
    assert kept in register_py("list").stdout
    assert run_of(3).tags["limits"] == kept


@pytest.mark.parametrize(
    ("arguments", "unknown"), [(("3", "--force", "costly,auc"), "'costly'"), (("--force", "3"), "'3'")]
)
def test_a_name_of_no_objection_is_refused_with_the_names(
    arguments: tuple[str, ...], unknown: str, candidates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        register.main(["promote", *arguments, "--why", "x"])

    told = capsys.readouterr().err
    assert f"no objection is called {unknown}; their names are clients, left-out, reference, changed" in told


@pytest.mark.slow
def test_the_run_says_of_which_clients_its_figures_are(candidates: Path) -> None:
    moves.promote(2)

    register_py("promote", "3")

    tags, metrics = run_of(3).tags, run_of(3).metrics
    assert (tags["champion"], tags["anchor"]) == ("2", "1")
    assert tags["reference.origin"] == report.described(Portfolio.read())
    assert {"AUC", "calibration_error_ECE", "cost_per_client", "anchor_cost_per_client"} <= {*metrics}


def test_the_command_line_does_not_wait_for_the_libraries_of_tables() -> None:
    code = "import register, sys; print({'pandas', 'ibis'} & {*sys.modules})"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, text=True, check=True)

    assert said.stdout == "set()\n"


# ---- The costs


def with_costs(bundle: Bundle, costs: object, threshold: float = 0.26) -> Bundle:
    text, policy = bundle.files["model.txt"].decode(), DecisionPolicy(threshold, 0.02)
    return bundles.build(text, FEATURES, policy, source=bundle.source, provenance={"costs": costs})


LENIENT = {"false_negative": 0.0, "false_positive": 1.0}


@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        pytest.param(
            LENIENT, '{"false_negative": 0.0, "false_positive": 1.0}, not 4:1', marks=pytest.mark.slow
        ),
        pytest.param({"false_negative": 5.0}, '{"false_negative": 5.0}, not 4:1', marks=pytest.mark.slow),
        ({"false_negative": 5.0, "false_positive": 1.0}, "5:1, not 4:1"),
    ],
)
@pytest.mark.slow
def test_a_candidate_made_for_other_costs_than_the_champion_s_needs_a_word(
    store: Path, bundle: Bundle, costs: object, sentence: str
) -> None:
    four = {"false_negative": 4.0, "false_positive": 1.0}
    registration.register(with_costs(bundle, four), CARD)
    registration.register(with_costs(bundle, costs, 0.261), CARD, alias="candidate")

    refused = register_py("promote", "2", "--max-cost-increase", "inf", "--max-changed", "1")

    assert (refused.returncode, champion()) == (3, 1)
    assert f"Objection (costs): the candidate was made for the costs {sentence}" in refused.stderr


@pytest.mark.slow
def test_the_candidate_s_own_costs_do_not_hide_what_it_costs(
    store: Path, tmp_path: Path, bundle: Bundle
) -> None:
    """By the candidate's own costs, lending to everybody would cost nothing."""
    registration.register(with_costs(bundle, None), CARD)
    registration.register(with_costs(bundle, LENIENT, threshold=0.9), CARD, alias="candidate")

    parquet.write_table(pa.table(portfolio(100, TARGET=np.ones(100))), tmp_path / "defaults.parquet")

    refused = register_py(
        "promote", "2", "--max-changed", "1", "--reference", str(tmp_path / "defaults.parquet")
    )

    assert (refused.returncode, champion()) == (3, 1)
    assert "Objection (cost): the cost per client rises by" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("costs", [None, {"false_negative": 5.0, "false_positive": 1.0}])
def test_without_costs_of_the_champion_five_to_one_is_the_yardstick(
    store: Path, bundle: Bundle, costs: object
) -> None:
    registration.register(with_costs(bundle, LENIENT), CARD)
    registration.register(with_costs(bundle, costs, 0.261), CARD, alias="candidate")

    done = register_py("promote", "2", "--max-cost-increase", "inf", "--max-changed", "1")

    assert (done.returncode, champion()) == (0, 2)
