"""The bundle's own code decides which columns a decision has: no door adds, drops, moves or bends one."""

import csv
import io
import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest

from api.app import create_app
from api.counting.tally import Tally
from api.deciding import one_client
from api.deciding.service import Service
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import OUTPUT_COLUMNS, Scorer
from tests import servers
from tests.live import policy_of
from tests.predict_batch_support import ARROW, CSV, JSON, THREE, WRITERS, send
from tests.servers import Answer, FlaskDoor

Columns = dict[str, Any]
DOORS = ["/predict", JSON, CSV, ARROW]


class OwnScorer(Scorer):
    """A bundle's scorer whose decisions are made anew by other code, as a scoring.py of its own may do."""

    def __init__(self, scorer: Scorer, change: Callable[[Columns], Columns]) -> None:
        vars(self).update(vars(scorer))
        self._change = change

    def decide(self, client: Any, margin: float | None = None) -> Columns:
        return self._change(super().decide(client, margin))

    def decide_table(self, table: Any, margin: float | None = None) -> Columns:
        return self._change(super().decide_table(table, margin))


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> Scorer:
    return bundle.scorer()


def door_of(scorer: Scorer) -> FlaskDoor:
    return FlaskDoor(create_app(servers.serving(scorer)))


def asked(door: FlaskDoor, where: str) -> Answer:
    return door.predict(THREE[0]) if where == "/predict" else send(door, WRITERS[where](THREE), where)


def of_each(single: object, column: object) -> Callable[[Columns], Columns]:
    """Adds the column `more`: this value for one client, these values for three."""
    return lambda found: {**found, "more": column if isinstance(found["prediction"], np.ndarray) else single}


OWN_CODE = b"""
def moved(answer):
    def answered(policy, given):
        found = answer(policy, given)
        del found["margin"]
        label = found.pop("prediction")
        size = getattr(given, "shape", None)
        note = 'a "b", 100 %' if size is None else np.full(size, 'a "b", 100 %', dtype=object)
        return {"note, \\u00e9 %": note, **found, "prediction": label}
    return answered

DecisionPolicy.decision = moved(DecisionPolicy.decision)
DecisionPolicy.decisions = moved(DecisionPolicy.decisions)
"""
NOTE = "note, é %"
ITS_ORDER = [
    NOTE,
    *("probability_class_1", "probability_class_0", "optimal_threshold", "lower_bound", "upper_bound"),
    "prediction",
]


@pytest.fixture(scope="module")
def own_door(bundle: Bundle) -> FlaskDoor:
    return door_of(policy_of(bundle, 0.25, more_code=OWN_CODE).scorer())


def test_predict_writes_an_added_column_in_its_place_and_no_dropped_one(
    own_door: FlaskDoor,
) -> None:
    content = own_door.predict(THREE[0]).content

    assert list(content) == ITS_ORDER
    assert content[NOTE] == 'a "b", 100 %'


def test_a_json_batch_is_made_of_the_bytes_that_predict_answers(own_door: FlaskDoor) -> None:
    single = [own_door.predict(client).body for client in THREE]

    assert asked(own_door, JSON).body == b"[" + b", ".join(single) + b"]"


def test_a_csv_batch_has_the_decision_s_own_columns(own_door: FlaskDoor) -> None:
    single = [own_door.predict(client).content for client in THREE]

    header, *lines = csv.reader(io.StringIO(asked(own_door, CSV).body.decode(), newline=""))

    assert header == ITS_ORDER
    assert lines == [[str(value) for value in content.values()] for content in single]


def test_an_arrow_batch_has_the_decision_s_own_columns(own_door: FlaskDoor) -> None:
    single = [own_door.predict(client).content for client in THREE]

    table = pa.ipc.open_stream(asked(own_door, ARROW).body).read_all()

    assert table.to_pylist() == single
    assert table.schema.types == [pa.utf8(), *[pa.float64()] * 5, pa.utf8()]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("where", ["/predict", JSON])
