"""The registry: versions with their provenance, moving aliases, and only verified bundles handed back."""

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml
from lightgbm import LGBMClassifier
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import register
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import OUTPUT_COLUMNS
from mlflow_model.errors import LoadingFailed, OutOfReach
from mlflow_model.handover import model_files
from mlflow_model.handover.card import ModelCard
from mlflow_model.registry import (
    addresses,
    connection,
    failures,
    fetching,
    listing,
    moves,
    registration,
    sqlite,
    store,
    versions,
)
from mlflow_model.registry.aliases import RollbackRefused
from tests import servers
from tests.command_line import register_py

ROOT = Path(__file__).resolve().parents[1]
CARD = ModelCard(
    "# Card\n\nText.\n", metrics={"auc": 0.75}, parameters={"seed": 0}, provenance={"costs": "5:1"}
)


def with_margin(documented_pickle: Path, margin: float) -> tuple[Bundle, ModelCard]:
    return model_files.convert(documented_pickle, margin=margin)


def fetch(uri: str) -> Bundle:
    return fetching.download(versions.resolve(uri))


def champion() -> int | None:
    return listing.version_at()


def artifact_folder(store: Path) -> Path:
    (folder,) = store.glob("mlartifacts/models/m-*/artifacts")
    return folder


@pytest.mark.slow
def test_the_same_bundle_twice_is_registered_once(store: Path, bundle: Bundle) -> None:
    first, again = registration.register(bundle, CARD), registration.register(bundle, CARD)

    assert (first.number, first.is_new, first.alias) == (1, True, "champion")
    assert (again.number, again.is_new, again.alias) == (1, False, "champion")


def test_a_margin_alone_is_a_new_version_and_a_candidate(registered: Path, documented_pickle: Path) -> None:
    done = registration.register(*with_margin(documented_pickle, 0.05))

    assert (done.number, done.is_new, champion()) == (2, True, 1)
    assert fetch("models:/scoring-client@candidate").policy["margin"] == 0.05


