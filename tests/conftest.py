"""What many tests stand on: a small trained model, its documented pickle, a registry that holds it."""

import fcntl
import gc
import json
import os
import pickle
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

# As in a shell where this environment is active: there sentences say `python`. make's own has it on the PATH.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ.pop("MAKELEVEL", None)
# A service records its decisions unless somebody says that it shall not: those of tests do not.
os.environ["JOURNAL_URL"] = "off"
# Tests run side by side: OpenMP threads that wait for a busy core by spinning would take minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from lightgbm import LGBMClassifier

from features.catalogue import BY_NAME
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.handover import model_files

# On a busy machine the first example alone takes longer than Hypothesis allows.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")

LONGEST = (
    "test_hostile_pickles",  # whose bound of memory holds for all children of a process that have ended
    "test_offers",
    "test_alias_every_second",
    "test_deployment",
    "test_training_run",
    "test_training_protocol",
    "test_commands",
    "test_serving_set",
    "test_dashboard_browser",
    "test_every_door",
    "test_batch_score",
    "test_batch_files",
    "test_live",
    "test_dashboard_review",
    "test_promotion",
    "test_dashboard_portfolio",
    "test_service_checkpoints",
    "test_computing_process",
    "test_recording",
    "test_trial",
    "test_starting",
    "test_production",
    "test_writer_process",
    "test_journal_evidence",
    "test_explanation_process",
    "test_promotion_overrides",
    "test_signed_promotions",
    "test_registry_commands",
    "test_live_faults",
    "test_processes_that_hang",
    "test_pickles",
    "test_synthetic",
    "test_features_from_tables",
    "test_access",
    "test_registry",
    "test_registry_stores",
    "test_without_a_model",
    "test_dashboard_decision",
    "test_journal_replay",
    "test_journal_store",
    "test_documentation",
    "test_past_explanations",
    "test_shipped_model",
    "test_journal_kills",
    "test_machine",
    "test_model_files",
    "test_screening",
    "test_signed_numbers",
    "test_installation",
)
SLOW_TIMEOUT_SECONDS = 1_200
OPERATORS_FILES = ("MODEL_PUBLIC_KEY", "TARIFF_FILE")
FEATURES = (
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
)
SOMETIMES_MISSING = frozenset(name for name in FEATURES if name.startswith(("EXT", "INSTA", "POS", "DEBT")))


def random_clients(count: int, seed: int) -> pd.DataFrame:
    """Nobody's values: uniform over each feature's usual range, a third missing where missing is usual."""
    generator = np.random.default_rng(seed)
    columns = {}
    for name in FEATURES:
        values = generator.uniform(BY_NAME[name].low, BY_NAME[name].high, count)
        if name in SOMETIMES_MISSING:
            values[generator.random(count) < 1 / 3] = np.nan
        columns[name] = values
    return pd.DataFrame(columns)


def random_outcomes(clients: pd.DataFrame, seed: int) -> np.ndarray:
    """Defaults that depend on every feature a little, so that each gets splits."""
    generator = np.random.default_rng(seed)
    ranks = clients.rank(pct=True).fillna(0.7).to_numpy() - 0.5
    weights = np.where(np.arange(len(FEATURES)) % 2, 1.4, -1.4)
    log_odds = ranks @ weights - 1.2
    return (generator.random(len(clients)) < 1 / (1 + np.exp(-log_odds))).astype(int)


@pytest.fixture(scope="session")
def trained() -> LGBMClassifier:
    """A classifier of the 17 documented features, small enough to be fitted in a blink."""
    clients = random_clients(3000, seed=1)
    model = LGBMClassifier(n_estimators=60, num_leaves=8, n_jobs=1, random_state=0, verbosity=-1)
    return model.fit(clients, random_outcomes(clients, seed=2))


