"""POST /predict/batch: three formats, the doubles of /predict, all or nothing, no delay for others."""

import csv
import io
import json
import math
import random
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest

from api.deciding import many_clients, service
from api.deciding.places import Places, Room
from api.recording.records import Asked
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.errors import Busy
from tests import servers
from tests.conftest import FEATURES, random_clients
from tests.servers import ROOT, Answer, Door, FlaskDoor, SocketDoor

pytest_plugins = ["tests.api_support"]

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
BAD = "Erreur lors du traitement des données : "
BROKEN_ARROW = BAD + "le flux Arrow est corrompu ou tronqué"
KEYS = [
    "prediction",
    "probability_class_1",
    "probability_class_0",
    "optimal_threshold",
    "margin",
    "lower_bound",
    "upper_bound",
]

Client = dict[str, float | None]


def clients(count: int) -> list[Client]:
    """Generated clients, a third of the values missing where the model knows missing values."""
    rows = random_clients(count, seed=3).to_dict("records")
    return [{str(name): None if math.isnan(x) else x for name, x in row.items()} for row in rows]


CLIENTS = clients(300)
THREE = CLIENTS[:3]


# ---- Bodies and answers


def as_json(rows: Sequence[Mapping[str, object]]) -> bytes:
    return json.dumps(rows).encode()


def as_csv(rows: Sequence[Mapping[str, object]]) -> bytes:
    cells = [["" if value is None else repr(value) for value in row.values()] for row in rows]
    return "".join(",".join(line) + "\n" for line in [list(rows[0]), *cells]).encode()


def column(values: Sequence[object], kind: pa.DataType | None = None) -> pa.Array:
    return pa.array(values, kind or pa.float64())


