"""POST /predict/batch decides on all clients or on none, and names the value that is wrong."""

import math
import struct
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.ipc
import pytest

from tests.conftest import FEATURES
from tests.predict_batch_support import (
    ARROW,
    BAD,
    BROKEN_ARROW,
    CSV,
    DOCUMENT,
    HEADER,
    JSON,
    LINE_3,
    TEXT,
    THREE,
    Client,
    as_arrow,
    as_csv,
    as_json,
    column,
    record_batch,
    send,
    stream,
)
from tests.servers import FlaskDoor

pytest_plugins = ["tests.api_support"]


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
