"""Past decisions are read and reviewed over HTTP, by those who may, whatever becomes of the journal."""

import math
import os
import re
import signal
import sqlite3
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from api.deciding.computing_pool import Pool
from api.deciding.service import Service
from api.reviewing import questions
from api.reviewing.desk import Desk, journal_pool
from api.web.routes import flask_app
from journal.ids import written
from journal.verification import verify
from mlflow_model.bundle.bundles import Bundle
from tests import servers
from tests.journal_support import changed, erased, journal_at, receipt_of, rows, write
from tests.live import children_of, workers_of
from tests.recording_support import WRITER
from tests.review_support import LABELS, NOBODY, Bank, Client, bank_in
from tests.servers import Answer, FlaskDoor
from tests.test_recording import UNRECORDED, opened_in

pytest_plugins = ["tests.api_support", "tests.review_fixtures"]

UNKNOWN = "Aucune décision du journal n’a ce numéro."
ERASED = "Les données de cette décision ont été effacées : elle ne peut plus être ni expliquée ni revue."
GREY_ALONE = "Le rôle de ce jeton d’accès ne donne accès qu’aux décisions de la zone grise."
CONTRARY = (
    "Une autre personne a revu cette décision en sens contraire : "
    "seul un jeton du rôle audit peut la contredire."
)
DAMAGED = "Le journal est endommagé : « python -m journal verify » dit où."
SILENT = "Le journal ne répond pas : réessayez dans une seconde."


def listed(bank: Bank, who: str | None, query: str = "") -> list[dict[str, Any]]:
    answer = bank.get(who, f"/decisions{query}")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.content["decisions"]
    return found


def ids_of(decisions: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in decisions]


# ---- One decision


def test_a_decision_tells_all_that_was_asked_and_answered(bank: Bank) -> None:
    client = bank.clients["grey"]
    decision = bank.decided("grey", **{"X-Client-Reference": "dossier 12", "X-Request-Id": "r-1"})

    answer = bank.get("carla", f"/decisions/{decision}")

    told = answer.content
    again = bank.send("scorer", "POST", "/predict", client).content
    assert answer.status == 200
    assert told["decision"] == again
    assert told["inputs"] == client
    assert (told["id"], told["label"], told["outcome"]) == (decision, "grey", None)
    assert (told["request_id"], told["client_reference"], told["caller"]) == ("r-1", "dossier 12", "scorer")
    assert (told["is_erased"], told["is_held"], told["reviews"], told["custody"]) == (False, False, [], [])
    assert told["model"]["digest"] == bank.door.get("/ready").content["digest"]
    assert abs(time.time() - _seconds(told["time"])) < 60


def _seconds(text: str) -> float:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("path", ["", "/{}", "/{}/explanation", "/{}/review"])
def test_what_tells_of_clients_is_in_no_cache(bank: Bank, path: str) -> None:
    answers = [
        bank.get("carla", "/decisions" + path.format(bank.decided("grey"))),
        bank.get("scorer", "/decisions" + path.format(NOBODY)),
    ]

    assert {one.headers["Cache-Control"] for one in answers} == {"no-store"}


@pytest.mark.parametrize(
    "given",
    ["1", "{}x", "null", "%00", "{}%0a", "%C3%A9", "' OR 1=1 --", "..", "<id>", "a" * 5_000],
    ids=["short", "long", "word", "nul", "line break", "accent", "sql", "dots", "the rule", "huge"],
)
def test_a_number_that_is_none_is_one_sentence(bank: Bank, given: str) -> None:
    path = "/decisions/" + given.format(NOBODY).replace(" ", "%20")

    asked, reviewed = (
        bank.get("carla", path),
        bank.review("carla", path.removeprefix("/decisions/"), "accept"),
    )

    assert (asked.status, reviewed.status) == (400, 400)
    sentence = "Question au journal refusée : un numéro de décision a la forme de l’en-tête X-Decision-Id"
    assert (asked.error, reviewed.error) == (sentence, sentence)


@pytest.mark.parametrize("path", ["/decisions/", "/decisions//review", "/decisions/{}/", "/decisions/{}/x"])
def test_a_path_that_is_none_is_unknown_to_everybody_who_may_ask(bank: Bank, path: str) -> None:
    given = path.format(NOBODY)

    assert bank.get(None, given).status == 401
    assert {bank.get(who, given).status for who in bank.tokens} == {404}


