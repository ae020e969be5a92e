"""What each command of `python -m journal` does, and says."""

import json
import platform
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from journal import (
    checkpoints,
    erasing,
    export,
    french,
    ids,
    listing,
    proofs,
    reading,
    replay,
    store,
    verification,
)
from journal.checkpoints import Checkpoint
from journal.errors import Refused
from journal.listing import Wanted
from journal.reading import Record
from journal.record import Kind
from journal.replay import Replayed
from journal.store import Journal
from journal.verification import Report
from mlflow_model import command, files
from mlflow_model.bundle import signing
from mlflow_model.registry.command_options import operator

DONE, FOUND = 0, 3

_WITHOUT_A_CHECKPOINT = """\
Without a checkpoint that was kept elsewhere, this excludes damage and clumsy changes alone. It does not
exclude that somebody who may write to the database changed, removed, inserted or moved records, cut the tail
off or took a writer away, and computed all the rest anew: python -m journal checkpoint makes what does."""
_MICROSECONDS_A_DAY = 86_400_000_000


def init(options: Namespace) -> int:
    journal, is_changed = store.make()
    journal.close()
    say("The journal is ready" if is_changed else "The journal was ready already")
    return DONE


# ---- Evidence


def checkpoint(options: Namespace) -> int:
    key = signing.private_key(options.key)
    with _opened() as journal:
        made = checkpoints.make(journal, key, _process(options))
    file = checkpoints.write(made, options.out)
    say(f"{file.name} holds the checkpoint of {made.size:,} records: keep it where the journal is not")
    return DONE


def verify(options: Namespace) -> int:
    if options.checkpoint and not options.public_key:
        raise Refused("--checkpoint needs --public-key: an unsigned checkpoint proves nothing")
    keys = [] if options.public_key is None else list(signing.public_keys(options.public_key).values())
    given = [checkpoints.of_file(file, keys) for file in options.checkpoint]
    with _opened() as journal, journal.reading() as connection:
        total = reading.size(connection)
        with tqdm(total=total, unit=" records", unit_scale=True, disable=None, leave=False) as bar:
            report = verification.verify(connection, given, keys, bar.update)
    print(_verified(report, given))
    for sentence in report.findings:
        say(f"Found: {sentence}")
    if report.count > len(report.findings):
        say(f"Found: {report.count - len(report.findings):,} more")
    return FOUND if report.count else DONE


def _verified(report: Report, given: list[Checkpoint]) -> str:
    said = [
        f"{report.origin}: {report.size:,} records, of which {report.receipts:,} are receipts, "
        f"{report.erased:,} of them erased"
    ]
    if report.unended:
        said.append(f"Still writing, or killed: writers {_few(report.unended)}")
    if not given:
        said.append(_WITHOUT_A_CHECKPOINT)
    elif not report.count:
        newest = max(given, key=lambda one: one.size)
        said.append(_beyond(report, newest))
    return "\n".join(said)


def _beyond(report: Report, newest: Checkpoint) -> str:
    after = report.size - newest.size
    seconds = max(0.0, report.last_time / 1e6 - newest.time.timestamp()) if after else 0.0
    return (
        f"The first {newest.size:,} records are those of {newest.time:%Y-%m-%d %H:%M:%S}. The {after:,} "
        f"after them, of {seconds:,.0f} seconds, are vouched for by the journal alone."
    )


