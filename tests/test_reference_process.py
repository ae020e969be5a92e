"""The process that answers about the version and the reference clients, and what bounds it."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.deciding.computing_pool import Pool
from api.deciding.places import Places, Room
from api.deciding.service import Service
from api.delivery.news import Copy
from api.delivery.served import Model, loaded
from api.reference.enquiries import Enquiries, reference_pool
from api.reference.errors import TooManyEnquiries
from api.reference.tasks import Enquiry
from api.web.routes import flask_app
from mlflow_model.bundle.bundles import Bundle
from tests import servers
from tests.live import line_with, workers_of
from tests.servers import JSON, Answer, FlaskDoor, SocketDoor

TOO_MANY = "Trop de questions sont posées à la fois sur la version servie : réessayez dans une seconde."


def neighbours(door: servers.Door, client: object) -> Answer:
    return door.send("POST", "/neighbours", json.dumps(client).encode(), JSON)


# ---- In a service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketDoor]:
    """It serves the shipped model, and has the reference that comes with it."""
    with servers.shipped(tmp_path_factory.mktemp("service")) as door:
        yield door


def process_of(service: SocketDoor) -> int:
    (pid,) = [
        pid for pid in servers.descendants(service.pid) if "reference_process" in servers.command_line(pid)
    ]
    return pid


def test_the_shipped_model_is_told_with_the_policy_and_the_population_of_its_training(
    service: SocketDoor,
) -> None:
    told = service.get("/model").content

    provenance, features = told["policy"]["provenance"], {one["name"]: one for one in told["features"]}
    assert provenance["costs"] == {"false_negative": 5.0, "false_positive": 1.0}
    assert told["source"]["kind"] == "pickle"
    assert told["explains"] is True
    assert 0.5 < features["EXT_SOURCE_1"]["population"]["missing"] < 0.6
    assert len(features["AMT_CREDIT"]["population"]["quantiles"]) == 101
    assert sum(one["share_of_gain"] for one in features.values()) == pytest.approx(1.0)


def test_a_process_of_its_own_reads_the_reference_and_one_that_ends_is_replaced(
    service: SocketDoor, documented_request: dict[str, Any]
) -> None:
    before = service.get("/reference")
    first = process_of(service)
    os.kill(first, signal.SIGKILL)
    after = service.get("/reference")

    assert (before.status, after.content) == (200, before.content)
    assert before.content["reference"]["clients"] == 10_000
    assert before.content["figures"]["auc"] == pytest.approx(0.77, abs=0.02)
    assert process_of(service) != first
    assert neighbours(service, documented_request).status == 200
    (worker,) = workers_of(service)
    assert "libarrow" not in Path(f"/proc/{worker}/maps").read_text()
    assert "libarrow" in Path(f"/proc/{process_of(service)}/maps").read_text()


def test_no_clients_value_is_logged(service: SocketDoor, documented_request: dict[str, Any]) -> None:
    neighbours(service, documented_request | {"AMT_CREDIT": 200_123.25})

    line_with(service, '"path": "/neighbours"')
    assert "200123.25" not in service.said


# ---- Bounds


@pytest.fixture(scope="module")
def model(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("copies") / bundle.digest
    bundle.write(folder)
    return loaded(Copy(str(folder), "scoring-client", "7", "champion"))


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = reference_pool()
    yield pool
    pool.end()


def asking(model: Model, pool: Pool) -> FlaskDoor:
    service = Service(servers.Serving(model))
    return FlaskDoor(flask_app(service, enquiries=Enquiries(service, pool)))


def is_refused(answer: Answer) -> bool:
    return (answer.status, answer.error, answer.headers.get("Retry-After")) == (503, TOO_MANY, "1")


def test_one_question_is_answered_at_a_time_and_decisions_go_on(
    model: Model, pool: Pool, documented_request: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    door = asking(model, pool)
    monkeypatch.setattr(Enquiry, "places", Places(Room(1, 1, 0.05), TooManyEnquiries))

    with Enquiry.places.taken():
        refused = [door.get(path) for path in ("/model", "/reference", "/reference/clients")]
        refused.append(neighbours(door, documented_request))
        decided = door.predict(documented_request)

    assert all(map(is_refused, refused))
    assert decided.status == 200
    assert door.get("/model").status == 200


def no_process() -> Any:
    raise BlockingIOError(11, "no process more")


def test_where_no_process_can_be_started_no_thread_reads_the_reference(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REFERENCE", str(tmp_path / "nowhere.parquet"))  # who looked would answer 404

    assert is_refused(asking(model, Pool(no_process)).get("/reference"))


@pytest.mark.slow
def test_after_the_end_of_the_pool_a_question_is_asked_to_come_back(model: Model, pool: Pool) -> None:
    pool.end()

    assert is_refused(asking(model, pool).get("/reference"))


@pytest.mark.slow
def test_a_question_that_takes_too_long_is_asked_to_come_back_and_its_process_is_ended(
    model: Model, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Enquiry, "seconds", 0.0)

    answer = asking(model, pool).get("/reference")

    assert (answer.status, answer.error) == (
        503,
        "La réponse n’a pas été calculée en 0 s : réessayez plus tard.",
    )
    assert pool._idle == []
