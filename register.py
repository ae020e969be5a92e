"""Register the documented pickle as a version of the scoring model, and say which version serves.

python register.py                   register models/lgbm_final_model.pkl: the first version is champion
python register.py --margin 0.05     the same model with another margin: a candidate, no retraining
python register.py list | promote 2 | rollback | sign 2 --key KEY.pem
"""

import argparse
import atexit
import gc
import getpass
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # the root must be importable from any folder

from mlflow_model import command

if __name__ == "__main__":
    command.begin("mlflow", "lightgbm", "pandas", "pyarrow", "cryptography")

from mlflow_model import arguments
from mlflow_model.bundle import signing
from mlflow_model.bundle.bundles import Bundle
from mlflow_model.errors import ModelUnavailable
from mlflow_model.handover import model_files
from mlflow_model.registry.aliases import RollbackRefused, Term
from mlflow_model.registry.leases import Overtaken
from promotion import cuts, gate, own_policy
from promotion.portfolio import REFERENCE, BadReference, Portfolio

DEFAULT_PICKLE = ROOT / "models" / "lgbm_final_model.pkl"
NOT_DONE, BEYOND_LIMITS = 2, 3


class Refused(Exception):
    """Nothing was changed. The message is a sentence, and `code` the exit code."""

    def __init__(self, sentence: str, code: int = NOT_DONE) -> None:
        super().__init__(sentence)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code; the help explains each."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if getattr(options, "valid_for", None) and not (getattr(options, "sign", None) or options.run is _sign):
        parser.error("--valid-days is that of a signature: --sign KEY.pem makes one")
    if options.run is not _register:
        options.alias = options.alias or "champion"
    try:
        options.run(options)
    except (ModelUnavailable, BadReference, signing.SigningRefused, RollbackRefused, Overtaken) as error:
        _say(str(error))
        return NOT_DONE
    except Refused as error:
        _say(str(error))
        return error.code
    return 0


def _register(options: argparse.Namespace) -> None:
    if options.unless_champion:
        from mlflow_model.registry import listing, versions

        if listing.version_at(options.name, options.alias or versions.CHAMPION) is not None:
            return
    signer = _signer(options)
    _say(f"Reading {options.pickle.name} (nothing in it is executed)")
    model = model_files.read(options.pickle, options.default_class)
    built, model_card = model_files.bundle_of(model, options.pickle, options.threshold, options.margin)
    if options.threshold is not None or options.margin is not None:
        model_card = own_policy.card(built, model_card)
    for cut in _fine_cuts(built):
        _say(f"Warning: {cut}, so that a client's rounding may decide")
    if model.unused:
        _say(f"Not used: {', '.join(map(repr, model.unused))}")
    _say("Opening the registry (the first time takes a few seconds)")
    from mlflow_model.registry import listing, registration, versions

    done = registration.register(
        built,
        model_card,
        name=options.name,
        alias=options.alias,
        signer=signer,
        by=options.by,
        unsigned=options.unsigned,
    )
    state = ("registered" if done.is_new else "was registered already") + (" and signed" if signer else "")
    _say(f"{options.name} version {done.number} {state}; {done.alias} points at it")
    champion = listing.version_at(options.name, versions.CHAMPION)
    if champion != done.number:
        effect = (
            "makes it champion"
            if champion is None
            else "compares it with the champion and puts it in its place"
        )
        of_this_model = "" if options.name == versions.NAME else f"--name {shlex.quote(options.name)} "
        _say(f"python register.py {of_this_model}promote {done.number} {effect}")
    elif done.alias == versions.CHAMPION and done.replaced is not None:
        _say(f"It was not compared with version {done.replaced}, which was champion")


def _fine_cuts(built: Bundle) -> Iterator[cuts.FineCut]:
    """Of the model, beside the shipped reference; none where that cannot be read."""
    try:
        observed = Portfolio.read().columns
    except BadReference:
        return iter(())
    features = json.loads(built.files["features.json"])
    return cuts.fine_cuts(built.files["model.txt"].decode(), features, observed)


def _list(options: argparse.Namespace) -> None:
    from mlflow_model.registry import listing, moves

    found = listing.listed(options.name)
    rows = [("version", "alias", "threshold", "margin", "pickle", "signed", "created (UTC)")]
    for version in found:
        tag = version.tags.get
        policy = (tag("policy.threshold", "?"), tag("policy.margin", "?"), tag("source.sha256", "?")[:12])
        aliases = ", ".join(version.aliases) or "-"
        signed = _signed(version.signed)
        rows.append((str(version.number), aliases, *policy, signed, f"{version.created:%Y-%m-%d %H:%M}"))
    _print_table(rows)
    if terms := moves.history(options.name, options.alias):
        print()
        _print_terms(options.alias, terms)
    if not found:
        _say(f"{options.name} has no version yet: run python register.py")


