"""Reads the raw Home Credit tables, checked and typed, as Ibis tables on DuckDB.

After this check every column has its declared type, NULL is the only missing value, and each client has one
application.
"""

import csv
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
import pandas as pd
from ibis.backends import BaseBackend

from features import csv_dialect
from features.identities import TOO_LARGE

KEY = "SK_ID_CURR"
LABEL = "TARGET"
APPLICATION = "application"


class BadTable(ValueError):
    """A file must not be used. The message names the file and the column, and quotes no value."""

    def __init__(self, file: str, fault: str) -> None:
        super().__init__(f"{file}: {fault}")


@dataclass(frozen=True)
class Kind:
    """What the values of a column must be. `holds` tests each value that is not missing, as a double."""

    name: str
    dtype: str
    holds: Callable[[ir.FloatingValue], ir.BooleanValue]
    required: bool = False


def _is_number(value: ir.FloatingValue) -> ir.BooleanValue:
    """Whether it is finite and below 1e15, so that a later cast to DECIMAL(18, 3) does not overflow."""
    return value.abs() < TOO_LARGE


def _is_whole(value: ir.FloatingValue) -> ir.BooleanValue:
    return _is_number(value) & (value == value.try_cast("int64"))


def _is_in_the_past(value: ir.FloatingValue) -> ir.BooleanValue:
    return _is_number(value) & (value <= 0.0)


def _is_zero_or_one(value: ir.FloatingValue) -> ir.BooleanValue:
    return value.isin([0.0, 1.0])


def _is_probability(value: ir.FloatingValue) -> ir.BooleanValue:
    return value.between(0.0, 1.0)


NUMBER = Kind("a number below 1e15", "float64", _is_number)
WHOLE = Kind("a whole number", "int64", _is_whole)
IDENTIFIER = Kind("a whole number", "int64", _is_whole, required=True)
DAYS = Kind(
    "0 or negative, as days before the application are (-12000 for 12,000 days)", "float64", _is_in_the_past
)
OUTCOME = Kind("0 or 1", "int64", _is_zero_or_one, required=True)
PROBABILITY = Kind("a number from 0 to 1", "float64", _is_probability, required=True)
TEXT = None

Columns = Mapping[str, Kind | None]

_DATE = r"\d{4}-\d{2}(?:-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?)?"

_TRAIN, _TEST = "application_train", "application_test"
_APPLICATION_COLUMNS: Columns = {
    KEY: IDENTIFIER,
    "CODE_GENDER": TEXT,
    "AMT_INCOME_TOTAL": NUMBER,
    "AMT_CREDIT": NUMBER,
    "AMT_ANNUITY": NUMBER,
    "AMT_GOODS_PRICE": NUMBER,
    "DAYS_BIRTH": DAYS,
    "DAYS_ID_PUBLISH": DAYS,
    "DAYS_REGISTRATION": DAYS,
    "EXT_SOURCE_1": NUMBER,
    "EXT_SOURCE_2": NUMBER,
    "EXT_SOURCE_3": NUMBER,
}
_TRUTH = "true_probabilities"
_TRUTH_COLUMNS: Columns = {KEY: IDENTIFIER, "TRUE_PROBABILITY": PROBABILITY}
COLUMNS: Mapping[str, Columns] = {
    _TRAIN: {**_APPLICATION_COLUMNS, LABEL: OUTCOME},
    _TEST: _APPLICATION_COLUMNS,
    "bureau": {KEY: IDENTIFIER, "AMT_CREDIT_SUM": NUMBER, "AMT_CREDIT_SUM_DEBT": NUMBER},
    "previous_application": {KEY: IDENTIFIER, "CNT_PAYMENT": WHOLE},
    "POS_CASH_balance": {KEY: IDENTIFIER, "CNT_INSTALMENT_FUTURE": WHOLE},
    "installments_payments": {KEY: IDENTIFIER, "AMT_PAYMENT": NUMBER, "NUM_INSTALMENT_VERSION": WHOLE},
}
OPTIONAL = frozenset({_TEST})


