"""The command line of the registry: what it registers, lists, refuses and names as the next step."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

import register
from mlflow_model.errors import OutOfReach
from mlflow_model.registry import (
    addresses,
    listing,
    sqlite,
)
from tests.command_line import register_py
from tests.registry_support import champion
from tests.servers import ROOT


@pytest.mark.parametrize(
    "arguments",
    [
        ("--alias", "latest"),
        ("--alias", "V2"),
        ("--alias", "a.b"),
        ("--alias", ""),
        ("--name", "a/b"),
        ("--name", "it's"),
        ("--name", ".."),
        ("--name", " "),
        ("promote", "candidate"),
        ("promote", "0"),
    ],
    ids=" ".join,
)
def test_what_a_registry_would_refuse_is_refused_before_anything_is_made(
    arguments: tuple[str, ...], store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (store / "mlflow.db").read_bytes()

    with pytest.raises(SystemExit, match="2"):
        register.main(arguments)

    assert "not " + repr(arguments[-1]) in capsys.readouterr().err
    assert (store / "mlflow.db").read_bytes() == before


def test_beside_a_champion_a_new_version_is_a_candidate_and_the_next_step_is_named(
    registered: Path, documented_pickle: Path
) -> None:
    told = register_py("--pickle", str(documented_pickle), "--margin", "0.05")

    assert "python register.py promote 2 compares it with the champion" in told.stderr
    assert champion() == 1


def test_the_command_line_registers_lists_promotes_and_rolls_back(
    store: Path, documented_pickle: Path
) -> None:
    pickle = ("--pickle", str(documented_pickle))
    first, again = register_py(*pickle), register_py(*pickle)
    wider = register_py(*pickle, "--margin", "0.05", "--threshold", "0.3", "--alias", "champion")
    promoted, rolled_back, listed = (
        register_py("promote", "1", "--force", "--why", "x"),
        register_py("rollback"),
        register_py("list"),
    )

    assert "scoring-client version 1 registered; champion points at it" in first.stderr
    assert "scoring-client version 1 was registered already" in again.stderr
    assert "scoring-client version 2 registered; champion points at it" in wider.stderr
    assert "It was not compared with version 1, which was champion" in wider.stderr
    assert "champion of scoring-client points at version 1" in promoted.stderr
    assert "champion of scoring-client points at version 2 again" in rolled_back.stderr
    rows = [line.split()[:4] for line in listed.stdout.splitlines()]
    assert rows[:3] == [
        ["version", "alias", "threshold", "margin"],
        ["2", "champion", "0.3", "0.05"],
        ["1", "-", "0.25", "0.02"],
    ]
    assert [row[0] for row in rows[4:]] == ["champion", "2", "1", "2", "1"]


def test_a_refused_margin_registers_nothing(registered: Path, documented_pickle: Path) -> None:
    refused = register_py("--pickle", str(documented_pickle), "--margin", "0.6")

    assert refused.returncode == 2
    assert "la marge doit être un nombre compris entre 0 et min(seuil, 1 - seuil)" in refused.stderr
    assert len(listing.listed()) == 1


def test_options_before_a_command_are_kept(registered: Path) -> None:
    assert register_py("--alias", "challenger", "promote", "1").returncode == 0

    assert listing.version_at(alias="challenger") == 1


def test_a_command_that_waits_for_another_one_says_so_and_not_for_ever(
    registered: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sqlite, "_SILENT_SECONDS", 0.1)
    monkeypatch.setattr(sqlite, "_LONGEST_WRITING_SECONDS", 0.5)
    folder = os.open(registered, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        with pytest.raises(OutOfReach, match="une autre commande y écrit depuis des minutes"), sqlite.alone():
            pytest.fail("it did not wait")
    finally:
        os.close(folder)

    assert capsys.readouterr().err == "Waiting for another command that writes to the registry\n"
    with sqlite.alone():
        pass


def test_the_pages_of_the_registry_are_listed(registered: Path) -> None:
    version = MlflowClient().get_model_version("scoring-client", "1")
    run = MlflowClient().get_run(str(version.run_id)).info
    MlflowClient().create_run(run.experiment_id, tags={"threshold.reason": "of one candidate"})

    listed = list(addresses.pages("http://127.0.0.1:5001"))

    place = f"http://127.0.0.1:5001/#/experiments/{run.experiment_id}"
    assert listed == [
        ("all runs", f"{place}/runs"),
        ("registration of version 1", f"{place}/runs/{run.run_id}"),
        ("versions", "http://127.0.0.1:5001/#/models/scoring-client"),
    ]


def test_the_registered_model_says_what_its_aliases_mean(registered: Path) -> None:
    described = str(MlflowClient().get_registered_model("scoring-client").description)

    assert all(f"`{alias}`" in described for alias in ("champion", "candidate", "challenger"))


@pytest.mark.endurance
def test_two_first_registrations_at_once_make_one_registry_and_one_version(tmp_path: Path) -> None:
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    command = [sys.executable, "register.py", "--unless-champion"]

    both = [subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    said = [one.communicate(timeout=180)[1].decode() for one in both]
    listed = subprocess.run(
        [sys.executable, "register.py", "list"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert [one.returncode for one in both] == [0, 0], said
    assert len(listed.stdout.partition("\n\n")[0].splitlines()) == 2  # the heads, and version 1


@pytest.mark.slow
def test_a_candidate_without_a_champion_is_not_said_to_be_compared(store: Path) -> None:
    told = register_py("--alias", "candidate").stderr

    assert told.splitlines()[-1] == "python register.py promote 1 makes it champion"


# ---- A registry that is not whole, or cannot grow


@pytest.mark.slow
def test_the_next_command_names_the_model_and_is_not_given_for_the_champion(registered: Path) -> None:
    register_py("--name", "my model")

    mine = register_py("--name", "my model", "--margin", "0.03")
    champion = register_py("--name", "my model", "--alias", "challenger")

    assert "register.py --name 'my model' promote 2 compares it with the champion" in mine.stderr
    assert champion.stderr.splitlines()[-1].endswith("challenger points at it")