def test_a_decision_that_is_none_is_unknown(bank: Bank) -> None:
    asked, reviewed = bank.get("carla", f"/decisions/{NOBODY}"), bank.review("carla", NOBODY, "accept")

    assert (asked.status, asked.error) == (404, UNKNOWN)
    assert (reviewed.status, reviewed.error) == (404, UNKNOWN)


def test_a_review_has_a_number_that_is_no_decision_s(bank: Bank) -> None:
    review = bank.review("anna", bank.decided("grey"), "accept").content["id"]

    answer = bank.get("carla", f"/decisions/{review}")

    assert (answer.status, answer.error) == (404, UNKNOWN)


# ---- Who may


@pytest.mark.parametrize("label", ["reliable", "risky"])
def test_a_reviewer_sees_and_reviews_the_grey_zone_alone(bank: Bank, label: str) -> None:
    decision = bank.decided(label)

    asked, reviewed = bank.get("anna", f"/decisions/{decision}"), bank.review("anna", decision, "accept")
    chosen = bank.get("anna", f"/decisions?label={label}")

    assert {one.status for one in (asked, reviewed, chosen)} == {403}
    assert {one.error for one in (asked, reviewed, chosen)} == {GREY_ALONE}
    assert {one["label"] for one in listed(bank, "anna", "?limit=500")} <= {"grey"}
    assert bank.review("carla", decision, "refuse").status == 201


def test_who_only_decides_sees_no_past_decision(bank: Bank) -> None:
    decision = bank.decided("grey")

    answers = [
        bank.get("scorer", "/decisions"),
        bank.get("scorer", f"/decisions/{decision}"),
        bank.review("scorer", decision, "accept"),
        bank.get(None, f"/decisions/{decision}"),
        bank.review(None, decision, "accept"),
    ]

    assert [one.status for one in answers] == [403, 403, 403, 401, 401]


# ---- Reviews


def test_a_review_is_told_with_its_reason_and_by_whom(bank: Bank) -> None:
    decision = bank.decided("grey")
    body = {"outcome": "refuse", "reason": "  Revenus\nnon justifiés.  "}

    answer = bank.send("anna", "POST", f"/decisions/{decision}/review", body)

    told = bank.get("anna", f"/decisions/{decision}").content
    assert (answer.status, answer.content["reviewer"], answer.content["outcome"]) == (201, "anna", "refuse")
    assert told["outcome"] == "refuse"
    assert told["reviews"] == [
        {key: answer.content[key] for key in ("id", "time", "reviewer", "outcome", "reason")}
    ]
    assert told["reviews"][0]["reason"] == "Revenus non justifiés."


@pytest.mark.parametrize(
    ("steps", "outcomes"),
    [
        (["anna accept 201", "anna refuse 201"], ["accept", "refuse"]),
        (["anna accept 201", "ben accept 201"], ["accept", "accept"]),
        (["anna accept 201", "ben refuse 403"], ["accept"]),
        (["anna accept 201", "carla refuse 201"], ["accept", "refuse"]),
        (["anna accept 201", "carla refuse 201", "anna accept 403"], ["accept", "refuse"]),
        (["anna accept 201", "carla refuse 201", "ben refuse 201"], ["accept", "refuse", "refuse"]),
        (["anna accept 201", "ben accept 201", "anna refuse 403"], ["accept", "accept"]),
        (["carla accept 201", "anna refuse 403"], ["accept"]),
    ],
    ids=["corrects", "agrees", "contradicts", "audit", "answers back", "joins", "too late", "against audit"],
)
def test_four_eyes(bank: Bank, steps: list[str], outcomes: list[str]) -> None:
    decision = bank.decided("grey")

    for who, outcome, status in (step.split() for step in steps):
        answer = bank.review(who, decision, outcome)
        assert answer.status == int(status), step_of(who, answer)
        if answer.status == 403:
            assert answer.error == CONTRARY

    told = bank.get("carla", f"/decisions/{decision}").content
    assert [one["outcome"] for one in told["reviews"]] == outcomes
    assert told["outcome"] == outcomes[-1]


