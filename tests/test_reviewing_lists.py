"""Past decisions page by page, and those that were erased."""

from pathlib import Path

import pytest

from journal.verification import verify
from tests.journal_support import erased
from tests.live import workers_of
from tests.review_support import ERASED, LABELS, NOBODY, Bank, ids_of, journal_processes, listed, seconds_of
from tests.test_recording import opened_in

pytest_plugins = ["tests.api_support", "tests.review_fixtures"]


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
    assert all(seconds_of(one["reviewed"]) > seconds_of(one["time"]) for one in told.values())
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
