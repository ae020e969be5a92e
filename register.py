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
    rows = [(alias, "from (UTC)", "until (UTC)", "how", "by", "why")]
    rows += [
        (str(term.version), _time(term.since), _time(term.until), term.how, term.by or "-", term.why or "-")
        for term in reversed(terms)
    ]
    _print_table(rows)


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _promote(options: argparse.Namespace) -> None:
    if options.force and not options.why:
        raise Refused("--force needs --why: the reason is kept in the history")
    signer = _signer(options)
    is_asked = signer or os.environ.get(signing.PUBLIC_KEY)
    asked = "" if is_asked else f" ({signing.PUBLIC_KEY} asks for no signature)"
    _say(f"Comparing version {options.version} with the {options.alias}{asked}")
    from promotion import examination

    limits = gate.Limits(
        options.max_changed, options.max_cost_increase, options.min_clients, options.max_left_out
    )
    examined = examination.examine(
        options.version,
        name=options.name,
        alias=options.alias,
        reference_file=options.reference,
        limits=limits,
        signer=signer,
    )
    print(examined.text)
    for objection in examined.objections:
        _say(f"Objection: {objection}")
    if options.dry_run:
        return
    if examined.objections and not options.force:
        examination.record(examined, "refused", by=options.by)
        raise Refused(
            f'{options.alias} stays where it is; --force --why "…" promotes all the same', BEYOND_LIMITS
        )
    examination.promote(examined, options.why, options.by, signer)
    _say(f"{options.alias} of {options.name} points at version {options.version}")


def _rollback(options: argparse.Namespace) -> None:
    signer = _signer(options)
    from promotion import examination

    number = examination.rollback(
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
    limits = gate.Limits()
    add = promote.add_argument
    add("version", type=arguments.version, help="its number, as `register.py list` shows it")
    add(
        "--reference",
        type=Path,
        default=REFERENCE,
        help="portfolio to decide on, Parquet or CSV (default: models/reference.parquet)",
    )
    add(
        "--max-changed",
        type=arguments.share,
        default=limits.changed,
        metavar="SHARE",
        help="of the clients that may get another label (default: %(default)s)",
    )
    add(
        "--max-cost-increase",
        type=arguments.cost,
        default=limits.cost_increase,
        metavar="COST",
        help="that the cost per client may rise, a good client refused costing 1 (default: %(default)s)",
    )
    add(
        "--min-clients",
        type=arguments.clients,
        default=limits.clients,
        metavar="NUMBER",
        help="of different clients that must be compared (default: %(default)s)",
    )
    add(
        "--max-left-out",
        type=arguments.share,
        default=limits.left_out,
        metavar="SHARE",
        help="of the clients that may lack what one of the models needs (default: %(default)s)",
    )
    add("--dry-run", action="store_true", help="show the comparison, change and record nothing")
    add("--force", action="store_true", help="promote in spite of objections")
    add("--why", type=arguments.reason, metavar="REASON", help="kept in the history")


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