def test_code_that_would_end_the_process_is_an_internal_error(
    scorer: Scorer, where: str, error: type[BaseException]
) -> None:
    def ending(_: Columns) -> Columns:
        raise error

    answer = asked(door_of(OwnScorer(scorer, ending)), where)

    assert answer.status == 500
    assert answer.error.startswith("Erreur interne du serveur (référence ")


KINDS = {
    "text": ("é", ["é", "", "é"], pa.utf8()),
    "text or nothing": (None, ["", None, "a,b"], pa.utf8()),
    "integer": (7, np.array([1, 2, 3], np.int32), pa.int64()),
    "integer or nothing": (None, np.array([1, None, 3], object), pa.int64()),
    "boolean": (True, np.array([True, False, True]), pa.bool_()),
    "nothing": (None, [None, None, None], pa.null()),
    "double or nothing": (None, np.array([0.5, None, -0.0], object), pa.float64()),
    "single precision": (0.5, np.array([0.5, 0.25, -0.0], np.float32), pa.float64()),
    "zeros of both signs": (-0.0, np.array([0.0, -0.0, 0.0]), pa.float64()),
}
KIND = pytest.mark.parametrize(("single", "column", "kind"), KINDS.values(), ids=list(KINDS))


@KIND
def test_a_column_of_any_type_comes_at_every_door(
    scorer: Scorer, single: Any, column: Any, kind: pa.DataType
) -> None:
    door = door_of(OwnScorer(scorer, of_each(single, column)))
    expected = np.asarray(column).tolist()

    at_predict, in_json, in_csv, in_arrow = (asked(door, where) for where in DOORS)

    assert (at_predict.status, repr(at_predict.content["more"])) == (200, repr(single))
    assert [repr(one["more"]) for one in in_json.content] == [repr(value) for value in expected]
    found = pa.ipc.open_stream(in_arrow.body).read_all()["more"]
    assert (repr(found.to_pylist()), found.type) == (repr(expected), kind)
    cells = [line.rpartition(",")[2] for line in in_csv.body.decode().split("\r\n")[1:-1]]
    assert [json.loads(cell) if cell else None for cell in cells if '"' not in cell and cell != "é"] == [
        value for value in expected if value not in ("", "é", "a,b")
    ]


def without(name: str) -> Callable[[Columns], Columns]:
    return lambda found: {key: value for key, value in found.items() if key != name}


def instead(name: str, single: object, column: object) -> Callable[[Columns], Columns]:
    return lambda found: {
        **found,
        name: column if isinstance(found["prediction"], np.ndarray) else single,
    }


FAULTS: dict[str, Callable[[Columns], Any]] = {
    "no prediction": without("prediction"),
    "no probability": without("probability_class_1"),
    "a prediction that is no text": instead("prediction", 1, np.array([1, 2, 3])),
    "no prediction for one": instead("prediction", None, np.array(["a", None, "b"], object)),
    "a probability that is a text": instead("probability_class_1", "0.5", np.array(["0.5"] * 3)),
    "a probability that is nothing": instead("probability_class_1", None, np.array([None, 0.5, 0.5])),
    "NaN for a probability": instead("probability_class_1", math.nan, np.array([math.nan, 0.5, 0.5])),
    "NaN for the other": instead("probability_class_0", math.nan, np.array([math.nan, 0.5, 0.5])),
    "a NumPy number for the other": instead("probability_class_0", np.float64(0.5), np.array([0.5j] * 3)),
    "infinite threshold": instead("optimal_threshold", math.inf, np.full(3, math.inf)),
    "NaN": of_each(math.nan, np.array([0.5, math.nan, 0.5])),
    "NaN among objects": of_each(-math.inf, np.array([0.5, None, math.nan], object)),
    "a NumPy integer": of_each(np.int64(1), np.array([1, 2, 3], object) + np.int64(1) * 1j),
    "bytes": of_each(b"x", np.array([b"x"] * 3)),
    "an object": of_each(object(), np.array([object()] * 3)),
    "a list": of_each([1], np.array([[1], [2, 3], []], object)),
    "an object of JSON": of_each({"a": math.nan}, np.array([{}, {}, {}], object)),
    "half of a character": of_each("\ud800", np.array(["\ud800"] * 3, object)),
    "a date": of_each(np.datetime64("2020-01-01"), np.array(["2020-01-01"] * 3, "datetime64[ns]")),
    "types that differ": of_each(object(), np.array([1, "a", None], object)),
    "a value too few": of_each(object(), np.array([1.0, 2.0])),
    "two dimensions": of_each(object(), np.ones((3, 1))),
    "a name that is no text": lambda found: {**found, 1: found["optimal_threshold"]},
    "nothing at all": lambda _: None,
    "no columns": lambda _: {},
    "a list of columns": lambda found: list(found.items()),
}