@pytest.fixture(scope="module")
def described_once(migrated_store: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a registry with a version that has a card, for the tests that only read it."""
    folder = tmp_path_factory.mktemp("described")
    shutil.copy(migrated_store, folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        registration.register(bundle, CARD)
    return uri


@pytest.fixture
def described(described_once: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", described_once)
    connection.connect()


def test_a_version_carries_its_policy_its_source_and_its_card(described: None, bundle: Bundle) -> None:
    version = MlflowClient().get_model_version("scoring-client", "1")
    assert version.tags == {
        "policy.threshold": "0.25",
        "policy.margin": "0.02",
        "source.sha256": bundle.source["sha256"],
        "bundle.sha256": bundle.digest,
    }
    assert version.description == "# Card\n\nText.\n"


def test_a_card_that_is_too_long_for_a_description_ends_with_where_the_rest_is(
    store: Path, bundle: Bundle
) -> None:
    long = "\n\n".join(["# Card", *(f"Paragraph {number} {'x' * 90}" for number in range(80))])
    registration.register(bundle, replace(CARD, text=long))

    described = str(MlflowClient().get_model_version("scoring-client", "1").description)

    *shown, last = described.split("\n\n")
    assert 4_700 < len(described) <= 5_000
    assert "\n\n".join(shown) == long[: len("\n\n".join(shown))]
    assert all(len(paragraph) > 90 for paragraph in shown[1:])
    assert last == "The rest is in `model_card.md`, an artifact of this version's run.\n"


def test_versions_can_be_searched_by_their_policy(described: None) -> None:
    found = MlflowClient().search_model_versions("tags.`policy.threshold` = '0.25'")

    assert [version.version for version in found] in (["1"], [1])


@pytest.mark.slow
def test_a_card_says_nothing_else_than_the_bundle(store: Path, bundle: Bundle) -> None:
    boast = replace(CARD, parameters={"policy.threshold": 0.9}, metrics={"features": 99.0})
    registration.register(bundle, boast)

    data = MlflowClient().get_run(str(MlflowClient().get_model_version("scoring-client", "1").run_id)).data

    assert (data.params["policy.threshold"], data.metrics["features"]) == ("0.25", 17.0)


def test_the_run_shows_parameters_metrics_and_the_card(described: None) -> None:
    experiment = MlflowClient().get_experiment_by_name("scoring-client")
    assert experiment is not None
    (run,) = MlflowClient().search_runs([experiment.experiment_id])
    assert run.data.metrics == {"auc": 0.75, "features": 17.0}
    assert run.data.params == {"policy.threshold": "0.25", "policy.margin": "0.02", "seed": "0"}
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/model_card.md") == CARD.text


def test_the_signature_answers_seven_columns_and_judges_no_input(registered: Path) -> None:
    model = mlflow.models.get_model_info("models:/scoring-client/1")
    signature = model.signature
    assert signature is not None

    assert signature.inputs is None
    assert signature.outputs.input_names() == list(OUTPUT_COLUMNS)
    assert [(param.name, param.default) for param in signature.params] == [("margin", None)]


def test_the_input_example_is_the_documented_client(
    registered: Path, documented_request: dict[str, float]
) -> None:
    example = json.loads((artifact_folder(registered) / "input_example.json").read_text())

    assert dict(zip(example["columns"], example["data"][0], strict=True)) == documented_request


def test_the_stored_model_names_no_folder_of_the_machine_that_built_it(registered: Path) -> None:
    document = yaml.safe_load((artifact_folder(registered) / "MLmodel").read_text())

    flavour = document["flavors"]["python_function"]
    assert flavour["model_code_path"] == "pyfunc.py"
    assert flavour["artifacts"]["bundle"] == {"path": "artifacts/bundle", "uri": "artifacts/bundle"}


@pytest.mark.slow
def test_promote_then_rollback_returns_to_the_former_champion(
    registered: Path, documented_pickle: Path
) -> None:
    for margin in (0.05, 0.06):
        registration.register(*with_margin(documented_pickle, margin), alias="champion")
    moves.promote(1)

    assert [moves.rollback(), moves.rollback()] == [3, 2]
    assert champion() == 2
    with pytest.raises(RollbackRefused, match="No champion was in force before this one"):
        moves.rollback()


@pytest.mark.slow
def test_a_version_that_comes_while_others_are_listed_is_left_out(
    registered: Path, documented_pickle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version appears after the versions were listed and before the aliases are."""
    connect = connection.connect

    class Slow:
        def __init__(self) -> None:
            self._client = connect()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def get_registered_model(self, name: str) -> Any:
            monkeypatch.setattr(connection, "connect", connect)
            registration.register(*with_margin(documented_pickle, 0.05), alias="candidate")
            return self._client.get_registered_model(name)

    monkeypatch.setattr(connection, "connect", Slow)

    assert [(version.number, version.aliases) for version in listing.listed()] == [(1, ("champion",))]


@pytest.mark.slow
def test_another_alias_leaves_the_champion_alone(registered: Path, documented_pickle: Path) -> None:
    registration.register(*with_margin(documented_pickle, 0.05), alias="challenger")

    assert (champion(), listing.version_at(alias="challenger")) == (1, 2)


UNKNOWN: dict[str, Callable[[], Any]] = {
    "promote": lambda: moves.promote(9),
    "alias": lambda: fetch("models:/scoring-client@nope"),
    "version": lambda: fetch("models:/scoring-client/9"),
    "name": lambda: fetch("models:/nope/1"),
    "a name's alias": lambda: fetch("models:/nope@champion"),
    "run": lambda: fetch("runs:/0123456789abcdef0123456789abcdef/model"),
    "logged model": lambda: fetch("models:/m-0123456789abcdef0123456789abcdef"),
    "scheme": lambda: fetch("nope:/x"),
    "empty": lambda: fetch("models:/"),
    "path": lambda: fetch("models:/scoring-client/1/../../x"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_there_is_refused_with_the_way_out(registered: Path, name: str) -> None:
    with pytest.raises(
        LoadingFailed, match=r"^Erreur lors du chargement du modèle : .* ; (lancez|vérifiez) "
    ) as no:
        UNKNOWN[name]()

    assert str(registered) not in str(no.value)


def test_a_logged_model_can_be_fetched_without_a_version(registered: Path, bundle: Bundle) -> None:
    uri = f"models:/{artifact_folder(registered).parent.name}"

    named = versions.resolve(uri)

    assert (fetching.download(named), named.name, named.version) == (bundle, uri, None)


@pytest.mark.slow
def test_a_model_of_another_flavour_is_called_one(registered: Path) -> None:
    """Somebody logs a model with MLflow's own flavour, as a version and without one."""
    classifier = LGBMClassifier(n_estimators=2, n_jobs=1, verbosity=-1).fit(np.eye(40), np.arange(40) % 2)
    logged = mlflow.lightgbm.log_model(
        classifier,
        name="model",
        registered_model_name="theirs",
        pip_requirements=["lightgbm"],  # or MLflow starts a process that looks for them, for seconds
    )

    for uri in ("models:/theirs/1", logged.model_uri):
        with pytest.raises(
            LoadingFailed, match="est un autre modèle MLflow, que Scoring Client n’a pas"
        ) as no:
            fetch(uri)
        assert not isinstance(no.value, OutOfReach)


@pytest.mark.parametrize("name", sorted([*bundles.FILES, "manifest.json"]))
def test_a_tampered_artifact_is_not_served(registered: Path, name: str) -> None:
    path = artifact_folder(registered) / "artifacts" / "bundle" / name
    path.write_bytes(path.read_bytes() + b" ")

    with pytest.raises(LoadingFailed, match=r"empreinte|manifeste"):
        fetch("models:/scoring-client@champion")


def test_a_bundle_exchanged_for_another_whole_one_is_not_served(
    registered: Path, documented_pickle: Path
) -> None:
    folder = artifact_folder(registered) / "artifacts" / "bundle"
    other, _ = with_margin(documented_pickle, 0.2)
    for name, content in {**other.files, "manifest.json": other.manifest}.items():
        (folder / name).write_bytes(content)

    with pytest.raises(LoadingFailed, match="l’empreinte du bundle n’est pas celle de la version 1"):
        fetch("models:/scoring-client@champion")


def test_a_failed_registration_leaves_the_champion(registered: Path, documented_pickle: Path) -> None:
    artifacts = registered / "mlartifacts"
    artifacts.rename(registered / "aside")
    artifacts.write_text("where the artifacts' folder should be")

    with pytest.raises(LoadingFailed, match="enregistrement du modèle : "):
        registration.register(*with_margin(documented_pickle, 0.05))

    artifacts.unlink()
    (registered / "aside").rename(artifacts)
    assert versions.resolve("models:/scoring-client@champion").version == "1"


def test_reading_makes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'absent.db'}")

    with pytest.raises(LoadingFailed, match="aucun registre de modèles : lancez"):
        fetch("models:/scoring-client@champion")
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    with pytest.raises(LoadingFailed, match=r"MLFLOW_TRACKING_URI$"):
        fetch("models:/scoring-client@champion")


def test_a_store_that_is_no_database_is_said_to_be_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")

    with pytest.raises(LoadingFailed, match=r"MLFLOW_TRACKING_URI$"):
        fetch("models:/scoring-client@champion")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["mlflow_model.registry.versions", "training.__main__"])
def test_mlflow_does_not_report_to_its_makers_how_it_is_used(module: str) -> None:
    code = f"""
import {module}
import mlflow.telemetry
print(mlflow.telemetry.get_telemetry_client())
"""
    # Without the variables by which MLflow recognises a test.
    environment = {name: os.environ[name] for name in ("PATH", "HOME")}

    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )

    assert shown.stdout == "None\n"


