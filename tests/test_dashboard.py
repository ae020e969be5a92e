"""The loan officer's page, on Streamlit's AppTest against a real API."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.api_client import ApiError, ScoringApi
from dashboard.numbers import NotANumber, read_french, write_french
from mlflow_model.handover import model_files
from mlflow_model.registry import registration
from tests import servers
from tests.servers import ROOT, SocketDoor

BUTTON = "Demander la décision"


@pytest.fixture(scope="module")
def api(documented_pickle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketDoor]:
    folder = tmp_path_factory.mktemp("dashboard")
    with servers.api(servers.alone(documented_pickle, folder), folder / "log") as door:
        servers.ready(door)
        yield door


def page(url: str, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("API_URL", url)
    shown = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=30).run()
    assert not shown.exception
    return shown


def decide(shown: AppTest) -> AppTest:
    (button,) = [button for button in shown.button if button.label == BUTTON]
    shown = button.click().run()
    assert not shown.exception
    return shown


def sentences(shown: AppTest) -> list[str]:
    boxes = [*shown.success, *shown.warning, *shown.error]
    return [box.value for box in boxes]


def test_the_page_proposes_the_documented_client(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, documented_request: dict[str, float]
) -> None:
    shown = page(api.url, monkeypatch)

    fields = {field.key: read_french(field.value or "", "") for field in shown.text_input}
    assert fields == documented_request


def test_the_answer_is_the_api_s_own(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, documented_request: dict[str, float]
) -> None:
    expected = api.predict(documented_request).content

    shown = decide(page(api.url, monkeypatch))

    assert [sentence.split(" ", 2)[2] for sentence in sentences(shown)] == [expected["prediction"]]


def test_the_page_says_what_the_api_explains(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, documented_request: dict[str, float]
) -> None:
    body = json.dumps(documented_request).encode()
    found = api.send("POST", "/explain", body, servers.JSON).content

    shown = decide(page(api.url, monkeypatch))

    said = "\n".join(element.value for element in shown.markdown)
    parts = [*found["warnings"], *found["reasons"]["for"], *found["reasons"]["against"], found["offers"]]
    assert {one["code"] for one in found["warnings"]} >= {"broken_identity"}
    assert [one["sentence"] for one in parts if f"- {one['sentence']}" not in said] == []


def test_a_decision_that_cannot_be_explained_is_shown(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ApiError("La version servie ne sait pas expliquer ses décisions.")

    monkeypatch.setattr(ScoringApi, "explain", refuse)

    shown = decide(page(api.url, monkeypatch))

    assert len(sentences(shown)) == 1
    assert "La version servie ne sait pas expliquer ses décisions." in [one.value for one in shown.caption]


@pytest.mark.parametrize(("field", "text"), [("EXT_SOURCE_1", ""), ("EXT_SOURCE_2", "0,123456789012345678")])
def test_what_is_typed_is_what_is_decided_on(
    api: SocketDoor,
    monkeypatch: pytest.MonkeyPatch,
    documented_request: dict[str, Any],
    field: str,
    text: str,
) -> None:
    sent = documented_request | {field: read_french(text, field)}
    expected = api.predict(sent).content
    shown = page(api.url, monkeypatch)

    shown.text_input(key=field).set_value(text)
    shown = decide(shown)

    assert [sentence.split(" ", 2)[2] for sentence in sentences(shown)] == [expected["prediction"]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "« Montant du crédit » : une valeur est nécessaire."),
        ("beaucoup", "« Montant du crédit » : écrivez un nombre, par exemple 1234,5."),
        (
            "200.000",
            "« Montant du crédit » : voulez-vous dire 200\u202f000 ou 200,000 ? Écrivez l’un des deux.",
        ),
        ("inf", "« Montant du crédit » : écrivez un nombre, par exemple 1234,5."),
    ],
)
def test_a_value_that_cannot_be_sent_is_said_to_be_so(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    shown = page(api.url, monkeypatch)

    shown.text_input(key="AMT_CREDIT").set_value(text)

    assert sentences(decide(shown)) == [sentence]


def test_with_a_token_the_page_may_ask_an_api_that_wants_one(
    documented_pickle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, line = servers.made_token("dashboard", "score")
    (tmp_path / "tokens").write_text(line)
    environment = servers.alone(documented_pickle, tmp_path) | {"API_TOKENS_FILE": str(tmp_path / "tokens")}
    with servers.api(environment, tmp_path / "log") as door:
        servers.ready(door)
        (refused,) = sentences(decide(page(door.url, monkeypatch)))
        monkeypatch.setenv("API_TOKEN", token)
        (decided,) = sentences(decide(page(door.url, monkeypatch)))

    assert refused == "Jeton d’accès absent ou inconnu (en-tête Authorization: Bearer)."
    assert "Classe_0 (fiable)" in decided or "Zone grise" in decided or "Classe_1" in decided


def test_an_api_that_is_down_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page("http://127.0.0.1:9", monkeypatch)

    assert sentences(shown) == ["L’API est injoignable à l’adresse http://127.0.0.1:9. Est-elle démarrée ?"]


def test_a_page_without_a_model_says_why_and_recovers(
    store: Path, documented_pickle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.api(servers.registry_in(store), store / "log") as door:
        (sentence,) = sentences(page(door.url, monkeypatch))
        assert sentence.startswith("Erreur lors du chargement du modèle : ")

        registration.register(*model_files.convert(documented_pickle))
        servers.ready(door)

        assert sentences(page(door.url, monkeypatch)) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1234,5", 1234.5),
        (" 1\u202f234 567 ", 1234567.0),
        ("\u221212,5", -12.5),
        ("0.1", 0.1),
        ("0.125", 0.125),
        ("-0.125", -0.125),
        ("200.5", 200.5),
        ("200.0005", 200.0005),
        ("2000.125", 2000.125),
        ("200\u202f000", 200_000.0),
        ("200,000", 200.0),
        ("1e-3", 0.001),
        ("", None),
    ],
)
def test_numbers_are_read_as_they_are_typed_in_french(text: str, number: float | None) -> None:
    assert read_french(text, "x") == number


@pytest.mark.parametrize(
    ("text", "both"),
    [
        ("200.000", "200\u202f000 ou 200,000"),
        (" 1.100 ", "1\u202f100 ou 1,100"),
        ("\u221212.500", "-12\u202f500 ou -12,500"),
    ],
)
def test_a_point_before_three_digits_is_asked_about_and_both_answers_are_read(text: str, both: str) -> None:
    with pytest.raises(NotANumber, match=f"voulez-vous dire {both} \\?"):
        read_french(text, "x")

    thousands, decimals = both.split(" ou ")
    assert read_french(thousands, "x") == 1000 * float(decimals.replace(",", "."))


@pytest.mark.parametrize("text", ["1.234.567", "1.234,5", "1,234.5"])
def test_several_separators_are_no_number(text: str) -> None:
    with pytest.raises(NotANumber, match="écrivez un nombre"):
        read_french(text, "x")


def test_a_text_is_no_number() -> None:
    with pytest.raises(NotANumber, match="« Échéance » : écrivez un nombre"):
        read_french("12 euros", "Échéance")


@pytest.mark.parametrize("number", [15000, 0.02, -12000.0, 0.1 + 0.2, 1e-7, 123456789.123])
def test_a_number_reads_back_as_it_was_written(number: float) -> None:
    assert read_french(write_french(number), "x") == number
