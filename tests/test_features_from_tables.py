"""From raw tables to the features of clients. Expected values were computed by hand."""

import re
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ibis.backends.sql.compilers import PySparkCompiler
from ibis.config import Config

from benchmarks.features import HISTORY, pandas_features
from features.aggregate import FEATURES, client_features
from features.catalogue import BY_NAME
from features.raw_tables import BadTable, read, true_probabilities
from training.__main__ import main
from training.synthetic import writing
from training.synthetic.calibration import Calibration
from training.synthetic.chunks import draw_chunks
from training.synthetic.clients import ratios

ROOT = Path(__file__).parents[1]
SAMPLE = Path(__file__).parents[2] / "shared" / "data" / "home_credit_sample"
DOCUMENTED_REQUEST = """
    {"AMT_ANNUITY": 15000, "AMT_CREDIT": 200000, "AMT_GOODS_PRICE": 180000, "CREDIT_TERM": 60,
     "DAYS_BIRTH": -12000, "DAYS_ID_PUBLISH": -3000, "DAYS_REGISTRATION": -4000, "EXT_SOURCE_1": 0.5,
     "EXT_SOURCE_2": 0.7, "EXT_SOURCE_3": 0.6, "DEBT_CREDIT_RATIO": 0.3, "ANNUITY_BIRTH_RATIO": 0.02,
     "ANNUITY_INCOME_PERCENT": 0.1, "CREDIT_GOODS_RATIO": 1.1, "INSTA_AMT_PAYMENT": 10000,
     "INSTA_NUM_INSTALMENT_VERSION": 3, "POS_CNT_INSTALMENT_FUTURE": 2}
"""

Row = dict[str, object]

APPLICANT: Row = {
    "SK_ID_CURR": 1,
    "TARGET": 0,
    "CODE_GENDER": "F",
    "AMT_INCOME_TOTAL": 400.0,
    "AMT_CREDIT": 1200.0,
    "AMT_ANNUITY": 100.0,
    "AMT_GOODS_PRICE": 1000.0,
    "DAYS_BIRTH": -7300,
    "DAYS_ID_PUBLISH": -20,
    "DAYS_REGISTRATION": -30.0,
    "EXT_SOURCE_1": None,
    "EXT_SOURCE_2": 0.25,
    "EXT_SOURCE_3": 0.5,
}
CREDIT: Row = {"SK_ID_CURR": 1, "AMT_CREDIT_SUM": 100.0, "AMT_CREDIT_SUM_DEBT": 50.0}
PREVIOUS: Row = {"SK_ID_CURR": 1, "CNT_PAYMENT": 24.0}
BALANCE: Row = {"SK_ID_CURR": 1, "CNT_INSTALMENT_FUTURE": 12.0}
PAYMENT: Row = {"SK_ID_CURR": 1, "AMT_PAYMENT": 10.0, "NUM_INSTALMENT_VERSION": 1.0}
ONE_CLIENT: dict[str, list[Row]] = {
    "application_train": [APPLICANT],
    "bureau": [CREDIT],
    "previous_application": [PREVIOUS],
    "POS_CASH_balance": [BALANCE],
    "installments_payments": [PAYMENT],
}


def write(file: Path, rows: list[Row]) -> None:
    table = pd.DataFrame(rows)
    if file.suffix == ".csv":
        table.to_csv(file, index=False)
    else:
        table.to_parquet(file)


def write_tables(folder: Path, **changed: list[Row]) -> Path:
    for name, rows in (ONE_CLIENT | changed).items():
        write(folder / f"{name}.csv", rows)
    return folder


def features_of(folder: Path, threads: int = 2) -> pd.DataFrame:
    raw = read(folder, ibis.duckdb.connect(threads=threads))
    return client_features(raw.by_name).to_pyarrow().to_pandas().set_index("SK_ID_CURR")


def rows_of(row: Row, column: str, values: list[object]) -> list[Row]:
    return [row | {column: value} for value in values]


def without(column: str, row: Row) -> Row:
    return {name: value for name, value in row.items() if name != column}


# ---- Features ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_client(tmp_path_factory: pytest.TempPathFactory) -> pd.Series:
    return features_of(write_tables(tmp_path_factory.mktemp("one"))).iloc[0]


