"""Register the documented pickle as a version of the scoring model, and say which version serves.

python register.py                   register models/lgbm_final_model.pkl: the first version is champion
python register.py --margin 0.05     the same model with another margin: a candidate, no retraining
python register.py list | promote 2 | rollback | sign 2 --key KEY.pem
"""

import argparse
import atexit
import functools
import gc
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from mlflow_model.registry import command_options
from mlflow_model.registry.aliases import RollbackRefused, Term
from mlflow_model.registry.leases import Overtaken
from promotion import cuts, gate, gate_options, own_policy
from quality.portfolio import BadReference, Portfolio

if TYPE_CHECKING:
    from mlflow_model.registry.registration import Registered

NOT_DONE, BEYOND_LIMITS = 2, 3


class Refused(Exception):
    """Nothing was changed. The message is a sentence, and `code` the exit code."""

    def __init__(self, sentence: str, code: int = NOT_DONE) -> None:
        super().__init__(sentence)
        self.code = code


def main(given: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code; the help explains each."""
    options = _read(given)
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
        _say(f"Warning: {cut}")
    if model.unused:
        _say(f"Not used: {', '.join(map(repr, model.unused))}")
    _say_that_it_opens()
    from mlflow_model.registry import registration

    done = registration.register(
        built,
        model_card,
        name=options.name,
        alias=options.alias,
        signer=signer,
        by=options.by,
        unsigned=options.unsigned,
    )
    _say_what_came(options, done)


def _say_that_it_opens() -> None:
    _say("Opening the registry (the first time takes a few seconds)")


def _say_that_it_opens_to_a_person() -> None:
    """On a terminal only: a script's standard error stays as it was."""
    if sys.stderr.isatty():
        _say_that_it_opens()


def _say_what_came(options: argparse.Namespace, done: "Registered") -> None:
    """The version, its alias, and the command that makes it champion."""
    from mlflow_model.registry import listing, versions

    state = "registered" if done.is_new else "was registered already"
    state += " and signed" if options.sign else ""
    _say(f"{options.name} version {done.number} {state}; {done.alias} points at it")
    champion = listing.version_at(options.name, versions.CHAMPION)
    if champion != done.number:
        compares = "compares it with the champion and puts it in its place"
        effect = "makes it champion" if champion is None else compares
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
    return cuts.of_bundle(built, observed)


def _list(options: argparse.Namespace) -> None:
    _say_that_it_opens_to_a_person()
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
        limits=gate_options.limits(options),
        signer=signer,
        anchor=options.anchor,
    )
    print(examined.text, flush=True)  # before the objections, also where both go into one file
    for objection in examined.objections:
        _say(f"Objection ({objection.name}): {objection.sentence}")
    override = options.force or gate.NOTHING_OVERRIDDEN
    left = override.left(examined.objections)
    because = _because(left, examined.objections)
    if options.dry_run and left:
        raise Refused(f"Dry run: this would refuse version {options.version}{because}", BEYOND_LIMITS)
    if options.dry_run:
        _say(f"Dry run: this would promote version {options.version}")
        return
    if left:
        record.record(examined, "refused", options.why, options.by)
        names = ",".join(dict.fromkeys(one.name for one in examined.objections))
        raise Refused(
            f'{options.alias} stays where it is{because}; --force {names} --why "…" promotes all the same',
            BEYOND_LIMITS,
        )
    promoting.promote(examined, options.why, options.by, signer, override)
    already = " already" if examined.is_of_the_champion and signer is None else ""
    _say(f"{options.alias} of {options.name} points at version {options.version}{already}")


def _because(left: Sequence[gate.Objection], objections: Sequence[gate.Objection]) -> str:
    """What --force did not name, if it named something."""
    if len(left) in (0, len(objections)):
        return ""
    return f", since --force does not name {', '.join(dict.fromkeys(one.name for one in left))}"


def _rollback(options: argparse.Namespace) -> None:
    signer = _signer(options)
    _say_that_it_opens_to_a_person()
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
    _say_that_it_opens_to_a_person()
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


_COMMANDS = {"register": _register, "list": _list, "promote": _promote, "rollback": _rollback, "sign": _sign}


# ---- Options


def _read(given: Sequence[str] | None) -> argparse.Namespace:
    """The options. `run` among them is the command that was asked for, by default that called "register"."""
    parser = _parser()
    options = parser.parse_args(given)
    is_signing = getattr(options, "sign", None) or options.run is _COMMANDS["sign"]
    if getattr(options, "valid_for", None) and not is_signing:
        parser.error("--valid-days is that of a signature: --sign KEY.pem makes one")
    if options.run is not _COMMANDS["register"]:
        options.alias = options.alias or "champion"
    return options


def _parser() -> argparse.ArgumentParser:
    made = arguments.Parser(
        prog="register.py",
        description="Register a model's file, of which nothing is executed, and say which version serves.",
        epilog="MLFLOW_TRACKING_URI names another registry than this folder's mlflow.db. Exit codes: 0 done, "
        "2 refused with one sentence and no alias moved, 3 promotion refused, or by --dry-run foreseen "
        "to be: too much would change.",
    )
    command_options.add_name(made, "scoring-client")
    command_options.add_operator(made, command_options.operator())
    made.add_argument(
        "--alias",
        type=arguments.alias,
        help="alias to move (default: champion for the first version, else candidate, for promote)",
    )
    command_options.add_file(made)
    command_options.add_signing(made, None)
    command_options.add_unsigned(made, False)
    made.add_argument("--unless-champion", action="store_true", help="nothing to do if the alias is taken")
    made.set_defaults(run=_COMMANDS["register"])
    others = made.add_subparsers(metavar="{list,promote,rollback,sign}")
    add = functools.partial(_add_command, others)
    add("list", "show the versions")
    add = functools.partial(_add_move, others)
    promote = add("promote", "compare a version with the champion, and point the alias at it")
    gate_options.add(promote)
    command_options.add_signing(promote)
    rollback = add("rollback", "back to the previous champion")
    command_options.add_signing(rollback)
    command_options.add_unsigned(rollback)
    sign = add("sign", "sign a version anew that one of the keys has signed before")
    sign.add_argument("version", type=arguments.version, help="its number, as `register.py list` shows it")
    sign.add_argument("--key", type=Path, metavar="KEY.pem", required=True, help="private Ed25519 key")
    command_options.add_validity(sign)
    return made


def _add_command(parsers: Any, name: str, purpose: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = parsers.add_parser(name, help=purpose, description=purpose.capitalize())
    # Without SUPPRESS the command's defaults would silently undo options that stand before it.
    command_options.add_name(added, argparse.SUPPRESS)
    added.add_argument(
        "--alias", type=arguments.alias, default=argparse.SUPPRESS, help="alias (default: champion)"
    )
    added.set_defaults(run=_COMMANDS[name])
    return added


def _add_move(parsers: Any, name: str, purpose: str) -> argparse.ArgumentParser:
    """A command that the history tells of, with who ran it."""
    added = _add_command(parsers, name, purpose)
    command_options.add_operator(added, argparse.SUPPRESS)
    return added


if __name__ == "__main__":
    gc.disable()  # collecting garbage among what MLflow loads took half of the time
    atexit.register(gc.freeze)  # also keep the last collection, at exit, from looking at it
    command.run(main)
