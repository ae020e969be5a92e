"""Register the documented pickle as a version of the scoring model, and say which version serves.

python register.py                 convert and register models/lgbm_final_model.pkl, point champion at it
python register.py --margin 0.05   the same model with another margin: a new version, no retraining
python register.py list | promote 3 | rollback
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from mlflow_model import legacy  # noqa: E402 - the root must be importable from any folder
from mlflow_model.errors import ModelUnavailable  # noqa: E402

DEFAULT_PICKLE = ROOT / "models" / "lgbm_final_model.pkl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code: 0, or 2 with one French sentence on standard error."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ModelUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _register(options: argparse.Namespace) -> None:
    if options.unless_champion:
        from mlflow_model import registry

        if registry.version_at(options.name, options.alias) is not None:
            return
    _say(f"Reading {options.pickle.name} (nothing in it is executed)")
    built, model_card = legacy.convert(options.pickle, options.threshold, options.margin)
    _say("Opening the registry (the first time takes a few seconds)")
    from mlflow_model import registry

    number, new = registry.register(built, model_card, name=options.name, alias=options.alias)
    state = "registered" if new else "was registered already"
    _say(f"{options.name} version {number} {state}; {options.alias} points at it")


def _list(options: argparse.Namespace) -> None:
    from mlflow_model import registry

    found = registry.versions(options.name)
    rows = [("version", "alias", "threshold", "margin", "pickle", "created (UTC)")]
    for version in found:
        tag = version.tags.get
        policy = (tag("policy.threshold", "?"), tag("policy.margin", "?"), tag("source.sha256", "?")[:12])
        aliases = ", ".join(version.aliases) or "-"
        rows.append((str(version.number), aliases, *policy, f"{version.created:%Y-%m-%d %H:%M}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if not found:
        _say(f"{options.name} has no version yet: run python register.py")


def _promote(options: argparse.Namespace) -> None:
    from mlflow_model import registry

    registry.promote(options.version, name=options.name, alias=options.alias)
    _say(f"{options.alias} of {options.name} points at version {options.version}")


def _rollback(options: argparse.Namespace) -> None:
    from mlflow_model import registry

    number = registry.rollback(name=options.name, alias=options.alias)
    _say(f"{options.alias} of {options.name} points at version {number} again")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="register.py",
        description="Register the documented pickle, which is never executed, and say which version serves.",
        epilog="MLFLOW_TRACKING_URI names another registry than this folder's mlflow.db.",
    )
    _add_target(parser, name="scoring-client", alias="champion")
    parser.add_argument(
        "--pickle", type=Path, default=DEFAULT_PICKLE, help="default: models/lgbm_final_model.pkl"
    )
    parser.add_argument("--threshold", type=float, help="instead of the pickle's optimal_threshold")
    parser.add_argument(
        "--margin", type=float, help="instead of the pickle's; 0 to min(threshold, 1 - threshold)"
    )
    parser.add_argument("--unless-champion", action="store_true", help="nothing to do if the alias is taken")
    parser.set_defaults(run=_register)
    commands = parser.add_subparsers(metavar="{list,promote,rollback}")
    _add_command(commands, "list", _list, "show the versions")
    promote = _add_command(commands, "promote", _promote, "point the alias at a version")
    promote.add_argument("version", type=int)
    _add_command(commands, "rollback", _rollback, "back to the previous champion")
    return parser


def _add_command(commands: Any, name: str, run: Callable[..., None], purpose: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=purpose, description=purpose.capitalize()
    )
    # Without SUPPRESS the command's defaults would silently undo options that stand before it.
    _add_target(command, name=argparse.SUPPRESS, alias=argparse.SUPPRESS)
    command.set_defaults(run=run)
    return command


def _add_target(parser: argparse.ArgumentParser, *, name: str, alias: str) -> None:
    parser.add_argument("--name", default=name, help="registered model (default: scoring-client)")
    parser.add_argument("--alias", default=alias, help="alias to move (default: champion)")


if __name__ == "__main__":
    sys.exit(main())
