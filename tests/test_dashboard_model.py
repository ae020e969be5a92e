"""The page « Modèle », on Streamlit's AppTest against a real API."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.model import history, sentences
from promotion import promoting
from quality.portfolio import Portfolio
from tests import servers
from tests.dashboard_support import page, plain, told, unbroken
from tests.live import Registry, serving
from tests.other_services import road_to, says
from tests.promotion_support import examined, run_of
from tests.servers import ROOT, SocketDoor

pytest_plugins = ["tests.dashboard_fixtures", "tests.live_support"]

SHIPPED = ROOT / "models" / "lgbm_final_model.pkl"


@pytest.fixture
def shown(api: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.delenv("MLFLOW_UI_URL", raising=False)
    monkeypatch.delenv("MONITORING_URL", raising=False)
    return page(api.url, "model", monkeypatch)


def texts(shown: AppTest) -> list[str]:
    return [plain(one.value) for one in shown.markdown]


def table(shown: AppTest, first: str) -> dict[str, list[str]]:
    """The rows below this first cell, by their own first cells."""
    text = [one for one in texts(shown) if one.startswith(f"| {first} |")][-1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    return {name: cells for name, *cells in rows}


def alternatives(shown: AppTest) -> list[str]:
    """What each drawing says to who does not see it."""
    return [plain(image.proto.imgs[0].alt) for image in shown.get("image")]


def decided(api: SocketDoor) -> tuple[np.ndarray, np.ndarray]:
    """Each reference client's probability, page by page from the API, and the true one of the file."""
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        answer = api.get(f"/reference/clients?after={after}&limit=500").content
        found, after = found + answer["clients"], answer["next"]
    truth = Portfolio.read().columns["TRUE_PROBABILITY"]
    return np.array([one["probability_class_1"] for one in found]), truth


def french(number: int) -> str:
    return f"{number:,}".replace(",", " ")


# ---- The version


def test_the_version_and_its_policy_are_said_in_words(shown: AppTest, api: SocketDoor) -> None:
    digest = api.get("/model").headers["X-Model-Digest"][:12]
    said = texts(shown)

    assert [one.value for one in shown.title] == ["Modèle"]
    assert f"**lgbm_final_model.pkl**, empreinte {digest}." in said
    assert (
        "La décision est « **Fiable** » si la probabilité de défaut est sous 14,67 %, « **Risqué** » si elle "
        "est au-dessus de 18,67 %, et « **À examiner** » entre les deux, bornes comprises. Le seuil est "
        "16,67 %, la marge 2 points." in said
    )
    assert any(re.match(r"À l’entraînement, le seuil le moins cher était 1\d,\d\d %", one) for one in said)


def test_what_each_feature_weighs_is_drawn_and_told_the_heaviest_first(shown: AppTest) -> None:
    told_of_weights = alternatives(shown)[-1]

    assert re.match(r"Score externe 3 : 3\d,\d % ; Score externe 2 : 3\d,\d % ; ", told_of_weights)
    assert told_of_weights.endswith("Reste à payer : < 0,1 %.")
    assert "EXT_SOURCE" not in "".join([*texts(shown), *alternatives(shown)])


# ---- The reference clients


def test_the_reference_clients_are_counted_by_decision(shown: AppTest, api: SocketDoor) -> None:
    probabilities, truth = decided(api)
    reliable = probabilities < 1 / 6 - 0.02

    rows = table(shown, "Décision")

    assert list(rows) == ["● Fiable", "◆ À examiner", "▲ Risqué"]
    clients, share, rate = rows["● Fiable"]
    assert clients == french(int(reliable.sum()))
    shares = [float(cells[1].removesuffix(" %").replace(",", ".")) for cells in rows.values()]
    assert float(share.removesuffix(" %").replace(",", ".")) == pytest.approx(100 * reliable.mean(), abs=0.1)
    assert sum(shares) == pytest.approx(100, abs=1e-9)
    assert rate == f"{100 * truth[reliable].mean():.1f} %".replace(".", ",")
    whose = "10 000 clients de référence, tirés au sort : aucun n’existe."
    assert f"{whose} Leurs défauts ne sont pas constatés, mais attendus" in "".join(texts(shown))


