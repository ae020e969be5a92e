"""POST /predict/batch?keep=NAME: the named columns come back as they came, in front of the decisions."""

import csv
import io
import json
import random
from collections.abc import Sequence
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.ipc
import pytest

from api.deciding import service
from api.recording.records import Asked
from mlflow_model.bundle.scoring import Scorer
from tests import servers
from tests.predict_batch_support import (
    ARROW,
    BAD,
    CLIENTS,
    CSV,
    JSON,
    KEYS,
    LINE_3,
    THREE,
    Client,
    as_json,
    column,
    french,
    is_of_the_contract,
    mutated,
    record_batch,
    stream,
)
from tests.servers import Answer, Door, FlaskDoor, SocketDoor
from tests.test_own_columns import NOTE, own_door, scorer

__all__ = ["own_door", "scorer"]  # fixtures

pytest_plugins = ["tests.api_support"]

KEY, NAME = "SK_ID_CURR", 'nom, "usuel" 100 %'


def asked(door: Door, body: bytes, content_type: str, *keep: str) -> Answer:
    query = urlencode([("keep", name) for name in keep])
    return door.send("POST", f"/predict/batch?{query}", body, {"Content-Type": content_type})


def with_columns(rows: Sequence[Client], **columns: Sequence[str]) -> bytes:
    """The rows as CSV with more columns, whose cells are written as they are given."""
    cells = [["" if value is None else repr(value) for value in row.values()] for row in rows]
    header = [*rows[0], *(f'"{name.replace(chr(34), chr(34) * 2)}"' for name in columns)]
    lines = [
        header,
        *([*line, *more] for line, more in zip(cells, zip(*columns.values(), strict=True), strict=True)),
    ]
    return "".join(",".join(line) + "\r\n" for line in lines).encode()


def table_of(answer: Answer, delimiter: str = ",") -> list[list[str]]:
    assert answer.status == 200, answer.body
    return list(csv.reader(io.StringIO(answer.body.decode("utf-8-sig"), newline=""), delimiter=delimiter))


def json_with(values: Sequence[str], name: str = KEY) -> bytes:
    """The three clients with one more key, whose values are written as they are given."""
    texts = [
        json.dumps(client)[:-1] + f", {json.dumps(name)}: {value}}}"
        for client, value in zip(THREE, values, strict=True)
    ]
    return f"[{', '.join(texts)}]".encode()


# ---- As they came


def test_kept_columns_stand_in_front_of_the_same_decisions(door: Door) -> None:
    """In the order in which they are asked for, in all three formats."""
    rows = [client | {KEY: 100 + place, "age": "é"} for place, client in enumerate(THREE)]
    text = with_columns(THREE, **{KEY: ("100", "101", "102"), "age": ("é",) * 3})
    table = stream(
        record_batch(THREE, **{KEY: column([100, 101, 102], pa.int64()), "age": column(["é"] * 3, pa.utf8())})
    )
    plain = asked(door, as_json(THREE), JSON).content

    in_json = asked(door, as_json(rows), JSON, "age", KEY)
    in_csv = asked(door, text, CSV, "age", KEY)
    in_arrow = asked(door, table, ARROW, "age", KEY)

    expected = [{"age": "é", KEY: 100 + place} | decision for place, decision in enumerate(plain)]
    assert in_json.content == expected
    assert [list(one) for one in in_json.content] == [["age", KEY, *KEYS]] * 3
    assert table_of(in_csv) == [
        list(expected[0]),
        *([str(value) for value in one.values()] for one in expected),
    ]
    assert pa.ipc.open_stream(in_arrow.body).read_all().to_pylist() == expected


def test_a_large_batch_keeps_its_columns_too(socket_door: SocketDoor) -> None:
    """It is decided on in a process of its own."""
    many = CLIENTS * 2
    numbers = [f"{place:05}" for place in range(len(many))]

    answer = asked(socket_door, with_columns(many, **{KEY: numbers}), CSV, KEY)

    assert [line[0] for line in table_of(answer)] == [KEY, *numbers]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(["1", "1.10", "-0"], id="numbers"),
        pytest.param(
            ["123456789012345678901234567890", "1E5", "0.1000000000000000055"], id="numbers that no double is"
        ),
        pytest.param(["1e999", "9" * 1000, "-1e-999"], id="numbers out of range"),
        pytest.param(['"007"', '"1"', "1"], id="a number beside its text"),
        pytest.param(['"a\\"b, c %s"', '"é ☃"', '""'], id="texts"),
        pytest.param(["true", "null", "false"], id="booleans and null"),
        pytest.param([r'"\ud800"', r'"\u0001"', '"\U0001f600"'], id="half of a character, and others"),
    ],
)
def test_a_json_value_comes_back_to_the_letter(flask_door: FlaskDoor, values: list[str]) -> None:
    answer = asked(flask_door, json_with(values, NAME), JSON, NAME)

    beginnings = [f'{{{json.dumps(NAME)}: {value}, "prediction"' for value in values]
    assert answer.status == 200, answer.body
    assert [beginning for beginning in beginnings if beginning.encode() not in answer.body] == []


