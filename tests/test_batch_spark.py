"""`--engine spark`: the values, labels, sentences and counts of one machine, or no output."""

import contextlib
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.outputs import STATE, digest_of_file, digest_of_several
from batch.spark_output import SparkFolder
from features import aggregate, raw_tables
from journal import reading, store
from journal.events import Scored
from journal.record import Kind
from mlflow_model.bundle import bundles
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.bundle.scoring import DecisionPolicy
from tests import batch_support
from tests.batch_support import ID, TABLE, as_csv, batch, cells, files_in
from tests.conftest import FEATURES
from tests.servers import FlaskDoor
from training.synthetic import writing

pytest_plugins = ["tests.api_support", "tests.batch_fixtures"]

CREDIT = "AMT_CREDIT"
_IS_THERE = importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None
on_spark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _IS_THERE, reason="pyspark (requirements-spark.txt) or Java is not installed"),
]


def spark_tests(test: Callable[..., None]) -> Callable[..., None]:
    for mark in on_spark:
        test = mark(test)
    return test


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Spark for all tests, which cuts files into many tasks."""
    from batch import spark_session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx1g")
        with spark_session.opened("local[2]", tmp_path_factory.mktemp("spark") / "log") as found:
            found.conf.set("spark.sql.files.maxPartitionBytes", "96k")
            found.conf.set("spark.sql.files.openCostInBytes", "0")
            found.conf.set("spark.sql.shuffle.partitions", "2")
            yield found


def by_spark(*arguments: object) -> subprocess.CompletedProcess[str]:
    return batch(*arguments, "--engine", "spark")


def in_and_out(folder: Path, model: Path) -> tuple[object, ...]:
    """The options of a run from Parquet, where TABLE is then, into a folder."""
    batch_support.write_parquet(TABLE, folder / "in.parquet")
    return ("--input", folder / "in.parquet", "--output", f"{folder / 'o'}/", "--model", model)


def rows_of(output: Path) -> list[str]:
    """Whatever their order: every bit of a double, and every kind, is in what is compared."""
    return sorted(map(repr, pq.read_table(output).to_pylist()))


def counts_in(summary: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(summary.read_text())["counts"]
    return found


def compare(source: Path, model: Path, folder: Path, bad: bool = True) -> None:
    """One machine and Spark, bad rows set aside: the same rows, counts, sentences, and rows set aside."""
    given = ("--input", source, "--model", model)
    ways = [(f"--bad-rows=quarantine={folder / name}") if bad else "--threads=1" for name in ("b1", "b2")]

    here = batch(*given, "--output", folder / "here.parquet", "--summary", folder / "s1", ways[0])
    there = by_spark(*given, "--output", f"{folder / 'there'}/", "--summary", folder / "s2", *ways[1:][:bad])

    assert (here.returncode, there.returncode) == (0, 0), there.stderr
    assert pq.read_schema(folder / "here.parquet").names == pq.read_table(folder / "there").schema.names
    assert rows_of(folder / "there") == rows_of(folder / "here.parquet")
    one, other = dict(counts_in(folder / "s1")), dict(counts_in(folder / "s2"))
    assert other.pop("costs") == pytest.approx(one.pop("costs"), rel=1e-12)  # sums in another order
    assert other == one
    assert there.stderr.splitlines()[1:-1] == here.stderr.splitlines()[1:-1]
    if bad:
        assert (folder / "b2").read_bytes() == (folder / "b1").read_bytes()


def hostile_table(count: int, seed: int) -> pa.Table:
    """Integers, floats, nulls alone, NaN and infinities; and columns of many kinds that come through."""
    rows = batch_support.table(count)
    spots = np.random.default_rng(seed).integers(0, count, 12)
    doubles = rows[CREDIT].to_numpy().copy()
    doubles[spots[:4]] = np.inf
    doubles[spots[4:8]] = np.nan
    changed = {
        CREDIT: pa.array(doubles),
        "DAYS_BIRTH": rows["DAYS_BIRTH"].cast(pa.int64(), safe=False),
        "DAYS_ID_PUBLISH": rows["DAYS_ID_PUBLISH"].cast(pa.int16(), safe=False),
        "EXT_SOURCE_2": rows["EXT_SOURCE_2"].cast(pa.float32()),
        "EXT_SOURCE_3": pa.nulls(count),
        "INSTA_AMT_PAYMENT": pa.array([2**53 + seed, None] + [-5, None] * (count // 2 - 1), pa.int64()),
    }
    day = datetime(2026, 1, 2, 3, 4, 5, 678901)
    more = {
        "un nom, `étrange`.x": pa.array([None if n % 7 == 0 else f"é\n{n % 5}" for n in range(count)]),
        "catégorie": pa.array([f"c{n % 3}" for n in range(count)]).dictionary_encode(),
        "montant": pa.array([Decimal(n) / 100 for n in range(count)], pa.decimal128(12, 2)),
        "moment": pa.array([day] * count, pa.timestamp("us")),
        "instant": pa.array([day.replace(tzinfo=UTC)] * count, pa.timestamp("us", "UTC")),
        "vrai": pa.array([n % 2 == 0 for n in range(count)]),
        "zéro": pa.array([-0.0, 0.0, np.nan, None] * (count // 4)),
    }
    return pa.table({**{name: changed.get(name, rows[name]) for name in rows.column_names}, **more})


@spark_tests
def test_spark_gives_the_rows_counts_and_sentences_of_one_machine_from_parquet(
    session: Any, bundle: Bundle, tmp_path: Path
) -> None:
    source = tmp_path / "in 50% é"
    source.mkdir()
    for n, name in enumerate(("a[1].parquet", "b%20{x}.parquet", "c.parquet")):
        pq.write_table(hostile_table(1_200, n), source / name, row_group_size=300)

    policy, costs = DecisionPolicy(0.3, 0.1), {"false_negative": 8.0, "false_positive": 2.0}
    text, path = bundle.files["model.txt"].decode(), bundle.source
    made = bundles.build(text, FEATURES, policy, source=path, provenance={"costs": costs})
    made.write(tmp_path / "model")

    compare(source, tmp_path / "model", tmp_path)

    assert len(counts_in(tmp_path / "s2")["costs"]) == 3
    aside = counts_in(tmp_path / "s2")["set_aside"]
    assert 15 < aside < 26  # infinities, missing credits, and an integer that no double equals
    assert len(list((tmp_path / "there").glob("*.parquet"))) > 3
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "there").iterdir()}
    assert (modes, (tmp_path / "there").stat().st_mode & 0o777) == ({0o600}, 0o700)


@spark_tests
@pytest.mark.parametrize("dialect", [",", ";"])
def test_spark_gives_the_same_from_csv_of_any_dialect(
    dialect: str, session: Any, bundle_folder: Path, tmp_path: Path
) -> None:
    """With cells in quotes, rows that lack cells, words for numbers, and lines without a value at the end."""
    rows = cells(batch_support.table(3_000))
    rows[700] = rows[700] | {CREDIT: "abc"}
    rows[1700] = rows[1700] | {CREDIT: ""}
    for place in range(0, 3_000, 11):
        rows[place] = rows[place] | {"AGENCE": 'dite "la, grande; mer"', "EXT_SOURCE_1": "1e-400"}
    if dialect == ";":
        rows = [
            {name: cell if name == "AGENCE" else cell.replace(".", ",") for name, cell in row.items()}
            for row in rows
        ]
    lines = as_csv(rows, dialect).splitlines(keepends=True)
    lines[2_500] = f"1{dialect}2\r\n"
    end = f"{dialect * (len(rows[0]) - 1)}\r\n" * 3 + "\r\n"
    (tmp_path / "in.csv").write_text("\ufeff" + "".join(lines) + end, encoding="utf-8", newline="")

    compare(tmp_path / "in.csv", bundle_folder, tmp_path)

    assert counts_in(tmp_path / "s2")["set_aside"] == 3


@spark_tests
def test_a_version_s_own_rule_and_column_come_out_of_spark(
    session: Any, other_bundle: Bundle, tmp_path: Path
) -> None:
    other_bundle.write(tmp_path / "other")
    lists = pa.array([[n, None] for n in range(len(TABLE))], pa.list_(pa.int64()))
    batch_support.write_parquet(TABLE.append_column("liste", lists), tmp_path / "in.parquet")

    compare(tmp_path / "in.parquet", tmp_path / "other", tmp_path, bad=False)

    assert "distance" in pq.read_table(tmp_path / "there").column_names


def spoilt_csv(folder: Path) -> Path:
    rows = cells(TABLE)
    rows[122] = rows[122] | {CREDIT: "secret"}
    (folder / "in.csv").write_text(as_csv(rows), encoding="utf-8")
    return folder / "in.csv"


def spoilt_parquet(folder: Path) -> Path:
    credit = pa.array([None if n == 77 else 1e5 for n in range(len(TABLE))], pa.float64())
    place = TABLE.schema.get_field_index(CREDIT)
    batch_support.write_parquet(TABLE.set_column(place, CREDIT, credit), folder / "in.parquet")
    return folder / "in.parquet"


def without_column(folder: Path) -> Path:
    batch_support.write_parquet(TABLE.drop_columns([CREDIT]), folder / "in.parquet")
    return folder / "in.parquet"


@spark_tests
@pytest.mark.parametrize("make", [spoilt_csv, spoilt_parquet, without_column])
def test_spark_refuses_in_the_sentences_of_one_machine_and_leaves_nothing(
    make: Callable[[Path], Path], session: Any, bundle_folder: Path, tmp_path: Path
) -> None:
    given = ("--input", make(tmp_path), "--model", bundle_folder)
    before = files_in(tmp_path)

    here = batch(*given, "--output", tmp_path / "o.parquet")
    there = by_spark(*given, "--output", f"{tmp_path / 'o'}/")

    assert (here.returncode, there.returncode) == (2, 2)
    assert CREDIT in there.stderr
    assert there.stderr == here.stderr
    assert files_in(tmp_path) == before


@spark_tests
def test_a_cell_with_a_line_end_is_refused_and_not_torn(
    session: Any, bundle_folder: Path, tmp_path: Path
) -> None:
    rows = cells(TABLE)
    rows[100] = rows[100] | {"AGENCE": "Évry\nnord"}
    (tmp_path / "in.csv").write_text(as_csv(rows), encoding="utf-8", newline="")

    done = by_spark(
        "--input", tmp_path / "in.csv", "--output", f"{tmp_path / 'o'}/", "--model", bundle_folder
    )

    assert (done.returncode, files_in(tmp_path)) == (2, ["in.csv"])
    assert "in.csv: a cell holds the end of a line" in done.stderr


@spark_tests
def test_an_executor_refuses_a_bundle_that_was_changed_on_its_way(
    session: Any, bundle: Bundle, other_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file of it is another version's; its manifest is right."""
    from batch import bundle_archive
    from mlflow_model.bundle import bundles
    from mlflow_model.bundle.scoring import DecisionPolicy

    text, features = bundle.files["model.txt"].decode(), json.loads(bundle.files["features.json"])
    sent = bundles.build(text, features, DecisionPolicy(0.4, 0.1), source=bundle.source)
    sent.write(tmp_path / "sent")
    changed = {**sent.files, "policy.json": other_bundle.files["policy.json"], "manifest.json": sent.manifest}
    monkeypatch.setattr(bundle_archive, "pack", lambda _: bundle_archive.packed(changed))

    done = by_spark(*in_and_out(tmp_path, tmp_path / "sent"))

    assert done.returncode == 2
    assert "l’empreinte de 'policy.json' ne correspond pas au manifeste" in done.stderr
    assert not list(tmp_path.glob("o*"))


