"""Clients as bodies of POST /predict/batch in its three formats, and its answers read back."""

import csv
import io
import json
import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from api.deciding import service
from api.deciding.places import Places
from tests.conftest import random_clients
from tests.servers import Answer, Door

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


# ---- All or nothing


LINE_3 = BAD + "ligne 3 : "

TEXT = as_csv(THREE)
HEADER = TEXT.partition(b"\n")[0] + b"\n"
DOCUMENT = as_json(THREE)


# ---- Hostile bytes: an answer of the contract, whatever comes


def is_of_the_contract(answer: service.Answer) -> bool:
    if answer.status == 200:
        return bool(READERS[answer.content_type.partition(";")[0]](answer.content))
    is_refusal = answer.status in (400, 413) and answer.content_type == JSON
    return is_refusal and list(json.loads(answer.content)) == ["error"]


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