def test_the_ratios_of_an_application_are_the_documented_ones(one_client: pd.Series) -> None:
    assert one_client["CREDIT_TERM"] == 12.0
    assert one_client["ANNUITY_BIRTH_RATIO"] == 5.0
    assert one_client["ANNUITY_INCOME_PERCENT"] == 0.25
    assert one_client["CREDIT_GOODS_RATIO"] == 1.2


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("CREDIT_TERM", "round(AMT_CREDIT / AMT_ANNUITY, 4)"),
        ("ANNUITY_BIRTH_RATIO", "round(AMT_ANNUITY / (|DAYS_BIRTH| / 365), 2)"),
        ("ANNUITY_INCOME_PERCENT", "round(AMT_ANNUITY / AMT_INCOME_TOTAL, 5)"),
        ("CREDIT_GOODS_RATIO", "round(AMT_CREDIT / (AMT_GOODS_PRICE + 1e-5), 4)"),
    ],
)
def test_the_catalogue_shows_the_formula_of_a_ratio(name: str, formula: str) -> None:
    assert BY_NAME[name].formula == formula


@pytest.mark.slow
def test_drawn_clients_have_the_ratios_of_their_aggregated_rows_bit_for_bit(tmp_path: Path) -> None:
    """NumPy draws, DuckDB aggregates: one definition, and the same bits from both."""
    writing.write_portfolio(2_000, 3, tmp_path / "portfolio")
    aggregated = features_of(tmp_path / "portfolio")
    (chunk,) = draw_chunks(Calibration.read(), 2_000, 3)

    for name, drawn in ratios(chunk.clients.application).items():
        np.testing.assert_array_equal(drawn, aggregated[name].to_numpy(), err_msg=name)


def test_an_application_keeps_its_own_columns_and_its_missing_values(one_client: pd.Series) -> None:
    assert one_client[["AMT_ANNUITY", "AMT_CREDIT", "AMT_GOODS_PRICE"]].tolist() == [100.0, 1200.0, 1000.0]
    assert one_client[["DAYS_BIRTH", "DAYS_ID_PUBLISH"]].tolist() == [-7300.0, -20.0]
    assert one_client[["DAYS_REGISTRATION", "EXT_SOURCE_2", "EXT_SOURCE_3"]].tolist() == [-30.0, 0.25, 0.5]
    assert np.isnan(one_client["EXT_SOURCE_1"])
    assert one_client[["TARGET", "CODE_GENDER"]].tolist() == [0, "F"]


@pytest.mark.parametrize(
    "value", [pytest.param(0, id="zero"), pytest.param(None, id="missing", marks=pytest.mark.slow)]
)
def test_a_denominator_of_zero_or_none_gives_a_missing_ratio(tmp_path: Path, value: object) -> None:
    denominators = ["AMT_ANNUITY", "DAYS_BIRTH", "AMT_INCOME_TOTAL"]
    changed = [{"SK_ID_CURR": number, name: value} for number, name in enumerate(denominators)]
    write_tables(tmp_path, application_train=[APPLICANT | change for change in changed])

    ratios = features_of(tmp_path)[["CREDIT_TERM", "ANNUITY_BIRTH_RATIO", "ANNUITY_INCOME_PERCENT"]]

    assert np.isnan(ratios.to_numpy().diagonal()).all()


def test_a_goods_price_of_zero_is_divided_by_with_the_documented_epsilon(tmp_path: Path) -> None:
    write_tables(tmp_path, application_train=[APPLICANT | {"AMT_GOODS_PRICE": 0}])

    assert features_of(tmp_path).loc[1, "CREDIT_GOODS_RATIO"] == pytest.approx(1.2e8)


def test_a_missing_or_infinite_debt_ratio_counts_as_zero(tmp_path: Path) -> None:
    debts = [(50, 100), (80, 100), (None, 100), (30, None), (30, 0), (0, 0), (1e9, 0.5), (-10, 100)]
    bureau = [CREDIT | {"AMT_CREDIT_SUM_DEBT": debt, "AMT_CREDIT_SUM": total} for debt, total in debts]
    write_tables(tmp_path, bureau=bureau)

    assert features_of(tmp_path).loc[1, "DEBT_CREDIT_RATIO"] == (0.5 + 0.8 - 0.1) / 8