@spark_tests
def test_a_run_that_was_killed_is_written_anew_and_one_that_ended_is_known(
    session: Any, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = in_and_out(tmp_path, bundle_folder)
    with monkeypatch.context() as killed, contextlib.suppress(SystemError):
        killed.setattr(SparkFolder, "sealed", lambda *_: (_ for _ in ()).throw(SystemError))
        killed.setattr(SparkFolder, "abandon", lambda output: os.close(output._lock))
        by_spark(*given)
    left = files_in(tmp_path)

    refused, done, again = by_spark(*given), by_spark(*given, "--resume"), by_spark(*given, "--resume")

    assert any(name.endswith(".parquet") and name.startswith("o.part/of-") for name in left)
    assert "o.part is of a run that did not end: --resume writes it anew" in refused.stderr
    assert [one.returncode for one in (refused, done, again)] == [2, 0, 0]
    assert "is there already, whole" in again.stderr
    assert sorted(row[ID] for row in pq.read_table(tmp_path / "o").to_pylist()) == TABLE[ID].to_pylist()
    assert not (tmp_path / "o.part").exists()


@spark_tests
def test_a_run_of_spark_has_the_record_of_one_machine_in_the_journal(
    session: Any, bundle: Bundle, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_URL", f"sqlite:///{tmp_path / 'journal.db'}")

    by_spark(*in_and_out(tmp_path, bundle_folder))

    with contextlib.closing(store.opened()) as journal, journal.reading() as connection:
        (event,) = [one.event for one in reading.of_kind(connection, Kind.SCORED)]
    assert isinstance(event, Scored)
    parts = sorted((tmp_path / "o").glob("*.parquet"))
    digests = [digest_of_file(part) for part in parts]
    assert (event.input, event.output) == (
        digest_of_file(tmp_path / "in.parquet"),
        digest_of_several(digests),
    )
    assert sum(event.labels.values()) == len(TABLE)
    assert json.loads((tmp_path / "o" / STATE).read_text())["of"]["model"] == bundle.digest


@spark_tests
def test_an_input_that_changes_while_spark_reads_it_gives_no_output(
    session: Any, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from batch import spark_session

    given = in_and_out(tmp_path, bundle_folder)
    send = spark_session.sent

    def changed(*what: Any) -> str:
        (tmp_path / "in.parquet").touch()
        return send(*what)

    monkeypatch.setattr(spark_session, "sent", changed)

    done = by_spark(*given)

    assert (done.returncode, files_in(tmp_path)) == (2, ["in.parquet"])
    assert "in.parquet was changed while it was read" in done.stderr


@spark_tests
def test_an_executor_needs_the_code_that_travels_alone_and_imports_nothing_that_is_large(
    tmp_path: Path,
) -> None:
    from batch.spark_session import code_that_travels

    (tmp_path / "code.zip").write_bytes(code_that_travels())
    code = (
        "import sys\n"
        "sys.path[:0] = sys.argv[1:]\n"
        "import batch.spark_task, batch.spark_csv\n"
        "print({'pandas', 'lightgbm', 'mlflow', 'sqlalchemy', 'scipy', 'cryptography'} & set(sys.modules))"
    )
    installed = sysconfig.get_path("purelib")  # without what its .pth files add: this project
    asked = [sys.executable, "-I", "-S", "-c", code, str(tmp_path / "code.zip"), installed]

    done = subprocess.run(asked, capture_output=True, text=True, cwd=tmp_path, check=True)

    assert done.stdout == "set()\n"


# ---- One path


@spark_tests
def test_the_batch_door_the_command_spark_and_mlflow_give_the_same_doubles(
    session: Any, registered: Path, flask_door: FlaskDoor, tmp_path: Path
) -> None:
    """The dashboard's page of a portfolio asks the batch door."""
    import mlflow
    from pyspark.sql import functions

    pq.write_table(TABLE, tmp_path / "in.parquet")
    given = ("--input", tmp_path / "in.parquet", "--model", "models:/scoring-client@champion")
    batch(*given, "--output", tmp_path / "o.parquet")
    by_spark(*given, "--output", f"{tmp_path / 'o'}/")
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, TABLE.select(FEATURES).schema) as writer:
        writer.write_table(TABLE.select(FEATURES))
    kind = {"Content-Type": "application/vnd.apache.arrow.stream"}
    answer = flask_door.send("POST", "/predict/batch", stream.getvalue().to_pybytes(), kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow and Spark, on pandas 3
        decide = mlflow.pyfunc.spark_udf(
            session,
            "models:/scoring-client@champion",
            result_type="probability_class_1 double, prediction string",
            env_manager="local",
        )
        read = session.read.parquet(f"file://{tmp_path / 'in.parquet'}")
        rows = read.select(ID, decide(functions.struct(*FEATURES)).alias("d")).orderBy(ID).collect()

    names = ["probability_class_1", "prediction"]
    wanted = pq.read_table(tmp_path / "o.parquet").sort_by(ID).select(names).to_pylist()
    assert len({row["prediction"] for row in wanted}) == 3
    assert pq.read_table(tmp_path / "o").sort_by(ID).select(names).to_pylist() == wanted
    assert pa.ipc.open_stream(answer.body).read_all().select(names).to_pylist() == wanted
    assert [{name: row.d[name] for name in names} for row in rows] == wanted


@spark_tests
def test_the_features_of_raw_tables_are_the_same_on_spark(session: Any, tmp_path: Path) -> None:
    writing.write_portfolio(400, 0, tmp_path / "raw", progress=False)
    on_duckdb = aggregate.client_features(raw_tables.read(tmp_path / "raw").by_name).to_pyarrow()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Spark, on pandas 3
        connection = ibis.pyspark.connect(session)
        on_pyspark = aggregate.client_features(
            raw_tables.read(tmp_path / "raw", connection).by_name
        ).to_pyarrow()

    assert len(on_duckdb.column_names) == 21
    assert on_pyspark.column_names == on_duckdb.column_names
    assert list(map(repr, on_pyspark.to_pylist())) == list(map(repr, on_duckdb.to_pylist()))


@spark_tests
def test_a_session_of_somebody_else_keeps_its_settings_and_takes_no_master(
    session: Any, bundle_folder: Path, tmp_path: Path
) -> None:
    batch_support.write_parquet(TABLE, tmp_path / "in.parquet")
    given = ("--input", tmp_path / "in.parquet", "--output", f"{tmp_path / 'o'}/", "--model", bundle_folder)
    session.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")

    named = by_spark(*given, "--master", "local[2]")
    done = by_spark(*given)

    assert (named.returncode, done.returncode) == (2, 0)
    assert "--master is not for the session of Spark that is there: leave it out" in named.stderr
    assert session.conf.get("spark.sql.session.timeZone") == "Asia/Tokyo"
    assert session.conf.get("spark.sql.files.minPartitionNum", None) is None
    assert {one.stat().st_mode & 0o777 for one in (tmp_path / "o").iterdir()} == {0o600}


# ---- What Spark cannot do


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"--output": "o.parquet"}, "end the name of --output with /"),
        ({"--input": "-"}, "--input - is not for --engine spark"),
        ({"--threads": "2"}, "--threads is not for --engine spark"),
        ({"--output-format": "csv"}, "--output-format must be parquet"),
        ({"--input-format": "arrow"}, "--input-format must be parquet or csv"),
        ({"--engine": "here", "--master": "yarn"}, "--master is for --engine spark"),
    ],
)
def test_an_option_that_is_not_for_spark_is_named(changed: dict[str, str], sentence: str) -> None:
    options = {"--input": "in.parquet", "--output": "o/", "--engine": "spark"} | changed

    done = batch(*itertools.chain.from_iterable(options.items()))

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert sentence in done.stderr


def test_without_pyspark_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch.spark_needs.machine.missing_packages", lambda *_: ["pyspark"])

    done = batch("--input", "in.parquet", "--output", "o/", "--engine", "spark")

    assert done.returncode == 2
    assert done.stderr.endswith("python -m pip install -r requirements-spark.txt --require-hashes\n")


@pytest.mark.parametrize(
    ("java", "sentence"),
    [
        (None, "does not run"),
        ("echo 'openjdk version \"11.0.2\" 2019' >&2", "is 11"),
        ("echo 'java version \"1.8.0_402\"' >&2", "is 8"),
    ],
    ids=["absent", "11", "8"],
)
def test_a_java_that_is_absent_or_too_old_is_named(
    java: str | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batch.spark_needs.machine.missing_packages", lambda *_: [])
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if java is not None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "java").write_text(f"#!/bin/sh\n{java}\n")
        (tmp_path / "bin" / "java").chmod(0o755)

    done = batch("--input", "in.parquet", "--output", "o/", "--engine", "spark")

    assert done.returncode == 2
    assert "Refused: Spark needs Java 17 or newer" in done.stderr
    assert sentence in done.stderr
