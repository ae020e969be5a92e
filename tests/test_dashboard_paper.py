"""What would change a decision, as cards, and the page that is for the client."""

import io
from dataclasses import replace
from typing import Any

import pypdf
import pytest

from dashboard.decision import offers
from dashboard.decision.document import Request, document
from dashboard.decision.document_html import as_html
from dashboard.decision.document_pdf import as_pdf
from tests.dashboard_support import page, plain, press
from tests.servers import SocketDoor

pytest_plugins = ["tests.dashboard_fixtures"]


def offer(column: str, before: float, after: float, term: float) -> dict[str, Any]:
    return {"change": {column: {"from": before, "to": after}}, "client": {"CREDIT_TERM": term}}


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (offer("AMT_ANNUITY", 15_000, 20_000, 10.0), "3,3 échéances de moins"),
        (offer("AMT_ANNUITY", 15_000, 13_333, 15.0), "1,7 échéance de plus"),
        (offer("AMT_ANNUITY", 15_000, 15_001, 13.3324), "1 de plus par échéance"),
        (offer("AMT_CREDIT", 200_000.5, 180_000, 12.0), "20 000,5 de crédit en moins"),
        (offer("AMT_INCOME_TOTAL", 150_000, 160_000, 13.3333), "10 000 de revenu en plus"),
    ],
)
def test_a_card_is_headed_by_what_changes(found: dict[str, Any], text: str) -> None:
    assert plain(offers.heading(found, {"CREDIT_TERM": 13.3333})) == text


def test_how_far_each_amount_was_moved_is_said_without_the_pairs() -> None:
    moved = {"AMT_CREDIT": {"from": 450_000, "to": 225_000}, "AMT_INCOME_TOTAL": {"from": 1e5, "to": 2e5}}
    searched = [
        {"levers": ["less_credit"], "ranges": {"AMT_CREDIT": moved["AMT_CREDIT"]}},
        {"levers": ["more_income"], "ranges": {"AMT_INCOME_TOTAL": moved["AMT_INCOME_TOTAL"]}},
        {
            "levers": ["less_credit", "more_income"],
            "ranges": {"AMT_CREDIT": {"from": 450_000, "to": 440_000}},
        },
    ]

    told = offers.limits(searched, {"AMT_CREDIT": {"title": "Montant du crédit"}})

    assert plain(told) == (
        "Limites de la recherche : Montant du crédit, 225 000 à 450 000 ; Revenu, 100 000 à 200 000."
    )
    assert offers.limits([], {}) == ""


def test_offers_are_cards_with_the_api_s_own_sentences(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = press(page(api.url, "decision", monkeypatch), "Le suivant\u00a0: ◆ À examiner")

    shown = press(shown, "Demander la décision")

    found = shown.session_state["decision answer"]["explanation"]["offers"]["found"]
    cards = [one.value for one in shown.markdown if one.value.startswith("#### ")]
    assert len(cards) == len(found) > 0
    assert all(one.endswith("→ ● Fiable") for one in cards)
    written = plain("\n".join(one.value for one in shown.markdown)).replace("Fiable", "Classe_0 (fiable)")
    assert all(plain(one["sentence"]) in written for one in found)
    assert any(one.value.startswith("Limites de la recherche\u00a0: ") for one in shown.caption)


# ---- The client's paper

REQUEST = Request("27/11/2026", "245 254,5", "A <1>", "r-1", is_fictitious=False)


def test_the_client_s_paper_names_what_was_asked_and_the_rights_and_escapes_it() -> None:
    written = as_html(document(2, REQUEST, [("Raisons", ["a < b"]), ("Offres", [])]))

    assert "votre demande présente un risque de non-remboursement élevé." in written
    assert "Ce résultat n’est ni un accord ni un refus de crédit." in written
    facts = (
        "Date : 27/11/2026<br>Montant demandé : 245 254,5<br>Référence : A &lt;1&gt;<br>Numéro du reçu : r-1"
    )
    assert facts in plain(written)
    assert "<li>a &lt; b</li>" in written
    assert "Offres" not in written
    assert "Vous pouvez demander qu’une personne revoie ce résultat" in written
    assert "Client fictif" not in written


def test_the_paper_of_a_client_who_does_not_exist_says_so_and_no_label_of_the_bank() -> None:
    written = as_html(document(0, replace(REQUEST, is_fictitious=True, reference=None), []))

    assert "Client fictif : ce document est un exemple, et ne concerne aucune personne." in plain(written)
    assert "Référence" not in written
    assert not any(word in written for word in ("Fiable", "Risqué", "Classe"))


def test_the_paper_as_a_pdf_has_every_line_and_digit_of_that_in_html() -> None:
    sentence = "Âge de 58,8 ans ; « score » de −0,5 < 3, contre 1\u202f234\u202f567,5 œuvres."
    request = replace(REQUEST, is_fictitious=True)

    pdf = pypdf.PdfReader(
        io.BytesIO(as_pdf(document(1, request, [("Ce qui parle contre elle", [sentence])])))
    )

    root = pdf.root_object
    assert (str(pdf.metadata and pdf.metadata.title), str(root["/Lang"])) == (
        "Votre demande de crédit",
        "fr",
    )
    lines = [plain(line) for line in pdf.pages[0].extract_text().splitlines() if line.strip()]
    assert lines == [
        "Votre demande de crédit",
        "Client fictif : ce document est un exemple, et ne concerne aucune personne.",
        "Date : 27/11/2026",
        "Montant demandé : 245 254,5",
        "Référence : A <1>",
        "Numéro du reçu : r-1",
        "Un calcul automatique ne permet pas de conclure : une personne doit",
        "examiner votre demande.",
        "Ce résultat n’est ni un accord ni un refus de crédit.",
        "Ce qui parle contre elle",
        f"• {plain(sentence)}",
        "Vos droits",
        "Vous pouvez demander qu’une personne revoie ce résultat, donner votre point de vue et",
        "le contester. Adressez-vous au conseiller qui vous a remis ce document.",
    ]


def test_a_long_paper_goes_on_on_another_page() -> None:
    sentences = [f"Raison {number}, qui prend la place d’une ligne." for number in range(60)]

    pdf = pypdf.PdfReader(io.BytesIO(as_pdf(document(0, REQUEST, [("Raisons", sentences)]))))

    text = "".join(page.extract_text() for page in pdf.pages)
    assert len(pdf.pages) > 1
    assert all(sentence in text for sentence in sentences)


def test_both_papers_can_be_downloaded(api: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = press(page(api.url, "decision", monkeypatch), "Le suivant\u00a0: ◆ À examiner")

    shown = press(shown, "Demander la décision")

    labels = [one.proto.label for one in shown.get("download_button")]
    assert labels[-2:] == ["Télécharger en PDF", "Télécharger en HTML"]


def test_no_number_is_broken_at_the_end_of_a_line() -> None:
    number = "1\u202f234\u202f567"
    reasons = [("Raisons", [f"{'mot ' * words}{number}" for words in range(8, 24)])]

    pdf = pypdf.PdfReader(io.BytesIO(as_pdf(document(0, REQUEST, reasons))))

    assert plain(pdf.pages[0].extract_text()).count("1 234 567") == len(reasons[0][1])
