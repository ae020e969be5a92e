"""The gate of promotion: it shows and records what would change, and stops what is too much."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from mlflow import MlflowClient
from pyarrow import csv, parquet

from mlflow_model.bundle.bundles import Bundle
from mlflow_model.registry import connection, moves, registration, versions
from quality.portfolio import BadReference, Portfolio
from tests.command_line import register_py
from tests.live import policy_of
from tests.promotion_support import (
    CARD,
    champion,
    damage,
    experiment,
    portfolio,
)

pytest_plugins = ["tests.promotion_fixtures"]
pytestmark = pytest.mark.usefixtures("few_resamplings")


# ---- The command


def test_a_small_change_is_promoted_and_the_version_names_its_report(candidates: Path) -> None:
    done = register_py("promote", "2", "--max-cost-increase", "9")

    assert (done.returncode, champion()) == (0, 2)
    assert "version 2 beside version 1 (champion)" in done.stdout
    assert_reported("2", "promoted")


def test_too_large_a_change_leaves_the_champion_says_why_and_is_reported(candidates: Path) -> None:
    refused = register_py("promote", "3")

    assert (refused.returncode, champion()) == (3, 1)
    assert re.search(r"Objection \(changed\): [\d.]+% of the labels change, more than 10.0%", refused.stderr)
    assert refused.stderr.splitlines()[-1].startswith("champion stays where it is")
    assert_reported("3", "refused")


def assert_reported(version: str, outcome: str) -> None:
    client = MlflowClient()
    run = client.get_run(client.get_model_version(versions.NAME, version).tags["examination.run"])
    artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert run.data.tags["outcome"] == outcome
    assert {"decision_diff.json", "decision_diff.png", "decision_diff.txt"} <= artifacts
    assert "changed" in run.data.metrics


@pytest.mark.slow
def test_force_needs_a_reason_and_keeps_it(candidates: Path) -> None:
    without = register_py("promote", "3", "--force")
    forced = register_py("promote", "3", "--force", "--why", "the new costs")

    assert (without.returncode, forced.returncode, champion()) == (2, 0, 3)
    assert moves.history()[-1].why == "the new costs"
    assert "the new costs" in register_py("list").stdout


def test_a_dry_run_changes_and_records_nothing(candidates: Path) -> None:
    runs = len(MlflowClient().search_runs([experiment()]))

    shown = register_py("promote", "3", "--dry-run")

    assert (shown.returncode, champion()) == (3, 1)
    assert "Most changed clients" in shown.stdout
    assert shown.stderr.splitlines()[-1] == "Dry run: this would refuse version 3"
    assert len(MlflowClient().search_runs([experiment()])) == runs


@pytest.mark.parametrize(
    ("version", "arguments"),
    [
        pytest.param("2", ["--max-cost-increase", "9"], marks=pytest.mark.slow),
        pytest.param("3", ["--force", "--why", "x"], marks=pytest.mark.slow),
    ],
)
def test_a_dry_run_of_what_would_be_promoted_ends_well(
    candidates: Path, version: str, arguments: list[str]
) -> None:
    dry = register_py("promote", version, *arguments, "--dry-run")

    assert (dry.returncode, champion()) == (0, 1)
    assert dry.stderr.splitlines()[-1] == f"Dry run: this would promote version {version}"


@pytest.mark.slow
def test_a_reference_of_ones_own_may_be_csv_and_lack_all_values_of_a_feature(
    candidates: Path, tmp_path: Path
) -> None:
    """A CSV column without any value has the type null."""
    columns = portfolio(30, TARGET=np.array([0.0, 1.0] * 15)) | {"EXT_SOURCE_1": pa.nulls(30)}
    csv.write_csv(pa.table(columns), tmp_path / "mine.csv")

    done = register_py(
        "promote", "2", "--reference", str(tmp_path / "mine.csv"), "--max-changed", "1", "--min-clients", "30"
    )

    assert done.returncode == 0
    assert "30 reference clients" in done.stdout


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_csv_of_a_french_spreadsheet_is_the_same_reference(tmp_path: Path, delimiter: str) -> None:
    """Decimal commas, a byte order mark, a declared delimiter, empty columns and lines at the end."""
    columns = portfolio(30, TARGET=np.array([0.0, 1.0] * 15))
    cells = [
        ["" if np.isnan(value) else str(value).replace(".", ",") for value in row]
        for row in zip(*columns.values(), strict=True)
    ]
    lines = [delimiter.join([*row, "", ""]) for row in [list(columns), *cells, [""] * len(columns)]]
    (tmp_path / "mine.csv").write_text(
        f"sep={delimiter}\r\n" + "\r\n".join([*lines, "", ""]), encoding="utf-8-sig", newline=""
    )

    read = Portfolio.read(tmp_path / "mine.csv")

    assert list(read.columns) == list(columns)
    for name, values in columns.items():
        np.testing.assert_array_equal(read.columns[name], values)


NO_NUMBERS = ["0x10", "true", "1_000", "1e", " 1", "+1", "1.", "9007199254740993", "1e999", "None"]


@pytest.mark.parametrize("cell", NO_NUMBERS)
def test_a_cell_of_a_csv_that_is_no_number_is_told_where_its_column_is_needed(
    cell: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(f"AMT_CREDIT,DAYS_BIRTH,TARGET\n1,2,0\n{cell},,1\n")

    read = Portfolio.read(file)

    assert read.known["DAYS_BIRTH"].tolist()[0] == 2.0
    read.require(["DAYS_BIRTH"])
    with pytest.raises(BadReference, match="row 2 of the reference portfolio's column AMT_CREDIT"):
        read.require(["AMT_CREDIT"])


def test_an_outcome_that_is_no_number_does_not_give_way_to_another(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("AMT_CREDIT,TRUE_PROBABILITY,TARGET\n1,0.5,0\n2,half,1\n")

    with pytest.raises(BadReference, match="row 2 of the reference portfolio's column TRUE_PROBABILITY"):
        Portfolio.read(file)


def test_a_column_of_texts_is_no_column_of_the_portfolio(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("NAME,AMT_CREDIT\nx,1\ny,2\n")

    assert list(Portfolio.read(file).columns) == ["AMT_CREDIT"]


@pytest.mark.slow
def test_one_client_is_no_reference(candidates: Path, tmp_path: Path) -> None:
    parquet.write_table(pa.table(portfolio(1, TARGET=np.zeros(1))), tmp_path / "one.parquet")

    refused = register_py("promote", "2", "--reference", str(tmp_path / "one.parquet"))

    assert (refused.returncode, champion()) == (3, 1)
    assert "Objection (clients): 1 different clients are compared, fewer than 1,000" in refused.stderr


@pytest.mark.slow
def test_the_reference_and_the_operator_are_recorded_and_a_changed_reference_is_shown(
    candidates: Path, tmp_path: Path
) -> None:
    columns = portfolio(30, TARGET=np.array([0.0, 1.0] * 15))
    mine = tmp_path / "mine.parquet"
    parquet.write_table(pa.table(columns), mine)
    few = ("--min-clients", "30", "--max-changed", "1", "--reference", str(mine))

    register_py("--by", "Ada Lovelace", "promote", "2", *few)
    parquet.write_table(pa.table(columns | {"TARGET": np.zeros(30)}), mine)
    shown = register_py("promote", "1", "--dry-run", *few)

    client, digest = MlflowClient(), moves.history()[-1].portfolio
    run = client.get_run(client.get_model_version(versions.NAME, "2").tags["examination.run"])
    assert digest is not None
    assert (run.data.tags["reference.sha256"], run.data.tags["by"]) == (digest, "Ada Lovelace")
    assert moves.history()[-1].by == "Ada Lovelace"
    assert "Ada Lovelace" in register_py("list").stdout
    now = hashlib.sha256(mine.read_bytes()).hexdigest()
    assert (
        f"another reference than at the last promotion: sha256 {digest[:12]} then, {now[:12]} now"
        in shown.stdout
    )


@pytest.mark.slow
def test_the_candidate_s_code_runs_in_no_process_of_the_operator(registered: Path, bundle: Bundle) -> None:
    import builtins

    code = b"\nimport builtins\nbuiltins.CANDIDATE_WAS_HERE = True\n"
    registration.register(policy_of(bundle, 0.251, more_code=code), CARD)
    del builtins.CANDIDATE_WAS_HERE  # type: ignore[attr-defined]  # building the bundle has run it here

    shown = register_py("promote", "2", "--dry-run")

    assert "version 2 beside version 1" in shown.stdout
    assert not hasattr(builtins, "CANDIDATE_WAS_HERE")


@pytest.mark.slow
def test_a_candidate_that_ends_its_process_is_refused_in_one_sentence(
    registered: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAY_LIVE", "yes")  # True only while the bundle is built
    deadly = b"\nimport os\nif 'MAY_LIVE' not in os.environ: os._exit(9)\n"
    registration.register(policy_of(bundle, 0.251, more_code=deadly), CARD)
    monkeypatch.delenv("MAY_LIVE")

    refused = register_py("promote", "2")

    assert (refused.returncode, champion()) == (2, 1)
    assert "la version arrête le processus qui la charge" in refused.stderr.splitlines()[-1]


def test_what_a_tag_holds_does_not_write_to_the_terminal(candidates: Path) -> None:
    client = connection.connect()
    client.set_model_version_tag(versions.NAME, "1", "policy.margin", "\x1b[2J0.02")
    key = "history.champion.000009-abcdef"
    move = {
        "from": 1,
        "version": 2,
        "how": "\x1b]0;x\x07",
        "why": "a\nb",
        "time": "2026-01-01T00:00:00+00:00",
    }
    client.set_registered_model_tag(versions.NAME, key, json.dumps(move))
    client.set_registered_model_alias(versions.NAME, "champion", "2")

    shown = register_py("list").stdout

    assert "?[2J0.02" in shown
    assert shown.replace("\n", "").isprintable()


# ---- A champion that cannot be loaded


@pytest.mark.slow
def test_a_damaged_champion_is_an_objection_and_is_replaced_with_a_word_which_is_recorded(
    candidates: Path,
) -> None:
    damage(candidates, 1)

    refused = register_py("promote", "2")
    assert (refused.returncode, champion()) == (3, 1)
    assert "Objection (champion): the champion, version 1, cannot be loaded" in refused.stderr

    forced = register_py("promote", "2", "--force", "--why", "the disk was damaged")

    client = MlflowClient()
    run = client.get_run(client.get_model_version(versions.NAME, "2").tags["examination.run"])
    assert (forced.returncode, champion()) == (0, 2)
    assert (run.data.tags["outcome"], run.data.tags["why"]) == ("forced", "the disk was damaged")
    assert run.data.tags["objections"].startswith("champion: the champion, version 1, cannot be loaded")
