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
            visible = sorted(one for one in path.iterdir() if not one.name.startswith((".", "_")))
            found = [one for one in visible if one.is_file() and (form or one.suffix.lower() in _ENDINGS)]
        elif path.exists() or not glob.has_magic(given):
            return [path]
        else:
            found = sorted(map(Path, glob.glob(given, recursive=True)))  # noqa: PTH207 - absolute ones, too
    except OSError as error:
        raise Refused(f"{given} cannot be read: {error.strerror}") from error
    if not found:
        raise Refused(f"{given} names no file")
    return [*found]


def opened(path: Path | None, form: str | None, features: Sequence[str]) -> tuple[Source, RawInput]:
    """Raises Refused."""
    raw = raw_input.opened(path)
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
