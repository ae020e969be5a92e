"""Draws a portfolio in chunks of clients, and turns a chunk into the raw Home Credit tables."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.synthetic.calibration import Calibration, Flags, Floats
from training.synthetic.clients import Clients, Columns, Counts, draw_clients, quotients, ratios
from training.synthetic.rows import History, Rows, draw_histories

CHUNK = 16_384
FIRST_CLIENT, FIRST_CREDIT, FIRST_BUREAU_CREDIT = 100_001, 1_000_001, 5_000_001


@dataclass(frozen=True)
class Kind:
    """The type of a column in each format. CSV gets decimals: 15 without a point would be an integer."""

    parquet: pa.DataType
    csv: pa.DataType


WHOLE = Kind(pa.int64(), pa.int64())
COUNT = Kind(pa.float64(), pa.decimal128(12, 1))
MONEY = Kind(pa.float64(), pa.decimal128(18, 2))
SHARE = Kind(pa.float64(), pa.float64())
TEXT = Kind(pa.string(), pa.string())

_APPLICATION = {
    "NAME_CONTRACT_TYPE": TEXT,
    "CODE_GENDER": TEXT,
    "AMT_INCOME_TOTAL": MONEY,
    "AMT_CREDIT": MONEY,
    "AMT_ANNUITY": MONEY,
    "AMT_GOODS_PRICE": MONEY,
    "DAYS_BIRTH": WHOLE,
    "DAYS_REGISTRATION": COUNT,
    "DAYS_ID_PUBLISH": WHOLE,
    "EXT_SOURCE_1": SHARE,
    "EXT_SOURCE_2": SHARE,
    "EXT_SOURCE_3": SHARE,
}
_CREDIT = {"SK_ID_PREV": WHOLE, "SK_ID_CURR": WHOLE}
TABLES: Mapping[str, Mapping[str, Kind]] = {
    "application_train": {"SK_ID_CURR": WHOLE, "TARGET": WHOLE, **_APPLICATION},
    "application_test": {"SK_ID_CURR": WHOLE, **_APPLICATION},
    "bureau": {
        "SK_ID_CURR": WHOLE,
        "SK_ID_BUREAU": WHOLE,
        "AMT_CREDIT_SUM": MONEY,
        "AMT_CREDIT_SUM_DEBT": MONEY,
    },
    "previous_application": {**_CREDIT, "CNT_PAYMENT": COUNT},
    "POS_CASH_balance": {**_CREDIT, "CNT_INSTALMENT_FUTURE": COUNT},
    "installments_payments": {**_CREDIT, "NUM_INSTALMENT_VERSION": COUNT, "AMT_PAYMENT": MONEY},
    "true_probabilities": {"SK_ID_CURR": WHOLE, "TRUE_PROBABILITY": SHARE},
}


def schema(table: str, file_format: str) -> pa.Schema:
    return pa.schema({name: getattr(kind, file_format) for name, kind in TABLES[table].items()})


@dataclass(frozen=True)
class Chunk:
    """Some clients of a portfolio, and their numbers in it. Their rows aggregate to their features."""

    numbers: Counts
    labelled: Flags
    clients: Clients
    histories: Mapping[str, History]
    features: Columns
    probabilities: Floats
    targets: Counts


def total_clients(calibration: Calibration, labelled: int) -> int:
    """The labelled clients and those of application_test: at least one, in the competition's proportion."""
    rows = calibration.facts["rows"]
    return labelled + max(1, round(labelled * rows["application_test"] / rows["application_train"]))


def draw_chunks(calibration: Calibration, labelled: int, seed: int) -> Iterator[Chunk]:
    total = total_clients(calibration, labelled)
    for start in range(0, total, CHUNK):
        yield _draw_chunk(calibration, np.arange(start, min(start + CHUNK, total)), labelled, seed)


def _draw_chunk(calibration: Calibration, numbers: Counts, labelled: int, seed: int) -> Chunk:
    generator = np.random.default_rng((seed, int(numbers[0])))
    clients = draw_clients(calibration, len(numbers), generator)
    histories = draw_histories(calibration, clients, generator)
    features = clients.application | ratios(clients.application)
    for history in histories.values():
        features |= history.features
    # The label model was fitted on ratios that were not rounded, and its steps lie at their clusters.
    probabilities = calibration.label_model.default_probability(features | quotients(clients.application))
    targets = (generator.random(len(numbers)) < probabilities).astype(np.int64)
    return Chunk(numbers, numbers < labelled, clients, histories, features, probabilities, targets)


def tables(calibration: Calibration, chunk: Chunk, file_format: str) -> dict[str, pa.Table]:
    application = _application_columns(chunk)
    columns = {
        "application_train": {name: values[chunk.labelled] for name, values in application.items()},
        "application_test": {name: values[~chunk.labelled] for name, values in application.items()},
        **{table: _history_columns(calibration, chunk, table) for table in chunk.histories},
        "true_probabilities": {
            "SK_ID_CURR": application["SK_ID_CURR"],
            "TRUE_PROBABILITY": chunk.probabilities,
        },
    }
    return {
        table: _arrow(columns[table], schema(table, "parquet")).cast(schema(table, file_format))
        for table in TABLES
    }


def _application_columns(chunk: Chunk) -> dict[str, NDArray]:
    return {
        "SK_ID_CURR": FIRST_CLIENT + chunk.numbers,
        "TARGET": chunk.targets,
        "NAME_CONTRACT_TYPE": np.where(chunk.clients.revolving, "Revolving loans", "Cash loans"),
        "CODE_GENDER": np.where(chunk.clients.female, "F", "M"),
        **chunk.clients.application,
    }


def _history_columns(calibration: Calibration, chunk: Chunk, table: str) -> dict[str, NDArray]:
    """The columns of a table. Each client owns a block of identifiers, one for each row it could have."""
    history = chunk.histories[table]
    numbers = history.rows.of_client(chunk.numbers)
    columns = {"SK_ID_CURR": FIRST_CLIENT + numbers, **history.columns}
    if table == "bureau":
        block = numbers * _most_rows(calibration, "bureau")
        return columns | {"SK_ID_BUREAU": FIRST_BUREAU_CREDIT + block + history.rows.position}
    block = numbers * _most_rows(calibration, "previous_application")
    return columns | {"SK_ID_PREV": FIRST_CREDIT + block + _contracts(chunk.clients, history.rows)}


def _contracts(clients: Clients, rows: Rows) -> Counts:
    """The position, among the client's previous applications, of the one that each row belongs to, in turn.

    A client without previous applications may still have rows here: they all belong to position 0.
    """
    return rows.position % rows.of_client(np.maximum(clients.row_counts["previous_application"], 1))


def _most_rows(calibration: Calibration, table: str) -> int:
    return math.ceil(calibration.facts["history"][table]["rows_per_client"]["quantiles"][-1])


def _arrow(columns: Mapping[str, NDArray], fields: pa.Schema) -> pa.Table:
    """An Arrow table in which NaN has become NULL. Arrow does not turn NaN into NULL by itself."""
    arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in fields]
    return pa.table(arrays, fields)
