"""The options of `python -m batch score`, and its help."""

import argparse
import os
from pathlib import Path

from batch import formats, version
from batch.raw_input import STANDARD
from batch.spark_needs import HERE, SPARK
from explain import reasons
from mlflow_model import arguments, command

_EPILOG = """\
PATH is a file, a folder, a pattern in quotes ('clients-*.parquet'), or - for standard input or output. CSV
may be that of a French spreadsheet. Columns that are no features come through in their order, then the
columns of the decision. An output whose name ends with / is a folder of parts: --resume goes on with them.

--engine spark has a cluster decide, with the same results: --output is a folder of Parquet, and all machines
see input and output under the same names. After an interruption --resume begins anew. It needs Java 17 and
the packages of requirements-spark.txt.

Whatever happens, no half output stays under its name. A run has a record in the journal, unless
JOURNAL_URL=off.

Exit codes: 0 scored, 2 refused with one sentence, 130 interrupted.
"""


def parser() -> argparse.ArgumentParser:
    made = arguments.Parser(prog="python -m batch", description="Score files of clients, however large.")
    commands = made.add_subparsers(metavar="COMMAND", title="commands", required=True)
    added = commands.add_parser(
        "score",
        help="decide on every client of a file",
        description="Decide on every client of a file, as POST /predict would.",
        epilog=command.named_here(_EPILOG),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_places(added)
    _add_ways(added)
    return made


def _add_places(added: argparse.ArgumentParser) -> None:
    add = added.add_argument
    source = added.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=_path, metavar="PATH", help="clients: Parquet, CSV or Arrow")
    source.add_argument(
        "--features-from",
        type=Path,
        metavar="DIR",
        help="raw tables of Kaggle's layout: their features first",
    )
    add("--output", type=_output, metavar="PATH", required=True, help="where the decided clients go")
    add(
        "--input-format",
        choices=formats.NAMES,
        help="of an input whose name does not tell it (arrows: a stream)",
    )
    add("--output-format", choices=formats.NAMES, help="of such an output (default of a folder: parquet)")
    add(
        "--model",
        metavar="URI",
        default=version.default_uri(),
        help="models:/NAME@ALIAS, models:/NAME/NUMBER, a .pkl file, or the folder of a bundle "
        "(default: MODEL_URI, else the champion)",
    )
    add("--summary", type=_file, metavar="FILE", help="write what the run has done as JSON, too")
    add("--log", action="store_true", help="show what the run has done in MLflow, too, as a run")


def _add_ways(added: argparse.ArgumentParser) -> None:
    add = added.add_argument
    add(
        "--bad-rows",
        type=_bad_rows,
        dest="quarantine",
        metavar="fail|quarantine=FILE",
        help="a row that must not be decided on ends the run (default), or goes into a CSV with the reason",
    )
    add(
        "--explain",
        type=_reasons,
        default=0,
        metavar="N",
        help=f"add the N main reasons of each decision, 1 to {reasons.MOST}, in the words of POST /explain "
        "(takes about a hundred times as long)",
    )
    add("--resume", action="store_true", help="go on with a run that did not end, if there is one")
    add(
        "--threads",
        type=_threads,
        metavar="N",
        help="how many decide (default: all cores)",
    )
    add("--engine", choices=(HERE, SPARK), default=HERE, help="what decides (default: this machine)")
    add(
        "--master",
        metavar="URL",
        help="of Spark: local[N], spark://HOST:PORT, yarn, k8s://… (default: local[*])",
    )


def _reasons(text: str) -> int:
    if text not in map(str, range(1, reasons.MOST + 1)):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {reasons.MOST}")
    return int(text)


def _path(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must be a path, or -")
    return text


def _output(text: str) -> str:
    return text if text == STANDARD else (str(_file(text)) + (os.sep if text.endswith(os.sep) else ""))


def _file(text: str) -> Path:
    path = Path(text)
    if not path.name:
        raise argparse.ArgumentTypeError(f"must be a file's name, not {text!r}")
    return path


def _bad_rows(text: str) -> Path | None:
    way, _, file = text.partition("=")
    if text == "fail":
        return None
    if way == "quarantine" and file:
        return _file(file)
    raise argparse.ArgumentTypeError(f"must be fail or quarantine=FILE, not {text!r}")


def _threads(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:5]) <= 1024 and len(text) < 5):
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 1024")
    return int(text)