def step_of(who: str, answer: Answer) -> str:
    return f"{who}: {answer.body.decode()}"


def test_of_two_reviewers_at_the_same_moment_who_contradict_each_other_one_is_the_first(bank: Bank) -> None:
    for _ in range(8):
        decision, both = bank.decided("grey"), threading.Barrier(2)

        def at_once(who: str, outcome: str, decision: str = decision, both: threading.Barrier = both) -> int:
            both.wait()
            return bank.review(who, decision, outcome).status

        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(at_once, who, what) for who, what in (("anna", "accept"), ("ben", "refuse"))]
        assert sorted(one.result() for one in asked) == [201, 403]
        assert len(bank.get("carla", f"/decisions/{decision}").content["reviews"]) == 1


BAD_BODIES: dict[str, tuple[object, str]] = {
    "no json": (b"{", "le corps de la requête n’est pas un JSON valide"),
    "a list": ([], "le corps de la requête doit être un objet JSON"),
    "empty": ({}, "outcome doit être accept ou refuse"),
    "another outcome": ({"outcome": "maybe", "reason": "x"}, "outcome doit être accept ou refuse"),
    "an outcome in a list": ({"outcome": ["accept"], "reason": "x"}, "outcome doit être accept ou refuse"),
    "no reason": ({"outcome": "accept"}, "reason doit être un texte imprimable de 1 à 1000 caractères"),
    "blank": (
        {"outcome": "accept", "reason": " \n "},
        "reason doit être un texte imprimable de 1 à 1000 caractères",
    ),
    "a number": (
        {"outcome": "accept", "reason": 7},
        "reason doit être un texte imprimable de 1 à 1000 caractères",
    ),
    "long": (
        {"outcome": "accept", "reason": "x" * 1_001},
        "reason doit être un texte imprimable de 1 à 1000 caractères",
    ),
    "an escape": (
        {"outcome": "accept", "reason": "\x1b[2J"},
        "reason doit être un texte imprimable de 1 à 1000 caractères",
    ),
    "half a character": (
        b'{"outcome": "accept", "reason": "\\ud800"}',
        "reason doit être un texte imprimable de 1 à 1000 caractères",
    ),
    "twice": (
        b'{"outcome": "accept", "outcome": "refuse", "reason": "x"}',
        "la clé 'outcome' apparaît plusieurs fois",
    ),
    "another key": (
        {"outcome": "accept", "reason": "x", "role": "audit"},
        "les clés d’une revue sont outcome, reason et reviewer",
    ),
    "somebody else": (
        {"outcome": "accept", "reason": "x", "reviewer": "carla"},
        "reviewer ne se donne pas ici : c’est le nom du jeton d’accès",
    ),
}


@pytest.mark.parametrize("kind", BAD_BODIES)
def test_a_review_that_is_none_is_one_sentence_and_leaves_nothing(bank: Bank, kind: str) -> None:
    body, sentence = BAD_BODIES[kind]
    decision = bank.decided("grey")

    answer = bank.send("anna", "POST", f"/decisions/{decision}/review", body)

    assert (answer.status, answer.error) == (400, f"Erreur lors du traitement des données : {sentence}")
    assert bank.get("carla", f"/decisions/{decision}").content["reviews"] == []


def test_a_body_that_is_too_large_or_of_another_type_is_refused(bank: Bank) -> None:
    path = f"/decisions/{bank.decided('grey')}/review"

    statuses = [
        bank.send("anna", "POST", path, b" " * (64 * 1024 + 1)).status,
        bank.send("anna", "POST", path, b"outcome=accept", **{"Content-Type": "text/plain"}).status,
        bank.send("anna", "POST", path, b"{}", **{"Content-Encoding": "gzip"}).status,
        bank.send("anna", "PUT", path, {}).status,
    ]

    assert statuses == [413, 415, 415, 405]


# ---- Pages


def test_pages_have_each_decision_once_while_others_are_made(bank: Bank) -> None:
    before = [bank.decided(label) for label in LABELS for _ in range(4)]
    seen: list[str] = []
    query = "?limit=5"

    while True:
        answer = bank.get("carla", "/decisions" + query).content
        seen += ids_of(answer["decisions"])
        for label in LABELS:
            bank.decided(label)
        if answer["next"] is None:
            break
        query = f"?limit=5&after={answer['next']}"

    assert [one for one in seen if one in before] == before[::-1]
    assert len(set(seen)) == len(seen)


