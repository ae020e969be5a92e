"""The page « Décision », on Streamlit's AppTest against a real API."""

from datetime import date
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.api_client import ApiError, ScoringApi
from dashboard.decision.fields import asked
from dashboard.numbers import NotANumber
from tests import servers
from tests.dashboard_support import page, plain, press, told, unbroken
from tests.servers import ROOT, SocketDoor

pytest_plugins = ["tests.dashboard_fixtures"]

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


def typed(shown: AppTest) -> dict[str, str]:
    return {str(one.key): one.value or "" for one in shown.text_input if str(one.key).startswith("typed ")}


def headings(shown: AppTest) -> list[str]:
    return [one.value.removeprefix("## ") for one in shown.markdown if one.value.startswith("## ")]


def texts(shown: AppTest) -> str:
    return plain("\n".join(one.value for one in shown.markdown))


def test_nothing_is_typed_before_the_officer_does(api: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(api.url, "decision", monkeypatch)

    assert set(typed(shown).values()) == {""}
    assert [one.disabled for one in shown.button if one.label == DECIDE] == [True, True]


def test_the_example_says_so_is_decided_on_with_its_ratios_and_is_cleared(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, documented_request: dict[str, float]
) -> None:
    expected = api.predict(documented_request | BY_HAND).content

    shown = press(press(page(api.url, "decision", monkeypatch), EXAMPLE), DECIDE)

    assert any(plain(one).startswith("Client fictif : il n’existe pas.") for one in told(shown))
    assert headings(shown) == [SHAPES[expected["prediction"]]]
    share = f"{100 * expected['probability_class_1']:.2f}".replace(".", ",")
    assert f"Probabilité de défaut : {share} %." in texts(shown)
    assert "Durée du crédit : 13,33 échéances" in texts(shown)
    assert "le risque diminue de" in texts(shown)

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

    credit, *_ = shown.select_slider
    assert [plain(one) for one in credit.options[:2]] == ["100 000", "105 000"]
    shown = unbroken(credit.set_value(150000.0).run())

    assert "Avec ce prêt : **" in texts(shown)
    assert "échéance 11 250,03." in texts(shown)  # 150000 / 13.3333
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


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("quarante", "écrivez des années, par exemple 32,5, ou une date comme 14/03/1990."),
        ("01/01/2030", "écrivez une date passée."),
        ("1e11", "écrivez 200 ans au plus."),
        ("1e308", "ce nombre est trop grand."),
        ("01/01/1600", "écrivez 200 ans au plus."),
    ],
)
def test_a_time_that_is_none_is_refused_in_its_own_words(text: str, sentence: str) -> None:
    (field,) = asked(SCHEMA)

    with pytest.raises(NotANumber, match=sentence):
        field.read(text, date(2026, 11, 27))


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
    assert sentence in [one.value for one in shown.info]


# ---- What can be no value, and what should be looked at


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("AMT_CREDIT", "-5", "« Montant du crédit » : écrivez un montant au-dessus de zéro."),
        ("AMT_CREDIT", "0", "« Montant du crédit » : écrivez un montant au-dessus de zéro."),
        ("AMT_INCOME_TOTAL", "0", "« Revenu » : écrivez un montant au-dessus de zéro."),
        ("INSTA_AMT_PAYMENT", "-1", "« Paiement moyen » : écrivez un montant, zéro au moins."),
        ("EXT_SOURCE_2", "1,2", "« Score externe 2 » : écrivez un nombre de 0 à 1."),
        ("AMT_ANNUITY", "1e-300", "« Échéance » : écrivez un montant au-dessus de zéro."),
        ("AMT_INCOME_TOTAL", "1e308", "« Revenu » : ce nombre est trop grand."),
    ],
)
def test_what_can_be_no_value_is_refused_at_its_field(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, name: str, text: str, sentence: str
) -> None:
    shown = press(page(api.url, "decision", monkeypatch), EXAMPLE)

    shown = unbroken(shown.text_input(key=f"typed {name}").set_value(text).run())

    assert sentence in map(plain, told(shown))
    assert [one.disabled for one in shown.button if one.label == DECIDE] == [True, True]


def test_a_decision_with_warnings_says_so_in_its_box_above_the_reasons_and_on_the_paper(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = press(page(api.url, "decision", monkeypatch), EXAMPLE)

    shown = press(unbroken(shown.text_input(key="typed DAYS_BIRTH").set_value("0,1").run()), DECIDE)

    warnings = len(shown.session_state["decision answer"]["explanation"]["warnings"])
    said = [plain(one) for one in told(shown)]
    (counted,) = [one for one in said if one.endswith("lisez l’onglet « Raisons » avant de vous y fier.")]
    assert counted.startswith(f"{warnings} avertissement")
    _, reasons, *_, paper = shown.tabs
    assert len(reasons.warning) == warnings
    assert "hors de ce que l’entraînement a vu" in "".join(one.value for one in reasons.warning)
    assert "vérifiez les valeurs avant de remettre ce document" in paper.warning[0].value


def test_the_caption_says_what_is_still_to_do(api: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(api.url, "decision", monkeypatch)
    missing = "Remplissez tous les champs, ou cochez « inconnu »."
    assert missing in [plain(one.value) for one in shown.caption]

    captions = [plain(one.value) for one in press(shown, EXAMPLE).caption]
    assert "Demandez la décision." in captions
    assert missing not in captions

    shown = unbroken(shown.text_input(key="typed AMT_CREDIT").set_value("200.000").run())
    assert "À remplir ou à corriger : « Montant du crédit »." in [plain(one.value) for one in shown.caption]


# ---- Clients who do not exist


def test_the_example_is_marked_in_the_journal_s_reference_until_a_real_client_comes(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = press(page(api.url, "decision", monkeypatch), EXAMPLE)
    assert shown.text_input(key="decision reference").value == "exemple"

    elsewhere = unbroken(shown.switch_page("screens/model.py").run())
    back = unbroken(elsewhere.switch_page("screens/decision.py").run())
    assert back.text_input(key="decision reference").value == "exemple"

    cleared = press(back, CLEAR)
    assert cleared.text_input(key="decision reference").value == ""
    assert not any("Client fictif" in one for one in told(cleared))


# ---- Words and numbers


def test_fields_say_what_they_ask_and_between_which_ends(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = page(api.url, "decision", monkeypatch)

    captions = [plain(one.value) for one in shown.caption]
    assert "D’ordinaire de 0,2 à 15,1 ans" in captions
    assert "D’ordinaire de 1,3 à 33 échéances" in captions
    assert "D’ordinaire de 0 à 99 %" in captions
    help_of = {one.label: plain(one.help) for one in shown.text_input if one.help}
    assert help_of["Âge (années, ou date comme 14/03/1990)"] == "Âge du client à la demande. (DAYS_BIRTH)"
    assert (
        help_of["Revenu (unité monétaire)"] == "Sert à calculer « Échéance sur revenu ». (AMT_INCOME_TOTAL)"
    )


def test_a_share_is_typed_in_per_cent(api: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = press(page(api.url, "decision", monkeypatch), EXAMPLE)
    assert shown.text_input(key="typed DEBT_CREDIT_RATIO").value == "30"

    shown = press(unbroken(shown.text_input(key="typed DEBT_CREDIT_RATIO").set_value("45 %").run()), DECIDE)

    assert shown.session_state["decision answer"]["client"]["DEBT_CREDIT_RATIO"] == 0.45
    assert "Échéance sur revenu : 10 %" in texts(shown)
