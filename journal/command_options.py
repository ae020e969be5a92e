"""The options of `python -m journal`, and what each text should have been."""

import argparse
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from journal import command_help, ids, record
from journal.models import LABELS
from mlflow_model import arguments

LONGEST_REFERENCE = 64
MOST_DAYS = 36_500
MOST_SHOWN = 10_000

_EPILOG = """\
JOURNAL_URL names the journal: sqlite:///FILE (default: this folder's journal.db), postgresql+psycopg://...,
or off. Times are UTC: 2026-11-26 or 2026-11-26T17:30:00. A decision's ID is that of the header X-Decision-Id.

Exit codes: 0 done, 2 refused with one sentence that says why, 3 verify, replay, show or list found
something, 130 interrupted.
"""
_OF_CHECKPOINT = "a note that was kept elsewhere, or a folder of them; again for more"
_OF_KEY = "public Ed25519 keys of those that sign checkpoints"

Command = Callable[[argparse.Namespace], int]


def _place(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("name a file: this is empty")
    return text


def _path(text: str) -> Path:
    return Path(_place(text))


def parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """`run` among the options is the command that was asked for, `command` its name."""
    made = arguments.Parser(
        prog="python -m journal",
        description="The record of every decision: make it, verify it, prove, read and erase what it holds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    others = made.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def add(name: str, purpose: str) -> Callable[..., argparse.Action]:
        added = others.add_parser(
            name,
            help=purpose,
            description=purpose[0].upper() + purpose[1:],
            epilog=command_help.epilog(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=commands[name])
        return added.add_argument

    add("init", "make the journal, or bring it to this code's form")
    _add_evidence(add)
    _add_erasing(add)
    _add_reading(add)
    return made


def _add_evidence(add: Callable[[str, str], Callable[..., argparse.Action]]) -> None:
    option = add("checkpoint", "sign the tree as it is now, for keeping elsewhere")
    option("--key", type=_path, required=True, metavar="KEY.pem", help="private Ed25519 key")
    option(
        "--out",
        type=_place,
        required=True,
        metavar="PLACE",
        help="new file, or FOLDER/ for many, which is made",
    )
    option = add("verify", "find every change, removal, insertion and reordering")
    option("--checkpoint", type=_path, action="append", default=[], metavar="PLACE", help=_OF_CHECKPOINT)
    option("--public-key", type=_path, metavar="KEY.pem", help=f"{_OF_KEY}; needed with --checkpoint")
    option = add("prove", "write what a stranger can check with journal/check_proof.py")
    option("id", type=_id, nargs="?", metavar="ID", help="of a decision")
    option("--since", type=_path, metavar="CHECKPOINT", help="prove that the journal only grew since then")
    option("--checkpoint", type=_path, metavar="FILE", help="to prove ID by (default: the newest)")
    option("--public-key", type=_path, metavar="KEY.pem", help=f"{_OF_KEY}, to check the signature by")
    option("--out", type=_path, required=True, metavar="FILE", help="new file")


def _add_erasing(add: Callable[[str, str], Callable[..., argparse.Action]]) -> None:
    option = add("erase", "remove inputs, reference and salt; the commitment stays")
    option("--decision", type=_id, action="append", default=[], metavar="ID", help="again for more")
    _add_reference(option)
    option("--why", type=_why, required=True, help="kept in the journal: name no client in it")
    option = add("retain", "erase all decisions that are older and not held, as cron does")
    option("--days", type=_days, required=True, metavar="N", help="keep what is younger")
    option("--why", type=_why, default="retention", help="(default: retention)")
    for name, purpose in (
        ("hold", "refuse to erase a decision, for a legal dispute"),
        ("release", "let a held decision be erased again"),
    ):
        option = add(name, purpose)
        option("--decision", type=_id, required=True, metavar="ID", help="of the decision")
        option("--why", type=_why, required=True, help="kept in the journal")


def _add_reading(add: Callable[[str, str], Callable[..., argparse.Action]]) -> None:
    option = add("list", "show the newest decisions, without their values")
    _add_wanted(option)
    option("--label", choices=LABELS, help="of the policy that decided")
    option("--open", action="store_true", help="grey and not reviewed")
    _add_reference(option)
    option(
        "--limit", type=functools.partial(_count, MOST_SHOWN), default=20, metavar="N", help="(default: 20)"
    )
    option = add("show", "show the receipt of a decision, in French")
    option("id", type=_id, nargs="?", metavar="ID", help="of the decision")
    _add_reference(option)
    option("--explain", action="store_true", help="add the reasons, by the version that decided")
    option = add("export", "write the receipts into a Parquet file")
    _add_wanted(option)
    option("--output", type=_path, required=True, metavar="FILE.parquet", help="new file")
    option = add("replay", "decide again, by the versions that decided, and compare")
    _add_wanted(option)
    option("--sample", type=functools.partial(_count, 2**31), metavar="N", help="so many, by chance")


def _add_reference(option: Callable[..., argparse.Action]) -> None:
    option("--client-reference", type=_reference, metavar="REF", help="all decisions with it, as sent")


def _add_wanted(option: Callable[..., argparse.Action]) -> None:
    option("--since", type=_time, metavar="TIME", help="from this time on")
    option("--until", type=_time, metavar="TIME", help="before this time")
    option("--version", metavar="N", help="decided by this version of the model")


def _id(text: str) -> bytes:
    try:
        return ids.read(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "an ID is that of the header X-Decision-Id, such as 01a21cae-259b-7000-8000-000000000000"
        ) from None


def _time(text: str) -> int:
    """Microseconds since 1970. A time without a zone is UTC."""
    try:
        return record.moment(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"a time is 2026-11-26 or 2026-11-26T17:30:00, not {text!r}"
        ) from None


def _reference(text: str) -> str:
    """The text is not repeated: it names a client."""
    if not (0 < len(text) <= LONGEST_REFERENCE and text.isascii() and text.isprintable()):
        raise argparse.ArgumentTypeError(
            f"a reference is 1 to {LONGEST_REFERENCE} printable ASCII characters"
        )
    return text


def _why(text: str) -> str:
    if not (reason := arguments.reason(text)):
        raise argparse.ArgumentTypeError("a reason must not be empty")
    return reason


def _days(text: str) -> int:
    return _count(MOST_DAYS, text)


def _count(most: int, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and 0 < int(text) <= most):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {most:,}")
    return int(text)