def test_the_oldest_comes_first_if_asked_page_by_page_while_others_are_made(bank: Bank) -> None:
    before = [bank.decided(label) for label in LABELS for _ in range(4)]
    seen: list[str] = []
    query = end = "?order=oldest&limit=5"

    while before[-1] not in seen:
        answer = bank.get("carla", f"/decisions{end}").content
        seen += ids_of(answer["decisions"])
        bank.decided("grey")
        end = f"{query}&after={answer['next']}"

    assert [one for one in seen if one in before] == before
    assert len(set(seen)) == len(seen)


def test_the_last_review_is_told_and_held_against_the_model(bank: Bank) -> None:
    reliable, grey, risky, untouched = (bank.decided(label) for label in (*LABELS, "grey"))
    bank.review("ben", grey, "accept")
    bank.review("carla", grey, "refuse")
    bank.review("carla", reliable, "accept")
    bank.review("carla", risky, "accept")

    told = {one["id"]: one for one in listed(bank, "carla", "?reviewed=true&limit=500")}
    seen_by_anna = ids_of(listed(bank, "anna", "?reviewed=true&limit=500"))

    keys = ("label", "leaning", "outcome", "reviewer")
    threshold = bank.get("carla", f"/decisions/{grey}").content["decision"]["optimal_threshold"]
    side = "accept" if told[grey]["probability_class_1"] < threshold else "refuse"
    assert [tuple(told[one][key] for key in keys) for one in (reliable, grey, risky)] == [
        ("reliable", "accept", "accept", "carla"),
        ("grey", side, "refuse", "carla"),
        ("risky", "refuse", "accept", "carla"),
    ]
    assert all(_seconds(one["reviewed"]) > _seconds(one["time"]) for one in told.values())
    assert untouched not in told
    assert grey in seen_by_anna
    assert {reliable, risky}.isdisjoint(seen_by_anna)


def test_a_list_has_no_value_of_a_client(bank: Bank) -> None:
    decision = bank.decided("grey", **{"X-Client-Reference": "MARKED"})
    bank.send("anna", "POST", f"/decisions/{decision}/review", {"outcome": "accept", "reason": "SAID"})

    answer = bank.get("carla", "/decisions?limit=1")

    assert set(answer.content["decisions"][0]) == {
        *("id", "time", "label", "prediction", "probability_class_1", "model_version", "leaning"),
        *("outcome", "reviewer", "reviewed", "is_erased", "is_answered"),
    }
    assert answer.content["decisions"][0]["outcome"] == "accept"
    assert answer.content["decisions"][0]["reviewer"] == "anna"
    assert b"MARKED" not in answer.body
    assert b"SAID" not in answer.body


def test_decisions_are_chosen_by_label_review_and_time(bank: Bank) -> None:
    first = {label: bank.decided(label) for label in LABELS}
    middle = bank.get("carla", f"/decisions/{bank.decided('grey')}").content["time"]
    second = {label: bank.decided(label) for label in LABELS}
    bank.review("anna", second["grey"], "accept")

    def found(query: str) -> set[str]:
        return set(ids_of(listed(bank, "carla", f"?limit=500&{query}")))

    everything = {*first.values(), *second.values()}
    assert found("") >= everything
    for label in LABELS:
        assert found(f"label={label}") & everything == {first[label], second[label]}
    assert found("open=true") & everything == {first["grey"]}
    assert found(f"since={middle}") & everything == {*second.values()}
    assert found(f"until={middle}") & everything == {*first.values()}
    assert found("model_version=1") == set()
    assert {one["id"] for one in listed(bank, "anna", "?open=true&limit=500")} == found("open=true")


@pytest.mark.parametrize(("who", "query"), [("anna", ""), ("carla", "label=grey&")])
def test_a_cursor_is_one_of_the_decisions_that_are_asked_for(bank: Bank, who: str, query: str) -> None:
    grey, risky = bank.decided("grey"), bank.decided("risky")

    allowed = bank.get(who, f"/decisions?{query}after={grey}")
    refused = bank.get(who, f"/decisions?{query}after={risky}")

    assert allowed.status == 200
    assert (refused.status, refused.error) == (
        400,
        "Question au journal refusée : after doit être le next de la page précédente",
    )


