"""What each command of `python -m journal` does, and says."""

import functools
import io
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa
from tqdm import tqdm

from journal import (
    checkpoints,
    erasing,
    explained,
    export,
    french,
    ids,
    listing,
    marks,
    new_files,
    proofs,
    reading,
    replay,
    schema,
    sentences,
    store,
    structure,
    verification,
)
from journal.code_version import code_version
from journal.errors import Refused
from journal.listing import Place, Unread, Wanted
from journal.models import Model
from journal.plural import counted
from journal.reading import Record
from journal.record import Kind
from journal.store import Journal
from journal.writer import Writer
from mlflow_model import command, machine
from mlflow_model.bundle import signing
from mlflow_model.bundle.scoring import Scorer
from mlflow_model.registry.command_options import operator

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

DONE, REFUSED, FOUND = 0, 2, 3

_MICROSECONDS_A_DAY = 86_400_000_000
_BOTH_WAYS = "name the decision by its ID, or all of a client by --client-reference"


def init(options: Namespace) -> int:
    journal, is_changed = store.make(begins=_say_that_it_is_brought_up_to_date)
    with closing(journal):
        structure.require_sound(journal)
        made, mended = structure.mend_indexes(journal, _say_that_it_is_made), marks.mend(journal)
        Writer(journal, _process(options), code_version()).rehearse([])
    say("The journal is ready" if is_changed else "The journal was ready already")
    if made:
        say(f"{counted(made, 'index was', 'indexes were')} made again")
    if mended:
        say(f"{counted(mended, 'mark of a review was', 'marks of reviews were')} mended")
    return DONE


def _say_that_it_is_brought_up_to_date(form: str) -> None:
    say(
        f"Bringing the journal from the form {form} to {schema.REVISION}, a million records in some seconds: "
        "decisions are refused meanwhile"
    )


def _say_that_it_is_made(index: str) -> None:
    say(f"Making the index {index}, a million records in some seconds: decisions are refused meanwhile")


# ---- Evidence


def checkpoint(options: Namespace) -> int:
    key = signing.private_key(options.key)
    with _opened() as journal:
        place = checkpoints.place_for(options.out)
        made = checkpoints.make(journal, key, _process(options))
    file = checkpoints.write(made, place)
    say(f"{file} holds the checkpoint of {counted(made.size, 'record')}: keep it where the journal is not")
    return DONE


def verify(options: Namespace) -> int:
    if options.checkpoint and not options.public_key:
        raise Refused("--checkpoint needs --public-key: an unsigned checkpoint proves nothing")
    keys = _keys(options)
    files = [file for place in options.checkpoint for file in checkpoints.files_at(place)]
    given = [checkpoints.of_file(file, keys) for file in files]
    with _opened() as journal, journal.reading() as connection:
        total = 0 if structure.missing(connection) else reading.size(connection)
        with _progress(total, "records") as bar:
            report = verification.verify(connection, given, keys, bar.update)
    _print(sentences.verified(report, given, bool(keys)))
    for sentence in sentences.found(report):
        say(sentence)
    return FOUND if report.count else DONE


def prove(options: Namespace) -> int:
    if (options.id is None) == (options.since is None):
        raise Refused("prove one thing: an ID, or --since CHECKPOINT")
    if options.since and options.checkpoint:
        raise Refused("--since proves the growth up to the newest checkpoint, and takes no --checkpoint")
    new_files.require_new(options.out)
    keys = _keys(options)
    file = options.since or options.checkpoint
    given = file and (checkpoints.of_file(file, keys) if keys else checkpoints.of_file_unchecked(file))
    with _opened() as journal, journal.reading() as connection:
        if options.since is not None:
            proof = proofs.of_growth(connection, given, keys)
        else:
            _decision(connection, options.id)
            proof = proofs.of_inclusion(connection, options.id, given, keys)
    new_files.write(options.out, (json.dumps(proof, indent=1, ensure_ascii=False) + "\n").encode())
    say(
        f"{options.out.name} is checked without the rest of this code: "
        f"python journal/check_proof.py {options.out} KEY.pem"
    )
    return DONE


# ---- Erasing


