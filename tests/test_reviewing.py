"""A past decision is read and reviewed over HTTP, by those who may."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.review_support import CONTRARY, GREY_ALONE, NOBODY, UNKNOWN, Bank, listed, seconds_of
from tests.servers import Answer

pytest_plugins = ["tests.api_support", "tests.review_fixtures"]


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
    assert abs(time.time() - seconds_of(told["time"])) < 60


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