def test_a_threshold_moved_on_paper_says_whom_it_changes_and_what_it_costs(
    shown: AppTest, api: SocketDoor
) -> None:
    assert "Déplacez le seuil pour voir ce qu’un autre changerait." in texts(shown)
    probabilities, truth = decided(api)

    unbroken(shown.select_slider(key="threshold tried").set_value(0.25).run())

    now, then = (
        np.digitize(probabilities, [threshold - 0.02, threshold + 0.02]) for threshold in (1 / 6, 0.25)
    )
    assert f"**{french(int((now != then).sum()))} clients** sur 10 000 auraient une autre décision." in texts(
        shown
    )
    rows = table(shown, "")
    more = int((then == 2).sum()) - int((now == 2).sum())
    assert rows["▲ Risqué"] == [
        french(int((now == 2).sum())),
        french(int((then == 2).sum())),
        f"\u2212{french(-more)}",
    ]
    cost = 100 * np.where(probabilities <= 0.25, 5 * truth, 1 - truth).mean()
    assert rows["Coût de 100 clients"][1] == f"{cost:.2f}".replace(".", ",")
    assert f"Au seuil essayé, 25,00 % : {cost:.2f}.".replace(".", ",", 1) in alternatives(shown)[0]


def test_the_cost_curve_is_told_with_the_grey_zone(shown: AppTest) -> None:
    assert re.fullmatch(
        r"Coût de 100 clients selon le seuil : 32,\d\d au seuil actuel, 16,67 % ; au plus bas 32,\d\d, à "
        r"1\d,\d\d %\. Zone grise de 14,67 % à 18,67 %\.",
        alternatives(shown)[0],
    )


def test_calibration_is_told_by_tenths(shown: AppTest, api: SocketDoor) -> None:
    probabilities, truth = decided(api)
    riskiest = np.argsort(probabilities)[-1000:]

    said = alternatives(shown)[1]

    assert said.startswith("10 groupes de ")
    predicted, observed = (100 * one[riskiest].mean() for one in (probabilities, truth))
    assert said.endswith(f"{predicted:.1f} % prévus, {observed:.1f} % attendus.".replace(".", ",", 2))
    assert any(one.endswith(" % des cas (AUC).") for one in texts(shown))


def test_groups_are_compared_by_age(shown: AppTest) -> None:
    rows = table(shown, "Âge")

    assert next(iter(rows)) == "Moins de 30 ans"
    assert all(re.fullmatch(r"\d+,\d % \(\d+,\d %\)", cells[1]) for cells in rows.values())
    rates = [float(cells[2].removesuffix(" %").replace(",", ".")) for cells in rows.values()]
    (said,) = [one for one in texts(shown) if one.startswith("Le plus faible taux d’accord")]
    ratio = float(said.split(" : ")[1][:4].replace(",", "."))
    assert ratio == pytest.approx(min(rates) / max(rates), abs=0.006)
    low = said.split("(entre ")[1][:4]
    is_open = float(low.replace(",", ".")) < 0.8
    doubt = f", mais le bas de l’intervalle, {low}, est au-dessous" if is_open else ""
    assert f"La règle des quatre cinquièmes (au moins 0,8) est respectée{doubt}." in said
    assert re.search(r"diffèrent de 1\d,\d points au plus \(entre 1\d,\d et 1\d,\d\)\.$", said)


@pytest.mark.parametrize(
    ("low", "value", "high", "sentence"),
    [
        (0.81, 0.84, 0.87, "est respectée."),
        (0.79, 0.81, 0.84, "est respectée, mais le bas de l’intervalle, 0,79, est au-dessous."),
        (0.77, 0.79, 0.82, "n’est pas respectée, mais le haut de l’intervalle, 0,82, l’atteint."),
        (0.70, 0.72, 0.75, "n’est pas respectée."),
    ],
)
def test_the_rule_of_four_fifths_says_what_the_interval_leaves_open(
    low: float, value: float, high: float, sentence: str
) -> None:
    ratio = {"low": low, "value": value, "high": high}
    gap = {"low": 0.1, "value": 0.12, "high": 0.14}
    comparison = {"approval_ratio": ratio, "opportunity_gap": gap, "is_below_four_fifths": value < 0.8}

    said = plain(sentences.between(comparison))

    assert f"La règle des quatre cinquièmes (au moins 0,8) {sentence} Parmi" in said


# ---- Texts of other people

PICTURE = "![x](https://elsewhere.example/x.png)"


def test_what_a_registry_says_brings_no_picture_and_no_link() -> None:
    term = {
        "version": PICTURE,
        "since": None,
        "until": None,
        "how": "promotion",
        "why": PICTURE,
        "overridden": None,
    }
    told_of: dict[str, Any] = {"compared_with": PICTURE, "outcome": None, "differences": {}}

    for written in (history.champions([term]), history.examination(told_of), history.card(PICTURE)):
        assert "![" not in written.replace("\\![", "").replace("!\\[", "")


