"""The page « Décision », on Streamlit's AppTest against a real API."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.api_client import ApiError, ScoringApi
from dashboard.decision.document import document
from dashboard.decision.fields import asked
from dashboard.numbers import NotANumber
from tests import servers
from tests.dashboard_support import page, plain, press, told, unbroken
from tests.servers import ROOT, SocketDoor

DECIDE, EXAMPLE, CLEAR = "Demander la décision", "Remplir avec l’exemple", "Nouveau client"
SHIPPED = ROOT / "models" / "lgbm_final_model.pkl"
SHAPES = {
    "Classe_0 (fiable)": "● Fiable",
    "Zone grise (incertain)": "◆ À examiner",
    "Classe_1 (risqué)": "▲ Risqué",
}
# Divided by hand: 200000 / 15000, 15000 / (12000 days / 365), 15000 / 150000, 200000 / 180000.
BY_HAND = {
    "AMT_CREDIT": 200000,
    "AMT_ANNUITY": 15000,
    "AMT_GOODS_PRICE": 180000,
    "AMT_INCOME_TOTAL": 150000,
    "DAYS_BIRTH": -12000,
    "DAYS_ID_PUBLISH": -3000,
    "DAYS_REGISTRATION": -4000,
    "CREDIT_TERM": 13.3333,
    "ANNUITY_BIRTH_RATIO": 456.25,
    "ANNUITY_INCOME_PERCENT": 0.1,
    "CREDIT_GOODS_RATIO": 1.1111,
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketDoor]:
    with servers.shipped(tmp_path_factory.mktemp("dashboard")) as door:
        yield door


def typed(shown: AppTest) -> dict[str, str]:
    return {str(one.key): one.value or "" for one in shown.text_input if str(one.key).startswith("typed ")}


def headings(shown: AppTest) -> list[str]:
    return [one.value.removeprefix("## ") for one in shown.markdown if one.value.startswith("## ")]


def texts(shown: AppTest) -> str:
    return plain("\n".join(one.value for one in shown.markdown))


def test_nothing_is_typed_before_the_officer_does(api: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(api.url, "decision", monkeypatch)

    assert set(typed(shown).values()) == {""}
    (button,) = [one for one in shown.button if one.label == DECIDE]
    assert button.disabled


def test_the_example_says_so_is_decided_on_with_its_ratios_and_is_cleared(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, documented_request: dict[str, float]
) -> None:
    expected = api.predict(documented_request | BY_HAND).content

    shown = press(press(page(api.url, "decision", monkeypatch), EXAMPLE), DECIDE)

    assert "Exemple : ce client n’existe pas." in map(plain, told(shown))
    assert headings(shown) == [SHAPES[expected["prediction"]]]
    share = f"{100 * expected['probability_class_1']:.2f}".replace(".", ",")
    assert f"Probabilité de défaut : {share} %." in texts(shown)
    assert "Durée du crédit : 13,33 échéances" in texts(shown)
    assert "Le risque diminue de" in texts(shown)

    assert set(typed(press(shown, CLEAR)).values()) == {""}
    assert headings(shown) == []


def test_a_changed_value_makes_the_decision_old(api: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = press(press(page(api.url, "decision", monkeypatch), EXAMPLE), DECIDE)

    shown = unbroken(shown.text_input(key="typed AMT_CREDIT").set_value("210 000").run())

    (heading,) = headings(shown)
    assert heading.endswith(" — valeurs modifiées")


def test_an_unknown_value_is_a_box_and_sent_as_null(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, documented_request: dict[str, float]
) -> None:
    expected = api.predict(documented_request | BY_HAND | {"EXT_SOURCE_2": None}).content
    shown = press(page(api.url, "decision", monkeypatch), EXAMPLE)

    shown = press(unbroken(shown.checkbox(key="unknown EXT_SOURCE_2").check().run()), DECIDE)

    share = f"{100 * expected['probability_class_1']:.2f}".replace(".", ",")
    assert f"Probabilité de défaut : {share} %." in texts(shown)


def test_a_number_that_may_be_two_is_asked_about(api: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = press(page(api.url, "decision", monkeypatch), EXAMPLE)

    shown = unbroken(shown.text_input(key="typed AMT_CREDIT").set_value("200.000").run())

    assert "voulez-vous dire 200 000 ou 200,000 ?" in plain(told(shown)[0])


def test_a_client_of_35_days_is_warned_of_at_the_field(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = press(page(api.url, "decision", monkeypatch), EXAMPLE)

    shown = press(unbroken(shown.text_input(key="typed DAYS_BIRTH").set_value("0,1").run()), DECIDE)

    assert any("hors de ce que l’entraînement a vu" in one for one in told(shown))


def test_a_lever_answers_and_decides_nothing(api: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = press(press(page(api.url, "decision", monkeypatch), EXAMPLE), DECIDE)

    (credit,) = [one for one in shown.slider if one.label == "Crédit"]
    shown = unbroken(credit.set_value(150000.0).run())

    assert "Avec ce prêt : **" in texts(shown)
    assert "échéance 11 250" in texts(shown)  # 150000 / 13.3333
    assert not headings(shown)[0].endswith("modifiées")


@pytest.mark.slow
def test_nothing_typed_is_lost_while_the_api_is_away(
    documented_pickle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = servers.free_port()
    environment = servers.alone(documented_pickle, tmp_path) | {"PORT": str(port)}
    with servers.api(environment, tmp_path / "log") as door:
        servers.ready(door)
        shown = press(page(door.url, "decision", monkeypatch), EXAMPLE)
        shown = unbroken(shown.text_input(key="typed AMT_CREDIT").set_value("190000").run())
        before = typed(shown)

    shown = press(shown, DECIDE)
    assert "L’API est injoignable" in told(shown)[0]
    assert typed(shown) == before

    with servers.api(environment, tmp_path / "log2") as door:
        servers.ready(door)
        monkeypatch.setenv("API_URL", door.url)
        shown = press(unbroken(shown.run()), DECIDE)
    assert typed(shown) == before
    assert len(headings(shown)) == 1


@pytest.mark.slow
def test_a_token_is_typed_for_the_session_where_the_api_wants_one(
    documented_pickle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, line = servers.made_token("dashboard", "score")
    (tmp_path / "tokens").write_text(line)
    environment = servers.alone(documented_pickle, tmp_path) | {"API_TOKENS_FILE": str(tmp_path / "tokens")}
    with servers.api(environment, tmp_path / "log") as door:
        servers.ready(door)
        shown = press(press(page(door.url, "decision", monkeypatch), EXAMPLE), DECIDE)
        assert "Saisissez un jeton d’accès dans le volet de gauche" in told(shown)[0]

        shown = page(door.url, "decision", monkeypatch)
        (field,) = [one for one in shown.text_input if one.label == "Jeton d’accès"]
        shown = press(press(unbroken(field.set_value(token).run()), EXAMPLE), DECIDE)

    assert len(headings(shown)) == 1


@pytest.mark.slow
def test_an_api_without_a_model_says_what_to_do_next(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.api(servers.registry_in(store), store / "log") as door:
        (sentence,) = told(page(door.url, "decision", monkeypatch))

    assert sentence.startswith("Erreur lors du chargement du modèle : ")
    assert sentence.endswith("Patientez un instant, puis réessayez.")


SCHEMA = {"properties": {"DAYS_BIRTH": {"type": "number", "title": "Âge", "x-unit": "jours négatifs"}}}


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("26/11/2026", -1),
        ("27/11/2025", -365),
        ("2 ans", -730),
        ("1 an 6 mois", -548),
        ("32,5", -11862),
        ("", None),
    ],
)
def test_a_time_is_typed_in_years_or_as_a_date(text: str, days: int | None) -> None:
    (field,) = asked(SCHEMA)

    assert field.read(text, date(2026, 11, 27)) == days


@pytest.mark.parametrize("text", ["31/02/1990", "-3", "vieux"])
def test_a_time_that_is_none_is_refused_by_name(text: str) -> None:
    (field,) = asked(SCHEMA)

    with pytest.raises(NotANumber, match="«\u00a0Âge\u00a0»\u00a0: écrivez"):
        field.read(text, date(2026, 11, 27))


@pytest.mark.parametrize("days", [-12_000, -1, -364, -365, -24_999, *range(-9_000, -8_000, 37)])
def test_a_time_that_is_filled_in_is_read_back_to_the_day(days: int) -> None:
    (age,) = asked(SCHEMA)

    assert age.read(age.written(float(days)), date(2026, 11, 26)) == days


def test_every_digit_that_is_typed_is_decided_on(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, documented_request: dict[str, float]
) -> None:
    expected = api.predict(documented_request | BY_HAND | {"EXT_SOURCE_2": 0.123456789012345678}).content
    shown = press(page(api.url, "decision", monkeypatch), EXAMPLE)
    shown = shown.text_input(key="typed EXT_SOURCE_2").set_value("0,123456789012345678").run()

    decided = press(shown, DECIDE).session_state["decision answer"]["decision"]

    assert decided == expected


def test_a_decision_that_cannot_be_explained_is_shown(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = "La version servie ne sait pas expliquer ses décisions."

    def refuse(*_: object) -> None:
        raise ApiError(sentence)

    monkeypatch.setattr(ScoringApi, "explain", refuse)

    shown = press(press(page(api.url, "decision", monkeypatch), EXAMPLE), DECIDE)

    assert headings(shown)[0] in SHAPES.values()
    assert sentence in [one.value for one in shown.caption]


def test_the_client_s_document_names_receipt_reasons_and_rights_and_escapes_them() -> None:
    written = document("Risqué", "27/11/2026", "r-1", [("Raisons", ["a < b"]), ("Offres", [])])

    assert "Résultat\u00a0: Risqué" in written
    assert "r-1" in written
    assert "<li>a &lt; b</li>" in written
    assert "Offres" not in written
    assert "Vous pouvez demander qu’une personne la revoie" in written