UNUSABLE_STORES = {
    "a folder": ("sqlite:///{folder}", "ne nomme pas un fichier SQLite dans un dossier existant"),
    "in no folder": ("sqlite:///{folder}/none/mlflow.db", "ne nomme pas un fichier SQLite"),
    "in memory": ("sqlite://", "un registre en mémoire serait aussitôt oublié"),
    "in memory by name": ("sqlite:///:memory:", "un registre en mémoire serait aussitôt oublié"),
    "without a driver": ("mysql+pymysql://u@127.0.0.1/x", "le pilote de ce registre n’est pas installé"),
    "not listening": ("http://127.0.0.1:9", "registre injoignable ; vérifiez MLFLOW_TRACKING_URI"),
}


@pytest.mark.parametrize("kind", UNUSABLE_STORES)
def test_a_registry_that_cannot_be_used_is_refused_within_seconds(
    kind: str, documented_pickle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, sentence = UNUSABLE_STORES[kind]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(folder=tmp_path))
    started = time.monotonic()

    refused = register_py("--pickle", str(documented_pickle))

    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - started < 60  # with MLflow's own defaults it takes minutes


@pytest.mark.slow
@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "postgresql+psycopg://mlflow@127.0.0.1/mlflow"])
def test_without_sqlalchemy_a_database_is_refused_with_what_to_do(uri: str, tmp_path: Path) -> None:
    code = """
import sys
sys.modules["sqlalchemy"] = None  # as in an environment of requirements-serve.txt
from mlflow_model.registry import connection
connection.connect()
"""
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}

    refused = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.stderr.splitlines()[-1].endswith(
        "le pilote de ce registre n’est pas installé ; passez par « mlflow server » (docs/operations.md)"
    )


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


