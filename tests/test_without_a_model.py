"""An API without a model: why it answers 503, what MODEL_URI may name, and when it serves."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.app import create_app
from api.delivery.served import ServedModel
from mlflow_model.handover import model_files
from mlflow_model.registry import connection, registration
from tests import servers
from tests.looking import look_once
from tests.servers import Answer, Door, FlaskDoor, SocketDoor

pytest_plugins = ["tests.api_support"]


LOADING = "Erreur lors du chargement du modèle : "


# ---- 503, with the reason


def test_a_starting_api_says_that_it_is_loading(tmp_path: Path) -> None:
    with servers.api(servers.registry_in(tmp_path), tmp_path / "log") as door:
        answer = door.get("/ready")

    detail = "chargement en cours ; réessayez dans quelques secondes"
    assert (answer.status, answer.error) == (503, LOADING + detail)


@dataclass(frozen=True)
class Reason:
    """Why an API without a model answers 503: the same sentence at /ready and at /predict."""

    ready: Answer
    predict: Answer

    @property
    def sentence(self) -> str:
        assert (self.ready.status, self.predict.status) == (503, 503)
        assert self.ready.error == self.predict.error
        return self.ready.error


def reason(environment: Mapping[str, str], log: Path) -> Reason:
    """What it says once the first attempt to load has failed."""
    with servers.api(environment, log) as door:

        def failed() -> Answer | None:
            answer = door.get("/ready")
            return None if "chargement en cours" in answer.error else answer

        return Reason(servers.eventually(failed, "a reason other than loading"), door.predict({}))


def test_an_absent_pickle_is_called_by_its_name(tmp_path: Path) -> None:
    environment = servers.alone(tmp_path / "lgbm_final_model.pkl", tmp_path)

    found = reason(environment, tmp_path / "log")

    assert found.sentence == "Le fichier Pickle 'lgbm_final_model.pkl' est introuvable."


def test_a_pickle_without_its_keys_is_refused_in_the_documented_words(tmp_path: Path) -> None:
    pickle = tmp_path / "lgbm_final_model.pkl"
    pickle.write_bytes(b"\x80\x04}.")  # an empty dict

    found = reason(servers.alone(pickle, tmp_path), tmp_path / "log")

    assert found.sentence == ("Le fichier Pickle ne contient pas les bonnes clés ('model', 'features').")


@pytest.mark.slow
def test_a_file_that_is_no_pickle_is_a_loading_failure(tmp_path: Path) -> None:
    pickle = tmp_path / "lgbm_final_model.pkl"
    pickle.write_bytes(b"PK\x03\x04 this is a zip file")

    found = reason(servers.alone(pickle, tmp_path), tmp_path / "log")

    assert found.sentence.startswith(f"{LOADING}ce fichier est une archive zip ; décompressez-la")


@pytest.mark.slow
def test_any_other_failure_to_load_is_told_with_the_way_out(several_versions: Path, tmp_path: Path) -> None:
    """Such as a tampered artifact."""
    environment = servers.registry_in(several_versions) | {"MODEL_URI": "models:/wrecks@tampered"}

    found = reason(environment, tmp_path / "log")

    assert found.sentence == (
        f"{LOADING}version 1 de wrecks refusée : l’empreinte de 'policy.json' ne correspond pas au manifeste"
        " ; réenregistrez le modèle avec « python register.py »"
    )


@pytest.mark.parametrize(
    ("uri", "detail"),
    [
        pytest.param(
            "models:/scoring-client@nobody",
            "models:/scoring-client@nobody : introuvable ; lancez « python register.py list »",
            id="unknown alias",
        ),
        pytest.param(
            "models:/wrecks@deadly",
            "la version arrête le processus qui la charge ; réenregistrez",
            id="model that kills whoever loads it",
        ),
        pytest.param(
            "models:/scoring-client/99",
            "models:/scoring-client/99 : introuvable ; lancez",
            id="unknown version",
        ),
        pytest.param(
            "models:/nobody@champion", "models:/nobody@champion : introuvable ; lancez", id="unknown model"
        ),
        pytest.param("models:/", "", id="no name"),
        pytest.param("models:/scoring-client", "", id="neither version nor alias"),
        pytest.param("models:/scoring-client@", "", id="empty alias"),
        pytest.param("runs:/nobody/model", "", id="unknown run"),
        pytest.param("nowhere/at/all", "", id="path of nothing"),
        pytest.param("ftp:/x", "", id="unknown scheme"),
    ],
)
def test_the_loader_says_why_a_model_cannot_be_had(
    several_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, detail: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", servers.registry_in(several_versions)["MLFLOW_TRACKING_URI"])

    news = look_once(uri, tmp_path)

    assert news.copy is None
    assert news.problem is not None
    assert re.match(
        f"{re.escape(LOADING)}(version . de [a-z-]+ refusée : )?{re.escape(detail)}", news.problem
    )


@pytest.mark.parametrize(
    ("uri", "version"),
    [
        pytest.param("models:/scoring-client@champion", "1", id="alias"),
        pytest.param("models:/scoring-client/2", "2", id="version"),
        pytest.param("models:/scoring-client/latest", "2", id="latest version"),
        pytest.param("{source}", None, id="logged model"),
        pytest.param("runs:/{run_id}/model", None, id="run"),
    ],
)
def test_any_mlflow_model_uri_names_the_model(
    several_versions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
    version: str | None,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", servers.registry_in(several_versions)["MLFLOW_TRACKING_URI"])
    registered = connection.connect().get_model_version("scoring-client", "1")

    loaded = look_once(uri.format(source=registered.source, run_id=registered.run_id), tmp_path).copy

    assert loaded is not None
    assert loaded.version == version
    assert Path(loaded.folder).is_dir()


def test_a_path_in_model_uri_is_not_shown_to_callers(
    several_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", servers.registry_in(several_versions)["MLFLOW_TRACKING_URI"])

    problem = look_once(str(tmp_path / "nowhere"), tmp_path).problem

    assert problem is not None
    assert str(tmp_path) not in problem


# ---- 503, then 200


@pytest.mark.slow
def test_an_api_without_a_model_serves_as_soon_as_there_is_one(
    store: Path, documented_pickle: Path, documented_request: dict[str, float], tmp_path: Path
) -> None:
    environment = servers.registry_in(store) | {"RELOAD_SECONDS": "1"}
    with servers.api(environment, tmp_path / "log") as door:
        before = [door.get("/ready"), door.predict(documented_request)]
        registration.register(*model_files.convert(documented_pickle))
        ready = servers.ready(door)
        after = door.predict(documented_request)

    assert [answer.status for answer in before] == [503, 503]
    assert (ready.content["version"], after.status) == ("1", 200)


def test_a_pickle_stands_alone_and_no_registry_is_made(socket_door: SocketDoor) -> None:
    content = socket_door.get("/ready").content

    assert (content["name"], content["version"], content["alias"]) == ("lgbm_final_model.pkl", None, None)
    assert sorted(path.name for path in socket_door.log.parent.iterdir()) == ["cache", "log"]


def test_health_says_alive_with_or_without_a_model(door: Door) -> None:
    without = FlaskDoor(create_app(ServedModel()))

    answers = [door.get("/health"), without.get("/health")]

    assert [(answer.status, answer.content) for answer in answers] == [(200, {"status": "alive"})] * 2