def erase(options: Namespace) -> int:
    if bool(options.decision) == (options.client_reference is not None):
        raise Refused("erase --decision ID, or all of one --client-reference")
    if options.client_reference and options.client_reference in options.why:
        raise Refused("--why names the client, and would stay: say it without the reference")
    damaged = list[int]()
    with _opened() as journal:
        decisions = list(dict.fromkeys(options.decision))
        if options.client_reference is not None:
            try:
                with journal.reading() as connection:
                    decisions = [one.id for one in _of_client(connection, options.client_reference, damaged)]
            except Refused:  # perhaps erased before, by one who could not clear the log
                erasing.leave_no_trace(journal)
                raise
        with _progress(len(decisions), "decisions") as bar:
            count, left = erasing.erase(
                journal, decisions, operator(), options.why, _process(options), bar.update
            )
        damaged += left
        exit_code = _copies_said(journal) if count else DONE
    if damaged and not count:
        return _damages_said([Unread.at(position) for position in damaged])
    if not count:
        erased = counted(len(decisions), "decision was", "decisions were")
        raise Refused(f"nothing to erase: {erased} erased before, and no log holds anything of it")
    say(sentences.erased(count, len(decisions)))
    return _damages_said([Unread.at(position) for position in damaged]) or exit_code


def retain(options: Namespace) -> int:
    moment = time.time_ns() // 1_000 - options.days * _MICROSECONDS_A_DAY
    with _opened() as journal:
        with journal.reading() as connection:
            total = erasing.count_before(connection, moment)
        with _progress(total, "records") as bar:
            taken = erasing.erase_before(
                journal, moment, operator(), options.why, _process(options), bar.update
            )
        exit_code = _copies_said(journal) if taken.erased else DONE
    say(sentences.erased_by_age(taken, options.days))
    return _damages_said([Unread.at(position) for position in taken.damaged]) or exit_code


def hold(options: Namespace) -> int:
    with _opened() as journal:
        erasing.hold(journal, options.decision, operator(), options.why, _process(options))
    say("1 decision held: it cannot be erased before python -m journal release")
    return DONE


def release(options: Namespace) -> int:
    with _opened() as journal:
        erasing.release(journal, options.decision, operator(), options.why, _process(options))
    say("1 decision released: it can be erased")
    return DONE


# ---- Reading


def list_(options: Namespace) -> int:
    wanted, unread = _wanted(options, options.label, options.open), list[int]()
    with _opened() as journal, journal.reading() as connection:
        if options.client_reference is None:
            found = listing.places(connection, wanted, options.limit)
            total = listing.count(connection, wanted)
        else:
            own = _of_client(connection, options.client_reference, unread, wanted)
            found = [Place(one.position, one.time, one.id) for one in own[: -options.limit - 1 : -1]]
            total = len(own)
        held = erasing.held_decisions(connection)
        lines, damaged = listing.each_readable(found, functools.partial(_lines, connection, held))
    _print(sentences.listed(lines, sys.stdout.isatty()))
    exit_code = _damages_said([*damaged, *map(Unread.at, unread)])
    say(sentences.shown_of(len(lines), len(damaged), total))
    return exit_code


def _lines(connection: sa.Connection, held: set[bytes], places: Sequence[Place]) -> list[tuple[str, ...]]:
    """Raises Damaged."""
    found = listing.records_at(connection, places)
    unanswered = listing.unanswered(connection, found)
    reviews = listing.last_reviews(connection, [one.id for one in found])
    lines = []
    for one in found:
        states = {"is_held": one.id in held, "is_answered": one.id not in unanswered}
        with reading.readable(one.position):
            lines.append(sentences.cells(one, reviews.get(one.id), **states))
    return lines


def show(options: Namespace) -> int:
    if (options.id is None) == (options.client_reference is None):
        raise Refused(_BOTH_WAYS)
    unread = list[int]()
    with _opened() as journal, journal.reading() as connection:
        if options.id is not None:
            found = [_decision(connection, options.id)]
        else:
            found = _of_client(connection, options.client_reference, unread)[::-1]
        told, damaged = listing.each_readable(found, functools.partial(_shown, connection))
    found, receipts = [one for one, _ in told], [receipt for _, receipt in told]
    refusals = list[str]()
    if options.explain:
        receipts, refusals = _explained(found, receipts)
    _write(["\n\n".join(receipts)] if receipts else [])
    for sentence in refusals:
        say(sentence)
    exit_code = _damages_said([*damaged, *map(Unread.at, unread)])
    if not all(one.is_intact for one in found):
        return FOUND
    return exit_code or (REFUSED if refusals else DONE)


def _shown(connection: sa.Connection, decisions: Sequence[Record]) -> list[tuple[Record, str]]:
    """Each with its receipt. Raises Damaged."""
    unanswered = listing.unanswered(connection, decisions)
    told = []
    for one in decisions:
        about, is_answered = reading.about(connection, one.id), one.id not in unanswered
        with reading.readable(one.position):
            told.append((one, french.shown(one, about, is_answered=is_answered)))
    return told


