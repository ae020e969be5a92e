"""`python -m training.synthetic`: the raw tables of clients who do not exist, drawn from calibration.json."""

from mlflow_model import command

if __name__ == "__main__":
    command.begin("numpy", "pandas", "pyarrow")

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mlflow_model import arguments
from training import command_line
from training.command_line import NotWritable
from training.synthetic.calibration import Calibration
from training.synthetic.writing import DESCRIPTION, FORMATS, FolderTaken, write_portfolio

EPILOG = f"""\
Writes into DIR the tables of Kaggle's "Home Credit Default Risk" that the features need, the true default
probability of each client in true_probabilities, and {DESCRIPTION}; or nothing at all. The same seed
gives the same bytes on every processor.

Exit codes: 0 written, 2 refused, with one sentence that says why, 130 interrupted.
"""


def main(given: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(given)
    try:
        with command.terminable():
            command_line.try_writing(options.out.resolve().parent, options.out)
            write_portfolio(
                options.clients, options.seed, options.out, options.format, not options.quiet, options.force
            )
    except BrokenPipeError:
        raise
    except (FolderTaken, NotWritable) as error:
        sys.stderr.write(f"Refused: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"Refused: {NotWritable(options.out, error)}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted: nothing was written.\n")
        return 130
    if not options.quiet:
        sys.stderr.write(f"{options.clients:,} clients drawn: {options.out}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = arguments.Parser(
        prog="python -m training.synthetic",
        description="Draw the raw Home Credit tables of clients who do not exist.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    full_size = Calibration.read().facts["rows"]["application_train"]
    parser.add_argument(
        "--clients",
        type=command_line.clients,
        default=full_size,
        metavar="N",
        help="with a label (default: %(default)s)",
    )
    parser.add_argument("--seed", type=_seed, default=0, metavar="S", help="a whole number (default: 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--format", choices=FORMATS, default="parquet", help="(default: parquet)")
    parser.add_argument("--force", action="store_true", help="replace the portfolio that DIR holds")
    parser.add_argument("--quiet", action="store_true", help="say nothing where all is well")
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("must be a whole number from 0 on")
    return int(text)


if __name__ == "__main__":
    command.run(main)
