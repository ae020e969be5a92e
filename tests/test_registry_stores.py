"""Stores that are absent, away, unusable or not whole, or cannot grow: one sentence, and nothing lost."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from mlflow_model.errors import LoadingFailed, OutOfReach
from mlflow_model.registry import (
    failures,
    store,
)
from tests import servers
from tests.command_line import register_py
from tests.registry_support import fetch
from tests.servers import ROOT


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
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode == 2
    assert refused.stderr.splitlines()[2:] == [
        "Erreur lors du chargement du modèle : enregistrement du modèle : "
        "le disque refuse d’écrire le registre ; libérez de la place, relevez « ulimit -f », ou vérifiez-le"
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