def stream(*batches: pa.RecordBatch, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for each in batches:
            writer.write_batch(each)
    return bytes(sink.getvalue().to_pybytes())


def record_batch(rows: Sequence[Client], **changed: pa.Array) -> pa.RecordBatch:
    """The rows in float64 columns, some of them replaced or added."""
    columns = {name: column([row[name] for row in rows]) for name in rows[0]} | changed
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def as_arrow(rows: Sequence[Client]) -> bytes:
    return stream(record_batch(rows))


def from_csv(body: bytes) -> list[dict[str, Any]]:
    lines = csv.DictReader(io.StringIO(body.decode(), newline=""))
    return [
        {key: text if key in ("prediction", "decision_id") else float(text) for key, text in line.items()}
        for line in lines
    ]


def from_arrow(body: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.ipc.open_stream(body).read_all().to_pylist()
    return rows


WRITERS = {JSON: as_json, CSV: as_csv, ARROW: as_arrow}
READERS: dict[str, Callable[[bytes], list[dict[str, Any]]]] = {
    JSON: json.loads,
    CSV: from_csv,
    ARROW: from_arrow,
}


def send(door: Door, body: bytes, content_type: str) -> Answer:
    return door.send("POST", "/predict/batch", body, {"Content-Type": content_type})


def decisions(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    return READERS[answer.headers["Content-Type"].partition(";")[0]](answer.body)


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> Scorer:
    return bundle.scorer()


@pytest.fixture(scope="module")
def one_by_one(flask_door: FlaskDoor) -> list[dict[str, Any]]:
    """What /predict says of each client."""
    return [flask_door.predict(client).content for client in CLIENTS]


# ---- The same decisions


@pytest.mark.parametrize("content_type", [JSON, CSV, ARROW])
def test_each_format_brings_the_very_decisions_of_one_predict_a_client(
    door: Door, one_by_one: list[dict[str, Any]], content_type: str
) -> None:
    answer = send(door, WRITERS[content_type](CLIENTS), content_type)

    assert decisions(answer) == one_by_one
    assert {decision["prediction"] for decision in one_by_one} >= {"Classe_0 (fiable)", "Classe_1 (risqué)"}


def test_a_json_answer_is_made_of_the_bytes_that_predict_answers(flask_door: FlaskDoor) -> None:
    single = [flask_door.predict(client).body for client in THREE]

    answer = send(flask_door, as_json(THREE), JSON)

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body == b"[" + b", ".join(single) + b"]"


def test_a_csv_answer_has_a_header_and_crlf_line_ends(flask_door: FlaskDoor) -> None:
    answer = send(flask_door, as_csv(THREE), CSV)

    lines = answer.body.decode().split("\r\n")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert lines[0] == ",".join(KEYS)
    assert (len(lines), lines[-1]) == (5, "")


def test_an_arrow_answer_has_a_text_and_six_doubles(flask_door: FlaskDoor) -> None:
    answer = send(flask_door, as_arrow(THREE), ARROW)

    schema = pa.ipc.open_stream(answer.body).schema
    assert answer.headers["Content-Type"] == ARROW
    assert schema.names == KEYS
    assert schema.types == [pa.utf8(), *[pa.float64()] * 6]


def accepted_bodies() -> Iterator[Any]:
    table = record_batch(THREE)
    text, plain = as_csv(THREE), as_json(THREE)
    shuffled = [dict(reversed(client.items())) for client in THREE]
    extra = [client | {"SK_ID_CURR": 100002, "nom": 'né, "Dupont"', "x": {"y": [1]}} for client in THREE]
    yield pytest.param(JSON, as_json(shuffled), id="JSON, keys in another order")
    yield pytest.param(JSON, json.dumps(extra, indent=2).encode(), id="JSON, more keys, nested, indented")
    yield pytest.param("Application/JSON; charset=utf-8", plain, id="JSON, a parameter, other case")
    yield pytest.param(CSV, as_csv(shuffled), id="CSV, columns in another order")
    yield pytest.param(CSV, text.replace(b"\n", b"\r\n"), id="CSV, CRLF")
    yield pytest.param(CSV, text[:-1], id="CSV, no last line end")
    yield pytest.param(CSV, text + b"\r\n,,,,\n\n", id="CSV, empty lines at the end")
    lines = text.splitlines()
    yield pytest.param(CSV, b",,\n".join([*lines, b""]), id="CSV, two empty columns at the end")
    yield pytest.param(
        CSV, b",,\n".join([*lines[:2], b"\n".join(lines[2:])]), id="CSV, they end in the middle"
    )
    yield pytest.param(
        CSV, b"\n".join([lines[0], *[line + b"," for line in lines[1:]]]), id="CSV, more empty cells"
    )
    yield pytest.param(
        CSV, b"\n".join([b" ," + lines[0], *[b"," + line for line in lines[1:]]]), id="CSV, no first name"
    )
    twice = [lines[0] + b",nom,nom", *[line + b",DUPONT,ANNE" for line in lines[1:]]]
    yield pytest.param(CSV, b"\n".join(twice), id="CSV, another column twice")
    other = pa.RecordBatch.from_arrays(
        [*table.columns, table[0], table[1]], [*table.schema.names, "nom", "nom"]
    )
    yield pytest.param(ARROW, stream(other), id="Arrow, another column twice")
    yield pytest.param(CSV, re.sub(rb"[^,\n]+", rb'"\g<0>"', text), id="CSV, everything quoted")
    named = text.replace(b"\n", b',"DUPONT, ""Al""\nRue"\n').replace(b'"DUPONT', b'"nom DUPONT', 1)
    yield pytest.param(CSV, named, id="CSV, a text column with quotes, commas and line ends")
    yield pytest.param(ARROW, stream(table.slice(0, 1), table.slice(1)), id="Arrow, two batches")
    yield pytest.param(ARROW, stream(table.slice(0, 0), table), id="Arrow, an empty batch")
    nans = {
        name: column([math.nan if x is None else x for x in values])
        for name, values in table.to_pydict().items()
    }
    yield pytest.param(ARROW, stream(record_batch(THREE, **nans)), id="Arrow, NaN for missing")
    more = {
        "SK_ID_CURR": column(["a", "b", None], pa.utf8()),
        "x": column([[1], [], None], pa.list_(pa.int8())),
    }
    yield pytest.param(ARROW, stream(record_batch(THREE, **more)), id="Arrow, other columns of other types")
    yield pytest.param(ARROW, stream(record_batch([*CLIENTS[5:9], *THREE]).slice(4)), id="Arrow, a slice")


@pytest.mark.parametrize(("content_type", "body"), list(accepted_bodies()))
def test_it_is_read_whatever_its_dress(
    flask_door: FlaskDoor, one_by_one: list[dict[str, Any]], content_type: str, body: bytes
) -> None:
    assert decisions(send(flask_door, body, content_type)) == one_by_one[:3]


@pytest.mark.parametrize("kind", ["int8", "uint16", "int64", "uint64", "halffloat", "float"])
def test_every_arrow_number_is_the_double_that_it_stands_for(flask_door: FlaskDoor, kind: str) -> None:
    small = [client | {"EXT_SOURCE_1": value} for client, value in zip(THREE, (1, None, 7), strict=True)]
    numbers = column([1, None, 7], pa.type_for_alias(kind))

    answer = send(flask_door, stream(record_batch(THREE, EXT_SOURCE_1=numbers)), ARROW)

    assert decisions(answer) == [flask_door.predict(client).content for client in small]


def test_an_arrow_column_without_any_value_is_missing_for_all(flask_door: FlaskDoor) -> None:
    expected = [flask_door.predict(client | {"EXT_SOURCE_1": None}).content for client in THREE]

    answer = send(flask_door, stream(record_batch(THREE, EXT_SOURCE_1=pa.nulls(3))), ARROW)

    assert decisions(answer) == expected


@pytest.mark.parametrize("number", ["-0", "1E5", "1e-300", "0.1000000000000000055", "12345678901234567.5"])
def test_a_csv_number_is_written_as_in_json(flask_door: FlaskDoor, number: str) -> None:
    body = as_json(THREE).replace(repr(THREE[1]["AMT_CREDIT"]).encode(), number.encode())
    text = as_csv(THREE).replace(repr(THREE[1]["AMT_CREDIT"]).encode(), number.encode())

    answer = send(flask_door, text, CSV)

    assert decisions(answer) == send(flask_door, body, JSON).content
    assert body != as_json(THREE)


# ---- The dialects of spreadsheets


def french(
    rows: Sequence[Client], delimiter: str = ";", comma: str = ",", mark: str = "\ufeff", declared: str = ""
) -> bytes:
    """The rows as Excel saves them in France, with a text column that holds every delimiter."""
    cells = [
        ["" if value is None else repr(value).replace(".", comma) for value in row.values()] for row in rows
    ]
    lines = [
        [*line, note]
        for line, note in zip([list(rows[0]), *cells], ["nom", *['"a,b;c\td"'] * len(rows)], strict=True)
    ]
    return (mark + declared + "\r\n".join(map(delimiter.join, lines)) + "\r\n").encode()


def from_french(body: bytes, delimiter: str, comma: str) -> list[dict[str, Any]]:
    lines = csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline=""), delimiter=delimiter)
    return [
        {key: text if key == "prediction" else float(text.replace(comma, ".")) for key, text in line.items()}
        for line in lines
    ]


@pytest.mark.parametrize("mark", ["\ufeff", ""], ids=["byte order mark", "no mark"])
@pytest.mark.parametrize("declares", [True, False], ids=["declared", "not declared"])
@pytest.mark.parametrize(
    ("delimiter", "comma"), [(";", ","), (";", "."), ("\t", ","), ("\t", "."), (",", ".")]
)
def test_a_csv_batch_is_answered_in_its_own_dialect(
    flask_door: FlaskDoor,
    one_by_one: list[dict[str, Any]],
    delimiter: str,
    comma: str,
    mark: str,
    declares: bool,
) -> None:
    declared = f"sep={delimiter}\r\n" if declares else ""

    answer = send(flask_door, french(THREE, delimiter, comma, mark, declared), CSV)

    assert answer.status == 200, answer.body
    header, first = answer.body.decode().split("\r\n")[:2]
    assert header == mark + delimiter.join(KEYS)
    assert re.fullmatch(rf"Classe_. \([a-zé]+\)(?:{delimiter}0{re.escape(comma)}[0-9]+)+", first)
    assert from_french(answer.body, delimiter, comma) == one_by_one[:3]


@pytest.mark.parametrize("number", ["1.234", "1,234"])
def test_between_semicolons_a_point_and_a_comma_are_both_decimal(flask_door: FlaskDoor, number: str) -> None:
    rows = [client | {"CREDIT_GOODS_RATIO": 1.234} for client in THREE]
    text = french(rows).replace(b"1,234", number.encode())

    answer = send(flask_door, text, CSV)

    assert from_french(answer.body, ";", ",") == decisions(send(flask_door, as_json(rows), JSON))


def test_the_header_alone_decides_on_the_delimiter(
    flask_door: FlaskDoor, one_by_one: list[dict[str, Any]]
) -> None:
    """Names in quotes and values may hold more of the others."""
    more = [
        line + end
        for line, end in zip(TEXT.splitlines(), [b',"' + b";" * 40 + b'"', *[b",;;;;;"] * 3], strict=True)
    ]

    assert decisions(send(flask_door, b"\n".join(more), CSV)) == one_by_one[:3]


# ---- All or nothing


def spoilt(
    values: Mapping[int, Mapping[str, str]], separator: str = ": "
) -> tuple[list[Client], list[tuple[str, str]]]:
    """Three clients with marks, and what the marks stand for."""
    rows, marks = [dict(client) for client in THREE], list[tuple[str, str]]()
    for row, changes in values.items():
        for name, text in changes.items():
            mark = 987654.5 + len(marks)
            rows[row - 1][name] = mark
            marks.append((repr(mark), text))
    return rows, marks


def marked(body: bytes, marks: Sequence[tuple[str, str]]) -> bytes:
    for mark, text in marks:
        body = body.replace(mark.encode(), text.encode())
    return body


def json_with(values: Mapping[int, Mapping[str, str]]) -> bytes:
    rows, marks = spoilt(values)
    return marked(as_json(rows), marks)


def csv_with(values: Mapping[int, Mapping[str, str]]) -> bytes:
    rows, marks = spoilt(values)
    return marked(as_csv(rows), marks)


def credit_3(text: str) -> bytes:
    return json_with({3: {"AMT_CREDIT": text}})


def cell_3(text: str) -> bytes:
    return csv_with({3: {"AMT_CREDIT": text}})


def arrow_credit(values: Sequence[object], kind: pa.DataType) -> bytes:
    return stream(record_batch(THREE, AMT_CREDIT=column(values, kind)))


LINE_3 = BAD + "ligne 3 : "
CREDIT_3 = LINE_3 + "la feature 'AMT_CREDIT' "
NOT_JSON = LINE_3 + "le corps de la requête n’est pas un JSON valide"
NO_NUMBER = CREDIT_3 + "doit être un nombre, et non un texte"
INEXACT = CREDIT_3 + "est un entier trop grand pour être représenté exactement"
INFINITE = CREDIT_3 + "doit être un nombre fini, dans la plage des doubles"
NO_NULL = CREDIT_3 + "ne peut pas être null : le modèle n’a appris aucune valeur manquante pour elle"
NAN_3 = LINE_3 + "la clé 'AMT_CREDIT' porte NaN ou Infinity, qui ne sont pas du JSON"
NOT_NUMERIC = BAD + "la colonne 'AMT_CREDIT' doit être numérique (entiers ou flottants)"
TWICE = BAD + "la colonne 'AMT_CREDIT' apparaît plusieurs fois"
NOT_ARRAY = BAD + "le corps de la requête doit être un tableau JSON de clients"
NOT_JSON_AT_ALL = BAD + "le corps de la requête n’est pas un JSON valide"
NOT_OBJECT = "chaque client doit être un objet JSON"
NOT_UTF8 = BAD + "le corps de la requête n’est pas encodé en UTF-8"
SAVE_AS = " ; dans un tableur, enregistrez au format « CSV UTF-8 »"
NOT_CSV = BAD + "le corps de la requête n’est pas un CSV valide"
NAMELESS = "une colonne sans nom contient une valeur : nommez-la ou videz-la"
UNKNOWN = LINE_3 + (
    "la variable 'AMT_CREDIT' doit être un nombre : laissez la cellule vide si la valeur est inconnue"
)
UNKNOWN_WORDS = ("null", "NULL", "NA", "na", "NaN", "nan", "N/A", "n/a", "#N/A", "None", "none", " NA ")
NOT_FINITE = LINE_3 + "la variable 'AMT_CREDIT' doit être un nombre fini, et non infini"
INFINITE_WORDS = ("inf", "-inf", "Infinity", "-Infinity", "infini", "+Infini", "∞")
THOUSANDS = LINE_3 + "la variable 'AMT_CREDIT' doit être un nombre sans séparateur de milliers"
RAGGED = "le nombre de cellules n’est pas celui de l’en-tête"
NOBODY = BAD + "le corps de la requête ne contient aucun client"
DICTIONARY = BAD + "le flux Arrow ne doit pas avoir de colonnes à dictionnaire"
PACKED = BAD + (
    "les lots d’enregistrements du flux Arrow ne doivent pas être compressés : "
    "écrivez-les avec IpcWriteOptions(compression=None)"
)
ARROW_FILE = BAD + "le corps est un fichier Arrow, et non un flux : écrivez-le par pyarrow.ipc.new_stream"
SENT_PACKED = BAD + "le corps est compressé ({}) : envoyez le flux Arrow sans le compresser"
MISSING = "Features manquantes : ['AMT_CREDIT']"
TOO_MANY = BAD + "le corps de la requête dépasse la limite de {} clients dans ce format"
ALL_MISSING = f"Features manquantes : {list(FEATURES)}"
LOWER_CASE = ", ".join(f"{name} trouvé comme {name.lower()}" for name in FEATURES)

TEXT = as_csv(THREE)
HEADER = TEXT.partition(b"\n")[0] + b"\n"
DOCUMENT = as_json(THREE)

JSON_REFUSALS = {
    "text": (credit_3('"987654"'), NO_NUMBER),
    "boolean": (credit_3("true"), CREDIT_3 + "doit être un nombre, et non un booléen"),
    "list": (credit_3("[1]"), CREDIT_3 + "doit être un nombre, et non une liste"),
    "object": (credit_3('{"a": 1}'), CREDIT_3 + "doit être un nombre, et non un objet"),
    "null": (credit_3("null"), NO_NULL),
    "NaN": (credit_3("NaN"), NAN_3),
    "minus Infinity": (credit_3("-Infinity"), NAN_3),
    "1e400": (credit_3("1e400"), INFINITE),
    "25 digits": (credit_3("9876543210987654321098765"), INEXACT),
    "2**53 + 1": (credit_3("9007199254740993"), INEXACT),
    "5000 digits": (credit_3("9" * 5000), INFINITE),
    "leading zero": (credit_3("0987654"), NOT_JSON),
    "underscore": (credit_3("1_000"), NOT_JSON),
    "arabic digits": (credit_3("١"), NOT_JSON),
    "another key twice": (credit_3('1, "nom": 1, "nom": 2'), LINE_3 + "la clé apparaît plusieurs fois"),
    "duplicate key": (credit_3('1, "AMT_CREDIT": 2'), LINE_3 + "la clé 'AMT_CREDIT' apparaît plusieurs fois"),
    "escaped duplicate": (
        credit_3(r'1, "\u0041MT_CREDIT": 2'),
        LINE_3 + "la clé 'AMT_CREDIT' apparaît plusieurs fois",
    ),
    "too deep": (
        credit_3("[" * 100 + "]" * 100),
        LINE_3 + "le corps de la requête dépasse 100 niveaux d’imbrication",
    ),
    "a client of 64 KiB": (credit_3("1" + " " * 65536), LINE_3 + "le client dépasse la limite de 64 Kio"),
    "missing feature": (
        DOCUMENT[: DOCUMENT.rindex(b'"AMT_CREDIT"')] + DOCUMENT[DOCUMENT.rindex(b'"AMT_GOODS') :],
        LINE_3 + "features manquantes : ['AMT_CREDIT']",
    ),
    "missing feature in lower case": (
        DOCUMENT[: DOCUMENT.rindex(b'"AMT_CREDIT"')]
        + DOCUMENT[DOCUMENT.rindex(b'"AMT_CREDIT"') :].replace(b"AMT_CREDIT", b"Amt_Credit", 1),
        LINE_3 + "features manquantes : ['AMT_CREDIT'] (AMT_CREDIT trouvé comme Amt_Credit)",
    ),
    "the first row first, not the first feature": (
        json_with({3: {"AMT_ANNUITY": "null"}, 2: {"DAYS_BIRTH": "null"}}),
        BAD + "ligne 2 : la feature 'DAYS_BIRTH' ne peut pas être null : le modèle n’a appris aucune valeur "
        "manquante pour elle",
    ),
    "the first feature of a row first": (
        json_with({3: {"DAYS_BIRTH": "null", "AMT_CREDIT": "null"}}),
        NO_NULL,
    ),
    "an object": (b"{}", NOT_ARRAY),
    "nothing": (b"", NOT_ARRAY),
    "spaces": (b" \n", NOT_ARRAY),
    "null for an array": (b"null", NOT_ARRAY),
    "byte order mark": (b"\xef\xbb\xbf" + DOCUMENT, NOT_ARRAY),
    "empty array": (b" [ ] ", NOBODY),
    "only a bracket": (b"[", BAD + "ligne 1 : " + NOT_OBJECT),
    "numbers": (b"[987654, 1]", BAD + "ligne 1 : " + NOT_OBJECT),
    "null among clients": (DOCUMENT[:-1] + b", null]", BAD + "ligne 4 : " + NOT_OBJECT),
    "trailing comma": (DOCUMENT[:-1] + b",]", BAD + "ligne 4 : " + NOT_OBJECT),
    "no last bracket": (DOCUMENT[:-1], NOT_JSON),
    "no last brace": (DOCUMENT[:-2] + b"]", NOT_JSON),
    "another brace": (DOCUMENT[:-1] + b"}]", NOT_JSON),
    "no comma": (
        DOCUMENT.replace(b"}, {", b"} {", 1),
        NOT_JSON.replace("3", "1"),
    ),
    "two arrays": (DOCUMENT + DOCUMENT, NOT_JSON_AT_ALL),
    "NUL after": (DOCUMENT + b"\0", NOT_JSON_AT_ALL),
    "empty array and more": (b"[] []", BAD + "ligne 1 : " + NOT_OBJECT),
    "lines of objects": (b"{}\n{}", NOT_ARRAY),
    "Latin-1": (DOCUMENT[:-1] + b', "n\xe9"]', NOT_UTF8),
    "surrogate": (DOCUMENT[:-1] + b', "\xed\xa0\x80"]', NOT_UTF8),
    "brackets without end": (b"[" * 100_000, BAD + "ligne 1 : " + NOT_OBJECT),
    "braces without end": (
        b'[{"a":' * 100_000,
        BAD + "ligne 1 : le corps de la requête dépasse 100 niveaux d’imbrication",
    ),
}
CSV_REFUSALS = {
    **{
        name: (cell_3(cell), NO_NUMBER)
        for name, cell in {
            "underscore": "1_000",
            "hexadecimal": "0x10",
            "leading space": " 1",
            "trailing space": "1 ",
            "arabic digit": "١",
            "full-width digit": "１",
            "plus sign": "+1",
            "leading zero": "007",
            "no digit before the point": ".5",
            "no digit after the point": "5.",
            "decimal comma": '"1,5"',
            "two numbers": '"1\n2"',
            "comma alone": '","',
            "true": "true",
            "text": "DUPONT",
            "formula": "=1+1",
            "apostrophe": "'1",
            "space alone": " ",
            "quote inside": '1"2',
        }.items()
    },
    "empty cell": (cell_3(""), NO_NULL),
    "quoted empty cell": (cell_3('""'), NO_NULL),
    "1e400": (cell_3("1e400"), INFINITE),
    "2**53 + 1": (cell_3("9007199254740993"), INEXACT),
    "minus 2**53 - 1": (cell_3("-9007199254740993"), INEXACT),
    "5000 digits": (cell_3("9" * 5000), INFINITE),
    "the first row first": (
        csv_with({3: {"AMT_ANNUITY": "x"}, 2: {"DAYS_BIRTH": "y"}}),
        BAD + "ligne 2 : la feature 'DAYS_BIRTH' doit être un nombre, et non un texte",
    ),
    "nothing": (b"", ALL_MISSING),
    "a line end": (b"\n", ALL_MISSING),
    "header alone": (HEADER, NOBODY),
    "no header": (TEXT.removeprefix(HEADER), ALL_MISSING),
    "bars": (TEXT.replace(b",", b"|"), ALL_MISSING),
    "missing column": (TEXT.replace(b"AMT_CREDIT", b"AMT_CREDITS", 1), MISSING),
    "a value for a name": (TEXT.replace(b"AMT_CREDIT", b"DUPONT", 1), MISSING),
    "space in the header": (
        TEXT.replace(b"AMT_CREDIT", b" amt_credit\xc2\xa0 ", 1),
        MISSING + " (AMT_CREDIT trouvé comme ␣amt_credit␣)",
    ),
    "a column twice": (TEXT.replace(b"DAYS_BIRTH", b"AMT_CREDIT", 1), TWICE),
    "a value under no name": (
        b"".join(line + b",\n" for line in TEXT.splitlines()[:-1]) + TEXT.splitlines()[-1] + b",DUPONT\n",
        LINE_3 + NAMELESS,
    ),
    "a blank name": (TEXT.replace(b"AMT_CREDIT,", b" ,", 1), MISSING),
    "a cell of an empty column too many": (TEXT[:-1] + b",,1\n", LINE_3 + RAGGED),
    "lines of commas among clients": (
        HEADER + b"," * 16 + b"\n" + TEXT.removeprefix(HEADER),
        BAD + "ligne 1 : la feature 'AMT_ANNUITY' ne peut pas être null : "
        "le modèle n’a appris aucune valeur manquante pour elle",
    ),
    "empty lines alone": (HEADER + b"\n,,\n", NOBODY),
    "commas alone": (b",,\n,,\n", ALL_MISSING),
    "a byte order mark alone": (b"\xef\xbb\xbf", ALL_MISSING),
    "a declared delimiter alone": (b"sep=;\r\n", ALL_MISSING),
    "a declared delimiter of another kind": (b"sep=|\n" + TEXT.replace(b",", b"|"), ALL_MISSING),
    **{f"{word!r} for nothing": (cell_3(word), UNKNOWN) for word in UNKNOWN_WORDS},
    **{f"{word!r} for a number": (cell_3(word), NOT_FINITE) for word in INFINITE_WORDS},
    **{
        f"{name}, with semicolons": (cell_3(cell).replace(b",", b";").replace(b"~", b","), sentence)
        for name, cell, sentence in (
            ("thousands with points", "1.234.567", THOUSANDS),
            ("thousands with points and a comma", "1.234~5", THOUSANDS),
            ("thousands with commas", "1~234~567", THOUSANDS),
            ("thousands with commas and a point", "1~234.5", THOUSANDS),
            ("thousands with blanks", "1 234~5", THOUSANDS),
            ("thousands with narrow blanks", "1\u202f234~5", THOUSANDS),
            ("no digit before the comma", "~5", NO_NUMBER),
            ("no digit after the comma", "5~", NO_NUMBER),
            ("a quoted semicolon", '"1;5"', NO_NUMBER),
            ("comma alone", "~", NO_NUMBER),
        )
    },
    "thousands with blanks": (cell_3("12 345 678"), THOUSANDS),
    "the first row first, whatever the words": (
        csv_with({3: {"AMT_ANNUITY": "NA"}, 2: {"DAYS_BIRTH": ""}}),
        BAD + "ligne 2 : la feature 'DAYS_BIRTH' ne peut pas être null : le modèle n’a appris aucune valeur "
        "manquante pour elle",
    ),
    "the first feature first, whatever the words": (
        csv_with({3: {"DAYS_BIRTH": "NA", "AMT_CREDIT": "x"}}),
        NO_NUMBER,
    ),
    "lower case": (HEADER.lower() + TEXT.removeprefix(HEADER), f"{ALL_MISSING} ({LOWER_CASE})"),
    "a cell too many": (TEXT[:-1] + b",1\n", LINE_3 + RAGGED),
    "a cell too few": (TEXT[: TEXT.rindex(b",")], LINE_3 + RAGGED),
    "blank line": (HEADER + b"\n" + TEXT.removeprefix(HEADER), BAD + "ligne 1 : " + RAGGED),
    "NUL": (cell_3("1\0"), NOT_CSV),
    "quote without end": (cell_3('"1'), NOT_CSV),
    "text after a quote": (cell_3('"1"2'), NOT_CSV),
    "Latin-1": (cell_3("1").replace(b"1", b"\xe9"), NOT_UTF8 + SAVE_AS),
    "UTF-16": (TEXT.decode().encode("utf-16"), NOT_UTF8 + SAVE_AS),
    "a line of 64 KiB": (cell_3("1" * 65536), BAD + "une ligne du CSV dépasse la limite de 64 Kio"),
    "lines in a quote": (cell_3('"' + "\n" * 65536), BAD + "une ligne du CSV dépasse la limite de 64 Kio"),
}


def dictionary_column(name: str) -> bytes:
    return stream(record_batch(THREE, **{name: column(["1", "2", "1"], pa.utf8()).dictionary_encode()}))


def arrow_file() -> bytes:
    batch, sink = record_batch(THREE), pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def arrow_twice() -> bytes:
    table = record_batch(THREE)
    return stream(
        pa.RecordBatch.from_arrays([*table.columns, table.column(0)], [*table.schema.names, "AMT_CREDIT"])
    )


GOOD_ARROW = as_arrow(THREE)
ARROW_REFUSALS = {
    **{
        f"a column of {kind}": (arrow_credit(values, kind), NOT_NUMERIC)
        for kind, values in dict[pa.DataType, list[object]]({
            pa.bool_(): [True, False, None],
            pa.utf8(): ["1", "2", "3"],
            pa.large_binary(): [b"1", b"2", b"3"],
            pa.string_view(): ["1", "2", "3"],
            pa.decimal128(5, 2): [1, 2, 3],
            pa.timestamp("s"): [1, 2, 3],
            pa.date32(): [1, 2, 3],
            pa.duration("ms"): [1, 2, 3],
            pa.list_(pa.float64()): [[1.0], [2.0], []],
            pa.struct([("a", pa.float64())]): [{"a": 1.0}] * 3,
            pa.map_(pa.utf8(), pa.float64()): [[], [], []],
        }).items()
    },
    "a dictionary": (dictionary_column("AMT_CREDIT"), DICTIONARY),
    "another dictionary": (dictionary_column("nom"), DICTIONARY),
    "null": (arrow_credit([1.0, 2.0, None], pa.float64()), NO_NULL),
    "NaN": (arrow_credit([1.0, 2.0, math.nan], pa.float64()), NO_NULL),
    "null among integers": (arrow_credit([1, 2**60, None], pa.int64()), NO_NULL),
    "infinite": (arrow_credit([1.0, 2.0, math.inf], pa.float32()), INFINITE),
    "2**53 + 1": (arrow_credit([1, 2, 2**53 + 1], pa.int64()), INEXACT),
    "-2**53 - 1": (arrow_credit([1, 2, -(2**53) - 1], pa.int64()), INEXACT),
    "2**64 - 1": (arrow_credit([1, 2, 2**64 - 1], pa.uint64()), INEXACT),
    "in the second batch": (
        stream(record_batch(THREE[:2]), record_batch(THREE[2:], AMT_CREDIT=column([math.inf]))),
        INFINITE,
    ),
    "a column twice": (arrow_twice(), BAD + "la colonne 'AMT_CREDIT' apparaît plusieurs fois"),
    "missing column": (stream(record_batch(THREE).select([FEATURES[0], *FEATURES[2:]])), MISSING),
    "missing column in lower case": (
        stream(record_batch(THREE).rename_columns([FEATURES[0], "amt_credit", *FEATURES[2:]])),
        MISSING + " (AMT_CREDIT trouvé comme amt_credit)",
    ),
    "no column": (stream(pa.RecordBatch.from_arrays([], names=[])), ALL_MISSING),
    "no row": (stream(record_batch(THREE).slice(0, 0)), NOBODY),
    "no batch": (GOOD_ARROW[: GOOD_ARROW.index(b"\xff\xff\xff\xff", 4)] + GOOD_ARROW[-8:], NOBODY),
    "lz4": (stream(record_batch(THREE), compression="lz4"), PACKED),
    "zstd": (stream(record_batch(THREE), compression="zstd"), PACKED),
    "nothing": (b"", BROKEN_ARROW),
    "no end marker": (GOOD_ARROW[:-8], BROKEN_ARROW),
    "end marker alone": (GOOD_ARROW[-8:], BROKEN_ARROW),
    "no schema": (GOOD_ARROW[GOOD_ARROW.index(b"\xff\xff\xff\xff", 4) :], BROKEN_ARROW),
    "two streams": (GOOD_ARROW * 2, BROKEN_ARROW),
    "bytes after the end": (GOOD_ARROW + b"\0", BROKEN_ARROW),
    "Arrow file": (arrow_file(), ARROW_FILE),
    **{
        f"{name} around the stream": (pa.compress(GOOD_ARROW, name, asbytes=True), SENT_PACKED.format(name))
        for name in ("gzip", "zstd", "lz4")
    },
    "JSON": (DOCUMENT, BROKEN_ARROW),
    "metadata of 2 GB": (GOOD_ARROW[:4] + struct.pack("<i", 2**31 - 1) + GOOD_ARROW[8:], BROKEN_ARROW),
    "negative metadata": (GOOD_ARROW[:4] + struct.pack("<i", -8) + GOOD_ARROW[8:], BROKEN_ARROW),
    "1001 batches": (
        stream(*[record_batch(THREE).slice(0, 0)] * 1001),
        BAD + "le flux Arrow a plus de 1000 lots d’enregistrements (record batches)",
    ),
}  # fmt: skip
REFUSALS = [
    pytest.param(kind, body, sentence, id=f"{kind} {name}")
    for kind, table in ((JSON, JSON_REFUSALS), (CSV, CSV_REFUSALS), (ARROW, ARROW_REFUSALS))
    for name, (body, sentence) in table.items()
]


@pytest.mark.parametrize(("content_type", "body", "sentence"), REFUSALS)
def test_one_wrong_value_refuses_the_batch_and_is_named(
    flask_door: FlaskDoor, content_type: str, body: bytes, sentence: str
) -> None:
    answer = send(flask_door, body, content_type)

    assert (answer.error, answer.status) == (sentence, 400)


def test_an_arrow_stream_that_claims_a_trillion_rows_allocates_none(flask_door: FlaskDoor) -> None:
    nothing = stream(pa.RecordBatch.from_arrays([pa.nulls(3)] * len(FEATURES), names=list(FEATURES)))
    claim = nothing.replace(struct.pack("<q", 3), struct.pack("<q", 10**12))

    answer = send(flask_door, claim, ARROW)

    assert (answer.error, answer.status) == (
        BAD + "le corps de la requête dépasse la limite de 100000 clients dans ce format",
        413,
    )


# ---- Headers and limits


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-ndjson", "application/vnd.apache.arrow.file"]
)
def test_another_content_type_is_refused_with_the_three_that_are_read(door: Door, content_type: str) -> None:
    answer = door.send(
        "POST", "/predict/batch", DOCUMENT, {"Content-Type": content_type} if content_type else {}
    )

    assert answer.status == 415
    assert answer.error == BAD + (
        "le type de contenu doit être application/json, text/csv ou application/vnd.apache.arrow.stream"
    )