@dataclass(frozen=True)
class RawTables:
    """The checked tables by the catalogue's names, and the number of rows of each file.

    If there is an application_test, its clients are in `application` with a NULL TARGET.
    """

    by_name: Mapping[str, ir.Table]
    rows: Mapping[Path, int]


def read(folder: Path, connection: BaseBackend | None = None) -> RawTables:
    """The tables of COLUMNS, each from `<table>.parquet` or else `<table>.csv`. Raises BadTable.

    The files are read here to check them, and again whenever an expression is executed. Nothing is kept in
    memory.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    connection = connection or ibis.duckdb.connect()
    files = {name: file for name in COLUMNS if (file := _required(folder, name)) is not None}
    rows, tables = {}, {}
    for name, file in files.items():
        tables[name], rows[file] = _checked(connection, file, COLUMNS[name])
    application = _applications(tables)
    _check_unique(application, " and ".join(files[name].name for name in (_TRAIN, _TEST) if name in files))
    known = ibis.memtable(application.select(KEY).to_pyarrow())
    for name in COLUMNS.keys() - {_TRAIN, _TEST}:
        _check_known(tables[name], known, files[name].name)
    return RawTables({**tables, APPLICATION: application}, rows)


def true_probabilities(folder: Path, clients: pd.Index) -> pd.Series | None:
    """The true default probabilities of drawn clients by SK_ID_CURR; None if the folder has none.

    Raises BadTable unless each of `clients` has one.
    """
    file = _find(folder, _TRUTH)
    if file is None:
        return None
    table, _ = _checked(ibis.duckdb.connect(), file, _TRUTH_COLUMNS)
    _check_unique(table, file.name)
    truth = table.to_pyarrow().to_pandas().set_index(KEY)["TRUE_PROBABILITY"]
    if lacking := len(clients.difference(truth.index)):
        raise BadTable(file.name, f"{lacking} client(s) of {_TRAIN} are not in it")
    return truth


def order(raw: RawTables, column: str) -> pd.Series:
    """The values of any column of application_train by SK_ID_CURR, to put clients in order.

    They are numbers, or dates as 2026-01-31, perhaps with a time. Raises BadTable.
    """
    file = _train_file(raw)
    kinds: Columns = {KEY: IDENTIFIER, column: TEXT}
    with _readable(file):
        found = _open(ibis.duckdb.connect(), file, kinds, whatever=True).to_pyarrow().to_pandas()
    keys = pd.Index(pd.to_numeric(found[KEY]).astype("int64"), name=KEY)
    values = pd.Series(found[column].to_numpy(), keys, name=column)
    if values.isna().any():
        raise BadTable(
            file.name, f"column {column} lacks {values.isna().sum()} value(s): nothing to split by"
        )
    return _ordered(values, file.name)


def _ordered(values: pd.Series, file: str) -> pd.Series:
    """Numbers, or texts of dates. Raises BadTable."""
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
        return values
    texts = values.astype(str)
    numbers = texts.str.replace(",", ".")
    if numbers.str.fullmatch(csv_dialect.NUMBER_RE2).all():
        return numbers.astype("float64")
    dates = pd.to_datetime(texts.where(texts.str.fullmatch(_DATE)), format="ISO8601", errors="coerce")
    if not dates.isna().any():
        return dates
    raise BadTable(file, f"column {values.name} holds neither numbers nor dates as 2026-01-31")


def require_outcomes(raw: RawTables, at_least: int) -> None:
    """Raises BadTable unless each outcome has at least `at_least` clients."""
    file = _train_file(raw)
    target = raw.by_name[_TRAIN][LABEL]
    counts = _only_row(raw.by_name[_TRAIN].aggregate(zero=(target == 0).sum(), one=(target == 1).sum()))
    for outcome, count in enumerate((counts["zero"], counts["one"])):
        if count < at_least:
            fault = f"column {LABEL} is {outcome} for {count} client(s): at least {at_least} are needed"
            raise BadTable(file.name, fault)


def _train_file(raw: RawTables) -> Path:
    (file,) = (file for file in raw.rows if file.stem == _TRAIN)
    return file


def _required(folder: Path, name: str) -> Path | None:
    file = _find(folder, name)
    if file is None and name not in OPTIONAL:
        raise BadTable(f"{name}.csv", f"the data folder holds neither this file nor {name}.parquet")
    return file


def _find(folder: Path, name: str) -> Path | None:
    files = (folder / f"{name}.parquet", folder / f"{name}.csv")
    return next((file for file in files if file.is_file()), None)


def _checked(connection: BaseBackend, file: Path, kinds: Columns) -> tuple[ir.Table, int]:
    with _readable(file):
        raw = _open(connection, file, kinds)
        rows = _check(file, raw, kinds)
    return _typed(raw, kinds), rows


_LONGEST_HEADER = 1024 * 1024  # characters
_END = 64 * 1024  # bytes

_UNREADABLE = (OSError, UnicodeDecodeError, csv.Error, duckdb.IOException, duckdb.InvalidInputException)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn what DuckDB and Python raise for a damaged file into BadTable. Other errors are bugs, and pass."""
    try:
        yield
    except _UNREADABLE as error:
        form = "Parquet" if _is_parquet(file) else "CSV in UTF-8 with the same number of values in each line"
        raise BadTable(file.name, f"the file cannot be read as {form}") from error