def test_a_mean_leaves_missing_values_out(tmp_path: Path) -> None:
    amounts = rows_of(PAYMENT, "AMT_PAYMENT", [10.005, None, 20.5])
    versions = rows_of(PAYMENT | {"AMT_PAYMENT": None}, "NUM_INSTALMENT_VERSION", [None, 3.0])
    balances = rows_of(BALANCE, "CNT_INSTALMENT_FUTURE", [12, 7, None])
    write_tables(tmp_path, installments_payments=amounts + versions, POS_CASH_balance=balances)

    client = features_of(tmp_path).loc[1]

    assert client["INSTA_AMT_PAYMENT"] == 15.2525
    assert client["INSTA_NUM_INSTALMENT_VERSION"] == (1 + 1 + 1 + 3) / 4
    assert client["POS_CNT_INSTALMENT_FUTURE"] == 9.5


def test_nan_is_a_missing_value_and_zero_is_none(tmp_path: Path) -> None:
    durations = [(1, None), (1, 0), (1, 24), (2, "NaN"), (2, 24), (3, "nan"), (3, None)]
    previous = [PREVIOUS | {"SK_ID_CURR": client, "CNT_PAYMENT": months} for client, months in durations]
    applications = rows_of(APPLICANT, "SK_ID_CURR", [1, 2, 3])
    write_tables(tmp_path, application_train=applications, previous_application=previous)

    np.testing.assert_array_equal(features_of(tmp_path)["PREV_CNT_PAYMENT"], [12.0, 24.0, np.nan])


def test_a_client_without_rows_in_a_table_lacks_its_features(tmp_path: Path) -> None:
    write_tables(tmp_path, application_train=[APPLICANT, APPLICANT | {"SK_ID_CURR": 2}])

    history = features_of(tmp_path)[["DEBT_CREDIT_RATIO", "INSTA_AMT_PAYMENT", "PREV_CNT_PAYMENT"]]

    np.testing.assert_array_equal(history, [[0.5, 10.0, 24.0], [np.nan, np.nan, np.nan]])


def test_clients_come_once_each_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    applications = rows_of(APPLICANT, "SK_ID_CURR", [30, 1, 20])
    write_tables(tmp_path, application_train=applications, bureau=rows_of(CREDIT, "SK_ID_CURR", [20, 20, 99]))

    assert features_of(tmp_path).index.tolist() == [1, 20, 30]


@pytest.mark.slow
def test_clients_of_application_test_have_features_and_no_outcome(tmp_path: Path) -> None:
    write_tables(tmp_path, application_test=[without("TARGET", APPLICANT) | {"SK_ID_CURR": 2}])

    clients = features_of(tmp_path)

    assert clients["CREDIT_TERM"].tolist() == [12.0, 12.0]
    assert clients["TARGET"].isna().tolist() == [False, True]


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the public sample is not beside the repository")
def test_the_real_client_100002_has_the_published_features() -> None:
    client = features_of(SAMPLE).loc[100002]

    published = {
        "AMT_ANNUITY": 24700.5,
        "AMT_CREDIT": 406597.5,
        "CREDIT_TERM": 16.4611,  # published: 16.461104
        "ANNUITY_BIRTH_RATIO": 952.93,  # 952.931244
        "ANNUITY_INCOME_PERCENT": 0.12198,  # 0.121978
        "CREDIT_GOODS_RATIO": 1.1584,  # 1.158397
    }
    assert client[list(published)].astype(float).to_dict() == published


# ---- A generated portfolio ---------------------------------------------------------------------------------


def portfolio(clients: int) -> dict[str, pd.DataFrame]:
    """Raw tables with missing values, zero denominators, clients without history, history without clients."""
    random = np.random.default_rng(0)
    history = {name: _history(random, clients, columns) for name, columns in HISTORY.items()}
    return {"application_train": _applications(random, clients), **history}