def test_a_compressed_body_is_refused(door: Door) -> None:
    answer = door.send("POST", "/predict/batch", DOCUMENT, {"Content-Type": JSON, "Content-Encoding": "gzip"})

    assert answer.status == 415
    assert answer.error == BAD + "le corps de la requête ne doit pas être compressé (Content-Encoding)"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param(JSON, lambda count: as_json([THREE[0]] * count), id="JSON"),
        pytest.param(CSV, lambda count: HEADER + TEXT.splitlines(keepends=True)[1] * count, id="CSV"),
    ],
)
def test_ten_thousand_clients_are_decided_on_and_one_more_is_refused(
    flask_door: FlaskDoor, content_type: str, body: Callable[[int], bytes]
) -> None:
    most, more = (send(flask_door, body(count), content_type) for count in (10_000, 10_001))

    assert len(decisions(most)) == 10_000
    assert (more.status, more.error) == (
        413,
        BAD + "le corps de la requête dépasse la limite de 10000 clients dans ce format",
    )


def test_an_arrow_stream_may_hold_a_hundred_thousand_clients(flask_door: FlaskDoor) -> None:
    table = pa.Table.from_batches([record_batch(CLIENTS)]).take(np.arange(100_001) % 300).combine_chunks()
    (rows,) = table.to_batches()

    most, more = (send(flask_door, stream(part), ARROW) for part in (rows.slice(0, 100_000), rows))

    assert pa.ipc.open_stream(most.body).read_all().num_rows == 100_000
    assert (more.status, more.error) == (
        413,
        BAD + "le corps de la requête dépasse la limite de 100000 clients dans ce format",
    )


