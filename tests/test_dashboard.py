"""The loan officer's page, on Streamlit's AppTest against a real API."""

import json
from collections.abc import Iterable, Iterator
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

BUTTON, EXAMPLE, NEW = "Demander la décision", "Exemple fictif", "Nouveau client"


@pytest.fixture(scope="module")
def api(documented_pickle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketDoor]:
    folder = tmp_path_factory.mktemp("dashboard")
    with servers.api(servers.alone(documented_pickle, folder), folder / "log") as door:
        servers.ready(door)
        yield door


def page(url: str, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """As it opens, with nothing in its fields."""
    monkeypatch.setenv("API_URL", url)
    shown = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=30).run()
    assert not shown.exception
    return shown


def with_example(url: str, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    return pressed(page(url, monkeypatch), EXAMPLE)


def pressed(shown: AppTest, label: str) -> AppTest:
    (button,) = [button for button in shown.button if button.label == label]
    shown = button.click().run()
    assert not shown.exception
    return shown


def decide(shown: AppTest) -> AppTest:
    return pressed(shown, BUTTON)


def sentences(shown: AppTest) -> list[str]:
    boxes = [*shown.success, *shown.warning, *shown.error]
    return [box.value for box in boxes]


def values(shown: AppTest, names: Iterable[str]) -> dict[str, float | None]:
    typed = {field.key: field.value or "" for field in shown.text_input}
    return {name: read_french(typed[name], name) for name in names}


def test_nothing_is_filled_in_but_an_example_that_says_so_and_can_be_cleared(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, documented_request: dict[str, float]
) -> None:
    empty = page(api.url, monkeypatch)
    assert set(values(empty, documented_request).values()) == {None}

    filled = decide(pressed(empty, EXAMPLE))
    assert values(filled, documented_request) == documented_request
    assert sentences(filled)

    cleared = pressed(filled, NEW)
    assert set(values(cleared, documented_request).values()) == {None}
    assert sentences(cleared) == []


def test_changed_values_make_the_decision_that_of_the_former_ones(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = decide(with_example(api.url, monkeypatch))
    (decided,) = sentences(shown)

    shown = shown.text_input(key="AMT_CREDIT").set_value("250000").run()
    changed = (sentences(shown), [box.value for box in shown.info])
    shown = shown.text_input(key="AMT_CREDIT").set_value("200000").run()

    said = "Valeurs modifiées\u00a0: la décision ci-dessous est celle des valeurs d’avant."
    assert changed == ([], [said])
    assert sentences(shown) == [decided]


def test_what_is_typed_survives_an_api_that_is_away(
    documented_pickle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = servers.alone(documented_pickle, tmp_path)
    with servers.api(environment, tmp_path / "log") as door:
        servers.ready(door)
        url, port = door.url, door.url.rsplit(":", 1)[1]
        shown = with_example(url, monkeypatch)
        shown = shown.text_input(key="AMT_CREDIT").set_value("250000").run()
    away = shown.run()
    assert sentences(away) == [f"L’API est injoignable à l’adresse {url}. Est-elle démarrée\u00a0?"]

    with servers.api(environment | {"PORT": port}, tmp_path / "log 2") as door:
        servers.ready(door)
        monkeypatch.setenv("API_URL", door.url)
        again = decide(pressed(away, "Réessayer"))

    assert values(again, ["AMT_CREDIT", "AMT_ANNUITY"]) == {"AMT_CREDIT": 250_000.0, "AMT_ANNUITY": 15_000.0}
    assert len(sentences(again)) == 1


def test_the_receipt_is_named_and_found_by_the_reference(
    documented_pickle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = servers.alone(documented_pickle, tmp_path) | {
        "JOURNAL_URL": f"sqlite:///{tmp_path}/journal.db"
    }
    with servers.api(environment, tmp_path / "log") as door:
        servers.ready(door)
        shown = with_example(door.url, monkeypatch)
        shown = shown.text_input(key="decision reference").set_value("dossier 41").run()
        shown = decide(shown)
        (told,) = [one.value for one in shown.caption if one.value.startswith("Reçu ")]
        receipt = door.get(f"/decisions/{told.removeprefix('Reçu ')}").content

    assert receipt["client_reference"] == "dossier 41"
    assert receipt["inputs"]["AMT_CREDIT"] == 200_000.0


def test_the_answer_is_the_api_s_own(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, documented_request: dict[str, float]
) -> None:
    expected = api.predict(documented_request).content

    shown = decide(with_example(api.url, monkeypatch))

    assert [sentence.split("\u00a0: ", 1)[1] for sentence in sentences(shown)] == [expected["prediction"]]


def test_the_page_says_what_the_api_explains(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, documented_request: dict[str, float]
) -> None:
    body = json.dumps(documented_request).encode()
    found = api.send("POST", "/explain", body, servers.JSON).content

    shown = decide(with_example(api.url, monkeypatch))

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

    shown = decide(with_example(api.url, monkeypatch))

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
    shown = with_example(api.url, monkeypatch)

    shown.text_input(key=field).set_value(text)
    shown = decide(shown)

    assert [sentence.split("\u00a0: ", 1)[1] for sentence in sentences(shown)] == [expected["prediction"]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "«\u00a0Montant du crédit\u00a0»\u00a0: une valeur est nécessaire."),
        ("beaucoup", "«\u00a0Montant du crédit\u00a0»\u00a0: écrivez un nombre, par exemple 1234,5."),
        (
            "200.000",
            "«\u00a0Montant du crédit\u00a0»\u00a0: voulez-vous dire 200\u202f000 ou 200,000\u00a0? "
            "Écrivez l’un des deux.",
        ),
        ("inf", "«\u00a0Montant du crédit\u00a0»\u00a0: écrivez un nombre, par exemple 1234,5."),
    ],
)
def test_a_value_that_cannot_be_sent_is_said_to_be_so(
    api: SocketDoor, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    shown = with_example(api.url, monkeypatch)

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
        (refused,) = sentences(decide(with_example(door.url, monkeypatch)))
        monkeypatch.setenv("API_TOKEN", token)
        (decided,) = sentences(decide(with_example(door.url, monkeypatch)))

    assert refused == "Jeton d’accès absent ou inconnu (en-tête Authorization: Bearer)."
    assert "Classe_0 (fiable)" in decided or "Zone grise" in decided or "Classe_1" in decided


def test_an_api_that_is_down_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page("http://127.0.0.1:9", monkeypatch)

    assert sentences(shown) == [
        "L’API est injoignable à l’adresse http://127.0.0.1:9. Est-elle démarrée\u00a0?"
    ]


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
    with pytest.raises(NotANumber, match=f"voulez-vous dire {both}\u00a0\\?"):
        read_french(text, "x")

    thousands, decimals = both.split(" ou ")
    assert read_french(thousands, "x") == 1000 * float(decimals.replace(",", "."))


@pytest.mark.parametrize("text", ["1.234.567", "1.234,5", "1,234.5"])
def test_several_separators_are_no_number(text: str) -> None:
    with pytest.raises(NotANumber, match="écrivez un nombre"):
        read_french(text, "x")


def test_a_text_is_no_number() -> None:
    with pytest.raises(NotANumber, match="«\u00a0Échéance\u00a0»\u00a0: écrivez un nombre"):
        read_french("12 euros", "Échéance")


@pytest.mark.parametrize("number", [15000, 0.02, -12000.0, 0.1 + 0.2, 1e-7, 123456789.123])
def test_a_number_reads_back_as_it_was_written(number: float) -> None:
    assert read_french(write_french(number), "x") == number