@pytest.mark.parametrize("where", DOORS)
@pytest.mark.parametrize("change", FAULTS.values(), ids=list(FAULTS))
def test_what_a_door_cannot_write_is_an_internal_error_with_a_reference(
    scorer: Scorer, change: Callable[[Columns], Any], where: str
) -> None:
    answer = asked(door_of(OwnScorer(scorer, change)), where)

    assert answer.status == 500
    assert answer.error.startswith("Erreur interne du serveur (référence ")


@pytest.mark.parametrize("change", FAULTS.values(), ids=list(FAULTS))
def test_a_decision_that_cannot_be_written_is_not_counted_either(
    scorer: Scorer, change: Callable[[Columns], Any], documented_request: dict[str, float]
) -> None:
    tally = Tally()
    service = Service(servers.serving(OwnScorer(scorer, change)), tally=tally)

    service.predict("application/json", None, None, json.dumps(documented_request).encode(), "id")

    assert (tally.total().decisions, tally.total().probabilities) == ({}, {})


def test_one_policy_s_answer_is_never_written_around_another_s_probability(scorer: Scorer) -> None:
    """Bounds that are equal, but of another type or sign, are other bytes."""
    usual = scorer.decide(THREE[0])
    for value in (0.25, 1.0, True, 0.0, -0.0, 0.25, "0.25", None, 1):
        for name in OUTPUT_COLUMNS[3:]:
            decision = {**usual, name: value}

            assert one_client.written(decision) == json.dumps(decision, ensure_ascii=False).encode()


def test_the_registered_model_gives_mlflow_its_own_columns(bundle: Bundle, tmp_path: Any) -> None:
    from mlflow_model.bundle.pyfunc import ScoringModel

    policy_of(bundle, 0.25, more_code=OWN_CODE).write(tmp_path / "bundle")
    model = ScoringModel()
    model.load_context(SimpleNamespace(artifacts={"bundle": str(tmp_path / "bundle")}))
    import pandas as pd

    assert list(model.predict(None, pd.DataFrame(THREE, dtype=float)).columns) == ITS_ORDER


def test_a_label_of_any_length_is_written_and_not_kept(scorer: Scorer) -> None:
    decision = {**scorer.decide(THREE[0]), "prediction": "é" * 10_000}

    assert one_client.written(decision) == json.dumps(decision, ensure_ascii=False).encode()
    assert decision["prediction"] not in one_client._last


def test_half_of_a_character_in_a_refusal_of_a_bundle_is_written_as_json_has_it(scorer: Scorer) -> None:
    def refusing(_: Columns) -> Columns:
        raise Scorer.Refusal("\ud800")

    answer = asked(door_of(OwnScorer(scorer, refusing)), "/predict")

    assert answer.status == 400
    assert answer.body.endswith(b'\\ud800"}')


def test_the_description_of_the_api_names_the_columns_that_the_version_answers(scorer: Scorer) -> None:
    with_distance = OwnScorer(scorer, lambda found: {**found, "distance": found["margin"]})

    described = door_of(with_distance).get("/openapi.json").content["components"]["schemas"]["Decision"]

    assert described["required"] == [*OUTPUT_COLUMNS, "distance"]
    assert described["properties"]["distance"]["type"] == "number"
