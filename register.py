"""Register the documented pickle as a version of the scoring model, and say which version serves.

python register.py                   convert and register models/lgbm_final_model.pkl, point champion at it
python register.py --margin 0.05 --alias candidate
                                     the same model with another margin: a new version, no retraining
python register.py list | promote 2 | rollback
"""

import argparse
import gc
import math
import re
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from mlflow_model import gate, legacy, signing  # noqa: E402 - the root must be importable from any folder
from mlflow_model.aliases import Term  # noqa: E402
from mlflow_model.errors import ModelUnavailable  # noqa: E402

DEFAULT_PICKLE = ROOT / "models" / "lgbm_final_model.pkl"
NOT_DONE, BEYOND_LIMITS = 2, 3
LONGEST_REASON = 1_000
LONGEST_NAME = 128


class Refused(Exception):
    """Nothing was changed: a sentence, and the exit code that goes with it."""

    def __init__(self, sentence: str, code: int = NOT_DONE) -> None:
        super().__init__(sentence)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code, which the help explains."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ModelUnavailable, gate.BadReference, signing.BadKey) as error:
        _say(str(error))
        return NOT_DONE
    except Refused as error:
        _say(str(error))
        return error.code
    return 0


def _register(options: argparse.Namespace) -> None:
    if options.unless_champion:
        from mlflow_model import registry

        if registry.version_at(options.name, options.alias) is not None:
            return
    _say(f"Reading {options.pickle.name} (nothing in it is executed)")
    built, model_card = legacy.convert(options.pickle, options.threshold, options.margin)
    signature = signing.sign(built.manifest, options.sign) if options.sign else None
    _say("Opening the registry (the first time takes a few seconds)")
    from mlflow_model import registration, registry

    number, new = registration.register(
        built, model_card, name=options.name, alias=options.alias, signature=signature
    )
    state = ("registered" if new else "was registered already") + (" and signed" if signature else "")
    _say(f"{options.name} version {number} {state}; {options.alias} points at it")
    if options.alias != registry.CHAMPION:
        _say(f"python register.py promote {number} compares it with the champion and puts it in its place")


def _list(options: argparse.Namespace) -> None:
    from mlflow_model import registry

    found = registry.versions(options.name)
    rows = [("version", "alias", "threshold", "margin", "pickle", "signed", "created (UTC)")]
    for version in found:
        tag = version.tags.get
        policy = (tag("policy.threshold", "?"), tag("policy.margin", "?"), tag("source.sha256", "?")[:12])
        aliases = ", ".join(version.aliases) or "-"
        signed = "yes" if version.is_signed else "no"
        rows.append((str(version.number), aliases, *policy, signed, f"{version.created:%Y-%m-%d %H:%M}"))
    _print_table(rows)
    if terms := registry.history(options.name, options.alias):
        print()
        _print_terms(options.alias, terms)
    if not found:
        _say(f"{options.name} has no version yet: run python register.py")


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_terms(alias: str, terms: Sequence[Term]) -> None:
    """Who was it from when to when, newest first."""
    rows = [(alias, "from (UTC)", "until (UTC)", "by", "why")]
    rows += [
        (str(term.version), _time(term.since), _time(term.until), term.how, term.why or "-")
        for term in reversed(terms)
    ]
    _print_table(rows)


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _promote(options: argparse.Namespace) -> None:
    if options.force and not options.why:
        raise Refused("--force needs --why: the reason is kept in the history")
    _say(f"Comparing version {options.version} with the {options.alias}")
    from mlflow_model import promotion

    limits = gate.Limits(options.max_changed, options.max_cost_increase)
    examined = promotion.examine(
        options.version,
        name=options.name,
        alias=options.alias,
        reference=options.reference,
        limits=limits,
    )
    print(examined.text)
    for objection in examined.objections:
        _say(f"Objection: {objection}")
    if options.dry_run:
        return
    if examined.objections and not options.force:
        promotion.record(examined, "refused")
        raise Refused(
            f'{options.alias} stays where it is; --force --why "…" promotes all the same', BEYOND_LIMITS
        )
    promotion.promote(examined, options.why)
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
        epilog="MLFLOW_TRACKING_URI names another registry than this folder's mlflow.db. Exit codes: 0 done, "
        "2 refused with one sentence and nothing changed, 3 promotion refused: too much would change.",
    )
    _add_target(parser, name="scoring-client", alias="champion")
    parser.add_argument(
        "--pickle", type=Path, default=DEFAULT_PICKLE, help="default: models/lgbm_final_model.pkl"
    )
    parser.add_argument("--threshold", type=float, help="instead of the pickle's optimal_threshold")
    parser.add_argument(
        "--margin", type=float, help="instead of the pickle's; 0 to min(threshold, 1 - threshold)"
    )
    parser.add_argument(
        "--sign", type=Path, metavar="KEY.pem", help="private Ed25519 key that signs the version"
    )
    parser.add_argument("--unless-champion", action="store_true", help="nothing to do if the alias is taken")
    parser.set_defaults(run=_register)
    commands = parser.add_subparsers(metavar="{list,promote,rollback}")
    _add_command(commands, "list", _list, "show the versions")
    promote = _add_command(
        commands, "promote", _promote, "compare a version with the champion, and point the alias at it"
    )
    _add_gate(promote)
    _add_command(commands, "rollback", _rollback, "back to the previous champion")
    return parser