def test_a_body_over_16_mib_is_refused(door: Door) -> None:
    answer = send(door, b" " * (16 * 1024 * 1024 + 1), JSON)

    assert (answer.status, answer.error) == (413, BAD + "le corps de la requête dépasse la limite de 16 Mio")


def test_a_chunked_body_over_16_mib_is_refused(socket_door: SocketDoor) -> None:
    chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    head = b"POST /predict/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"

    answer = socket_door.send_raw(head + chunk * 16 + b"1\r\n \r\n0\r\n\r\n")

    assert (answer.status, answer.error) == (413, BAD + "le corps de la requête dépasse la limite de 16 Mio")


def test_the_larger_limit_is_for_batches_only(door: Door) -> None:
    answer = door.send("POST", "/predict", b" " * (64 * 1024 + 1), {"Content-Type": JSON})

    assert (answer.status, answer.error) == (413, BAD + "le corps de la requête dépasse la limite de 64 Kio")


# ---- Hostile bytes: an answer of the contract, whatever comes


def is_of_the_contract(answer: service.Answer) -> bool:
    if answer.status == 200:
        return bool(READERS[answer.content_type.partition(";")[0]](answer.content))
    is_refusal = answer.status in (400, 413) and answer.content_type == JSON
    return is_refusal and list(json.loads(answer.content)) == ["error"]


