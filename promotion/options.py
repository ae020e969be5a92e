"""The options of register.py: what its commands take, with their defaults."""

import argparse
import functools
import getpass
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow_model import arguments
from promotion import gate
from promotion.portfolio import REFERENCE

DEFAULT_PICKLE = Path(__file__).resolve().parents[1] / "models" / "lgbm_final_model.pkl"

Command = Callable[[argparse.Namespace], None]


def read(commands: Mapping[str, Command], given: Sequence[str] | None) -> argparse.Namespace:
    """The options. `run` among them is the command that was asked for, by default that called "register"."""
    parser = _parser(commands)
    options = parser.parse_args(given)
    is_signing = getattr(options, "sign", None) or options.run is commands["sign"]
    if getattr(options, "valid_for", None) and not is_signing:
        parser.error("--valid-days is that of a signature: --sign KEY.pem makes one")
    if options.run is not commands["register"]:
        options.alias = options.alias or "champion"
    return options


def _parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="register.py",
        description="Register a model's file, of which nothing is executed, and say which version serves.",
        epilog="MLFLOW_TRACKING_URI names another registry than this folder's mlflow.db. Exit codes: 0 done, "
        "2 refused with one sentence and no alias moved, 3 promotion refused: too much would change.",
    )
    _add_target(made, name="scoring-client", by=_operator())
    made.add_argument(
        "--alias",
        type=arguments.alias,
        help="alias to move (default: champion for the first version, else candidate, for promote)",
    )
    _add_file(made)
    _add_signing(made, None)
    _add_unsigned(made, False)
    made.add_argument("--unless-champion", action="store_true", help="nothing to do if the alias is taken")
    made.set_defaults(run=commands["register"])
    others = made.add_subparsers(metavar="{list,promote,rollback,sign}")
    add = functools.partial(_add_command, others, commands)
    add("list", "show the versions")
    promote = add("promote", "compare a version with the champion, and point the alias at it")
    _add_gate(promote)
    _add_signing(promote)
    rollback = add("rollback", "back to the previous champion")
    _add_signing(rollback)
    _add_unsigned(rollback)
    sign = add("sign", "sign a version anew that one of the keys has signed before")
    sign.add_argument("version", type=arguments.version, help="its number, as `register.py list` shows it")
    sign.add_argument("--key", type=Path, metavar="KEY.pem", required=True, help="private Ed25519 key")
    _add_validity(sign)
    return made


def _add_file(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--pickle",
        type=Path,
        default=DEFAULT_PICKLE,
        metavar="FILE",
        help="documented pickle, or a form of docs/models.md (default: models/lgbm_final_model.pkl)",
    )
    add("--threshold", type=float, help="instead of the file's optimal_threshold, if it has one")
    add("--margin", type=float, help="instead of the pickle's; 0 to min(threshold, 1 - threshold)")
    add(
        "--default-class",
        type=arguments.plain_text,
        metavar="CLASS",
        help="the class that means default, where the classes of the model are not 0 and 1",
    )


def _add_signing(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    parser.add_argument(
        "--sign",
        type=Path,
        default=default,
        metavar="KEY.pem",
        help="private Ed25519 key that signs the version",
    )
    _add_validity(parser, default)


def _add_unsigned(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    parser.add_argument(
        "--unsigned",
        action="store_true",
        default=default,
        help="move the alias also to a version that a service with a key would refuse",
    )


def _add_validity(parser: argparse.ArgumentParser, default: Any = argparse.SUPPRESS) -> None:
    parser.add_argument(
        "--valid-days",
        type=arguments.days,
        default=default,
        dest="valid_for",
        metavar="DAYS",
        help="after which the signature expires (default: never)",
    )


def _add_gate(promote: argparse.ArgumentParser) -> None:
    add = promote.add_argument
    add("version", type=arguments.version, help="its number, as `register.py list` shows it")
    add(
        "--reference",
        type=Path,
        default=REFERENCE,
        help="portfolio to decide on, Parquet or CSV (default: models/reference.parquet)",
    )
    add(
        "--anchor",
        type=arguments.version,
        metavar="VERSION",
        help="to compare with too, so that small steps do not lead far (default: the first champion)",
    )
    _add_limits(promote)
    add("--dry-run", action="store_true", help="show the comparison, change and record nothing")
    add(
        "--force",
        type=_override,
        nargs="?",
        const=gate.Override(None),
        metavar="NAME,…",
        help="promote in spite of the objections of these names, or of all without a name; after the version",
    )
    add("--why", type=arguments.reason, metavar="REASON", help="kept in the history")


def _override(text: str) -> gate.Override:
    names = frozenset(name.strip() for name in text.split(","))
    if unknown := sorted(names - {*gate.NAMES}):
        raise argparse.ArgumentTypeError(
            f"no objection is called {', '.join(map(repr, unknown))}; their names are "
            f"{', '.join(gate.NAMES)}. Without a name, --force stands behind the version"
        )
    return gate.Override(names)


def _add_limits(promote: argparse.ArgumentParser) -> None:
    limits = gate.Limits()

    def add(option: str, kind: Callable[[str], object], default: float, metavar: str, meaning: str) -> None:
        shown = f"{meaning} (default: %(default)s)"
        promote.add_argument(option, type=kind, default=default, metavar=metavar, help=shown)

    share, cost = arguments.share, arguments.cost
    add("--max-changed", share, limits.changed, "SHARE", "of the clients that may get another label")
    add("--max-anchor-changed", share, limits.anchor_changed, "SHARE", "the same, beside the anchor")
    add("--max-approval-change", share, limits.approval, "SHARE", "of the clients, up or down")
    add(
        "--max-cost-increase",
        cost,
        limits.cost_increase,
        "COST",
        "that the cost per client may rise, a good client refused costing 1",
    )
    add("--max-auc-loss", share, limits.auc_loss, "AUC", "that the AUC may fall")
    add("--max-calibration-increase", share, limits.calibration, "ECE", "that the calibration error may rise")
    add(
        "--max-group-change",
        share,
        limits.groups,
        "SHARE",
        "that an approval ratio of groups may fall, and a gap of equal opportunity rise",
    )
    add("--min-clients", arguments.clients, limits.clients, "NUMBER", "of different clients to compare")
    add(
        "--max-left-out",
        share,
        limits.left_out,
        "SHARE",
        "of the clients that may lack what one of the models needs",
    )


def _add_command(
    parsers: Any, commands: Mapping[str, Command], name: str, purpose: str
) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = parsers.add_parser(name, help=purpose, description=purpose.capitalize())
    # Without SUPPRESS the command's defaults would silently undo options that stand before it.
    _add_target(added, name=argparse.SUPPRESS, by=argparse.SUPPRESS)
    added.add_argument(
        "--alias", type=arguments.alias, default=argparse.SUPPRESS, help="alias (default: champion)"
    )
    added.set_defaults(run=commands[name])
    return added


def _operator() -> str:
    """The name of the user who runs this, or the number: a container may not know the name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _add_target(parser: argparse.ArgumentParser, *, name: str, by: str) -> None:
    parser.add_argument(
        "--name", type=arguments.model_name, default=name, help="registered model (default: scoring-client)"
    )
    parser.add_argument(
        "--by",
        type=arguments.plain_text,
        default=by,
        metavar="NAME",
        help="who does this, for the history (default: you)",
    )
