"""Past decisions where there are no tokens, no journal and no model, or the journal is away."""

import os
import re
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from api.deciding.computing_pool import Pool
from api.deciding.service import Service
from api.reviewing import questions
from api.reviewing.desk import Desk, journal_pool
from api.web.routes import flask_app
from journal.ids import written
from mlflow_model.bundle.bundles import Bundle
from tests import servers
from tests.journal_support import changed, journal_at, receipt_of, write
from tests.review_support import DAMAGED, NOBODY, SILENT, Bank, Client, bank_in, journal_processes
from tests.servers import FlaskDoor

pytest_plugins = ["tests.api_support", "tests.review_fixtures"]


# ---- A service without tokens, without a journal, without a model


def test_without_tokens_the_reviewer_is_a_field_of_the_body(open_bank: Bank) -> None:
    decision = open_bank.decided("grey")

    unnamed = open_bank.review(None, decision, "accept")
    named = open_bank.review(None, decision, "accept", reviewer="Anna  B.")
    contrary = open_bank.review(None, decision, "refuse", reviewer="ben")

    assert unnamed.status == 400
    assert unnamed.error.endswith("reviewer doit être un nom imprimable de 1 à 64 caractères")
    assert (named.status, named.content["reviewer"]) == (201, "Anna B.")
    assert contrary.status == 201


def test_the_description_tells_of_past_decisions(open_bank: Bank) -> None:
    document = open_bank.get(None, "/openapi.json").content
    operations = [one for path in document["paths"].values() for one in path.values()]

    paths = {path: [*methods] for path, methods in document["paths"].items() if "decisions" in path}
    references = re.findall(r"'#/components/schemas/(\w+)'", str(operations) + str(document["components"]))
    assert paths == {
        "/decisions": ["get"],
        "/decisions/{id}": ["get"],
        "/decisions/{id}/explanation": ["get"],
        "/decisions/{id}/review": ["post"],
    }
    assert set(references) == set(document["components"]["schemas"])


def test_the_description_tells_of_the_headers_of_a_decision(open_bank: Bank) -> None:
    predict = open_bank.get(None, "/openapi.json").content["paths"]["/predict"]["post"]
    (asked,) = predict["parameters"]
    answer = open_bank.send(
        None,
        "POST",
        "/predict",
        open_bank.clients["grey"],
        **{asked["name"]: "d" * asked["schema"]["maxLength"]},
    )

    assert asked["in"] == "header"
    assert answer.status == 200
    assert {*predict["responses"]["200"]["headers"]} == {"X-Decision-Id"} <= answer.headers.keys()


def test_answers_have_the_keys_that_are_described(open_bank: Bank) -> None:
    decision = open_bank.decided("risky")
    review = open_bank.review(None, decision, "accept", reviewer="anna").content
    one = open_bank.get(None, f"/decisions/{decision}").content
    page = open_bank.get(None, "/decisions").content

    schemas = open_bank.get(None, "/openapi.json").content["components"]["schemas"]
    line = schemas["PastDecisions"]["properties"]["decisions"]["items"]
    for told, schema in (
        (review, schemas["Review"]),
        (one, schemas["PastDecision"]),
        (page, schemas["PastDecisions"]),
        (page["decisions"][0], line),
        (one["reviews"][0], schemas["PastDecision"]["properties"]["reviews"]["items"]),
    ):
        assert told.keys() == schema["properties"].keys() == {*schema["required"]}


@pytest.mark.slow
def test_without_a_journal_there_is_no_past_decision(
    documented_pickle: Path, client_of_each_label: dict[str, Client], tmp_path: Path
) -> None:
    environment = servers.alone(documented_pickle, tmp_path) | {"JOURNAL_URL": "off"}
    with servers.api(environment, tmp_path / "log") as door:
        servers.ready(door)
        bank = Bank(door, {}, client_of_each_label)
        answers = [
            bank.get(None, "/decisions"),
            bank.get(None, f"/decisions/{NOBODY}"),
            bank.review(None, NOBODY, "accept", reviewer="anna"),
        ]
        described = door.get("/openapi.json").body

    assert {one.status for one in answers} == {404}
    assert {one.error for one in answers} == {
        "Ce service ne tient pas de journal : il ne connaît aucune décision passée."
    }
    assert b"/decisions" not in described


# ---- The journal is away


@pytest.mark.slow
def test_while_the_journal_is_locked_reviews_are_refused_within_a_second_and_then_made(
    documented_pickle: Path, client_of_each_label: dict[str, Client], tmp_path: Path
) -> None:
    with bank_in(tmp_path, documented_pickle, client_of_each_label) as bank:
        decision = bank.decided("grey")
        bank.get("anna", f"/decisions/{decision}")  # the process has started
        with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as locking:
            locking.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            refused = bank.review("anna", decision, "accept")
            took = time.monotonic() - began
            read = bank.get("anna", f"/decisions/{decision}")
            locking.execute("ROLLBACK")
        made = bank.review("anna", decision, "accept")

    assert (refused.status, refused.error, refused.headers["Retry-After"]) == (503, SILENT, "1")
    assert took < 1.5  # beside others on a busy machine
    assert (read.status, made.status) == (200, 201)


