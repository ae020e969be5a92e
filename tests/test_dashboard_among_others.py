"""A client who does not exist is chosen, and stands among others, on AppTest against a real API."""

import json
from collections.abc import Iterator

import pytest

from tests import servers
from tests.dashboard_support import page, plain, press
from tests.servers import ROOT, SocketDoor

SHIPPED = ROOT / "models" / "lgbm_final_model.pkl"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketDoor]:
    with servers.shipped(tmp_path_factory.mktemp("dashboard")) as door:
        yield door


def test_a_fictitious_client_is_decided_on_and_stands_among_others(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = page(api.url, "decision", monkeypatch)
    taken = press(shown, "Le suivant\u00a0: ▲ Risqué")
    number = int(taken.number_input(key="demonstration number").value or 0)

    decided = press(taken, "Demander la décision")

    page_of_it = api.get(f"/reference/clients?after={number - 1}&limit=1").content
    (client,) = page_of_it["clients"]
    assert client["label"] == "risky"
    said = plain("\n".join(one.value for one in decided.markdown))
    assert f"Probabilité de défaut : {100 * client['probability_class_1']:.2f}".replace(".", ",") in said
    body, json_type = json.dumps(client["features"]).encode(), {"Content-Type": "application/json"}
    near = api.send("POST", "/neighbours", body, json_type).content["neighbours"]
    risky = sum(one["label"] == "risky" for one in near)
    assert "Parmi les 50 clients de référence les plus proches : ● Fiable" in said
    assert f"▲ Risqué {risky}." in said
    assert "des clients ont une valeur plus petite." in said
    assert "pèse le plus" in said


def test_a_number_that_nobody_has_is_told(api: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(api.url, "decision", monkeypatch)
    shown.number_input(key="demonstration number").set_value(10_001)

    asked = press(shown, "Prendre ce client")

    assert "Il n’y a pas de client fictif numéro 10001." in [one.value for one in asked.info]
