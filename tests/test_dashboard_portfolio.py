"""The page « Portefeuille », on Streamlit's AppTest against a real API with a journal."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.api_client import ScoringApi
from dashboard.histogram import histogram
from dashboard.portfolio import opening, result, run
from dashboard.portfolio.files import BadFile
from mlflow_model.bundle.bundles import Bundle
from tests.conftest import FEATURES, random_clients
from tests.dashboard_support import plain
from tests.other_services import Forward, by_version, road_to
from tests.servers import ROOT, Answer, SocketDoor
from tests.test_recording import receipts_in, recorded

PAGE = ROOT / "dashboard" / "screens" / "portfolio.py"
NAMES = ("● Fiable", "◆ À examiner", "▲ Risqué")


@pytest.fixture(scope="module")
def clients() -> pd.DataFrame:
    """Integers, empty cells, a text with all that a CSV must quote, and an identifier that is no number."""
    found = random_clients(60, seed=7).round(3)
    found["AMT_CREDIT"] = found["AMT_CREDIT"].round().astype(int)
    found.insert(0, "dossier", [f"00{number}; « é\n»" for number in range(60)])
    return found


@pytest.fixture(scope="module")
def decided(bundle: Bundle, clients: pd.DataFrame) -> pd.DataFrame:
    """What the model's own code says of them, without any file."""
    scorer = bundle.scorer()
    rows = clients[list(FEATURES)].astype(float).to_dict("records")
    nulls = [{str(name): None if value != value else value for name, value in row.items()} for row in rows]
    return pd.DataFrame([scorer.decide(row) for row in nulls])


@pytest.fixture(scope="module")
def door(documented_pickle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketDoor]:
    with recorded(documented_pickle, tmp_path_factory.mktemp("portfolio")) as found:
        yield found