def test_a_csv_cell_comes_back_with_every_character(flask_door: FlaskDoor) -> None:
    cells = ("007", '"DUPONT, ""Al""\nRue"', "")
    others = ('"1,5"', " é ", "NA")

    answer = asked(flask_door, with_columns(THREE, **{NAME: cells, KEY: others}), CSV, NAME, KEY)

    assert [line[:2] for line in table_of(answer)] == [
        [NAME, KEY],
        ["007", "1,5"],
        ['DUPONT, "Al"\nRue', " é "],
        ["", "NA"],
    ]
    assert b"\r\n,NA," in answer.body


def test_a_kept_cell_of_a_french_table_keeps_its_comma(flask_door: FlaskDoor) -> None:
    rows = [client | {"EXT_SOURCE_1": 0.5} for client in THREE]

    answer = asked(flask_door, french(rows), CSV, "nom", "EXT_SOURCE_1")

    assert [line[:2] for line in table_of(answer, ";")] == [
        ["nom", "EXT_SOURCE_1"],
        *[["a,b;c\td", "0,5"]] * 3,
    ]


ARRAYS = {
    "int8": column([1, None, -3], pa.int8()),
    "uint64": column([1, None, 2**64 - 1], pa.uint64()),
    "float": column([0.1, None, float("nan")], pa.float32()),
    "utf8": column(["007", None, "é" * 1000], pa.utf8()),
    "large_utf8": column(["007", None, ""], pa.large_utf8()),
    "bool": column([True, None, False], pa.bool_()),
    "null": pa.nulls(3),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=list(ARRAYS))
def test_an_arrow_column_comes_back_in_its_own_type(flask_door: FlaskDoor, array: pa.Array) -> None:
    batch = record_batch(THREE, **{NAME: array})

    answer = asked(flask_door, stream(batch.slice(0, 1), batch.slice(1, 0), batch.slice(1)), ARROW, NAME)

    assert answer.status == 200, answer.body
    kept = pa.ipc.open_stream(answer.body).read_all()
    assert kept.column_names == [NAME, *KEYS]
    assert kept[NAME].type == array.type
    assert repr(kept[NAME].to_pylist()) == repr(array.to_pylist())


def test_a_name_that_is_asked_for_twice_comes_once(flask_door: FlaskDoor) -> None:
    answer = asked(flask_door, json_with(["1", "2", "3"]), JSON, KEY, KEY)

    assert [list(one) for one in answer.content] == [[KEY, *KEYS]] * 3


# ---- Refused


def kept(fault: str, name: str = f" '{KEY}'") -> str:
    return f"la colonne{name} demandée par keep {fault}"


KIND = kept("doit contenir des nombres, des textes ou des booléens")
LONG = kept("contient une valeur de plus de 1000 caractères")
THREE_KEYS = ["1", "2", "3"]


def arrow_with(array: pa.Array) -> bytes:
    return stream(record_batch(THREE, **{KEY: array}))


def csv_with(*cells: str) -> bytes:
    return with_columns(THREE, **{KEY: cells})


def twice_in_arrow() -> bytes:
    batch = record_batch(THREE)
    return stream(
        pa.RecordBatch.from_arrays([*batch.columns, *batch.columns[:2]], [*batch.schema.names, KEY, KEY])
    )


