"""Tells schemathesis what OpenAPI cannot: how clients look as CSV and in Arrow, which columns they have."""

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import schemathesis
from hypothesis import strategies as st

from tests.conftest import FEATURES, SOMETIMES_MISSING

Column = list[float | None]

_NUMBER = st.floats(-1e15, 1e15)


@st.composite
def _columns(draw: st.DrawFn) -> dict[str, Column]:
    """One to five clients, their features in any order."""
    count = draw(st.integers(1, 5))
    return {
        name: draw(
            st.lists(
                st.none() | _NUMBER if name in SOMETIMES_MISSING else _NUMBER, min_size=count, max_size=count
            )
        )
        for name in draw(st.permutations(FEATURES))
    }


def _csv(columns: dict[str, Column]) -> bytes:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join("" if value is None else repr(value) for value in row) for row in rows]
    return "\r\n".join([",".join(columns), *lines]).encode()


def _arrow(columns: dict[str, Column]) -> bytes:
    table = pa.table({name: pa.array(column, pa.float64()) for name, column in columns.items()})
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


_WRITERS: dict[str, Callable[[dict[str, Column]], bytes]] = {
    "text/csv": _csv,
    "application/vnd.apache.arrow.stream": _arrow,
}
for _media_type, _written in _WRITERS.items():
    schemathesis.openapi.media_type(_media_type, _columns().map(_written))


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Keep columns that the body has, where the request is to be a good one."""
    if case.query.get("keep") and case.meta is not None and case.meta.generation.mode.is_positive:
        case.query["keep"] = list(FEATURES[: len(case.query["keep"])])