def test_an_error_of_the_api_is_shown_as_it_is(api: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    with road_to(api) as road:
        road.faults["/model"] = says(json.dumps({"error": f"Une *panne* {PICTURE}."}).encode(), 500)
        (shown,) = page(road.url, "model", monkeypatch).error

    assert plain(shown.value) == f"Une *panne* {PICTURE}."
    assert "![" not in shown.value


@pytest.mark.parametrize(
    ("card", "shown"),
    [
        ("# Titre\n\ntexte", "#### Titre\n\ntexte"),
        ("   # Titre", "   #### Titre"),
        ("> # Titre", "> #### Titre"),
        ("1. # Titre", "1. #### Titre"),
        ("Titre\n=====", "Titre\n\\====="),
        ("> Titre\n> ---", "> Titre\n> \\---"),
        ("| a |\n| --- |", "| a |\n| --- |"),
    ],
)
def test_the_headings_of_a_card_stay_below_the_page_s_own(card: str, shown: str) -> None:
    assert history.card(card) == shown


def test_of_a_long_card_the_beginning_is_shown() -> None:
    shown = history.card("une ligne\n" * 1_000_000)

    assert 0 < len(shown) <= history.MOST_OF_CARD
    assert shown.endswith("une ligne")


# ---- The service


def test_the_journal_and_the_links_of_the_operator_are_told(
    api: SocketDoor, shown: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Ce service ne tient pas de journal : les décisions ne laissent aucun reçu." in texts(shown)
    assert shown.get("link_button") == []

    monkeypatch.setenv("MLFLOW_UI_URL", "https://mlflow.bank/")
    monkeypatch.setenv("MONITORING_URL", "javascript:alert(1)")
    linked = page(api.url, "model", monkeypatch)

    assert {one.proto.label: one.proto.url for one in linked.get("link_button")} == {
        "Versions et historique des champions, dans MLflow": "https://mlflow.bank/#/models/lgbm_final_model.pkl",
        "Entraînements et examens, dans MLflow": "https://mlflow.bank/#/experiments",
    }


@pytest.mark.slow
def test_the_history_and_the_last_examination_are_those_of_the_registry(
    live: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoting.promote(examined(2), why="des coûts | revus", by="anna")
    changes = run_of(2).metrics
    monkeypatch.setenv("MLFLOW_UI_URL", "http://127.0.0.1:5001")

    with serving(live, JOURNAL_URL="off") as door:
        shown = page(door.url, "model", monkeypatch)

    today = f"{datetime.now():%d/%m/%Y}"
    (champions,) = [one for one in texts(shown) if one.startswith("| Version |")]
    assert champions.splitlines()[2:] == [
        f"| 2 | {today} – aujourd’hui | promotion, malgré des objections : des coûts | revus |",
        f"| 1 | {today} – {today} | enregistrement |",
    ]
    changed = f"{100 * changes['changed']:.1f} %".replace(".", ",")
    assert (
        "La version servie a été comparée avec la version 1 sur des clients de référence. La décision est "
        f"une autre pour {changed} d’entre eux. Elle a été promue malgré des objections." in texts(shown)
    )
    approved = f"+{100 * changes['approved']:.1f} points".replace(".", ",")
    assert table(shown, "")["● Fiable"] == [approved]
    assert [one.label for one in shown.expander] == ["Fiche du modèle, en anglais"]
    links = {one.proto.label: one.proto.url for one in shown.get("link_button")}
    place = "http://127.0.0.1:5001/#/"
    assert links["Fiche de la version 2, dans MLflow"] == f"{place}models/scoring-client/versions/2"
    assert re.fullmatch(
        rf"{place}experiments/\d+/runs/[0-9a-f]{{32}}",
        links["Dernier examen, client par client, dans MLflow"],
    )


def test_without_a_reference_its_sentence_stands_where_the_totals_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.shipped(tmp_path, REFERENCE=str(tmp_path / "nowhere.parquet")) as door:
        shown = page(door.url, "model", monkeypatch)

    assert [plain(one) for one in told(shown)] == [
        "Ce service n’a pas de portefeuille de référence : son exploitant peut en nommer un (REFERENCE)."
    ]
    assert [one.value for one in shown.header][1:] == ["Poids des données", "Service", "Historique"]


def test_an_api_that_is_away_is_one_sentence_and_a_button(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = page(f"http://127.0.0.1:{servers.free_port()}", "model", monkeypatch)

    (sentence,) = told(shown)
    assert sentence.startswith("L’API est injoignable")
    assert [button.label for button in shown.button] == ["Réessayer"]
    assert shown.header == []
