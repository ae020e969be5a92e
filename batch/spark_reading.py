"""The files of an input as Spark reads them: rows with their places, and how a task makes clients of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sql
from pyspark.sql import types as kinds

from batch import spark_csv, spark_session, spark_task
from batch.arrow_sources import ParquetSource
from batch.csv_source import CsvSource
from batch.errors import Refused
from batch.inputs import Inputs

_NUMBERS = (
    kinds.ByteType,
    kinds.ShortType,
    kinds.IntegerType,
    kinds.LongType,
    kinds.FloatType,
    kinds.DoubleType,
    kinds.NullType,
)


@dataclass(frozen=True)
class Read:
    """`rows`: under names of ours, the last two columns being their place. `count`: of them.

    `chunks`: what a task makes of them. `read_as`: the kinds of the columns, if not texts.
    """

    rows: DataFrame
    chunks: Callable[..., Any]
    count: int
    read_as: Mapping[str, kinds.DataType] = field(default_factory=dict)


def read(session: SparkSession, inputs: Inputs, features: Sequence[str]) -> Read:
    """Raises Refused."""
    # Otherwise it would depend on how many executors are there already where files are cut.
    session.conf.set(spark_session.PARTITIONS, max(2, session.sparkContext.defaultParallelism))
    sources = list(inputs.sources())
    paths = [str(path.resolve()) for path in inputs.paths if path is not None]
    csv = [source for source in sources if isinstance(source, CsvSource)]
    parquet = [source for source in sources if isinstance(source, ParquetSource)]
    if len(csv) == len(sources):
        return _csv(session, paths, csv)
    if len(parquet) == len(sources):
        return _parquet(session, paths, parquet, features)
    raise Refused("--engine spark reads Parquet or CSV: leave it out")


def _parquet(
    session: SparkSession, paths: Sequence[str], sources: Sequence[ParquetSource], features: Sequence[str]
) -> Read:
    header, name = sources[0].header, sources[0].name
    if other := next((one for one in sources if one.columns != sources[0].columns), None):
        raise Refused(f"{other.name} has not the columns of {name} in kind and order: score them one by one")
    try:
        found = session.read.parquet(*_uris(paths))
        of = {one.name: one.dataType for one in found.schema}
    except PySparkException as error:
        raise Refused(f"{name} has a column that Spark cannot read: leave out --engine spark") from error
    if unread := next((one for one in features if not isinstance(of[one], _NUMBERS)), None):
        raise Refused(f"Spark reads no numbers of column {unread}: leave out --engine spark")
    named = [sql.col(f"`{name.replace('`', '``')}`").alias(f"c{n}") for n, name in enumerate(header)]
    place = [sql.col("_metadata.file_path").alias("uri"), sql.col("_metadata.row_index").alias("number")]
    names = dict(zip(paths, [source.name for source in sources], strict=True))
    chunks = spark_task.rows_of_parquet(names, header)
    return Read(found.select(*named, *place), chunks, sum(source.rows for source in sources), of)


def _csv(session: SparkSession, paths: Sequence[str], sources: Sequence[CsvSource]) -> Read:
    found = session.read.option("lineSep", spark_csv.LINE_END).text([*_uris(paths)])
    place = [
        sql.col("_metadata.file_path").alias("uri"),
        sql.col("_metadata.file_block_start").alias("start"),
    ]
    lines = found.select(sql.col("value").cast("binary").alias("line"), *place)
    delimiters = {path: one.dialect.delimiter for path, one in zip(paths, sources, strict=True)}
    counted = spark_session.mapped(lines, spark_csv.count(delimiters), spark_csv.COUNTED).collect()
    files = {}
    for path, source in zip(paths, sources, strict=True):
        blocks = [block.asDict() for block in counted if block["path"] == path]
        files[path] = spark_csv.located(source, blocks)
    rows = sum(one.count for file in files.values() for one in file.blocks.values())
    return Read(lines, spark_csv.rows_of_csv(files), rows)


def _uris(paths: Sequence[str]) -> list[str]:
    """As patterns that mean these files alone: without patterns Spark 4.3.0 reads some files twice."""
    return ["file://" + re.sub(r"([\\\[\]{}*?])", r"\\\1", path) for path in paths]
