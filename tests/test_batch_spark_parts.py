"""What Spark's tasks do with rows, lines and what they tell, without a Spark: it needs no Java."""

import contextlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pytest

from batch.csv_source import CsvReader
from batch.errors import Refused
from features.csv_dialect import Dialect
from features.csv_table import Table

_IS_THERE = importlib.util.find_spec("pyspark") is not None
if TYPE_CHECKING or _IS_THERE:
    from py4j.protocol import Py4JNetworkError
    from pyspark.errors import PySparkException

    from batch import spark, spark_csv, spark_needs, spark_session, spark_task

pytestmark = [  # `make test` installs no Spark
    pytest.mark.slow,
    pytest.mark.skipif(not _IS_THERE, reason="pyspark (requirements-spark.txt) is not installed"),
]

Block = dict[str, Any]


class Source(NamedTuple):
    """As much of a CSV as `located` asks for: two lines of header."""

    name: str = "in.csv"
    header: Sequence[str] = ("a", "b")
    dialect: Dialect = Dialect(",")
    header_lines: int = 2
    has_header_in_lines: bool = True
    reader: CsvReader = CsvReader("in.csv", Table(Dialect(","), ["a", "b"], iter(())), ["a"], ["b"])


def block(start: int, lines: int, filled: int | None = None, torn: bool = False) -> Block:
    return {"start": start, "lines": lines, "filled": lines if filled is None else filled, "torn": torn}


def located(*blocks: Block, **changed: Any) -> dict[int, tuple[int, int, int]]:
    found = spark_csv.located(Source(**changed), blocks)  # type: ignore[arg-type]
    return {start: (one.first, one.count, one.skipped) for start, one in found.blocks.items()}


def test_rows_are_numbered_through_the_blocks_of_a_file_in_whatever_order_they_are_counted() -> None:
    found = located(block(900, 5, filled=3), block(0, 10), block(400, 7))

    assert found == {0: (1, 8, 2), 400: (9, 7, 0), 900: (16, 3, 0)}


def test_blocks_without_a_value_at_the_end_hold_no_row() -> None:
    assert located(block(0, 4, filled=3), block(400, 7, filled=0)) == {0: (1, 1, 2), 400: (2, 0, 0)}


@pytest.mark.parametrize(
    ("blocks", "changed", "sentence"),
    [
        (
            [block(0, 4), block(400, 3, torn=True)],
            {},
            "a cell holds the end of a line, and Spark reads lines",
        ),
        ([block(0, 4)], {"has_header_in_lines": False}, "a cell holds the end of a line"),
        ([block(0, 4, filled=3), block(400, 7)], {}, "lines without a value stand where Spark cuts the file"),
        ([block(0, 1), block(400, 7)], {}, "the header is longer than what Spark reads at once"),
    ],
)
def test_what_lines_alone_cannot_tell_is_refused(
    blocks: Sequence[Block], changed: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Refused, match=f"in.csv: {sentence}.*score it without --engine spark"):
        located(*blocks, **changed)


def lines_in(given: Sequence[Sequence[str]], path: str = "/in.csv", start: int = 0) -> list[pa.RecordBatch]:
    return [
        pa.record_batch(
            {
                "line": pa.array([line.encode() for line in lines], pa.binary()),
                "uri": [f"file://{path}"] * len(lines),
                "start": pa.array([start] * len(lines), pa.int64()),
            }
        )
        for lines in given
    ]


def test_a_block_in_several_batches_gives_each_row_once_and_its_number() -> None:
    """Lines without a value wait for one behind them, and the last ones are no rows."""
    batches = lines_in([["a,b"], ["h,h", "1,x", ",", "\r"], ["2,y"], [",", ""]])
    (counted,) = spark_csv.count({"/in.csv": ","})(iter(batches))
    (found,) = counted.to_pylist()
    file = spark_csv.located(Source(), [found])  # type: ignore[arg-type]

    chunks = [*spark_csv.rows_of_csv({"/in.csv": file})(iter(batches), ["a"])]

    assert (found["lines"], found["filled"], found["torn"]) == (8, 6, False)
    assert [place for place, _ in chunks] == [("in.csv", 1), ("in.csv", 2)]
    assert [chunk.content for _, chunk in chunks] == [b"1,x\n", b",\n\r\n2,y\n"]