def _few(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown if len(numbers) <= 10 else f"{shown} and {len(numbers) - 10} more"


def prove(options: Namespace) -> int:
    if (options.id is None) == (options.since is None):
        raise Refused("prove one thing: an ID, or --since CHECKPOINT")
    with _opened() as journal, journal.reading() as connection:
        if options.since is not None:
            proof = proofs.of_growth(connection, checkpoints.of_file_unchecked(options.since))
        else:
            given = options.checkpoint and checkpoints.of_file_unchecked(options.checkpoint)
            proof = proofs.of_inclusion(connection, options.id, given)
    _write_new(options.out, json.dumps(proof, indent=1, ensure_ascii=False) + "\n")
    say(f"{options.out.name} is checked without this code: python check_proof.py {options.out.name} KEY.pem")
    return DONE


def _write_new(file: Path, content: str) -> None:
    try:
        files.write(file, content.encode())
    except FileExistsError:
        raise Refused(f"{file.name} exists: name another file") from None
    except OSError as error:
        raise Refused(f"{file.name} cannot be written: {error.strerror}") from None


# ---- Erasing


def erase(options: Namespace) -> int:
    if bool(options.decision) == (options.client_reference is not None):
        raise Refused("erase --decision ID, or all of one --client-reference")
    with _opened() as journal:
        decisions = options.decision
        if options.client_reference is not None:
            with journal.reading() as connection:
                decisions = erasing.of_reference(connection, options.client_reference)
            if not decisions:
                raise Refused("no decision that is not erased yet has this reference")
        count = erasing.erase(journal, decisions, operator(), options.why, _process(options))
    already = f", {len(decisions) - count:,} were erased already" if count < len(decisions) else ""
    say(f"{count:,} erased{already}. Backups and replicas still hold them: see docs/journal.md")
    return DONE


def retain(options: Namespace) -> int:
    moment = time.time_ns() // 1_000 - options.days * _MICROSECONDS_A_DAY
    with _opened() as journal:
        with journal.reading() as connection:
            total = erasing.count_before(connection, moment)
        with tqdm(total=total, unit=" records", unit_scale=True, disable=None, leave=False) as bar:
            count = erasing.erase_before(
                journal, moment, operator(), options.why, _process(options), bar.update
            )
    say(f"{count:,} decisions older than {options.days:,} days erased")
    return DONE


def hold(options: Namespace) -> int:
    with _opened() as journal:
        erasing.hold(journal, options.decision, operator(), options.why, _process(options))
    say("Held: erasures of this decision are refused")
    return DONE


def release(options: Namespace) -> int:
    with _opened() as journal:
        erasing.release(journal, options.decision, operator(), options.why, _process(options))
    say("Released: this decision can be erased")
    return DONE


# ---- Reading


def list_(options: Namespace) -> int:
    wanted = _wanted(options, options.label, options.open)
    with _opened() as journal, journal.reading() as connection:
        found = listing.newest(connection, wanted, options.limit)
        held = erasing.held_decisions(connection)
        total = listing.count(connection, wanted)
    print("id", "time (UTC)", "version", "label", "door", "state", sep="\t")
    for one in found:
        print(*_line(one, held), sep="\t")
    say(f"{len(found):,} of {total:,} decisions")
    return DONE


def _line(one: Record, held: set[bytes]) -> Iterator[str]:
    kept = one.kept
    yield ids.written(one.id)
    yield f"{datetime.fromtimestamp(one.time / 1e6, UTC):%Y-%m-%d %H:%M:%S}"
    yield (one.model and one.model.version) or "-"
    yield str(kept.outputs[0])
    yield kept.door
    yield "erased" if one.is_erased else "held" if one.id in held else "-"


def show(options: Namespace) -> int:
    with _opened() as journal, journal.reading() as connection:
        found = reading.find(connection, options.id)
        if found is None or found.kind != Kind.RECEIPT:
            raise Refused("no decision of the journal has this ID")
        print(french.shown(found, reading.about(connection, options.id)))
    return DONE


def export_(options: Namespace) -> int:
    wanted = _wanted(options)
    with _opened() as journal, journal.reading() as connection:
        if options.output.exists():
            raise Refused(f"{options.output.name} exists: name another file")
        total = listing.count(connection, wanted)
        with tqdm(total=total, unit=" receipts", unit_scale=True, disable=None, leave=False) as bar:
            count = export.write(connection, wanted, options.output, bar.update)
    say(
        f"{options.output.name} holds {count:,} receipts, with what clients have told: keep it as the journal"
    )
    return DONE


def replay_(options: Namespace) -> int:
    wanted = _wanted(options)
    with _opened() as journal, journal.reading() as connection:
        total = min(listing.count(connection, wanted), options.sample or 2**63)
        with tqdm(total=total, unit=" receipts", unit_scale=True, disable=None, leave=False) as bar:
            done = replay.replay(connection, wanted, options.sample, replay.of_registry, bar.update)
    for name in done.named:
        say(f"Different: {name}")
    for sentence, count in done.unloaded.items():
        say(f"Not replayed: {count:,} receipts, because {sentence}")
    print(_replayed(done))
    return FOUND if done.different or done.unloaded else DONE


def _replayed(done: Replayed) -> str:
    said = [f"{done.same:,} decisions are the same in every bit, {done.different:,} differ"]
    if done.last_place:
        said.append(
            f"{done.last_place:,} differ in the last place of the probability alone, which the C library "
            f"computes: here {' '.join(platform.libc_ver())}, there see the journal's starts"
        )
    if done.erased:
        said.append(f"{done.erased:,} were erased and cannot be replayed")
    return "\n".join(said)


# ---- What all commands share


@contextmanager
def _opened() -> Iterator[Journal]:
    with closing(store.opened()) as journal:
        yield journal


def _wanted(options: Namespace, label: str | None = None, is_open: bool = False) -> Wanted:
    return Wanted(options.since, options.until, label, options.version, is_open)


def _process(options: Namespace) -> str:
    return f"python -m journal {options.command}"


def say(message: str) -> None:
    print(command.named_here(message), file=sys.stderr, flush=True)