BAD_PARAMETERS = {
    "another name": ("lable=grey", "les paramètres sont label, open, reviewed, model_version, since"),
    "twice": ("label=grey&label=risky", "les paramètres sont label, open, reviewed, model_version"),
    "another label": ("label=gris", "label doit être reliable, grey ou risky"),
    "not open": ("open=false", "open ne peut être que true"),
    "not reviewed": ("reviewed=1", "reviewed ne peut être que true"),
    "another order": ("order=random", "order doit être newest ou oldest"),
    "no version": ("model_version=1.0", "model_version doit être le numéro d’une version"),
    "no time": ("since=yesterday", "since et until sont des dates ISO 8601, en UTC"),
    "no such day": ("until=2026-02-30", "since et until sont des dates ISO 8601, en UTC"),
    "the end of time": ("until=9999-12-31T23:59:59-23:59", None),
    "zero": ("limit=0", "limit doit être un nombre entier de 1 à 500"),
    "too many": ("limit=501", "limit doit être un nombre entier de 1 à 500"),
    "digits of elsewhere": ("limit=%D9%A3", "limit doit être un nombre entier de 1 à 500"),
    "no cursor": ("after=x", "after doit être le next de la page précédente"),
    "nobody's cursor": (f"after={NOBODY}", "after doit être le next de la page précédente"),
}


@pytest.mark.parametrize("kind", BAD_PARAMETERS)
def test_a_parameter_that_makes_no_sense_is_one_sentence(bank: Bank, kind: str) -> None:
    query, sentence = BAD_PARAMETERS[kind]

    answer = bank.get("carla", f"/decisions?{query}")

    if sentence is None:
        assert answer.status in (200, 400)
        return
    assert answer.status == 400
    assert answer.error.startswith(f"Question au journal refusée : {sentence}")


# ---- Erased decisions, and others' journals