def test_an_arrow_stream_cut_anywhere_is_refused(scorer: Scorer) -> None:
    body = stream(*[record_batch(CLIENTS).slice(start, 30) for start in range(0, 300, 30)])
    cuts = {*range(0, len(body), 64), *(cut.start() for cut in re.finditer(b"\xff\xff\xff\xff", body))}

    deciding = service.Service(servers.serving(scorer))
    answers = {deciding.predict_batch(ARROW, None, body[:cut], Asked("id")).content.decode() for cut in cuts}

    assert answers == {json.dumps({"error": BROKEN_ARROW}, ensure_ascii=False)}


@pytest.mark.parametrize("content_type", [JSON, CSV, ARROW])
@pytest.mark.parametrize("seed", range(5))
def test_a_mutated_body_gets_an_answer_of_the_contract(scorer: Scorer, content_type: str, seed: int) -> None:
    generator = random.Random(seed)  # noqa: S311 - no secret
    good, deciding = WRITERS[content_type](CLIENTS[:4]), service.Service(servers.serving(scorer))

    for _ in range(300):
        body = mutated(good, generator)
        assert is_of_the_contract(deciding.predict_batch(content_type, None, body, Asked("id"))), body


def mutated(good: bytes, generator: random.Random) -> bytes:
    """A few bytes changed, near the beginning more often, where the metadata are; sometimes a piece moved."""
    body = bytearray(good)
    for _ in range(generator.choice((1, 1, 2, 8))):
        place = generator.randrange(generator.choice((len(body), min(len(body), 2000))))
        body[place] = generator.choice((0, 1, 255, 127, 128, ord('"'), ord(","), generator.randrange(256)))
    if generator.random() < 0.2:
        start, length = generator.randrange(len(body)), generator.randrange(200)
        del body[start : start + length]
    return bytes(body)


