"""What would change a decision, as cards, and the page that is for the client."""

from dataclasses import replace
from typing import Any

import pytest

from dashboard.decision import offers
from dashboard.decision.document import Request, document
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


# ---- The client's paper

REQUEST = Request("27/11/2026", "245 254,5", "A <1>", "r-1", is_fictitious=False)


def test_the_client_s_paper_names_what_was_asked_and_the_rights_and_escapes_it() -> None:
    written = document(2, REQUEST, [("Raisons", ["a < b"]), ("Offres", [])])

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
    written = document(0, replace(REQUEST, is_fictitious=True, reference=None), [])

    assert "Client fictif : ce document est un exemple, et ne concerne aucune personne." in plain(written)
    assert "Référence" not in written
    assert not any(word in written for word in ("Fiable", "Risqué", "Classe"))
