"""POST /predict/batch: three formats and the dialects of spreadsheets, with the doubles of /predict."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pytest

from tests.predict_batch_support import (
    ARROW,
    CLIENTS,
    CSV,
    DOCUMENT,
    JSON,
    KEYS,
    TEXT,
    THREE,
    WRITERS,
    as_arrow,
    as_csv,
    as_json,
    column,
    decisions,
    french,
    from_french,
    record_batch,
    send,
    stream,
)
from tests.servers import Door, FlaskDoor

pytest_plugins = ["tests.api_support"]


# ---- Bodies and answers


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


SHUFFLED = [dict(reversed(client.items())) for client in THREE]


def accepted_json() -> Iterator[Any]:
    extra = [client | {"SK_ID_CURR": 100002, "nom": 'né, "Dupont"', "x": {"y": [1]}} for client in THREE]
    yield pytest.param(JSON, as_json(SHUFFLED), id="JSON, keys in another order")
    yield pytest.param(JSON, json.dumps(extra, indent=2).encode(), id="JSON, more keys, nested, indented")
    yield pytest.param("Application/JSON; charset=utf-8", DOCUMENT, id="JSON, a parameter, other case")


def accepted_csv() -> Iterator[Any]:
    yield pytest.param(CSV, as_csv(SHUFFLED), id="CSV, columns in another order")
    yield pytest.param(CSV, TEXT.replace(b"\n", b"\r\n"), id="CSV, CRLF")
    yield pytest.param(CSV, TEXT[:-1], id="CSV, no last line end")
    yield pytest.param(CSV, TEXT + b"\r\n,,,,\n\n", id="CSV, empty lines at the end")
    lines = TEXT.splitlines()
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
    yield pytest.param(CSV, re.sub(rb"[^,\n]+", rb'"\g<0>"', TEXT), id="CSV, everything quoted")
    named = TEXT.replace(b"\n", b',"DUPONT, ""Al""\nRue"\n').replace(b'"DUPONT', b'"nom DUPONT', 1)
    yield pytest.param(CSV, named, id="CSV, a text column with quotes, commas and line ends")


def accepted_arrow() -> Iterator[Any]:
    table = record_batch(THREE)
    other = pa.RecordBatch.from_arrays(
        [*table.columns, table[0], table[1]], [*table.schema.names, "nom", "nom"]
    )
    yield pytest.param(ARROW, stream(other), id="Arrow, another column twice")
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


@pytest.mark.parametrize(("content_type", "body"), [*accepted_json(), *accepted_csv(), *accepted_arrow()])
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