def test_an_erased_decision_tells_its_answer_and_is_not_reviewed_any_more(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = bank.decided("grey", **{"X-Client-Reference": "GONE-1"})
    bank.send("anna", "POST", f"/decisions/{decision}/review", {"outcome": "accept", "reason": "GONE-2"})
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{bank.folder / 'journal.db'}")
    erased(bytes.fromhex(decision.replace("-", "")))

    answer, reviewed = bank.get("anna", f"/decisions/{decision}"), bank.review("anna", decision, "refuse")

    told = answer.content
    assert (told["is_erased"], told["inputs"], told["request_id"], told["client_reference"]) == (
        *(True, None, None, None),
    )
    assert told["decision"]["prediction"] == LABELS["grey"]
    assert [(one["outcome"], one["reason"]) for one in told["reviews"]] == [("accept", None)]
    assert [(one["event"], one["why"]) for one in told["custody"]] == [("erasure", "a test")]
    assert b"GONE" not in answer.body
    assert (reviewed.status, reviewed.error) == (410, ERASED)


def test_an_erased_decision_that_nobody_has_reviewed_waits_for_nobody(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = bank.decided("grey")
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{bank.folder / 'journal.db'}")
    before = ids_of(listed(bank, "anna", "?open=true&limit=500"))

    erased(bytes.fromhex(decision.replace("-", "")))

    assert decision in before
    assert decision not in ids_of(listed(bank, "anna", "?open=true&limit=500"))


def test_what_was_asked_leaves_a_journal_that_verifies_and_no_value_in_the_log(bank: Bank) -> None:
    decision = bank.decided("grey", **{"X-Client-Reference": "LOGGED-1"})
    bank.send("anna", "POST", f"/decisions/{decision}/review", {"outcome": "accept", "reason": "LOGGED-2"})
    bank.get("carla", "/decisions/LOGGED-3")
    bank.get("carla", "/decisions?label=LOGGED-4")

    with opened_in(bank.folder) as journal, journal.reading() as connection:
        report = verify(connection)

    assert report.findings == []
    assert "LOGGED" not in bank.door.said
    assert decision not in bank.door.said
    assert '"path": "/decisions/<id>/review"' in bank.door.said


def test_a_worker_asks_a_process_and_holds_no_database(bank: Bank) -> None:
    bank.get("carla", "/decisions")
    (worker,) = workers_of(bank.door)

    assert "sqlalchemy" not in Path(f"/proc/{worker}/maps").read_text()
    assert all("sqlalchemy" in Path(f"/proc/{pid}/maps").read_text() for pid in journal_processes(bank))


def journal_processes(bank: Bank) -> list[int]:
    """Those of the one worker, one at least."""
    (worker,) = workers_of(bank.door)
    found = children_of(replace(bank.door, pid=worker), "api.reviewing.journal_process")
    assert found
    return found


# ---- A service without tokens, without a journal, without a model


@pytest.fixture(scope="module")
def open_bank(
    documented_pickle: Path,
    client_of_each_label: dict[str, Client],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bank]:
    """A service without tokens."""
    folder = tmp_path_factory.mktemp("open")
    with bank_in(folder, documented_pickle, client_of_each_label, has_tokens=False) as found:
        yield found


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


# ---- The journal is damaged

NOTHING_ELSE = bytes(2)  # no door, and no name of a token
# What is harmed, how, and of which column.
HARMS = {
    "no date": ("record", f"time = {2**62}"),
    "no call": ("record", "subject = 'x'"),
    "no bytes": ("record", "erasable = 5"),
    "no text": ("record", "lasting = CAST(x'ff' AS text)"),
    "no number": ("record", f"lasting = x'{(struct.pack('>6d', *[math.nan] * 6) + NOTHING_ELSE).hex()}'"),
    "no model": ("model", f"description = CAST('{'[' * 50_000}' AS blob)"),
}


@contextmanager
def harmed(bank: Bank, table: str, change: str, where: str = "TRUE") -> Iterator[None]:
    """The rows are given back as they were."""
    file, column = bank.folder / "journal.db", change.partition(" ")[0]
    before = rows(file, f"SELECT rowid, {column} FROM {table} WHERE {where}")  # noqa: S608 - our own text
    changed(file, f"UPDATE {table} SET {change} WHERE {where}")  # noqa: S608
    try:
        yield
    finally:
        with closing(sqlite3.connect(file)) as database, database:
            for row, value in before:
                database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))  # noqa: S608


@pytest.mark.parametrize("kind", HARMS)
def test_what_cannot_be_read_is_told_as_damage_is_not_reviewed_and_takes_nothing_away(
    bank: Bank, kind: str
) -> None:
    table, change = HARMS[kind]
    decision, other = bank.decided("grey"), bank.decided("grey")
    where = f"id = x'{_hex(decision)}'" if table == "record" else "TRUE"

    with harmed(bank, table, change, where):
        asked = [bank.get("anna", f"/decisions/{decision}{more}") for more in ("", "/explanation")]
        asked.append(bank.review("anna", decision, "accept"))
        page = bank.get("anna", "/decisions?limit=3")

    assert [(one.status, one.error) for one in asked] == [(500, DAMAGED)] * 3
    assert not any("Retry-After" in one.headers for one in asked)
    assert page.status == 200
    assert decision in ids_of(page.content["damaged"])
    assert (other in ids_of(page.content["decisions"])) == (table == "record")
    assert bank.review("anna", decision, "accept").status == 201


def test_a_writer_says_what_is_wrong_with_the_journals_own_row_and_goes_on_when_it_is_sound(
    bank: Bank,
) -> None:
    decision = bank.decided("grey")
    (writer,) = children_of(bank.door, WRITER)

    with harmed(bank, "journal", "writers = 'x'"):
        refused = [bank.send("scorer", "POST", "/predict", bank.clients["grey"]) for _ in range(2)]
        review = bank.review("anna", decision, "accept")
    servers.eventually(lambda: bank.get(None, "/ready").content["journal"] == "writable" or None, "a journal")
    again = bank.decided("grey")

    assert [(one.status, one.error) for one in refused] == [(503, UNRECORDED)] * 2
    assert (review.status, review.error) == (500, DAMAGED)
    assert bank.door.said.count("the journal cannot be written: the journal's tables do not fit") == 1
    assert [writer] == children_of(bank.door, WRITER)
    assert bank.get("anna", f"/decisions/{again}").status == 200


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