@pytest.mark.slow
def test_a_journal_that_is_away_is_missed_within_a_second_and_found_again(
    documented_pickle: Path, client_of_each_label: dict[str, Client], tmp_path: Path
) -> None:
    with bank_in(tmp_path, documented_pickle, client_of_each_label) as bank:
        decision = bank.decided("grey")
        bank.get("anna", f"/decisions/{decision}")
        (tmp_path / "journal.db").rename(tmp_path / "away.db")
        began = time.monotonic()
        away = [bank.get("anna", f"/decisions/{decision}"), bank.review("anna", decision, "accept")]
        took = time.monotonic() - began
        (tmp_path / "away.db").rename(tmp_path / "journal.db")
        back = bank.get("anna", f"/decisions/{decision}")
        said = bank.door.said

    assert [(one.status, one.error) for one in away] == [(503, SILENT)] * 2
    assert took < 2.0
    assert back.status == 200
    assert "the journal cannot be asked: there is no journal" in said


@pytest.mark.slow
def test_a_damaged_receipt_is_told_as_damage_and_nobody_is_told_to_try_again(
    documented_pickle: Path, client_of_each_label: dict[str, Client], tmp_path: Path
) -> None:
    with bank_in(tmp_path, documented_pickle, client_of_each_label) as bank:
        first, decision, other = (bank.decided("grey") for _ in range(3))
        damage = f"UPDATE record SET lasting = x'00' WHERE id = x'{_hex(decision)}'"  # noqa: S608 - our own
        changed(tmp_path / "journal.db", damage)
        third = bank.decided("grey")
        answer = bank.get("anna", f"/decisions/{decision}")
        pages = [bank.get("anna", f"/decisions?{query}") for query in ("", "limit=2", f"after={decision}")]
        whole = bank.get("anna", f"/decisions/{other}")
        changed(tmp_path / "journal.db", f"UPDATE record SET id = x'00' WHERE id = x'{_hex(third)}'")  # noqa: S608 - our own
        unnamed = bank.get("anna", "/decisions?limit=1")
        said = bank.door.said

    assert (answer.status, answer.error) == (500, DAMAGED)
    assert "Retry-After" not in answer.headers
    listed = [[one["id"] for one in page.content["decisions"]] for page in pages]
    assert listed == [[third, other, first], [third, other], [first]]
    (named,) = pages[0].content["damaged"]
    assert named["id"] == decision
    assert named["error"] == f"L’enregistrement {named['position']} est endommagé\u00a0: {_MORE}"
    assert pages[1].content["next"] == other
    assert whole.status == 200
    assert [one["id"] for one in unnamed.content["decisions"]] == [other] == [unnamed.content["next"]]
    assert [one["id"] for one in unnamed.content["damaged"]] == [None]
    assert "is damaged and cannot be read: python -m journal verify says more" in said


_MORE = "«\u00a0python -m journal verify\u00a0» en dit plus."


def _hex(decision: str) -> str:
    return decision.replace("-", "")


@pytest.mark.slow
def test_where_no_process_answers_the_next_one_does(
    documented_pickle: Path, client_of_each_label: dict[str, Client], tmp_path: Path
) -> None:
    with bank_in(tmp_path, documented_pickle, client_of_each_label) as bank:
        decision = bank.decided("grey")
        bank.get("anna", f"/decisions/{decision}")
        (pid,) = journal_processes(bank)
        os.kill(pid, signal.SIGKILL)
        servers.eventually(lambda: not servers.is_alive(pid) or None, "its end")

        assert bank.get("anna", f"/decisions/{decision}").status == 200


def test_where_no_process_can_be_started_a_thread_answers(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_process() -> Any:
        raise BlockingIOError(11, "no process more")

    journal_at(tmp_path, monkeypatch)
    one = receipt_of(0.25)
    write([one])
    service = Service(servers.serving(bundle.scorer()))
    door = FlaskDoor(flask_app(service, Desk(service, tmp_path / "cache", Pool(no_process))))

    told = door.get(f"/decisions/{written(one.id)}").content

    assert told["inputs"]["EXT_SOURCE_1"] is None
    assert told["decision"]["probability_class_1"] == 0.25


def test_after_the_end_of_the_pool_a_question_is_asked_to_come_back(bundle: Bundle, tmp_path: Path) -> None:
    over = journal_pool()
    over.end()
    service = Service(servers.serving(bundle.scorer()))
    door = FlaskDoor(flask_app(service, Desk(service, tmp_path / "cache", over)))

    answer = door.get("/decisions")

    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.error == "Trop de questions sont posées au journal à la fois : réessayez dans une seconde."


@pytest.mark.slow
def test_a_question_that_takes_too_long_is_asked_to_come_back(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions.PageOfDecisions, "seconds", 0.0)
    journal_at(tmp_path, monkeypatch)
    pool = journal_pool()
    service = Service(servers.serving(bundle.scorer()))
    door = FlaskDoor(flask_app(service, Desk(service, tmp_path / "cache", pool)))

    answer = door.get("/decisions")
    pool.end()

    assert (answer.status, answer.error) == (503, "Le journal n’a pas répondu en 0 s : réessayez plus tard.")