REFUSALS: dict[str, tuple[str, bytes, list[str], str]] = {
    "absent, JSON": (
        JSON,
        json_with(["1", "2", '3, "x": 1']).replace(b'"SK_ID_CURR": 3, ', b""),
        [KEY],
        LINE_3 + kept("est absente"),
    ),
    "absent, CSV": (CSV, csv_with(*THREE_KEYS), ["age"], BAD + kept("est absente", " 'age'")),
    "absent, Arrow": (ARROW, arrow_with(pa.nulls(3)), ["age"], BAD + kept("est absente", " 'age'")),
    "absent, in another case": (
        CSV,
        csv_with(*THREE_KEYS),
        [KEY.lower()],
        BAD + kept("est absente", " 'sk_id_curr'"),
    ),
    "absent, and cannot be printed": (
        CSV,
        csv_with(*THREE_KEYS),
        ["a\n\u202eb"],
        BAD + kept("est absente", ""),
    ),
    "absent, and long": (CSV, csv_with(*THREE_KEYS), ["x" * 101], BAD + kept("est absente", "")),
    "no name": (CSV, csv_with(*THREE_KEYS), [""], BAD + kept("est absente", " ''")),
    "a column of the decision": (
        JSON,
        json_with(THREE_KEYS, "margin"),
        ["margin"],
        BAD + kept("fait déjà partie de la réponse", " 'margin'"),
    ),
    "21 names": (
        JSON,
        json_with(THREE_KEYS),
        [f"x{place}" for place in range(21)],
        BAD + "keep nomme plus de 20 colonnes",
    ),
    "twice, JSON": (
        JSON,
        json_with(["1", "2", '3, "SK_ID_CURR": 4']),
        [KEY],
        LINE_3 + f"la clé '{KEY}' apparaît plusieurs fois",
    ),
    "twice, CSV": (
        CSV,
        with_columns(THREE, **{"a": THREE_KEYS, KEY: THREE_KEYS}).replace(b'"a"', b"SK_ID_CURR"),
        [KEY],
        BAD + f"la colonne '{KEY}' apparaît plusieurs fois",
    ),
    "twice, Arrow": (ARROW, twice_in_arrow(), [KEY], BAD + f"la colonne '{KEY}' apparaît plusieurs fois"),
    "a list": (JSON, json_with(["1", "2", "[3]"]), [KEY], LINE_3 + KIND),
    "an object": (JSON, json_with(["1", "2", "{}"]), [KEY], LINE_3 + KIND),
    "dates": (ARROW, arrow_with(column([1, 2, 3], pa.date32())), [KEY], BAD + KIND),
    "lists": (ARROW, arrow_with(column([[], [], []], pa.list_(pa.int8()))), [KEY], BAD + KIND),
    "a long text, JSON": (JSON, json_with(["1", "2", '"' + "é" * 1001 + '"']), [KEY], LINE_3 + LONG),
    "a long number, JSON": (JSON, json_with(["1", "2", "1" * 1001]), [KEY], LINE_3 + LONG),
    "a long text, CSV": (CSV, csv_with("1", "2", "é" * 1001), [KEY], LINE_3 + LONG),
    "a long text, Arrow": (
        ARROW,
        arrow_with(column(["1", "2", "é" * 1001], pa.utf8())),
        [KEY],
        LINE_3 + LONG,
    ),
    "a long large text, Arrow": (
        ARROW,
        arrow_with(column([None, "é" * 1000, "é" * 1001], pa.large_utf8())),
        [KEY],
        LINE_3 + LONG,
    ),
}


@pytest.mark.parametrize(("content_type", "body", "names", "sentence"), REFUSALS.values(), ids=list(REFUSALS))
def test_what_cannot_be_kept_refuses_the_batch(
    flask_door: FlaskDoor, content_type: str, body: bytes, names: list[str], sentence: str
) -> None:
    answer = asked(flask_door, body, content_type, *names)

    assert (answer.status, answer.error) == (400, sentence)


def test_a_column_of_the_bundle_s_own_decision_cannot_be_kept(own_door: FlaskDoor) -> None:
    answer = asked(own_door, json_with(THREE_KEYS, NOTE), JSON, NOTE)

    assert (answer.status, answer.error) == (400, BAD + kept("fait déjà partie de la réponse", f" '{NOTE}'"))


@pytest.mark.slow
def test_an_answer_over_16_mib_is_refused(flask_door: FlaskDoor) -> None:
    """Nearly all of a body of this size is kept, and the decisions come in addition."""
    row: Client = dict.fromkeys(THREE[0], 1)
    body = with_columns([row] * 10_000, **{KEY: ["x" * 800] * 10_000, NAME: ["y" * 800] * 10_000})

    refused = asked(flask_door, body, CSV, KEY, NAME)

    assert (refused.status, refused.error) == (
        413,
        BAD + "la réponse dépasse la limite de 16 Mio ; "
        "demandez moins de colonnes par keep, ou envoyez moins de clients à la fois",
    )
    assert asked(flask_door, body, CSV, KEY).status == 200


@pytest.mark.parametrize("content_type", [JSON, CSV, ARROW])
def test_a_mutated_body_of_which_columns_are_kept_gets_an_answer_of_the_contract(
    scorer: Scorer, content_type: str
) -> None:
    generator = random.Random(7)  # noqa: S311 - no secret
    bodies = {
        JSON: json_with(['"é"', "2", "null"]),
        CSV: csv_with("é", '"2"', ""),
        ARROW: arrow_with(column(["é", None, "c"], pa.utf8())),
    }
    deciding = service.Service(servers.serving(scorer))

    for _ in range(500):
        body = mutated(bodies[content_type], generator)
        answer = deciding.predict_batch(content_type, None, body, Asked("id"), [KEY])
        assert answer.status == 200 or is_of_the_contract(answer), body


# ---- Not logged


def test_nothing_of_the_query_is_logged(socket_door: SocketDoor) -> None:
    for body in (json_with(THREE_KEYS, "DUPONT"), as_json(THREE), b"{"):
        asked(socket_door, body, JSON, "DUPONT")
    asked(socket_door, arrow_with(pa.nulls(3)), ARROW, "DUPONT")

    servers.eventually(lambda: "/predict/batch 400" in socket_door.said or None, "the log of a refusal")
    assert "DUPONT" not in socket_door.said
    assert "keep" not in socket_door.said