# ---- Others are not delayed


def test_a_batch_does_not_wait_for_a_place_without_end() -> None:
    places = Places(Room(1, 1, 0.01), Busy)

    with places.taken(), pytest.raises(Busy), places.taken():
        pass
    with places.taken():
        pass


def test_a_worker_of_which_a_thread_hangs_in_a_small_batch_knows(
    bundle: Bundle, documented_request: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_clients.Batch, "seconds", 0.02)
    scorer, goes_on = bundle.scorer(), threading.Event()
    decide = scorer.decide_table
    monkeypatch.setattr(scorer, "decide_table", lambda table: (goes_on.wait(60), decide(table))[1])
    hanging = service.Service(servers.serving(scorer))
    body = json.dumps([documented_request]).encode()
    asking = threading.Thread(
        target=hanging.predict_batch, args=["application/json", None, body, Asked("id")]
    )

    before = hanging.hangs
    asking.start()
    servers.eventually(lambda: hanging.hangs or None, "the worker knows")
    goes_on.set()
    asking.join()

    assert (before, hanging.hangs) == (False, False)


def holding(places: Places, count: int) -> tuple[threading.Event, list[threading.Thread]]:
    """So many batches in progress, or waiting, until the event."""
    done = threading.Event()

    def hold() -> None:
        with places.taken():
            done.wait(20)

    threads = [threading.Thread(target=hold) for _ in range(count)]
    for thread in threads:
        thread.start()
    return done, threads


