"""Register the documented pickle as a version of the scoring model, and say which version serves.

python register.py                 convert and register models/lgbm_final_model.pkl, point champion at it
python register.py --margin 0.05   the same model with another margin: a new version, no retraining
python register.py list | promote 3 | rollback
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

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
    target = argparse.ArgumentParser(add_help=False)
    target.add_argument("--name", default="scoring-client", help="registered model (default: %(default)s)")
    target.add_argument("--alias", default="champion", help="alias to move (default: %(default)s)")
    parser = argparse.ArgumentParser(
        prog="register.py",
        description="Register the documented pickle and say which version serves. The pickle is never executed.",
        epilog="MLFLOW_TRACKING_URI names another registry than this folder's mlflow.db.",
        parents=[target],
    )
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
    commands.add_parser("list", parents=[target], help="show the versions").set_defaults(run=_list)
    promote = commands.add_parser("promote", parents=[target], help="point the alias at a version")
    promote.add_argument("version", type=int)
    promote.set_defaults(run=_promote)
    commands.add_parser("rollback", parents=[target], help="back to the previous champion").set_defaults(
        run=_rollback
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