@pytest.fixture(scope="session")
def documented_pickle(trained: LGBMClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-over in the documented form, with a threshold that puts clients on both sides."""
    path = tmp_path_factory.mktemp("models") / "lgbm_final_model.pkl"
    content = {"model": trained, "features": list(FEATURES), "optimal_threshold": 0.25, "margin": 0.02}
    path.write_bytes(pickle.dumps(content, protocol=4))
    return path


@pytest.fixture(scope="session")
def bundle(documented_pickle: Path) -> Bundle:
    return model_files.convert(documented_pickle)[0]


@pytest.fixture
def documented_request() -> dict[str, float]:
    """The request of the /predict contract, to the letter."""
    return {
        "AMT_ANNUITY": 15000,
        "AMT_CREDIT": 200000,
        "AMT_GOODS_PRICE": 180000,
        "CREDIT_TERM": 60,
        "DAYS_BIRTH": -12000,
        "DAYS_ID_PUBLISH": -3000,
        "DAYS_REGISTRATION": -4000,
        "EXT_SOURCE_1": 0.5,
        "EXT_SOURCE_2": 0.7,
        "EXT_SOURCE_3": 0.6,
        "DEBT_CREDIT_RATIO": 0.3,
        "ANNUITY_BIRTH_RATIO": 0.02,
        "ANNUITY_INCOME_PERCENT": 0.1,
        "CREDIT_GOODS_RATIO": 1.1,
        "INSTA_AMT_PAYMENT": 10000,
        "INSTA_NUM_INSTALMENT_VERSION": 3,
        "POS_CNT_INSTALMENT_FUTURE": 2,
    }


@pytest.fixture
def body(documented_request: dict[str, float]) -> bytes:
    return json.dumps(documented_request).encode()


def pytest_configure() -> None:
    """A shell has what it starts in the background ignore Ctrl-C, and so would all that the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collectstart() -> None:
    """Until everything is collected, nearly all that comes stays: to look for garbage would take seconds."""
    gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no process works on one of them when the others have ended.

    On a machine with other work a slow test takes several times as long as on a quiet one.
    """
    for item in items:
        is_slow = item.get_closest_marker("slow") or item.get_closest_marker("endurance")
        if is_slow and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_SECONDS))
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    """What the tests import stays. To look through it again and again for garbage would take minutes."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With NOTHING_SKIPPED set, as .ci/run does, a test that was skipped counts as failed."""
    gc.unfreeze()  # or libraries tell at the end of what was never collected
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("NOTHING_SKIPPED") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _use_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first test process fills and the others wait for. Who changes it copies it first."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, whole = shared / name, shared / f"{name}.whole"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that could not make it
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow database costs seconds of migrations: one for all test processes, copied for each test."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def make(folder: Path) -> None:
        SqlAlchemyStore(f"sqlite:///{folder / 'mlflow.db'}", str(folder / "mlruns")).engine.dispose()

    return made_once(tmp_path_factory, "migrated", make) / "mlflow.db"


@pytest.fixture
def store(migrated_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty registry, which MLFLOW_TRACKING_URI names."""
    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    _use_store(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="session")
def one_version(
    migrated_store: Path, documented_pickle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Its champion is the pickle. To be copied: a registration costs a large part of a second."""
    from mlflow_model.registry import registration

    def make(folder: Path) -> None:
        shutil.copy(migrated_store, folder / "mlflow.db")
        with pytest.MonkeyPatch.context() as patch:
            _use_store(folder, patch)
            registration.register(*model_files.convert(documented_pickle))

    return made_once(tmp_path_factory, "one_version", make)


@pytest.fixture(scope="session")
def three_versions(
    one_version: Path, documented_pickle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Version 1 is champion with threshold 0.25; 2 has a slightly larger margin, 3 another threshold."""
    from mlflow_model.registry import registration

    def make(folder: Path) -> None:
        copied_registry(one_version, folder)
        with pytest.MonkeyPatch.context() as patch:
            _use_store(folder, patch)
            registration.register(*model_files.convert(documented_pickle, margin=0.021), alias="candidate")
            registration.register(*model_files.convert(documented_pickle, threshold=0.6), alias="candidate")

    return made_once(tmp_path_factory, "three_versions", make)


def copied_registry(template: Path, folder: Path) -> None:
    """A registry names its artifacts by absolute paths: in the copy these are its own."""
    shutil.copytree(template / "mlartifacts", folder / "mlartifacts")
    shutil.copy(template / "mlflow.db", folder)
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        for table, column in _PATH_COLUMNS:
            statement = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"  # noqa: S608 - our own names
            database.execute(statement, (str(template), str(folder)))


_PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@pytest.fixture
def registered(one_version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry whose champion is the documented pickle."""
    return _used(one_version, tmp_path, monkeypatch)


@pytest.fixture
def candidates(three_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return _used(three_versions, tmp_path, monkeypatch)


def _used(template: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from mlflow_model.registry import connection

    copied_registry(template, folder)
    _use_store(folder, monkeypatch)
    connection.connect()
    return folder


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test depends on, or changes, what the developer has set."""
    for variable in ("MODEL_URI", "MODEL_CACHE", "PORT", "API_URL", "API_TOKEN", *OPERATORS_FILES):
        monkeypatch.delenv(variable, raising=False)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def short_training() -> Iterator[None]:
    """Few trees and few bootstraps: for tests of what holds for any number of them."""
    # Imported here: most tests train nothing.
    from quality import bootstrap
    from training.protocol import candidates

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(candidates.PARAMETERS, "n_estimators", 40)
        patch.setattr(bootstrap, "RESAMPLINGS", 40)
        yield
