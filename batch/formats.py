"""The formats that are read and written, by their names and by the endings of files."""

import glob
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from batch import raw_input
from batch.arrow_sources import ArrowFileSource, ArrowStreamSource, ParquetSource
from batch.clients import Source
from batch.csv_source import CsvSource
from batch.errors import Refused
from batch.raw_input import STANDARD, RawInput

PARQUET, CSV, ARROW, ARROW_STREAM = NAMES = ("parquet", "csv", "arrow", "arrows")
_ENDINGS = {
    ".parquet": PARQUET,
    ".pq": PARQUET,
    ".csv": CSV,
    ".tsv": CSV,
    ".arrow": ARROW,
    ".feather": ARROW,
    ".ipc": ARROW,
    ".arrows": ARROW_STREAM,
}
_SOURCES: Mapping[str, Callable[[RawInput, Sequence[str]], Source]] = {
    PARQUET: ParquetSource,
    CSV: CsvSource,
    ARROW: ArrowFileSource,
    ARROW_STREAM: ArrowStreamSource,
}
_HIDDEN = (".", "_")  # what Spark and others write beside the rows: _SUCCESS, .crc
_NO_ROWS_ALONE = {
    "_delta_log": "Delta Lake keeps rows there that are deleted: write the table as Parquet elsewhere",
    ".hoodie": "Hudi keeps rows there that are deleted: write the table as Parquet elsewhere",
    "_temporary": "Spark still writes there, or its job has failed: have it end first",
}
INPUT_OPTION, OUTPUT_OPTION = "--input-format", "--output-format"
_FILE_BEGINS = b"ARROW1"


def of_name(name: str, given: str | None, option: str) -> str:
    """Raises Refused where neither the ending nor the option tells it."""
    found = given or _ENDINGS.get(Path(name).suffix.lower())
    if found is None:
        shown = "-" if name == STANDARD else name
        raise Refused(f"{shown} has no ending of {', '.join(_ENDINGS)}: {option} names the format")
    return found


def files(given: str, form: str | None) -> list[Path | None]:
    """The files that an input names: one, those of a folder, or those of a pattern; None: standard input."""
    if given == STANDARD:
        return [None]
    path = Path(given)
    try:
        if path.is_dir():
            found = _files_in(path, form)
        elif path.exists() or not glob.has_magic(given):
            return [path]
        else:
            found = sorted(map(Path, glob.glob(given, recursive=True)))  # noqa: PTH207 - absolute ones, too
    except OSError as error:
        raise Refused(f"{given} cannot be read: {error.strerror}") from error
    if not found:
        raise Refused(f"{given} names no file")
    return [*found]


def _files_in(folder: Path, form: str | None) -> list[Path]:
    """All that is not hidden. Raises Refused where some of it would not be read, or is not the rows alone."""
    there = sorted(folder.iterdir())
    for one in there:
        if one.name in _NO_ROWS_ALONE:
            raise Refused(f"{folder} holds {one.name}: {_NO_ROWS_ALONE[one.name]}")
    visible = [one for one in there if not one.name.startswith(_HIDDEN)]
    if column := next((one.name for one in visible if "=" in one.name and one.is_dir()), None):
        raise Refused(
            f"{folder} is divided into folders such as {column}, whose names hold a column: a pattern like "
            f"'{folder}/**/*.parquet' names the files, and leaves that column out"
        )
    is_read = [one.is_file() and (bool(form) or one.suffix.lower() in _ENDINGS) for one in visible]
    if unread := [one.name for one, read in zip(visible, is_read, strict=True) if not read]:
        more = f" and {len(unread) - 1:,} more" if len(unread) > 1 else ""
        raise Refused(
            f"{folder} holds {unread[0]}{more}, which would not be read: take that away, or name the files "
            f"by a pattern such as '{folder}/*.parquet'"
        )
    return visible


def opened(
    path: Path | None, form: str | None, features: Sequence[str], called: str | None = None
) -> tuple[Source, RawInput]:
    """`called`: what a sentence names it, if not by its path. Raises Refused."""
    raw = raw_input.opened(path)
    raw.name = called or raw.name
    try:
        return _source(raw, path, form, features), raw
    except BaseException:
        raw.close()
        raise


def _source(raw: RawInput, path: Path | None, form: str | None, features: Sequence[str]) -> Source:
    beginning = raw.beginning()
    name = of_name(STANDARD if path is None else str(path), form, INPUT_OPTION)
    if path is not None and not beginning:
        raise Refused(f"{path} is empty")
    if name in (ARROW, ARROW_STREAM):
        name = ARROW if beginning.startswith(_FILE_BEGINS) else ARROW_STREAM
    return _SOURCES[name](raw, features)