def _add_gate(promote: argparse.ArgumentParser) -> None:
    limits = gate.Limits()
    add = promote.add_argument
    add("version", type=_version, help="its number, as `register.py list` shows it")
    add(
        "--reference",
        type=Path,
        default=gate.REFERENCE,
        help="portfolio to decide on, Parquet or CSV (default: models/reference.parquet)",
    )
    add(
        "--max-changed",
        type=_share,
        default=limits.changed,
        metavar="SHARE",
        help="of the clients that may get another label (default: %(default)s)",
    )
    add(
        "--max-cost-increase",
        type=_increase,
        default=limits.cost_increase,
        metavar="COST",
        help="that the cost per client may rise, a good client refused costing 1 (default: %(default)s)",
    )
    add("--dry-run", action="store_true", help="show the comparison, change and record nothing")
    add("--force", action="store_true", help="promote in spite of objections")
    add("--why", type=_reason, metavar="REASON", help="kept in the history")


def _version(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"a version is a number that `register.py list` shows, not {text!r}")
    return int(text)


def _model_name(text: str) -> str:
    """What MLflow's registry takes, and its search can quote."""
    if not (re.fullmatch(r"\w+(?:[ .-]+\w+)*", text) and len(text) <= LONGEST_NAME):
        raise argparse.ArgumentTypeError(f"a model's name is words joined by - . or spaces, not {text!r}")
    return text


def _alias(text: str) -> str:
    """What MLflow's registry takes: `latest` and v1, v2, ... would read like versions there."""
    is_version = re.fullmatch(r"(?i)latest|v[0-9]+", text) is not None
    if is_version or not (re.fullmatch(r"[\w-]+", text, re.ASCII) and len(text) <= LONGEST_NAME):
        raise argparse.ArgumentTypeError(
            f"an alias is letters, digits, _ and -, and neither latest nor v and a number: not {text!r}"
        )
    return text


def _share(text: str) -> float:
    if not 0 <= (share := _number(text)) <= 1:
        raise argparse.ArgumentTypeError(f"a share is a number from 0 to 1, not {text!r}")
    return share


def _increase(text: str) -> float:
    """Infinity lets any cost pass."""
    if not (increase := _number(text)) >= 0:
        raise argparse.ArgumentTypeError(f"a cost is a number of 0 or more, not {text!r}")
    return increase


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _reason(text: str) -> str:
    """On one line, so that `list` stays a table, and short enough for a tag in any store."""
    reason = " ".join(text.split())
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise argparse.ArgumentTypeError(f"a reason is plain text of at most {LONGEST_REASON:,} characters")
    return reason


def _add_command(commands: Any, name: str, run: Callable[..., None], purpose: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=purpose, description=purpose.capitalize()
    )
    # Without SUPPRESS the command's defaults would silently undo options that stand before it.
    _add_target(command, name=argparse.SUPPRESS, alias=argparse.SUPPRESS)
    command.set_defaults(run=run)
    return command


def _add_target(parser: argparse.ArgumentParser, *, name: str, alias: str) -> None:
    parser.add_argument(
        "--name", type=_model_name, default=name, help="registered model (default: scoring-client)"
    )
    parser.add_argument("--alias", type=_alias, default=alias, help="alias to move (default: champion)")


if __name__ == "__main__":
    gc.disable()  # half of the time went into looking through what MLflow brings along
    code = main()
    gc.freeze()  # the interpreter collects once more as it ends, even so
    sys.exit(code)
