"""A client who does not exist is chosen, and stands among others, on AppTest against a real API."""

import json
from typing import Any

import pytest

from dashboard.api_client import ScoringApi
from dashboard.decision import distribution
from dashboard.decision.crossing import Crossing
from dashboard.decision.measures import Measure
from tests.dashboard_support import page, plain, press, unbroken
from tests.servers import SocketDoor

pytest_plugins = ["tests.dashboard_fixtures"]

DECIDE = "Demander la décision"


def test_a_fictitious_client_is_decided_on_and_stands_among_others(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = page(api.url, "decision", monkeypatch)
    taken = press(shown, "Le suivant\u00a0: ▲ Risqué")
    number = int(taken.number_input(key="demonstration number").value or 0)

    decided = press(taken, DECIDE)

    page_of_it = api.get(f"/reference/clients?after={number - 1}&limit=1").content
    (client,) = page_of_it["clients"]
    assert client["label"] == "risky"
    said = plain("\n".join(one.value for one in decided.markdown))
    assert f"Probabilité de défaut : {100 * client['probability_class_1']:.2f}".replace(".", ",") in said
    body, json_type = json.dumps(client["features"]).encode(), {"Content-Type": "application/json"}
    near = api.send("POST", "/neighbours", body, json_type).content["neighbours"]
    risky = sum(one["label"] == "risky" for one in near)
    assert "Parmi les 50 clients de référence les plus proches, qui sont fictifs : ● Fiable" in said
    assert f"▲ Risqué {risky}." in said
    assert "des clients ont une valeur plus petite." in said
    assert "pèse le plus" in said
    assert decided.text_input(key="decision reference").value == f"client fictif {number}"
    answer = decided.session_state["decision answer"]
    assert (answer["reference"], answer["is_fictitious"]) == (f"client fictif {number}", True)
    assert answer["client"] == {
        "AMT_INCOME_TOTAL": answer["client"]["AMT_INCOME_TOTAL"],
        **client["features"],
    }


def test_a_number_that_nobody_has_is_told(api: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(api.url, "decision", monkeypatch)
    shown.number_input(key="demonstration number").set_value(10_001)

    asked = press(shown, "Prendre ce client")

    assert "Il n’y a pas de client fictif numéro 10001." in [one.value for one in asked.info]


# ---- What few clients have


def measure(*population: float) -> Measure:
    return Measure("X", "Une valeur", "", population)


@pytest.mark.parametrize(
    ("edges", "counts", "sentence"),
    [
        ([3.0, 3.0], [7], "Parmi 7 clients de référence qui ont à peu près cette valeur"),
        ([], [], "Aucun client de référence n’est dans ce cas."),
        ([1.0, 5.0], [0], "Aucun client de référence n’est dans ce cas."),
    ],
)
def test_a_value_that_all_have_or_nobody_has_is_drawn(
    edges: list[float], counts: list[int], sentence: str
) -> None:
    totals = {
        "edges": edges,
        "clients": {"reliable": counts, "grey": [0] * len(counts), "risky": [0] * len(counts)},
    }

    drawn = distribution.distribution(measure(3.0, 3.0, 3.0), totals, 3.0)

    assert "nan" not in drawn
    assert "ce client" in drawn
    assert sentence in plain(" ".join(distribution.place_of(measure(3.0, 3.0, 3.0), totals, 3.0, None)))


def test_a_value_that_all_have_is_set_against_another() -> None:
    crossed = Crossing(measure(3.0, 3.0), measure(1.0, 2.0, 3.0), [], [], {"X": 3.0})

    assert "ce client" in crossed.drawn()


# ---- Another version

OTHER_VERSION = (
    "Une autre version du modèle est servie depuis cette décision : demandez la décision de nouveau."
)


def test_after_a_promotion_nothing_of_the_new_version_stands_beside_the_old_decision(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision's digest is changed: to the page the service has moved on meanwhile."""
    decided = press(press(page(api.url, "decision", monkeypatch), "Remplir avec l’exemple"), DECIDE)
    before = decided.session_state["among others"]
    assert set(before) == {"model", "neighbours", "reference", "clients"}

    decided.session_state["decision answer"]["digest"] = "0" * 64
    moved_on = unbroken(decided.run())

    _, _, others, *_ = moved_on.tabs
    assert [plain(one.value) for one in others.info] == [OTHER_VERSION]
    assert [one.value for one in others.markdown] == []


def test_a_feature_that_the_reference_does_not_count_is_not_offered(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ScoringApi.reference

    def without_the_credit(self: ScoringApi) -> dict[str, Any]:
        told = whole(self)
        return told | {"features": [one for one in told["features"] if one["name"] != "AMT_CREDIT"]}

    monkeypatch.setattr(ScoringApi, "reference", without_the_credit)

    decided = press(press(page(api.url, "decision", monkeypatch), "Remplir avec l’exemple"), DECIDE)

    (chosen,) = [one for one in decided.selectbox if one.key == "distribution of"]
    assert "Échéance" in chosen.options
    assert "Montant du crédit" not in chosen.options