@pytest.fixture(autouse=True)
def address(door: SocketDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_URL", door.url)


def as_text(clients: pd.DataFrame, separator: str = ",") -> bytes:
    return clients.to_csv(index=False, sep=separator, decimal="," if separator == ";" else ".").encode()


def as_parquet(clients: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(clients, preserve_index=False), sink, compression="zstd")
    return sink.getvalue()


FORMS = {
    "csv": as_text,
    "french": lambda clients: b"\xef\xbb\xbf" + as_text(clients, ";"),
    "declared": lambda clients: (
        b"sep=\t\r\n" + as_text(clients, "\t").replace(b"\n\xc2\xbb", b"\r\n\xc2\xbb")
    ),
    "parquet": as_parquet,
}


def uploaded(content: bytes) -> AppTest:
    shown = AppTest.from_file(str(PAGE), default_timeout=60).run()
    assert not shown.exception
    shown = shown.file_uploader[0].set_value(("clients", content, "")).run()
    assert not shown.exception
    return shown


def pressed(shown: AppTest) -> AppTest:
    (button,) = [one for one in shown.button if one.label.startswith("Décider pour")]
    shown = button.click().run()
    assert not shown.exception
    return shown


def said(shown: AppTest) -> list[str]:
    return [plain(one.value) for one in [*shown.error, *shown.warning]]


# ---- What the page shows


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_file_gets_the_model_s_own_decisions(
    clients: pd.DataFrame, decided: pd.DataFrame, door: SocketDoor, form: str
) -> None:
    shown = uploaded(FORMS[form](clients))
    assert [plain(one.label) for one in shown.button] == ["Décider pour 60 clients"]

    table = pressed(shown).dataframe[0].value

    assert said(shown) == []
    kept = [text.replace("\r\n", "\n") for text in table["dossier"]]
    assert kept == clients["dossier"].tolist()
    assert table["Probabilité de défaut"].tolist() == decided["probability_class_1"].tolist()
    first = 1 if form == "parquet" else 3 if form == "declared" else 2
    assert table["Ligne du fichier"].tolist() == list(range(first, first + 60))
    receipts = receipts_in(door.log.parent)
    in_journal = [receipts[number].kept.outputs[1] for number in table["Reçu"]]
    assert in_journal == decided["probability_class_1"].tolist()


def test_counts_a_histogram_and_a_filter_by_label(clients: pd.DataFrame, decided: pd.DataFrame) -> None:
    shown = pressed(uploaded(as_text(clients)))

    counts = decided["prediction"].value_counts()
    labels = ("Classe_0 (fiable)", "Zone grise (incertain)", "Classe_1 (risqué)")
    (table,) = [plain(one.value) for one in shown.markdown if one.value.startswith("| Décision")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert {name: clients for name, clients, *_ in cells} == {
        **{name: str(counts[label]) for name, label in zip(NAMES, labels, strict=True)},
        "Ensemble": "60",
    }
    assert "Coût" not in table
    (pills,) = shown.pills
    risky = pills.set_value(["▲ Risqué"]).run().dataframe[0].value
    assert risky["Probabilité de défaut"].tolist() == (
        decided.loc[decided["prediction"] == labels[2], "probability_class_1"].tolist()
    )


def test_what_mistakes_may_cost_is_counted_by_label_where_the_version_says_its_costs(
    door: SocketDoor, clients: pd.DataFrame, decided: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_costs(forward: Forward) -> Answer:
        answer = forward()
        told = answer.content
        told["policy"]["provenance"] = {"costs": {"false_negative": 10, "false_positive": 2}}
        return replace(answer, body=json.dumps(told).encode())

    with road_to(door) as road:
        monkeypatch.setenv("API_URL", road.url)
        road.faults["/model"] = with_costs
        shown = pressed(uploaded(as_text(clients)))

    lost, refused = 5 * decided["probability_class_1"], decided["probability_class_0"]
    of_each = lost.where(decided["probability_class_1"] <= decided["optimal_threshold"], refused)
    by_label = [
        of_each[decided["prediction"].str.contains(word)].sum() for word in ("fiable", "grise", "risqué")
    ]
    (table,) = [one.value for one in shown.markdown if one.value.startswith("| Décision")]
    assert [line.split("|")[5].strip() for line in table.splitlines()[2:]] == [
        f"{cost:.1f}".replace(".", ",") for cost in [*by_label, of_each.sum()]
    ]
    assert "coûte autant que 5 refus" in plain("".join(one.value for one in shown.caption))


def test_bad_rows_are_listed_with_the_api_s_reasons_and_the_others_are_decided_on(
    clients: pd.DataFrame, decided: pd.DataFrame
) -> None:
    bad = clients.astype({"AMT_CREDIT": object, "DAYS_BIRTH": object})
    bad.loc[[0, 30], "AMT_CREDIT"] = "12 000"
    bad.loc[59, "DAYS_BIRTH"] = None
    above, below = as_text(bad[:40], ";"), as_text(bad[40:], ";").split(b"\n", 1)[1]

    shown = pressed(uploaded(above + b";;\n" + below))

    refused, good = shown.table[0].value, shown.dataframe[0].value
    credit = "« Montant du crédit » (AMT_CREDIT)"
    assert plain(shown.subheader[0].value) == "4 lignes refusées"
    assert [*refused.columns][1] == "dossier"
    rows = [(line, plain(who), plain(reason)) for line, who, reason in refused.itertuples(index=False)]
    assert [who for _, who, _ in rows] == ["000; « é\n»", "0030; « é\n»", "", "0059; « é\n»"]
    assert [(line, reason) for line, _, reason in rows] == [
        (2, f"{credit} doit être un nombre sans séparateur de milliers."),
        (32, f"{credit} doit être un nombre sans séparateur de milliers."),
        (42, "La ligne est vide."),
        (
            62,
            "« Âge » (DAYS_BIRTH) ne peut pas être null : le modèle n’a appris aucune valeur manquante "
            "pour elle.",
        ),
    ]
    left = decided.drop([0, 30, 59])
    assert good["Probabilité de défaut"].tolist() == left["probability_class_1"].tolist()


def test_the_example_that_can_be_downloaded_is_decided_on(door: SocketDoor) -> None:
    schema = door.get("/openapi.json").content["components"]["schemas"]["Client"]

    shown = pressed(uploaded(result.example(schema["required"], schema["example"])))

    assert said(shown) == []
    expected = door.predict(schema["example"]).content["probability_class_1"]
    assert shown.dataframe[0].value["Probabilité de défaut"].tolist() == [expected]


def test_after_two_hundred_bad_rows_no_more_is_sent(clients: pd.DataFrame) -> None:
    many = pd.concat([clients.assign(AMT_CREDIT="x")] * 4)

    shown = pressed(uploaded(as_text(many)))

    (sentence,) = said(shown)
    assert sentence.startswith("Plus de 200 lignes sont refusées : l’envoi s’est arrêté, et ")
    assert 201 <= len(shown.table[0].value) <= 202


BAD = {
    "nothing": (b"", "Ce fichier est vide."),
    "a head alone": (",".join(FEATURES).encode(), "Ce fichier nomme des colonnes, mais n’a aucun client."),
    "a workbook": (b"PK\x03\x04" + bytes(100), "Ce fichier est un classeur ou une archive."),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(100), "Ce fichier n’est ni un CSV ni un fichier Parquet."),
    "a letter": (b"Madame,\nMonsieur,\n", "Aucune colonne du modèle n’est dans ce fichier."),
    "missing": (
        ",".join(FEATURES[2:]).encode() + b"\n1\n",
        "Dans ce fichier, il manque les colonnes AMT_ANNUITY, ",
    ),
    "doubled": (
        ",".join([*FEATURES, FEATURES[0]]).encode() + b"\n1\n",
        "Dans ce fichier, plusieurs fois la col",
    ),
    "another encoding": (
        ("é," + ",".join(FEATURES)).encode("cp1252"),
        "Ce fichier n’est pas encodé en UTF-8.",
    ),
    "zeros": (bytes(5_000_000), "Ce fichier n’est ni un CSV ni un fichier Parquet."),
    "digits": (b"0" * 5_000_000, "Ce fichier n’est pas un CSV : sa première ligne dépasse 64 Kio."),
    "empty lines": (",".join(FEATURES).encode() + b"\n" * 500_000, "Ce fichier nomme des colonnes, mais"),
    "an open quote": (
        ",".join(FEATURES).encode() + b'\n"' + b"1\n" * 90_000,
        "Ce fichier n’est pas un CSV : un g",
    ),
    "a long row": (
        ",".join(FEATURES).encode() + b"\n" + b"1" * 70_000,
        "Ce fichier n’est pas un CSV : à la ligne 2",
    ),
    "too many": (",".join(FEATURES).encode() + b"\n1" * 100_001, "Ce fichier a plus de 100 000 clients."),
    "damaged": (b"PAR1" + b"x" * 1000 + b"PAR1", "Ce fichier Parquet est abîmé, ou d’une forme"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_of_another_kind_is_one_sentence(kind: str) -> None:
    content, sentence = BAD[kind]

    with pytest.raises(BadFile) as caught:
        opening.opened(content, FEATURES)

    assert plain(str(caught.value)).startswith(sentence)


def test_the_sentence_about_a_bad_file_is_all_that_the_page_shows(clients: pd.DataFrame) -> None:
    shown = uploaded(as_text(clients.drop(columns="AMT_CREDIT")))

    assert said(shown) == ["Dans ce fichier, il manque la colonne AMT_CREDIT."]
    assert list(shown.button) == []


def test_a_column_that_is_written_otherwise_is_named(clients: pd.DataFrame) -> None:
    renamed = clients.rename(columns={"AMT_CREDIT": "Amt_Credit", "AMT_ANNUITY": "amt_annuity "})

    assert said(uploaded(as_text(renamed))) == [
        "Dans ce fichier, il manque les colonnes AMT_ANNUITY, AMT_CREDIT (AMT_ANNUITY trouvé comme "
        "amt_annuity␣, AMT_CREDIT trouvé comme Amt_Credit)."
    ]


@pytest.mark.parametrize(
    ("form", "where"),
    [
        ("csv", "Le premier client du fichier est à la ligne 2, sous l’en-tête (ligne 1)."),
        ("declared", "Le premier client du fichier est à la ligne 3, sous l’en-tête (ligne 2)."),
        ("parquet", "Le premier client du fichier est à la ligne 1."),
    ],
)
def test_the_lines_say_from_where_they_count(clients: pd.DataFrame, form: str, where: str) -> None:
    shown = pressed(uploaded(FORMS[form](clients)))

    assert f"60 clients. {where}" in [plain(one.value) for one in shown.caption]


_LABEL = (
    r'<text x="([0-9.]+)" y="[0-9.]+" text-anchor="(\w+)" class="text"[^>]*><tspan[^>]*>(.)</tspan> ([^<]+)<'
)


@pytest.mark.parametrize(
    ("probabilities", "bounds"),
    [([0.01, 0.05], (0.1467, 0.1867)), ([0.3, 0.4], (0.02, 0.48)), ([0.99], (0.9, 1.0))],
)
def test_every_label_of_the_histogram_is_inside_the_drawing(
    probabilities: list[float], bounds: tuple[float, float]
) -> None:
    """A letter of the longest label is at most 11 of its 640 units wide."""
    drawn = histogram(np.array(probabilities), np.zeros(len(probabilities), int), bounds)

    labels = re.findall(_LABEL, drawn)
    assert [f"{shape} {word}" for *_, shape, word in labels] == [*NAMES]
    for x, anchor, shape, word in labels:
        width = 11 * len(f"{shape} {word}")
        left = float(x) - {"start": 0, "middle": width / 2, "end": width}[anchor]
        assert 0 <= left <= left + width <= 640


def test_a_parquet_column_that_is_no_number_is_refused_in_the_api_s_words(clients: pd.DataFrame) -> None:
    shown = pressed(uploaded(as_parquet(clients.astype({"AMT_CREDIT": str}))))

    assert [one for one in said(shown) if "'AMT_CREDIT' doit être numérique" in one] == said(shown) != []


@pytest.mark.endurance
def test_texts_of_a_parquet_file_that_would_fill_the_memory_are_refused(clients: pd.DataFrame) -> None:
    """A dictionary holds the text once; as columns of plain texts it would be there for each client."""
    large = pd.concat([clients] * 50).assign(dossier="x" * 1_000_000)
    file = opening.opened(as_parquet(large), FEATURES)

    with pytest.raises(BadFile, match="un texte de plus de"):
        file.body(0, 10, ["dossier"])


# ---- What the API does meanwhile


def test_what_is_decided_is_kept_and_only_the_rest_is_sent_when_the_api_is_back(
    door: SocketDoor, clients: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(receipts_in(door.log.parent))
    monkeypatch.setattr("dashboard.portfolio.csv_file._CLIENTS", 10)
    advance = run.Run.advance

    def once(self: run.Run, api: ScoringApi) -> None:
        advance(self, api)
        monkeypatch.setenv("API_URL", "http://127.0.0.1:9")

    monkeypatch.setattr(run.Run, "advance", once)
    shown = pressed(uploaded(as_text(clients)))

    assert len(shown.dataframe[0].value) == 20
    assert said(shown)[-1] == "40 clients sans décision : le reste du résultat est ci-dessous."

    (again,) = [one for one in shown.button if one.label == "Réessayer"]
    shown = again.click().run()
    assert len(said(shown)) == 1
    (again,) = [one for one in shown.button if one.label == "Réessayer"]
    monkeypatch.setattr(run.Run, "advance", advance)
    monkeypatch.setenv("API_URL", door.url)
    shown = again.click().run()

    assert said(shown) == []
    assert shown.dataframe[0].value["dossier"].tolist() == clients["dossier"].tolist()
    assert len(receipts_in(door.log.parent)) == before + 60


def test_a_result_is_of_one_version(
    door: SocketDoor, clients: pd.DataFrame, decided: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.portfolio.csv_file._CLIENTS", 20)
    with road_to(door) as road:
        monkeypatch.setenv("API_URL", road.url)

        def promoted_after_two_parts(forward: Forward) -> Answer | None:
            is_late = sum(one.startswith("POST /predict/batch") for one in road.asked) > 2
            return by_version("0" * 64)(forward) if is_late else forward()

        road.faults["/predict/batch"] = promoted_after_two_parts
        shown = pressed(uploaded(as_text(clients)))
        asked = len(road.asked)
        filtered = shown.pills[0].set_value(list(NAMES)).run()
        assert "/predict/batch" not in "".join(road.asked[asked:])

        (sentence,) = said(filtered)
        assert sentence.startswith(
            "Une autre version du modèle est servie depuis le début de cet envoi : il s’est "
        )
        assert "20 clients n’ont pas de décision" in sentence
        probabilities = filtered.dataframe[0].value["Probabilité de défaut"].tolist()
        assert probabilities == decided["probability_class_1"].tolist()[:40]

        road.faults["/predict/batch"] = by_version("0" * 64)
        again = pressed(filtered)

    assert said(again) == []
    assert len(again.dataframe[0].value) == 60


# ---- The files that go back


def test_the_result_as_csv_and_parquet_has_every_digit(clients: pd.DataFrame) -> None:
    doubles = [0.1 + 0.2, 1e-7, 123456789.123, None]
    table = pa.table({"dossier": ["007", "a;b", 'c"d', None], "p": doubles, "n": [1, 2**53, 3, None]})

    text, binary = result.as_csv(table), result.as_parquet(table)

    options = pyarrow.csv.ParseOptions(delimiter=";")
    read = pyarrow.csv.read_csv(
        pa.BufferReader(text),
        parse_options=options,
        convert_options=pyarrow.csv.ConvertOptions(
            decimal_point=",", column_types={"dossier": pa.string()}, strings_can_be_null=True
        ),
    )
    assert text.startswith("\ufeffdossier;p;n\r\n007;0,30000000000000004;1\r\n".encode())
    assert read["p"].to_pylist() == doubles
    assert pq.read_table(pa.BufferReader(binary)).equals(table)
    assert np.isfinite(read["n"].to_numpy()[:3]).all()
