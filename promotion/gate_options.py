"""The options of `register.py promote`: the reference, the anchor, the limits, and what is overridden."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from mlflow_model import arguments
from promotion import gate
from quality.portfolio import REFERENCE

_OF_A_DRY_RUN = "show the comparison, change and record nothing; exit code 3 where objections would stop it"


def add(promote: argparse.ArgumentParser) -> None:
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
    add("--dry-run", action="store_true", help=_OF_A_DRY_RUN)
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

    def add(option: str, limit: str, kind: Callable[[str], object], metavar: str, meaning: str) -> None:
        shown, default = f"{meaning} (default: %(default)s)", getattr(gate.Limits, limit)
        promote.add_argument(option, dest=limit, type=kind, default=default, metavar=metavar, help=shown)

    share, cost = arguments.share, arguments.cost
    add("--max-changed", "changed", share, "SHARE", "of the clients that may get another label")
    add("--max-anchor-changed", "anchor_changed", share, "SHARE", "the same, beside the anchor")
    add("--max-approval-change", "approval", share, "SHARE", "of the clients, up or down")
    add(
        "--max-cost-increase",
        "cost_increase",
        cost,
        "COST",
        "that the cost per client may rise, a good client refused costing 1",
    )
    add("--max-auc-loss", "auc_loss", share, "AUC", "that the AUC may fall")
    add("--max-calibration-increase", "calibration", share, "ECE", "that the calibration error may rise")
    add(
        "--max-group-change",
        "groups",
        share,
        "SHARE",
        "that an approval ratio of groups may fall, and a gap of equal opportunity rise",
    )
    add("--min-clients", "clients", arguments.clients, "NUMBER", "of different clients to compare")
    add(
        "--max-left-out",
        "left_out",
        share,
        "SHARE",
        "of the clients that may lack what one of the models needs",
    )


def limits(options: argparse.Namespace) -> gate.Limits:
    """The limits among the options."""
    return gate.Limits(**{field.name: getattr(options, field.name) for field in fields(gate.Limits)})