def _explained(found: Sequence[Record], receipts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The receipts with their explanations, and a sentence for each decision that has none."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before LightGBM is loaded
    told, refusals = [], []
    with _progress(len(found), "explanations") as bar:
        explanations = explained.Explanations(functools.partial(_brought, bar))
        for one, receipt in zip(found, receipts, strict=True):
            try:
                told.append(f"{receipt}\n{explanations.of(one)}")
            except (explained.CannotExplain, replay.CannotLoad) as error:
                told.append(receipt)
                refusals.append(f"decision {ids.written(one.id)} cannot be explained: {error}")
            bar.update()
    return told, refusals


def export_(options: Namespace) -> int:
    wanted = _wanted(options)
    export.require_place(options.output)
    with (
        _opened() as journal,
        journal.reading() as connection,
        _progress(listing.count(connection, wanted), "receipts") as bar,
    ):
        count, damaged = export.write(connection, wanted, options.output, bar.update)
    name = options.output.name
    told = ", with what clients have told: keep it as the journal" if count else ""
    say(f"{name} holds {counted(count, 'receipt')}{told}")
    return _damages_said(damaged)


def replay_(options: Namespace) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before LightGBM is loaded
    wanted = _wanted(options)
    with _opened() as journal, journal.reading() as connection:
        total = min(listing.count(connection, wanted), options.sample or 2**63)
        with _progress(total, "receipts") as bar:
            load = functools.partial(_brought, bar)
            done = replay.replay(connection, wanted, options.sample, load, bar.update)
    for sentence in sentences.not_the_same(done):
        say(sentence)
    _print(sentences.replayed(done))
    return DONE if done.is_as_recorded else FOUND


def _brought(bar: "tqdm[None]", model: Model) -> Scorer:
    bar.set_description(f"bringing {model.name} version {model.version}")  # seconds
    try:
        return replay.of_registry(model)
    finally:
        bar.set_description()


# ---- What all commands share


@contextmanager
def _opened() -> Iterator[Journal]:
    with closing(store.opened()) as journal:
        yield journal


def _keys(options: Namespace) -> list["Ed25519PublicKey"]:
    """Those that sign checkpoints, if any were given. Raises BadKey."""
    return [] if options.public_key is None else list(signing.public_keys(options.public_key).values())


def _decision(connection: sa.Connection, own_id: bytes) -> Record:
    found = reading.find(connection, own_id)
    if found is None or found.kind != Kind.RECEIPT:
        raise Refused("no decision of the journal has this ID")
    return found


def _of_client(
    connection: sa.Connection, reference: str, damaged: list[int], wanted: Wanted | None = None
) -> list[Record]:
    """The decisions with this reference, in their order. Raises Refused if there are none.

    `damaged` gets the positions of those that cannot be read.
    """
    with _progress(listing.count(connection, Wanted()), "receipts") as bar:
        conditions = [] if wanted is None else wanted.conditions(connection)
        found = listing.of_reference(
            connection, reference, *conditions, progress=bar.update, damages=damaged.append
        )
    if not found:
        _damages_said([Unread.at(position) for position in damaged])
        raise Refused("no decision that is not erased has this reference")
    return found


def _copies_said(journal: Journal) -> int:
    """Name what may still hold what was erased. Returns the exit code."""
    with journal.reading() as connection:
        found = structure.copies(connection)
    for sentence in found:
        say(f"Found: {sentence}")
    return FOUND if found else DONE


def _damages_said(damaged: Sequence[Unread]) -> int:
    """Name what cannot be read and was left out. Returns the exit code."""
    for sentence in sentences.unreadable(damaged):
        say(sentence)
    return FOUND if damaged else DONE


def _progress(total: int, unit: str) -> "tqdm":
    """A bar on standard error, where that is a terminal."""
    return tqdm(total=total, unit=f" {unit}", unit_scale=True, disable=None, leave=False)


def _wanted(options: Namespace, label: str | None = None, is_open: bool = False) -> Wanted:
    return Wanted(options.since, options.until, label, options.version, is_open)


def _process(options: Namespace) -> str:
    return f"python -m journal {options.command}"


def _print(lines: Iterable[str]) -> None:
    _write(map(command.named_here, lines))


def _write(lines: Iterable[str]) -> None:
    """On standard output. Raises Refused where it takes no more, as a file on a full disk."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stdout = io.StringIO()  # Python would write the rest again at its end
        raise Refused(f"standard output cannot be written: {machine.why_not_written(error)}") from error


def say(message: str) -> None:
    print(command.named_here(message), file=sys.stderr, flush=True)
