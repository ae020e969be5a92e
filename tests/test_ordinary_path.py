"""The fast path behind /predict gives what the careful path gives, to the byte, or steps aside."""

import json
import subprocess
import sys
from typing import Any

import lightgbm
import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.deciding import one_client, strict_json
from api.deciding.service import Service
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import DecisionPolicy, Scorer
from mlflow_model.errors import BadData
from tests import careful, servers
from tests.conftest import FEATURES, SOMETIMES_MISSING
from tests.hostile_requests import GOOD, NULLS, REQUESTS, credit, plus, renamed
from tests.servers import ROOT


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> Scorer:
    return Scorer(bundle.files)


def read_strictly(body: bytes) -> str:
    """The object with the exact type and sign of its numbers, or that there is none."""
    try:
        return repr(strict_json.strict(body, FEATURES))
    except BadData as refused:
        return f"refused: {refused}"


ORDINARY = {
    "the documented request": GOOD,
    "all null": NULLS,
    "no member": b"{}",
    "minus zero": credit("-0"),
    "minus zero point zero": credit("-0.0"),
    "exponent in capitals": credit("2E5"),
    "smallest double": credit("5e-324"),
    "less than the smallest double": credit("1e-400"),
    "25 digits after the point": credit("0.1234567890123456789012345"),
    "boolean": credit("true"),
    "every kind of space": b" \t\r\n" + GOOD.replace(b":", b" \t\r\n: \t\r\n"),
    "extra null": plus('"x": null'),
    "extra key that is not ASCII": plus('"né": 1'),
    "extra empty key": plus('"": 1'),
    "extra key with brackets": plus('"[{": 1'),
}


@pytest.mark.parametrize("body", ORDINARY.values(), ids=ORDINARY)
def test_numbers_and_nulls_under_plain_names_take_the_fast_path(body: bytes) -> None:
    assert repr(strict_json.ordinary(body)) == read_strictly(body)


DOUBTFUL = {
    "duplicate key": plus('"AMT_CREDIT": 1'),
    "duplicate key, once escaped": plus(r'"\u0041MT_CREDIT": 1'),
    "duplicate key and a text that hides it": plus('"x": 1, "x": 1, "": ""'),
    "two keys in an object": plus('"x": {"y": 1, "z": 2}'),
    "text": credit('"200000"'),
    "empty text": credit('""'),
    "list": credit("[200000]"),
    "escaped key": renamed(r'"AMT\u005fCREDIT"'),
    "lone surrogate": plus(r'"\ud800": 1'),
    "escaped U+0000": plus(r'"\u0000": 1'),
    "raw U+0000": plus('"\0": 1'),
    "surrogate in UTF-8": plus(b'"\xed\xa0\x80": 1'),
    "25 digits": credit("1234567890123456789012345"),
    "minus 25 digits": credit("-1234567890123456789012345"),
    "25 digits in an extra key": plus('"x": 1234567890123456789012345'),
    "2 to the 64": credit("18446744073709551616"),
    "2 to the 53 plus 1": credit("9007199254740993"),
    "1e400": credit("1e400"),
    "largest double": credit("1.7976931348623157e308"),
    "10 to the 309": credit("1" + "0" * 309),
    "NaN": credit("NaN"),
    "Infinity": credit("-Infinity"),
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "trailing comma": GOOD[:-1] + b",}",
    "no-break space": "\u00a0".encode() + GOOD,
    "vertical tab": b"\v" + GOOD,
    "leading zero": credit("0200000"),
    "60000 open arrays": b"[" * 60_000,
    "10000 open objects": b'{"x":' * 10_000,
    "101 levels": plus('"x": ' + "[" * 100 + "]" * 100),
    "array": b"[" + GOOD + b"]",
    "number": b"1",
    "null": b"null",
    "nothing": b"",
}


@pytest.mark.parametrize("body", DOUBTFUL.values(), ids=DOUBTFUL)
def test_in_doubt_the_strict_reader_reads(body: bytes) -> None:
    assert strict_json.ordinary(body) is None


members = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=True)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(FEATURES) | st.text(max_size=5)
objects = st.dictionaries(names, st.none() | st.integers() | st.floats() | members, max_size=20)
texts = st.builds(
    lambda content, readable: json.dumps(content, ensure_ascii=not readable).encode(errors="surrogatepass"),
    objects,
    st.booleans(),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A JSON text with a piece of it cut out, repeated or replaced by what JSON texts are made of."""
    body = draw(texts | st.just(GOOD))
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, min(len(body), start + 20)))
    pieces = st.sampled_from(
        [b"", b'"', b",", b"{", b"}", b"[]", b":", b"\\", b"0", b"-", b".", b"e9", b"\xff"]
    )
    piece = draw(st.just(body[start:end] * 2) | pieces | st.binary(max_size=3))
    return body[:start] + piece + body[end:]


@given(texts | damaged())
def test_whatever_the_text_the_fast_reader_agrees_or_steps_aside(body: bytes) -> None:
    document = strict_json.ordinary(body)

    assert document is None or repr(document) == read_strictly(body)


decimals = st.builds(
    lambda digits, point, exponent: (
        f"{digits[0]}.{digits[1:]}0e{exponent}" if point else f"{digits}e{exponent}"
    ),
    st.integers(1, 10**25).map(str),
    st.booleans(),
    st.integers(-345, 280),
)
shortest = st.floats(allow_nan=False, allow_infinity=False).map(repr)
halfway = st.floats(1e-3, 1e6).map(lambda double: f"{double:.60f}5")


@given(decimals | shortest | halfway)
def test_orjson_rounds_every_decimal_to_python_s_double(number: str) -> None:
    assert repr(orjson.loads(number)) == repr(float(number))


def predicted(scorer: Scorer, body: bytes) -> tuple[int, bytes]:
    """What POST /predict answers, without the transport."""
    answer = Service(servers.serving(scorer)).predict("application/json", None, None, body, "0")
    return answer.status, answer.content


clients = st.fixed_dictionaries(
    {
        name: st.floats(-1e6, 1e6)
        | st.integers(-(10**6), 10**6)
        | (st.none() if name in SOMETIMES_MISSING else st.nothing())
        for name in FEATURES
    }
)
strange = (
    st.none() | st.booleans() | st.floats() | st.integers(-(2**54), 2**54) | st.just(10**400) | st.text()
)


@given(clients)
def test_an_ordinary_client_gets_the_careful_paths_bytes(scorer: Scorer, client: dict[str, Any]) -> None:
    body = json.dumps(client).encode()

    assert strict_json.ordinary(body) is not None
    assert predicted(scorer, body) == careful.answer(scorer, body)


@given(clients, st.sampled_from(FEATURES), strange)
def test_a_client_with_one_strange_value_gets_the_careful_paths_bytes(
    scorer: Scorer, client: dict[str, Any], name: str, value: object
) -> None:
    body = json.dumps(client | {name: value}).encode()

    assert predicted(scorer, body) == careful.answer(scorer, body)


@pytest.mark.parametrize(
    "body", [sent.body for sent in REQUESTS.values() if sent.status in (200, 400) and sent.body is not None]
)
def test_hostile_bodies_get_the_careful_paths_bytes(scorer: Scorer, body: bytes) -> None:
    assert predicted(scorer, body) == careful.answer(scorer, body)


def test_a_model_of_one_feature_decides() -> None:
    data = lightgbm.Dataset(np.arange(400.0).reshape(-1, 1), np.arange(400) > 200, feature_name=["only"])
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, data, 3)
    files = {
        "model.txt": booster.model_to_string().encode(),
        "features.json": b'["only"]',
        "policy.json": b'{"threshold": 0.5, "margin": 0.0, "labels": {}}',
    }

    status, body = predicted(Scorer(files), b'{"only": 300}')

    expected = float(np.asarray(booster.predict(np.array([[300.0]])))[0])
    assert (status, json.loads(body)["probability_class_1"]) == (200, expected)


@given(st.floats(0, 1), st.floats(0, 1, exclude_min=True, exclude_max=True), st.floats(0, 1))
@example(1e-4, 0.5, 0.0)
@example(1e-5, 0.5, 0.0)
@example(1 - 1e-5, 0.5, 0.0)
@example(1.2345e-6, 0.5, 0.0)
@example(5e-324, 0.5, 0.0)
def test_an_answer_is_written_as_json_dumps_writes_it(p: float, threshold: float, share: float) -> None:
    policy = DecisionPolicy(threshold, share * min(threshold, 1 - threshold), risky='100 % «\\"\u2028é»')

    decision = policy.decision(p)

    assert one_client.written(decision) == json.dumps(decision, ensure_ascii=False).encode()


def test_the_sign_of_a_zero_margin_is_written_whatever_was_answered_before() -> None:
    written = [one_client.written(DecisionPolicy(0.25, margin).decision(0.5)) for margin in (0.0, -0.0, 0.0)]

    assert [b'"margin": -0.0' in body for body in written] == [False, True, False]


@pytest.mark.slow
def test_two_seconds_of_coverage_guided_fuzz_find_nothing() -> None:
    command = [sys.executable, "-m", "tests.fuzz_predict", "--seconds", "2"]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stderr[-3000:]
    assert "Done " in run.stderr