def _signed(text: str | None) -> str:
    """What the signature claims. Only somebody with the public key can tell whether it is genuine."""
    if text is None:
        return "no"
    try:
        statement = signing.read(text)
    except signing.Unreadable:
        return "old form" if signing.is_old(text) else "unreadable"
    until = "" if statement.expires is None else f", until {statement.expires:%Y-%m-%d %H:%M}"
    return f"{statement.number} of {statement.signed_at:%Y-%m-%d} by {statement.key_id[:8]}{until}"


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table without the control characters that somebody may have written into a tag."""
    rows = [tuple("".join(c if c.isprintable() else "?" for c in cell) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_terms(alias: str, terms: Sequence[Term]) -> None:
    """Print which version the alias named from when to when, newest first."""
    rows: list[tuple[str, ...]] = [(alias, "from (UTC)", "until (UTC)", "how", "by", "overridden", "why")]
    for term in reversed(terms):
        said = (one or "-" for one in (term.by, term.overridden, term.why))
        rows.append((str(term.version), _time(term.since), _time(term.until), term.how, *said))
    _print_table(rows)


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _promote(options: argparse.Namespace) -> None:
    if options.force is not None and not options.why:
        raise Refused("--force needs --why: the reason is kept in the history")
    signer = _signer(options)
    is_asked = signer or os.environ.get(signing.PUBLIC_KEY)
    asked = "" if is_asked else f" ({signing.PUBLIC_KEY} asks for no signature)"
    _say(f"Comparing version {options.version} with the {options.alias}{asked}")
    from promotion import examination, promoting, record

    examined = examination.examine(
        options.version,
        name=options.name,
        alias=options.alias,
        reference_file=options.reference,
        limits=_limits(options),
        signer=signer,
        anchor=options.anchor,
    )
    print(examined.text)
    for objection in examined.objections:
        _say(f"Objection ({objection.name}): {objection.sentence}")
    if options.dry_run:
        return
    override = options.force or gate.NOTHING_OVERRIDDEN
    if left := override.left(examined.objections):
        record.record(examined, "refused", options.why, options.by)
        names = ",".join(dict.fromkeys(one.name for one in examined.objections))
        raise Refused(
            f"{options.alias} stays where it is{_because(left, examined.objections)}; "
            f'--force {names} --why "…" promotes all the same',
            BEYOND_LIMITS,
        )
    promoting.promote(examined, options.why, options.by, signer, override)
    _say(f"{options.alias} of {options.name} points at version {options.version}")


def _because(left: Sequence[gate.Objection], objections: Sequence[gate.Objection]) -> str:
    """What --force did not name, if it named something."""
    if len(left) == len(objections):
        return ""
    return f", since --force does not name {', '.join(dict.fromkeys(one.name for one in left))}"


def _limits(options: argparse.Namespace) -> gate.Limits:
    return gate.Limits(
        changed=options.max_changed,
        cost_increase=options.max_cost_increase,
        clients=options.min_clients,
        left_out=options.max_left_out,
        approval=options.max_approval_change,
        auc_loss=options.max_auc_loss,
        calibration=options.max_calibration_increase,
        groups=options.max_group_change,
        anchor_changed=options.max_anchor_changed,
    )


def _rollback(options: argparse.Namespace) -> None:
    signer = _signer(options)
    from promotion import promoting

    number = promoting.rollback(
        name=options.name,
        alias=options.alias,
        by=options.by,
        signer=signer,
        unsigned=options.unsigned,
    )
    _say(f"{options.alias} of {options.name} points at version {number} again")


def _sign(options: argparse.Namespace) -> None:
    signer = signing.Signer(options.key, options.valid_for)
    from mlflow_model.registry import signed_versions

    statement = signed_versions.sign_again(signer, options.version, options.name, options.by)
    _say(
        f"{options.name} version {options.version} signed anew by key {statement.key_id}, "
        f"with number {statement.number}"
    )


def _signer(options: argparse.Namespace) -> signing.Signer | None:
    return signing.Signer(options.sign, options.valid_for) if options.sign else None


def _say(message: str) -> None:
    print(command.named_here(message), file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="register.py",
        description="Register a model's file, of which nothing is executed, and say which version serves.",
        epilog="MLFLOW_TRACKING_URI names another registry than this folder's mlflow.db. Exit codes: 0 done, "
        "2 refused with one sentence and no alias moved, 3 promotion refused: too much would change.",
    )
    _add_target(parser, name="scoring-client", by=_operator())
    parser.add_argument(
        "--alias",
        type=arguments.alias,
        help="alias to move (default: champion for the first version, else candidate, for promote)",
    )
    _add_file(parser)
    _add_signing(parser, None)
    _add_unsigned(parser, False)
    parser.add_argument("--unless-champion", action="store_true", help="nothing to do if the alias is taken")
    parser.set_defaults(run=_register)
    commands = parser.add_subparsers(metavar="{list,promote,rollback,sign}")
    _add_command(commands, "list", _list, "show the versions")
    promote = _add_command(
        commands, "promote", _promote, "compare a version with the champion, and point the alias at it"
    )
    _add_gate(promote)
    _add_signing(promote)
    rollback = _add_command(commands, "rollback", _rollback, "back to the previous champion")
    _add_signing(rollback)
    _add_unsigned(rollback)
    sign = _add_command(commands, "sign", _sign, "sign a version anew that one of the keys has signed before")
    sign.add_argument("version", type=arguments.version, help="its number, as `register.py list` shows it")
    sign.add_argument("--key", type=Path, metavar="KEY.pem", required=True, help="private Ed25519 key")
    _add_validity(sign)
    return parser


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


def _add_command(commands: Any, name: str, run: Callable[..., None], purpose: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(name, help=purpose, description=purpose.capitalize())
    # Without SUPPRESS the command's defaults would silently undo options that stand before it.
    _add_target(added, name=argparse.SUPPRESS, by=argparse.SUPPRESS)
    added.add_argument(
        "--alias", type=arguments.alias, default=argparse.SUPPRESS, help="alias (default: champion)"
    )
    added.set_defaults(run=run)
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


if __name__ == "__main__":
    gc.disable()  # collecting garbage among what MLflow loads took half of the time
    atexit.register(gc.freeze)  # also keep the last collection, at exit, from looking at it
    command.run(main)