def _is_parquet(file: Path) -> bool:
    return file.suffix == ".parquet"


def _open(connection: BaseBackend, file: Path, kinds: Columns, *, whatever: bool = False) -> ir.Table:
    """The wanted columns, as they are in the file; `whatever` the types of a Parquet file's are."""
    with warnings.catch_warnings():
        # ibis 12.0.0 describes a view by a method that duckdb 2.0.0 deprecates; ibis PR 12001 fixes it.
        warnings.filterwarnings("ignore", "fetch_arrow_table", DeprecationWarning)
        if _is_parquet(file):
            return _open_parquet(connection, file, kinds, whatever)
        return _open_csv(connection, file, kinds)


def _open_parquet(connection: BaseBackend, file: Path, kinds: Columns, whatever: bool) -> ir.Table:
    # Otherwise DuckDB answers isnan() from the file's statistics, which ignore NaN (duckdb issue 25521).
    raw = connection.read_parquet(file, can_have_nan=True)
    _expect_columns(file, raw.columns, kinds)
    for name, kind in kinds.items():
        dtype = raw[name].type()
        is_numeric = dtype.is_numeric() and not dtype.is_boolean()
        is_right = dtype.is_string() or (kind is not TEXT and is_numeric)
        if not (whatever or is_right or _is_empty(raw[name])):
            raise BadTable(file.name, f"column {name} holds neither numbers nor text")
    return raw.select(*kinds)


def _is_empty(column: ir.Value) -> bool:
    """Whether nothing is known in it: then its type is whatever its writer has guessed."""
    return int(column.count().to_pyarrow().as_py()) == 0


def _open_csv(connection: BaseBackend, file: Path, kinds: Columns) -> ir.Table:
    """The wanted columns, all as text and by their positions, so that DuckDB guesses nothing."""
    dialect, header = _header(file)
    _expect_columns(file, header, kinds)
    raw = connection.read_csv(
        str(file),
        columns={f"column{place}": "VARCHAR" for place in range(len(header))},
        header=True,
        skip=int(dialect.is_declared),
        delim=dialect.delimiter,
        quote='"',
        escape='"',
    )
    if ending := _empty_rows_at_end(file, dialect):
        filled = raw.drop_null(how="all")
        if _rows(raw) - _rows(filled) > ending:
            raise BadTable(file.name, "a row before the last ones holds no value")
        raw = filled
    columns = {name: raw[header.index(name)] for name in kinds}
    columns |= {name: _plain(columns[name], dialect) for name, kind in kinds.items() if kind is not TEXT}
    return raw.select(**columns)


def _plain(text: ir.StringValue, dialect: csv_dialect.Dialect) -> ir.StringValue:
    """Numbers by the rule of every CSV here, and nan; others as a text that DuckDB takes for no number.

    By itself it would take 1_000 for 1000.
    """
    if dialect.has_decimal_commas:
        text = text.replace(",", ".")
    is_number = text.re_search(csv_dialect.NUMBER_RE2) | (text.lower() == "nan")
    return is_number.fill_null(True).ifelse(text, "no number")