@pytest.mark.slow
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
def test_a_registry_whose_making_was_killed_is_made_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = servers.registry_in(tmp_path)

    def unfinished() -> list[Path]:
        return list(tmp_path.glob(".mlflow.db-unfinished-*/mlflow.db"))

    with servers.process([sys.executable, "register.py"], environment, tmp_path / "log") as killed:
        servers.eventually(unfinished, "an unfinished registry")
        killed.kill()
        killed.wait(servers.PATIENCE)

    assert not (tmp_path / "mlflow.db").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", environment["MLFLOW_TRACKING_URI"])
    assert "version 1 registered" in register_py().stderr
    assert not unfinished()


@pytest.mark.slow
def test_a_registry_may_lie_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a%20b, what? é #1"
    place.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri_of(place / "mlflow.db"))

    assert "version 1 registered" in register_py().stderr
    assert "version 2 registered" in register_py("--margin", "0.03").stderr
    assert "champion" in register_py("list").stdout
    assert sorted(one.name for one in place.iterdir()) == ["mlartifacts", "mlflow.db"]


def test_the_project_s_own_registry_may_lie_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROOT", tmp_path / "100%")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    assert store.uri() == f"sqlite:///{tmp_path}/100%25/mlflow.db"


@pytest.mark.slow
def test_what_sqlite_left_of_a_registry_that_is_gone_is_not_replayed_into_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process leaves it that was killed while it wrote."""
    file, journal = tmp_path / "mlflow.db", tmp_path / "mlflow.db-journal"
    with closing(sqlite3.connect(file, isolation_level=None)) as writing:
        writing.execute("CREATE TABLE filled AS SELECT randomblob(1000000) AS content")
        writing.execute("PRAGMA cache_size = 1")
        writing.execute("BEGIN")
        writing.execute("UPDATE filled SET content = randomblob(1000000)")
        left = journal.read_bytes()
        writing.execute("ROLLBACK")
    file.unlink()
    journal.write_bytes(left)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")

    assert "version 1 registered" in register_py().stderr
    with closing(sqlite3.connect(file)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


CREATED = {
    "another database": "CREATE TABLE accounts (number)",
    "a table called experiments": "CREATE TABLE experiments (number)",
    "a view": "CREATE VIEW accounts AS SELECT 1",
}


@pytest.mark.slow
def test_a_link_to_a_registry_that_is_absent_stays_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "mlflow.db").symlink_to(tmp_path / "kept" / "registry.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    assert "version 1 registered" in register_py().stderr
    assert (tmp_path / "mlflow.db").is_symlink()
    assert (tmp_path / "kept" / "registry.db").is_file()


@pytest.mark.parametrize(
    "content",
    [
        "another database",
        pytest.param("a table called experiments", marks=pytest.mark.slow),
        pytest.param("a view", marks=pytest.mark.slow),
        "no database",
    ],
)
def test_a_file_that_is_no_registry_is_left_as_it_is(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "accounts.db"
    if content in CREATED:
        with closing(sqlite3.connect(file)) as opened:
            opened.execute(CREATED[content])
    else:
        file.write_text("accounts\n" * 1000)
    before = file.read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")

    refused = [register_py(), register_py("list")]

    assert [one.returncode for one in refused] == [2, 2]
    assert all("« accounts.db » n’est pas un registre de MLflow" in one.stderr for one in refused)
    assert file.read_bytes() == before


@pytest.mark.slow
def test_a_registry_that_cannot_grow_says_so_in_one_sentence(registered: Path) -> None:
    limit = ["prlimit", f"--fsize={(registered / 'mlflow.db').stat().st_size}"]

    refused = subprocess.run(
        [*limit, sys.executable, "register.py", "--margin", "0.07"],
        cwd=servers.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode == 2
    assert refused.stderr.splitlines()[2:] == [
        "Erreur lors du chargement du modèle : enregistrement du modèle : "
        "le disque refuse d’écrire le registre ; libérez de la place, ou vérifiez-le"
    ]


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            "(sqlite3.OperationalError) attempt to write a readonly database",
            "le registre est en lecture seule",
        ),
        ("(sqlite3.OperationalError) database or disk is full", "le disque est plein"),
        ("Detected out-of-date database schema (found version x)", "lancez « mlflow db upgrade »"),
    ],
)
def test_what_a_database_says_is_put_into_words(told: str, sentence: str) -> None:
    with pytest.raises(OutOfReach, match=sentence), failures.in_words("essai"):
        raise MlflowException(told)


@pytest.mark.slow
def test_the_next_command_names_the_model_and_is_not_given_for_the_champion(registered: Path) -> None:
    register_py("--name", "my model")

    mine = register_py("--name", "my model", "--margin", "0.03")
    champion = register_py("--name", "my model", "--alias", "challenger")

    assert "register.py --name 'my model' promote 2 compares it with the champion" in mine.stderr
    assert champion.stderr.splitlines()[-1].endswith("challenger points at it")