def test_a_batch_without_a_place_is_asked_to_come_back_while_predict_answers(
    flask_door: FlaskDoor, documented_request: dict[str, float]
) -> None:
    done, threads = holding(many_clients.Batch.places, many_clients.ROOM.most)
    try:
        full = send(flask_door, DOCUMENT, JSON)
        single = flask_door.predict(documented_request)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    afterwards = send(flask_door, DOCUMENT, JSON)

    assert (full.status, full.headers["Retry-After"]) == (503, "1")
    assert full.error == "Trop de lots sont en cours de calcul : réessayez dans une seconde."
    assert single.status == 200
    assert afterwards.status == 200


def test_a_refused_batch_gives_its_place_back(flask_door: FlaskDoor) -> None:
    statuses = {send(flask_door, b"[1]", JSON).status for _ in range(20)}

    assert statuses == {400}


def test_a_worker_stays_light_after_a_batch_of_each_format(bundle: Bundle, tmp_path: Any) -> None:
    bundle.write(tmp_path / "bundle")
    for name, body in (("json", DOCUMENT), ("csv", TEXT), ("arrow", arrow_of_every_kind())):
        (tmp_path / name).write_bytes(body)
    program = """
import sys
from pathlib import Path
from api import app
from api.deciding.service import Service
from api.delivery.served import Model, ServedModel
from api.recording.records import Asked
from mlflow_model.bundle import bundles
folder = Path(sys.argv[1])
read = bundles.read(folder / "bundle")
served = ServedModel()
served._in_use = 0, Model(read.scorer(), "scoring-client", "1", None, read.digest), None
service = Service(served)
statuses = []
for kind, name in (("application/json", "json"), ("text/csv", "csv")):
    statuses.append(service.predict_batch(kind, None, (folder / name).read_bytes(), Asked("id")).status)
assert "pyarrow" not in sys.modules
arrow = "application/vnd.apache.arrow.stream"
statuses.append(service.predict_batch(arrow, None, (folder / "arrow").read_bytes(), Asked("id")).status)
heavy = {"pandas", "sklearn", "scipy", "lightgbm", "mlflow"}
print(statuses, sorted(heavy & set(sys.modules)))
"""

    command = [sys.executable, "-c", program, str(tmp_path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert said.strip() == "[200, 200, 200] []"


def arrow_of_every_kind() -> bytes:
    kinds = (pa.int64(), pa.float16(), pa.float32(), pa.uint8())
    columns = {name: column([1, 2, 3], kind) for name, kind in zip(FEATURES, kinds, strict=False)}
    return stream(record_batch(THREE, **columns, EXT_SOURCE_1=pa.nulls(3)))