def _header(file: Path) -> tuple[csv_dialect.Dialect, list[str]]:
    with file.open(encoding="utf-8", newline="") as content:
        dialect, beginning = csv_dialect.opened(content.read(_LONGEST_HEADER))
    header = next(csv.reader(io.StringIO(beginning, newline=""), delimiter=dialect.delimiter), [])
    if not header:
        raise BadTable(file.name, "the file is empty")
    return dialect, header


def _empty_rows_at_end(file: Path, dialect: csv_dialect.Dialect) -> int:
    """How many rows without a value end the file. Leaving them out is slower: all columns are read."""
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - _END))
        end = content.read().decode("latin-1")
    ending = end.removeprefix(dialect.without_empty_end(end))
    return sum(dialect.delimiter in line for line in ending.splitlines())


def _expect_columns(file: Path, found: Sequence[str], kinds: Columns) -> None:
    for name in kinds:
        if found.count(name) != 1:
            fault = "is missing" if name not in found else "is there more than once"
            raise BadTable(file.name, f"column {name} {fault}")


def _check(file: Path, raw: ir.Table, kinds: Columns) -> int:
    """Refuse a file with a wrong or a missing value. Returns its number of rows. Raises BadTable."""
    numeric = {name: kind for name, kind in kinds.items() if kind is not TEXT}
    counts = _only_row(raw.aggregate(rows=raw.count(), **_counts(raw, numeric)))
    rows = counts["rows"]
    if rows == 0:
        raise BadTable(file.name, "the file has no rows")
    for name, kind in numeric.items():
        present = counts[f"present {name}"]
        if wrong := present - counts[f"right {name}"]:
            raise BadTable(file.name, f"column {name} holds {wrong} value(s) that are not {kind.name}")
        if kind.required and present < rows:
            raise BadTable(
                file.name, f"column {name} lacks {rows - present} value(s), and none may be missing"
            )
    return rows


def _counts(raw: ir.Table, kinds: Mapping[str, Kind]) -> dict[str, ir.IntegerScalar]:
    counts = {}
    for name, kind in kinds.items():
        value = raw[name].try_cast("float64")
        counts[f"present {name}"] = raw[name].count() - raw.count(where=value.isnan())
        counts[f"right {name}"] = raw.count(where=kind.holds(value))
    return counts


def _typed(raw: ir.Table, kinds: Columns) -> ir.Table:
    """A checked table in its declared types. NaN becomes NULL, because a mean does not ignore NaN."""
    return raw.select(**{name: _typed_column(raw[name], kind) for name, kind in kinds.items()})


def _typed_column(raw: ir.Value, kind: Kind | None) -> ir.Value:
    if kind is TEXT:
        return raw
    value = raw.try_cast("float64")
    return value.isnan().ifelse(None, value).try_cast(kind.dtype)


def _rows(table: ir.Table) -> int:
    return _only_row(table.aggregate(rows=table.count()))["rows"]


def _only_row(table: ir.Table) -> dict[str, int]:
    return table.to_pyarrow().to_pylist()[0]


def _applications(tables: Mapping[str, ir.Table]) -> ir.Table:
    train, test = tables[_TRAIN], tables.get(_TEST)
    if test is None:
        return train
    return train.union(test.mutate(**{LABEL: ibis.null("int64")}))


def _check_unique(clients: ir.Table, files: str) -> None:
    counts = _only_row(clients.aggregate(rows=clients.count(), clients=clients[KEY].nunique()))
    if repeated := counts["rows"] - counts["clients"]:
        raise BadTable(files, f"column {KEY} holds {repeated} value(s) more than once")


def _check_known(history: ir.Table, clients: ir.Table, file: str) -> None:
    if len(history.semi_join(clients, KEY).limit(1).to_pyarrow()) == 0:
        raise BadTable(file, f"column {KEY} holds no client of {_TRAIN} or {_TEST}")
