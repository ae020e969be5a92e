"""POST /predict/batch: headers, limits, hostile bytes, and no delay for others."""

import json
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable
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
from tests.conftest import FEATURES
from tests.predict_batch_support import (
    ARROW,
    BAD,
    BROKEN_ARROW,
    CLIENTS,
    CSV,
    DOCUMENT,
    HEADER,
    JSON,
    TEXT,
    THREE,
    WRITERS,
    as_json,
    column,
    decisions,
    holding,
    is_of_the_contract,
    mutated,
    record_batch,
    send,
    stream,
)
from tests.servers import ROOT, Door, FlaskDoor, SocketDoor

pytest_plugins = ["tests.api_support"]


# ---- Bodies and answers


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> Scorer:
    return bundle.scorer()


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
