"""The page « Revue », on Streamlit's AppTest against a real API with a journal and tokens."""

import re
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.review import record
from tests import servers
from tests.dashboard_support import plain
from tests.other_services import Forward, lost, road_to
from tests.review_support import Bank, Client, bank_in
from tests.servers import ROOT, Answer

pytest_plugins = ["tests.review_fixtures"]

PAGE = ROOT / "dashboard" / "screens" / "review.py"
ACCEPT, REFUSE, PASS = "Accorder le crédit", "Refuser le crédit", "Passer au suivant"
WRITTEN = "Crédit {} : la revue est inscrite au journal."


@pytest.fixture
def queue(bank: Bank) -> Bank:
    """A bank whose queue is empty."""
    for one in bank.get("carla", "/decisions?open=true&limit=500").content["decisions"]:
        bank.review("ben", one["id"], "accept")
    return bank


def page(bank: Bank, who: str | None, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("API_URL", bank.door.url)
    if who is not None:
        monkeypatch.setenv("API_TOKEN", bank.tokens[who])
    shown = AppTest.from_file(str(PAGE), default_timeout=60).run()
    assert not shown.exception
    return shown


def told(shown: AppTest) -> list[str]:
    return [plain(one.value) for one in [*shown.error, *shown.warning, *shown.info, *shown.success]]


def case(shown: AppTest) -> str:
    (subheader,) = shown.subheader
    return plain(subheader.value)


def pressed(shown: AppTest, label: str, reason: str | None = "Revenus stables.") -> AppTest:
    if reason is not None:
        shown.text_input(key="review reason").set_value(reason)
    (button,) = [one for one in shown.button if one.label == label]
    shown = button.click().run()
    assert not shown.exception
    return shown


def decided(bank: Bank, *references: str) -> list[str]:
    return [bank.decided("grey", **{"X-Client-Reference": reference}) for reference in references]


def viewed(shown: AppTest, view: str) -> AppTest:
    shown = shown.segmented_control[0].set_value(view).run()
    assert not shown.exception
    return shown


# ---- The queue


def test_the_oldest_case_comes_first_with_its_reasons_and_values(
    queue: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = decided(queue, "A_1_a", "A-2")
    explained = queue.get("anna", f"/decisions/{first}/explanation").content
    receipt = queue.get("anna", f"/decisions/{first}").content

    shown = page(queue, "anna", monkeypatch)

    said = "\n".join(one.value for one in shown.markdown)
    reasons = explained["reasons"]["for"] + explained["reasons"]["against"] + explained["warnings"]
    assert shown.subheader[0].value == "Référence\u00a0: A\\_1\\_a"
    assert reasons
    assert [one["sentence"] for one in reasons if f"- {one['sentence']}" not in said] == []
    years = f"{-receipt['inputs']['DAYS_BIRTH'] / 365:.1f}".removesuffix(".0").replace(".", ",")
    assert f"| Âge | {years} ans |" in plain(said)
    assert f"| Score externe 1 | {_score(receipt['inputs']['EXT_SOURCE_1'])} |" in said
    assert plain(shown.caption[0].value) == (
        "2 à examiner, du plus ancien au plus récent. 0 dossier revu dans cette session."
    )


def test_a_case_says_its_moment_once_with_the_zone_and_whether_it_has_a_reference(
    queue: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.decided("grey")

    shown = page(queue, "anna", monkeypatch)

    assert case(shown) == "Dossier sans référence"
    said = plain(shown.caption[1].value)
    assert re.match(r"Décision du \d\d/\d\d/\d{4} à \d\d h \d\d \(UTC[^)]*\)", said)


@pytest.mark.parametrize(
    ("leanings", "text"),
    [
        (["accept", "refuse"], "1 revue sur 2 (50,0 %) va du côté du seuil"),
        (["refuse", "refuse"], "0 revue sur 2 (0,0 %) va du côté du seuil"),
        (["accept", "accept"], "2 revues sur 2 (100,0 %) vont du côté du seuil"),
    ],
)
def test_reviews_and_their_verb_agree_in_number(leanings: list[str], text: str) -> None:
    reviews = [{"leaning": one, "outcome": "accept"} for one in leanings]

    assert text in plain(record.told(*record.agreement(reviews)))


def _score(value: float | None) -> str:
    return "inconnu" if value is None else f"{value:.3f}".rstrip("0").replace(".", ",")


def test_ten_cases_are_handled_within_a_minute(queue: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one follows at once; nobody has to type a reason twice."""
    decisions = decided(queue, *(f"B-{number}" for number in range(10)))
    shown = page(queue, "anna", monkeypatch)
    started = time.monotonic()

    for number in range(10):
        assert case(shown) == f"Référence : B-{number}"
        if number > 1:
            shown.pills(key="review pill").set_value("Revenus stables.")
        reason = "Revenus stables." if number == 0 else "Trop de dettes." if number == 1 else None
        shown = pressed(shown, REFUSE if number == 1 else ACCEPT, reason)
        assert told(shown)[0] == WRITTEN.format("refusé" if number == 1 else "accordé")

    assert time.monotonic() - started < 60
    assert told(shown)[1] == "Aucun dossier à examiner. 10 dossiers revus dans cette session."
    reviews = [queue.get("carla", f"/decisions/{one}").content["reviews"] for one in decisions]
    assert [(one["reviewer"], one["outcome"], one["reason"]) for (one,) in reviews] == [
        (
            "anna",
            "refuse" if number == 1 else "accept",
            "Trop de dettes." if number == 1 else "Revenus stables.",
        )
        for number in range(10)
    ]


def test_a_second_click_decides_nothing(queue: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    _, second = decided(queue, "C-1", "C-2")

    shown = pressed(page(queue, "anna", monkeypatch), ACCEPT)
    shown = pressed(shown, ACCEPT, None)

    assert case(shown) == "Référence : C-2"
    assert "Écrivez un motif : aucune revue n’est inscrite sans motif." in told(shown)
    assert queue.get("anna", f"/decisions/{second}").content["reviews"] == []


def test_a_case_that_is_passed_stays_in_the_queue(queue: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    decided(queue, "D-1", "D-2")

    shown = pressed(page(queue, "anna", monkeypatch), PASS, None)
    assert (case(shown), told(shown)) == ("Référence : D-2", ["Dossier laissé dans la file."])
    shown = pressed(shown, PASS, None)
    shown = pressed(shown, "Actualiser", None) if not shown.text_input else shown

    assert case(shown) == "Référence : D-1"


@pytest.mark.parametrize("outcome", ["accept", "refuse"])
def test_what_somebody_else_has_reviewed_meanwhile_is_one_sentence_and_the_next_case(
    queue: Bank, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    first, _ = decided(queue, "E-1", "E-2")
    shown = page(queue, "anna", monkeypatch)
    queue.review("ben", first, outcome)

    shown = pressed(shown, ACCEPT)

    word = "accordé" if outcome == "accept" else "refusé"
    assert told(shown)[0] == f"Dossier revu entre-temps par ben (crédit {word}) : voici le suivant."
    assert case(shown) == "Référence : E-2"
    reviews = queue.get("carla", f"/decisions/{first}").content["reviews"]
    assert [one["reviewer"] for one in reviews] == ["ben"]


def test_what_was_typed_is_kept_while_the_api_is_away(queue: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    (decision,) = decided(queue, "F-1")
    shown = page(queue, "anna", monkeypatch)

    monkeypatch.setenv("API_URL", "http://127.0.0.1:9")
    shown = pressed(shown, REFUSE, "Charges trop lourdes.")
    assert queue.get("anna", f"/decisions/{decision}").content["reviews"] == []
    monkeypatch.setenv("API_URL", queue.door.url)
    (again,) = [one for one in shown.button if one.label == "Réessayer"]
    shown = again.click().run()

    assert shown.text_input(key="review reason").value == "Charges trop lourdes."
    pressed(shown, REFUSE, None)
    (review,) = queue.get("anna", f"/decisions/{decision}").content["reviews"]
    assert review["reason"] == "Charges trop lourdes."


def test_without_tokens_the_reviewer_writes_a_name_once(
    open_bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions = [open_bank.decided("grey") for _ in range(2)]

    shown = pressed(page(open_bank, None, monkeypatch), ACCEPT)
    assert "Écrivez votre nom : la revue le garde." in told(shown)
    assert len(told(shown)) == 1
    shown.text_input(key="review name").set_value("Anna B.")
    shown = pressed(pressed(shown, ACCEPT), REFUSE)

    reviews = [open_bank.get(None, f"/decisions/{one}").content["reviews"] for one in decisions]
    assert [(one["reviewer"], one["outcome"]) for (one,) in reviews] == [
        ("Anna B.", "accept"),
        ("Anna B.", "refuse"),
    ]


# ---- Who may not, and where there is nothing


def test_a_token_without_the_role_is_one_sentence(queue: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(queue, "scorer", monkeypatch)

    assert len(shown.error) == 1
    assert list(shown.text_input) == []


@pytest.mark.slow
def test_without_a_journal_is_one_sentence(
    documented_pickle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = servers.alone(documented_pickle, tmp_path) | {"JOURNAL_URL": "off"}
    with servers.api(environment, tmp_path / "log") as door:
        servers.ready(door)
        shown = page(Bank(door, {}, {}), None, monkeypatch)

    assert told(shown) == ["Ce service ne tient pas de journal : il n’y a aucun dossier à revoir."]


# ---- What has been reviewed


@pytest.mark.slow
def test_the_agreement_of_people_and_model_and_who_decided_what(
    documented_pickle: Path,
    client_of_each_label: dict[str, Client],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with bank_in(tmp_path, documented_pickle, client_of_each_label) as bank:
        assert told(viewed(page(bank, "carla", monkeypatch), "Revues faites")) == [
            "Aucune décision n’a encore été revue."
        ]
        told_by_carla = [
            ("reliable", "accept"),
            ("risky", "refuse"),
            ("risky", "accept"),
            ("risky", "accept"),
        ]
        for label, outcome in told_by_carla:
            bank.review("carla", bank.decided(label), outcome)
        grey = bank.decided("grey")
        bank.review("anna", grey, "accept")
        leaning = bank.get("anna", f"/decisions/{grey}").content["leaning"]

        shown = viewed(page(bank, "carla", monkeypatch), "Revues faites")

    said = plain("\n".join(one.value for one in shown.markdown))
    agreed = 3 if leaning == "accept" else 2
    side = "au-dessous : plutôt accorder" if leaning == "accept" else "au-dessus : plutôt refuser"
    assert f"{agreed} revues sur 5 ({100 * agreed / 5:.1f} %)".replace(".", ",") in said
    assert "| ● Fiable | au-dessous : plutôt accorder | 1 | 0 |" in said
    assert f"| ◆ À examiner | {side} | 1 | 0 |" in said
    assert "| ▲ Risqué | au-dessus : plutôt refuser | 2 | 1 |" in said
    assert f"| anna | 1 | 0 | {'100,0' if leaning == 'accept' else '0,0'} % |" in said
    assert "| carla | 3 | 1 | 50,0 % |" in said
    table = shown.dataframe[0].value
    assert table["Par"].tolist() == ["anna", *["carla"] * 4]
    assert table["Crédit"].tolist() == ["accordé", "accordé", "accordé", "refusé", "accordé"]


# ---- A review whose answer does not arrive

READS = "recommencez, et le journal est lu avant que rien n’y soit ajouté."


def test_a_review_whose_answer_is_lost_is_looked_up_and_found(
    queue: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = decided(queue, "G-1", "G-2")
    with road_to(queue.door) as road:
        shown = page(queue, "anna", monkeypatch)
        monkeypatch.setenv("API_URL", road.url)
        road.faults[f"/decisions/{first}/review"] = lost

        shown = pressed(shown, REFUSE, "Trop  de dettes.")

    assert told(shown)[0] == WRITTEN.format("refusé")
    assert case(shown) == "Référence : G-2"
    assert len(queue.get("carla", f"/decisions/{first}").content["reviews"]) == 1


@pytest.mark.parametrize(("second", "reviews"), [(ACCEPT, ["accept"]), (REFUSE, ["accept", "refuse"])])
def test_what_nobody_knows_of_a_review_is_said_so_and_read_before_the_next_click_writes(
    queue: Bank, monkeypatch: pytest.MonkeyPatch, second: str, reviews: list[str]
) -> None:
    first, _ = decided(queue, "H-1", "H-2")
    with road_to(queue.door) as road:
        shown = page(queue, "anna", monkeypatch)
        monkeypatch.setenv("API_URL", road.url)
        writes = f"POST /decisions/{first}/review"

        def silent_after_the_review(forward: Forward) -> Answer | None:
            return None if writes in road.asked else forward()

        road.faults = {f"/decisions/{first}": silent_after_the_review, f"/decisions/{first}/review": lost}
        shown = pressed(shown, ACCEPT)
        (sentence,) = [one for one in told(shown) if one.startswith("L’API")]
        assert sentence.endswith(f"La revue est peut-être inscrite. Le motif est gardé : {READS}")

        road.faults.clear()
        shown = pressed(shown, second, None)

    assert told(shown)[0] == WRITTEN.format("accordé" if second == ACCEPT else "refusé")
    assert "1 dossier revu dans cette session." in plain(shown.caption[0].value)
    written = queue.get("carla", f"/decisions/{first}").content["reviews"]
    assert [one["outcome"] for one in written] == reviews


def test_a_review_that_never_left_is_said_to_be_unwritten(
    queue: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided(queue, "I-1")
    shown = page(queue, "anna", monkeypatch)
    monkeypatch.setenv("API_URL", "http://127.0.0.1:9")

    shown = pressed(shown, ACCEPT)
    monkeypatch.setenv("API_URL", queue.door.url)
    shown = pressed(shown, "Réessayer", None)

    assert any(
        one.endswith("Rien n’est inscrit : le motif est gardé, vous pouvez recommencer.")
        for one in told(shown)
    )