@pytest.mark.parametrize("line", ['1,"x', "1\rx,2"])
def test_a_line_that_ends_within_a_cell_is_found(line: str) -> None:
    (counted,) = spark_csv.count({"/in.csv": ","})(iter(lines_in([["a,b", line]])))

    assert counted.to_pylist()[0]["torn"] is True


def test_a_block_that_was_not_counted_is_of_a_file_that_was_changed() -> None:
    file = spark_csv.located(Source(), [block(0, 4)])  # type: ignore[arg-type]
    late = lines_in([["1,x"]], start=400)

    with pytest.raises(Refused, match=r"in\.csv was changed while it was read"):
        list(spark_csv.rows_of_csv({"/in.csv": file})(iter(late), ["a"]))


def test_a_stretch_ends_where_the_file_or_the_row_does_not_go_on() -> None:
    uris = pa.array(["a", "a", "a", "b", "b", "a"])
    numbers = pa.array([7, 8, 20, 21, 22, 23], pa.int64())

    assert [*spark_task.stretches(uris, numbers, 1)] == [(0, 2), (2, 3), (3, 5), (5, 6)]
    assert [*spark_task.stretches(uris[:0], numbers[:0], 1)] == []


def test_a_task_that_is_tried_again_counts_once() -> None:
    union, place, other = spark_task.Union(), ("in.csv", 1), ("in.csv", 70)
    counts = {"counts": {"clients": 69}}

    told = union.addInPlace(union.addInPlace(union.zero({}), {place: counts}), {other: counts})
    told = union.addInPlace(told, {place: counts})

    assert told == {place: counts, other: counts}


# ---- A Spark that fails


@pytest.mark.parametrize(
    ("raised", "why"),
    [
        (lambda: ConnectionRefusedError(111, "Connection refused"), "Spark did not finish"),
        (lambda: Py4JNetworkError("Answer from Java side is empty"), "Spark did not finish"),
        (
            lambda: PySparkException("java.io.IOException: No space left on device"),
            "the disk is full: free some space",
        ),
        (lambda: PySparkException("java.io.IOException: File too large"), "a file may not become larger"),
    ],
)
def test_what_spark_says_stays_in_a_file_that_is_named(
    raised: Callable[[], Exception], why: str, tmp_path: Path
) -> None:
    log = tmp_path / "o.spark.log"
    log.write_text("of yesterday")

    def fail() -> None:
        where = spark_session._failures_in_words(f"its own words are in {log}")
        with spark_session._kept_if_spark_fails(log), where:
            log.write_text("Spark's")
            raise raised()

    with pytest.raises(Refused, match=f"{why}.*; its own words are in {log}"):
        fail()

    assert (log.read_text(), log.stat().st_mode & 0o777) == ("Spark's", 0o600)


@pytest.mark.parametrize("ended", [Refused("a client's value"), KeyboardInterrupt(), None])
def test_a_run_that_spark_has_not_failed_leaves_no_such_file(
    ended: BaseException | None, tmp_path: Path
) -> None:
    with (
        contextlib.suppress(Refused, KeyboardInterrupt),
        spark_session._kept_if_spark_fails(tmp_path / "log"),
    ):
        assert (tmp_path / "log").exists()
        if ended is not None:
            raise ended

    assert not (tmp_path / "log").exists()


def test_clients_that_spark_has_lost_are_counted() -> None:
    spark._require_all(7, 7, "clients")

    with pytest.raises(Refused, match="Spark has given 1,006 clients, and there are 1,007: begin anew"):
        spark._require_all(1_007, 1_006, "clients")


@pytest.mark.parametrize(("master", "is_refused"), [("local[2]", True), ("spark://10.0.0.1:7077", False)])
def test_a_python_that_is_not_there_is_named_before_spark_starts(
    master: str, is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSPARK_PYTHON", "./environment/bin/python")
    wanted = pytest.raises(
        Refused, match=r"PYSPARK_PYTHON names \./environment/bin/python, which is no program"
    )

    with wanted if is_refused else contextlib.nullcontext():
        spark_needs._check_python(master)