def _history(random: np.random.Generator, clients: int, columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame({"SK_ID_CURR": random.integers(1, 2 * clients, 3 * clients)})
    for column in columns:
        values = np.round(random.gamma(2, 10, len(table)), 3 if column == "AMT_PAYMENT" else 0)
        table[column] = np.where(random.random(len(table)) < 0.1, np.nan, values)
    return table


def _applications(random: np.random.Generator, clients: int) -> pd.DataFrame:
    score = random.random(clients)
    return pd.DataFrame(
        {
            "SK_ID_CURR": random.permutation(clients) + 1,
            "TARGET": (random.random(clients) < 0.4 * (1 - score) ** 2).astype(int),
            "CODE_GENDER": random.choice(["F", "M", "XNA"], clients),
            "AMT_INCOME_TOTAL": random.integers(0, 9, clients) * 1e4,
            "AMT_CREDIT": random.integers(1, 99, clients) * 1e4,
            "AMT_ANNUITY": random.integers(0, 9, clients) * 1e3,
            "AMT_GOODS_PRICE": np.where(random.random(clients) < 0.1, np.nan, 2e5),
            "DAYS_BIRTH": -random.integers(7000, 25000, clients),
            "DAYS_ID_PUBLISH": -random.integers(0, 5000, clients),
            "DAYS_REGISTRATION": -random.integers(0, 9000, clients) * 1.0,
            "EXT_SOURCE_1": np.where(random.random(clients) < 0.5, np.nan, random.random(clients)),
            "EXT_SOURCE_2": score,
            "EXT_SOURCE_3": random.random(clients),
        }
    )


def write_portfolio(folder: Path, tables: dict[str, pd.DataFrame]) -> Path:
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def generated() -> dict[str, pd.DataFrame]:
    return portfolio(2000)


@pytest.fixture(scope="module")
def folder(generated: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_portfolio(tmp_path_factory.mktemp("portfolio"), generated)


@pytest.fixture(scope="module")
def clients(folder: Path) -> pd.DataFrame:
    return features_of(folder)


def test_the_features_of_a_portfolio_are_those_that_pandas_computes(
    generated: dict[str, pd.DataFrame], clients: pd.DataFrame
) -> None:
    expected = pandas_features(generated)

    np.testing.assert_allclose(clients[list(FEATURES)], expected, rtol=1e-13, atol=1e-9)


def test_parquet_files_give_the_same_features_with_their_nan_as_missing(
    generated: dict[str, pd.DataFrame], clients: pd.DataFrame, tmp_path: Path
) -> None:
    for name, table in generated.items():
        # Not written by pandas, because it writes NULL for NaN.
        columns = {column: table[column].to_numpy() for column in table}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")

    pd.testing.assert_frame_equal(features_of(tmp_path), clients, check_exact=True)


@pytest.mark.slow
def test_the_features_are_the_same_to_the_last_bit_for_any_number_of_threads(tmp_path: Path) -> None:
    tables = portfolio(20_000)
    for name, table in tables.items():
        # Many row groups, because DuckDB gives whole row groups to its threads.
        table.to_parquet(tmp_path / f"{name}.parquet", row_group_size=1024)

    alone, together = features_of(tmp_path, threads=1), features_of(tmp_path, threads=4)

    assert alone[list(FEATURES)].to_numpy().tobytes() == together[list(FEATURES)].to_numpy().tobytes()


@pytest.mark.slow
def test_the_same_expressions_compile_for_spark(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class SparkOptions(Config):
        treat_nan_as_null: bool = False

    monkeypatch.setattr(ibis.options, "pyspark", SparkOptions())

    query = PySparkCompiler().to_sqlglot(client_features(read(folder).by_name)).sql("spark")

    assert "AS DECIMAL(18, 3)" in query


# ---- Files of a French spreadsheet -------------------------------------------------------------------------


def write_in_french(folder: Path, delimiter: str, beginning: str = "\ufeff", empty_lines: int = 0) -> Path:
    for name, rows in ONE_CLIENT.items():
        text = pd.DataFrame(rows).to_csv(index=False, sep=delimiter, decimal=",", lineterminator="\r\n")
        end = (delimiter * (len(rows[0]) - 1) + "\r\n") * empty_lines
        (folder / f"{name}.csv").write_text(beginning + text + end, encoding="utf-8", newline="")
    return folder


@pytest.mark.parametrize(
    ("delimiter", "beginning", "empty_lines"),
    [
        pytest.param(";", "\ufeff", 0, id="semicolons"),
        pytest.param("\t", "\ufeff", 0, id="tabs", marks=pytest.mark.slow),
        pytest.param(";", "\ufeffsep=;\r\n", 0, id="a declared delimiter", marks=pytest.mark.slow),
        pytest.param(";", "", 2, id="lines of delimiters at the end", marks=pytest.mark.slow),
    ],
)
def test_the_files_of_a_french_spreadsheet_give_the_same_features(
    one_client: pd.Series, tmp_path: Path, delimiter: str, beginning: str, empty_lines: int
) -> None:
    tables = write_in_french(tmp_path, delimiter, beginning, empty_lines)

    pd.testing.assert_series_equal(features_of(tables).iloc[0], one_client)


def test_thousands_separators_are_refused_in_a_french_file_too(tmp_path: Path) -> None:
    write_in_french(tmp_path, ";")
    (tmp_path / "bureau.csv").write_text("SK_ID_CURR;AMT_CREDIT_SUM;AMT_CREDIT_SUM_DEBT\n1;1.200,5;1 000\n")

    with pytest.raises(BadTable, match=r"AMT_CREDIT_SUM holds 1 value\(s\) that are not a number"):
        read(tmp_path)


# ---- Refusals ----------------------------------------------------------------------------------------------


NO_CSV = "the file cannot be read as CSV in UTF-8 with the same number of values in each line"
NO_NUMBER = "holds 1 value(s) that are not a number below 1e15"
NOT_BEFORE = (
    "holds 1 value(s) that are not 0 or negative, as days before the application are (-12000 for 12,000 days)"
)
LACKS = "lacks 1 value(s), and none may be missing"
INFINITE = rows_of(PAYMENT, "AMT_PAYMENT", [10.0, float("inf")])
BOOLEAN = APPLICANT | {"EXT_SOURCE_1": 0.1, "TARGET": True}
TWICE = b"SK_ID_CURR,CNT_PAYMENT,CNT_PAYMENT\n1,2,3\n"

# What replaces a good file (None: nothing), and the sentence about it.
REFUSALS: dict[str, tuple[str, bytes | list[Row] | None, str]] = {
    "no file": ("bureau.csv", None, "the data folder holds neither this file nor bureau.parquet"),
    "empty": ("bureau.csv", b"", "the file is empty"),
    "header only": ("bureau.csv", b"SK_ID_CURR,AMT_CREDIT_SUM,AMT_CREDIT_SUM_DEBT\n", "the file has no rows"),
    "ragged": ("POS_CASH_balance.csv", b"SK_ID_CURR,CNT_INSTALMENT_FUTURE\n1,2\n1\n", NO_CSV),
    "not utf-8": ("POS_CASH_balance.csv", b"SK_ID_CURR,CNT_INSTALMENT_FUTURE\n1,\xff\n", NO_CSV),
    "not parquet": ("bureau.parquet", b"PAR1, or so it says", "the file cannot be read as Parquet"),
    "no column": ("bureau.csv", [without("AMT_CREDIT_SUM", CREDIT)], "column AMT_CREDIT_SUM is missing"),
    "column twice": ("previous_application.csv", TWICE, "column CNT_PAYMENT is there more than once"),
    "boolean": ("application_train.parquet", [BOOLEAN], "column TARGET holds neither numbers nor text"),
    "infinite": ("installments_payments.parquet", INFINITE, f"column AMT_PAYMENT {NO_NUMBER}"),
    "too large": ("bureau.csv", [CREDIT | {"AMT_CREDIT_SUM": 1e15}], f"column AMT_CREDIT_SUM {NO_NUMBER}"),
    "text": ("bureau.csv", [CREDIT | {"AMT_CREDIT_SUM": "much"}], f"column AMT_CREDIT_SUM {NO_NUMBER}"),
    "underscores": (
        "bureau.csv",
        [CREDIT | {"AMT_CREDIT_SUM": "1_000"}],
        f"column AMT_CREDIT_SUM {NO_NUMBER}",
    ),
    "half": (
        "POS_CASH_balance.csv",
        [BALANCE | {"CNT_INSTALMENT_FUTURE": 1.5}],
        "column CNT_INSTALMENT_FUTURE holds 1 value(s) that are not a whole number",
    ),
    "other outcome": (
        "application_train.csv",
        [APPLICANT | {"TARGET": 2}],
        "column TARGET holds 1 value(s) that are not 0 or 1",
    ),
    **{
        f"positive {column}": (
            "application_train.csv",
            [APPLICANT | {"SK_ID_CURR": 7}, APPLICANT | {column: 1}],
            f"column {column} {NOT_BEFORE}",
        )
        for column in ("DAYS_BIRTH", "DAYS_ID_PUBLISH", "DAYS_REGISTRATION")
    },
    "positive days of a new client": (
        "application_test.csv",
        [without("TARGET", APPLICANT) | {"SK_ID_CURR": 7, "DAYS_BIRTH": 12_000}],
        f"column DAYS_BIRTH {NOT_BEFORE}",
    ),
    "no outcome": ("application_train.csv", [APPLICANT | {"TARGET": None}], f"column TARGET {LACKS}"),
    "no client": ("application_train.csv", [APPLICANT | {"SK_ID_CURR": None}], f"column SK_ID_CURR {LACKS}"),
    "nobody known": (
        "bureau.csv",
        [CREDIT | {"SK_ID_CURR": 7}],
        "column SK_ID_CURR holds no client of application_train or application_test",
    ),
    "one outcome": (
        "application_train.csv",
        [APPLICANT | {"SK_ID_CURR": number} for number in range(20)],
        "column TARGET is 1 for 0 client(s): at least 10 are needed",
    ),
    "client twice": (
        "application_train.csv",
        [APPLICANT, APPLICANT],
        "column SK_ID_CURR holds 1 value(s) more than once",
    ),
}


def replace(file: Path, content: bytes | list[Row] | None) -> None:
    if content is None:
        file.unlink()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        write(file, content)


# Of what is no table, of columns, values and clients: some daily, and all in `make proofs`.
DAILY_REFUSALS = {
    "no file",
    "empty",
    "ragged",
    "not parquet",
    "no column",
    "text",
    "other outcome",
    "positive DAYS_BIRTH",
    "no client",
    "nobody known",
    "client twice",
}


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        pytest.param(*bad, id=name, marks=[] if name in DAILY_REFUSALS else [pytest.mark.slow])
        for name, bad in REFUSALS.items()
    ],
)
def test_a_bad_file_is_refused_in_one_sentence_that_names_it(
    file: str,
    content: bytes | list[Row] | None,
    fault: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    replace(write_tables(tmp_path) / file, content)

    status = main(["--data-dir", str(tmp_path), "--out", str(tmp_path / "out")])

    assert status == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"Refused: {file}: {fault}"
    assert not (tmp_path / "out").exists()


TRUTH: Row = {"SK_ID_CURR": 1, "TRUE_PROBABILITY": 0.1}

BAD_TRUTHS: dict[str, tuple[str, bytes | list[Row], str]] = {
    "not parquet": ("true_probabilities.parquet", b"PAR1", "the file cannot be read as Parquet"),
    "no column": (
        "true_probabilities.parquet",
        [without("TRUE_PROBABILITY", TRUTH)],
        "column TRUE_PROBABILITY is missing",
    ),
    "above one": (
        "true_probabilities.csv",
        [TRUTH | {"TRUE_PROBABILITY": 1.1}],
        "column TRUE_PROBABILITY holds 1 value(s) that are not a number from 0 to 1",
    ),
    "none": (
        "true_probabilities.csv",
        [TRUTH | {"TRUE_PROBABILITY": None}],
        f"column TRUE_PROBABILITY {LACKS}",
    ),
    "twice": ("true_probabilities.csv", [TRUTH, TRUTH], "column SK_ID_CURR holds 1 value(s) more than once"),
    "client lacking": (
        "true_probabilities.csv",
        [TRUTH | {"SK_ID_CURR": 2}],
        "1 client(s) of application_train are not in it",
    ),
}


@pytest.mark.parametrize(("file", "content", "fault"), BAD_TRUTHS.values(), ids=BAD_TRUTHS.keys())
def test_true_probabilities_that_are_bad_are_refused_in_one_sentence_that_names_them(
    file: str, content: bytes | list[Row], fault: str, tmp_path: Path
) -> None:
    replace(tmp_path / file, content)

    with pytest.raises(BadTable, match=f"^{re.escape(f'{file}: {fault}')}$"):
        true_probabilities(tmp_path, pd.Index([1]))


def test_true_probabilities_are_read_from_csv_too(tmp_path: Path) -> None:
    write(tmp_path / "true_probabilities.csv", [TRUTH, TRUTH | {"SK_ID_CURR": 2}])

    found = true_probabilities(tmp_path, pd.Index([1]))

    assert found is not None
    assert found.to_dict() == {1: 0.1, 2: 0.1}


def test_a_folder_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = tmp_path / "nowhere"

    assert main(["--data-dir", str(nowhere), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"Refused: {nowhere} is not a folder"


def test_a_client_with_an_outcome_and_without_is_refused(tmp_path: Path) -> None:
    write_tables(tmp_path, application_test=[without("TARGET", APPLICANT)])

    with pytest.raises(BadTable, match=r"train\.csv and application_test\.csv: column SK_ID_CURR holds 1"):
        read(tmp_path)
