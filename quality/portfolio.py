"""Reads the reference portfolio: the clients on whom versions decide, and what is known of their outcomes."""

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features import csv_dialect
from mlflow_model import files
from quality import groups
from quality.scores import Doubles

TRUE_PROBABILITY, TARGET = _OUTCOMES = "TRUE_PROBABILITY", "TARGET"
REFERENCE = Path(__file__).resolve().parents[1] / "models" / "reference.parquet"
ORIGIN = b"origin"  # the key of a Parquet file's metadata
DRAWN = "drawn by "  # how the origin of clients begins who do not exist
_LONGEST_ORIGIN = 300
_MOST_BYTES = 2**28


class BadReference(ValueError):
    """The reference portfolio cannot be read, or one of the models cannot decide on it."""


class LacksFeatures(BadReference):
    """The portfolio has no column for these features of a model."""

    def __init__(self, features: Sequence[str]) -> None:
        super().__init__(f"the reference portfolio lacks {', '.join(features)}")
        self.features = features


@dataclass(frozen=True)
class Portfolio:
    """The reference clients: columns of doubles, with NaN for a missing value. `sha256`: of the file.

    `spoilt`: columns that are left out since a cell is no number, with the row of the first such cell. A
    column without any number is a text and not spoilt, unless it is an outcome's. `genders`: the texts of
    CODE_GENDER, which no model sees. `origin`: what the file says of where its clients are from.
    """

    columns: Mapping[str, Doubles]
    sha256: str
    name: str
    spoilt: Mapping[str, int]
    genders: npt.NDArray[Any] | None = None
    origin: str | None = None

    @classmethod
    def read(cls, file: Path = REFERENCE) -> "Portfolio":
        """A reference portfolio in Parquet or CSV. Raises BadReference."""
        import pyarrow as pa

        try:
            # Read once, so that the digest is that of what is compared.
            content = files.read(file, _MOST_BYTES, own=False, link=True)
            found = (_of_csv if file.suffix.lower() == ".csv" else _of_parquet)(content)
        except FileNotFoundError as error:
            raise BadReference(f"the reference portfolio {file.name} is not there") from error
        except files.TooLarge as error:
            raise BadReference(f"{file.name} is larger than {_MOST_BYTES // 2**20} MiB") from error
        except MemoryError as error:
            raise BadReference(f"{file.name} needs more memory than there is") from error
        except _Twice as error:
            raise BadReference(f"{file.name} has more than one column {error}") from error
        except _Uneven as error:
            raise BadReference(f"row {error} of {file.name} has not as many cells as its header") from error
        except (OSError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
            form = "Parquet or UTF-8 CSV"
            raise BadReference(f"{file.name} cannot be read as a portfolio in {form}") from error
        for name in _OUTCOMES:
            if name in found.spoilt:
                raise _no_number(name, found.spoilt[name])
        if not any(map(len, found.columns.values())):
            raise BadReference(f"{file.name} has no clients")
        if not found.columns.keys() - set(_OUTCOMES):
            raise BadReference(f"{file.name} has no features, only {', '.join(found.columns)}")
        digest = hashlib.sha256(content).hexdigest()
        return cls(found.columns, digest, file.name, found.spoilt, found.genders, found.origin)

    @property
    def known(self) -> dict[str, Doubles]:
        """The columns that a model may see: not the outcomes."""
        return {name: values for name, values in self.columns.items() if name not in _OUTCOMES}

    def require(self, features: Sequence[str]) -> None:
        """Raises BadReference unless every client has these features, or misses them as an empty cell."""
        for name in features:
            if name in self.spoilt:
                raise _no_number(name, self.spoilt[name])
        if lacking := [name for name in features if name not in self.known]:
            raise LacksFeatures(lacking)

    @property
    def outcome_name(self) -> str | None:
        """The column of the outcomes: true probabilities go before what became of the clients."""
        return next((name for name in _OUTCOMES if name in self.columns), None)

    @property
    def is_drawn(self) -> bool:
        """Whether its clients do not exist, so that anybody may see them."""
        return self.origin is not None and self.origin.startswith(DRAWN)

    def complete(self, needed: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which clients lack none of these values, of shape (clients,)."""
        of_each = [~np.isnan(self.columns[name]) for name in needed]
        return np.all(of_each, axis=0) if of_each else np.ones(len(self), dtype=np.bool_)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def attributes(self) -> dict[str, npt.NDArray[Any]]:
        """The groups of each attribute that these clients have: by age band, and by sex."""
        return groups.attributes(self.columns.get("DAYS_BIRTH"), self.genders)

    @property
    def outcome(self) -> Doubles | None:
        """Each client's outcome, or its expectation, the default probability. Raises BadReference."""
        name = self.outcome_name
        if name is None:
            return None
        outcome = self.columns[name]
        wrong = int((~((outcome >= 0) & (outcome <= 1))).sum())
        if wrong:
            raise BadReference(
                f"{name} must be a number from 0 to 1 for every client of the reference portfolio; "
                f"for {wrong} of {len(outcome)} it is not"
            )
        return outcome


class _Twice(Exception):
    """The names of columns that are there more than once."""


class _Uneven(Exception):
    """The number of a row that has not a cell for each name."""


class _Content(NamedTuple):
    """What a file holds: see `Portfolio`."""

    columns: dict[str, Doubles]
    spoilt: dict[str, int]
    genders: npt.NDArray[Any] | None
    origin: str | None


def _no_number(name: str, row: int) -> BadReference:
    return BadReference(f"row {row} of the reference portfolio's column {name} holds no number")


def _check_names(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _Twice(", ".join(twice))


# ---- Parquet


def _of_parquet(content: bytes) -> _Content:
    import pyarrow as pa
    from pyarrow import parquet

    _check_names(parquet.read_schema(pa.BufferReader(content)).names)
    table = parquet.read_table(pa.BufferReader(content))
    numeric = [name for name in table.column_names if _is_numeric(table[name].type)]
    spoilt = {name: 1 for name in table.column_names if name in _OUTCOMES and name not in numeric}
    columns: dict[str, Doubles] = {}
    for name in numeric:
        columns[name], inexact = _doubles(table[name])
        if inexact is not None:
            del columns[name]
            spoilt[name] = inexact + 1
    texts = groups.GENDER in table.column_names and groups.GENDER not in numeric
    genders = table[groups.GENDER].to_pylist() if texts else None
    return _Content(
        columns,
        spoilt,
        None if genders is None else np.array(genders, dtype=object),
        _origin(table.schema.metadata),
    )


def _origin(metadata: Mapping[bytes, bytes] | None) -> str | None:
    """What the file's metadata say under ORIGIN, on one line of a terminal."""
    said = (metadata or {}).get(ORIGIN, b"").decode("utf-8", "replace")
    return "".join(one if one.isprintable() else "?" for one in said[:_LONGEST_ORIGIN]) or None


def _is_numeric(kind: Any) -> bool:
    from pyarrow import types

    kinds = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
    return any(is_one(kind) for is_one in kinds)


def _doubles(column: Any) -> tuple[Doubles, int | None]:
    """The values as doubles, and the place of the first integer that no double equals, if there is one."""
    import pyarrow as pa
    from pyarrow import compute, types

    found = column.cast(pa.float64(), safe=False).combine_chunks()
    doubles = np.asarray(found.to_numpy(zero_copy_only=False))
    if not types.is_integer(column.type):
        return doubles, None
    differs = compute.not_equal(compute.cast(found, column.type, safe=False), column.combine_chunks())
    places = np.flatnonzero(differs.fill_null(False).to_numpy(zero_copy_only=False))
    return doubles, int(places[0]) if len(places) else None


# ---- CSV


def _of_csv(content: bytes) -> _Content:
    """The columns that have a name and hold numbers, by the rule of batches: a library would guess.

    It would take 0x10 and true for numbers, and leave out a whole feature for one odd cell. A column without
    any number is a text.
    """
    dialect, text = csv_dialect.opened(content.decode())
    lines = io.StringIO(dialect.without_empty_end(text), newline="")
    records = list(csv.reader(lines, delimiter=dialect.delimiter, strict=True))
    if not records:
        raise csv.Error
    header, *rows = records
    names = [name for name in header if name.strip()]
    _check_names(names)
    columns: dict[str, Doubles] = {}
    spoilt: dict[str, int] = {}
    filled = _filled(rows, header)
    for place, name in enumerate(header):
        numbers = [_number(dialect.with_points(row[place])) for row in filled]
        if name.strip() and None not in numbers:
            columns[name] = np.array(numbers, dtype=np.float64)
        elif name in _OUTCOMES or (name.strip() and any(one == one for one in numbers if one is not None)):
            spoilt[name] = 1 + numbers.index(None)
    genders = [row[header.index(groups.GENDER)] for row in filled] if groups.GENDER in header else None
    return _Content(columns, spoilt, None if genders is None else np.array(genders, dtype=object), None)


def _number(cell: str) -> float | None:
    """As in a batch; nan, which tools write for a missing value, is one here too, as in the raw tables."""
    return math.nan if cell.lower() == "nan" else csv_dialect.double(cell)


def _filled(rows: Sequence[list[str]], header: Sequence[str]) -> list[list[str]]:
    """Rows as wide as the header, whose nameless cells at the end some rows may lack. Raises _Uneven."""
    width = csv_dialect.Width(header)
    for number, row in enumerate(rows, start=1):
        if not width.fits(row):
            raise _Uneven(number)
    return [row[: len(header)] + [""] * (len(header) - len(row)) for row in rows]
