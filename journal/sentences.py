"""What the commands answer: sentences with counts, and the table of decisions."""

import platform
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from journal import ids
from journal.checkpoints import Checkpoint
from journal.erasing import ByAge
from journal.events import Review
from journal.listing import Unread
from journal.plural import counted
from journal.reading import Record
from journal.replay import Replayed
from journal.verification import Report

_WITHOUT_A_CHECKPOINT = """\
Without a checkpoint that was kept elsewhere, this excludes damage and clumsy changes alone. It does not
exclude that somebody who may write to the database changed, removed, inserted or moved records, cut the tail
off or took a writer away, and computed all the rest anew: python -m journal checkpoint makes what does."""
_COPIES = "Backups, replicas and exports may still hold what they told: see docs/journal.md"
_HEADS = ("id", "time (UTC)", "version", "label", "door", "state", "review")
_MOST_WRITERS, _MOST_UNREADABLE = 10, 20


# ---- Verified


def verified(report: Report, given: Sequence[Checkpoint], are_signatures_checked: bool) -> Iterator[str]:
    """What was looked at, then what that does and does not exclude."""
    if not report.has_tables:
        yield "No record was compared: the journal's tables are not there, or have lost columns."
        return
    yield _content(report)
    yield _compared(report, given, are_signatures_checked)
    if report.unended:
        yield _unended(report.unended)
    if not given:
        yield _WITHOUT_A_CHECKPOINT
    elif not report.count:
        yield _beyond(report, max(given, key=lambda one: one.size))


def _content(report: Report) -> str:
    name = report.origin or "A journal that does not tell its name"
    if not report.size:
        return f"{name}: no records{'.' if report.count else ', because nobody has written to it yet.'}"
    events = counted(report.size - report.receipts, "event")
    erased = f" ({report.erased:,} of them erased)" if report.erased else ""
    return (
        f"{name}: {counted(report.size, 'record')} by {counted(report.writers, 'writer')}: "
        f"{counted(report.receipts, 'receipt')}{erased} and {events}."
    )


def _compared(report: Report, given: Sequence[Checkpoint], are_signatures_checked: bool) -> str:
    checked = "with" if are_signatures_checked else "without"
    signatures = f", {checked} their signatures" if report.checkpoints or given else ""
    return (
        "Each record was compared with its own commitment and place, and all together with the stored tree, "
        f"with {counted(report.checkpoints, 'checkpoint')} inside the journal and with "
        f"{counted(len(given), 'checkpoint')} kept elsewhere{signatures}."
    )


def _unended(writers: Sequence[int]) -> str:
    shown = ", ".join(f"number {one}" for one in writers[:_MOST_WRITERS])
    more = len(writers) - _MOST_WRITERS
    others = f" and {more:,} more" if more > 0 else ""
    return (
        f"{counted(len(writers), 'writer has', 'writers have').capitalize()} not said that the writing ended "
        f"({shown}{others}): still at work, or killed."
    )


def _beyond(report: Report, newest: Checkpoint) -> str:
    first = counted(newest.size, "record is as it was", "records are as they were")
    said = f"The first {first} at {newest.time:%Y-%m-%d %H:%M:%S}"
    after = report.size - newest.size
    if not after:
        return f"{said}, and nothing came after."
    seconds = round(max(0.0, report.last_time / 1e6 - newest.time.timestamp()))
    within = f"within {counted(seconds, 'second')} of it" if seconds else "at once"
    return (
        f"{said}. {counted(after, 'record that came', 'records that came')} after it, {within}, "
        f"{'is' if after == 1 else 'are'} vouched for by the journal alone."
    )


def found(report: Report) -> Iterator[str]:
    for sentence in report.findings:
        yield f"Found: {sentence}"
    if more := report.count - len(report.findings):
        yield f"Found: {more:,} more"


# ---- Erased


def erased(count: int, asked: int) -> str:
    before = f", {asked - count:,} had been before" if count < asked else ""
    return f"{counted(count, 'decision')} erased{before}. {_COPIES}"


def erased_by_age(taken: ByAge, days: int) -> str:
    age = f"older than {counted(days, 'day')}"
    held = f", {taken.held:,} held and kept" if taken.held else ""
    if not taken.erased:
        return f"No decision {age} was there to erase{held}"
    return f"{counted(taken.erased, 'decision')} {age} erased{held}. {_COPIES}"


# ---- Listed


def listed(found: Iterable[Sequence[str]], is_for_a_person: bool) -> Iterator[str]:
    """`found`: the `cells` of each decision. A person gets aligned columns, a program tabs between them."""
    rows = [_HEADS, *found]
    if not is_for_a_person:
        yield from ("\t".join(row) for row in rows)
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def cells(one: Record, last_review: Record | None, *, is_held: bool, is_answered: bool) -> tuple[str, ...]:
    """Raises Damaged."""
    kept = one.kept
    states = {"erased": one.is_erased, "held": is_held, "unanswered": not is_answered}
    return (
        ids.written(one.id),
        f"{datetime.fromtimestamp(one.time / 1e6, UTC):%Y-%m-%d %H:%M:%S}",
        (one.model and one.model.version) or "-",
        str(kept.outputs[0]),
        kept.door,
        ", ".join(state for state, is_so in states.items() if is_so) or "-",
        _reviewed(last_review),
    )


def _reviewed(last: Record | None) -> str:
    if last is None or not isinstance(event := last.event, Review):
        return "-"
    return f"{event.outcome} by {event.reviewer}"


def unreadable(decisions: Sequence[Unread]) -> Iterator[str]:
    """Of many the first ones, and how many more there are."""
    for one in decisions[:_MOST_UNREADABLE]:
        said = f"record {one.position}"
        if one.position != one.place.position:
            said += f", which tells of decision {ids.written(one.place.id)},"
        yield f"Damaged: {said} cannot be read: python -m journal verify says more"
    if more := len(decisions[_MOST_UNREADABLE:]):
        yield f"Damaged: {more:,} more"


def shown_of(shown: int, damaged: int, total: int) -> str:
    if shown == total:
        return counted(total, "decision").capitalize()
    said = f"{shown:,} of {counted(total, 'decision')}"
    if damaged:
        said += f", and {counted(damaged, 'is', 'are')} damaged"
    return f"{said}: --limit shows more" if shown + damaged < total else said


# ---- Replayed


def replayed(done: Replayed) -> Iterator[str]:
    total = done.same + done.different + done.last_places.total()
    if total:
        same = counted(done.same, "decision is the same", "decisions are the same").capitalize()
        verb = "differs" if done.different == 1 else "differ"
        yield f"{same} in every bit, {done.different:,} {verb}"
    else:
        is_empty = not (done.unloaded or done.damaged or done.erased)
        yield "There was nothing to replay" if is_empty else "Nothing was replayed"
    if done.last_places:
        there = ", ".join(f"{library} ({count:,})" for library, count in done.last_places.most_common())
        yield (
            f"{counted(done.last_places.total(), 'differs', 'differ')} in the last two places of the "
            f"probability at most, which the C library computes: here {_c_library()}, there {there}"
        )
    if done.damaged:
        damaged = counted(done.damaged, "receipt is", "receipts are")
        yield f"{damaged} damaged: python -m journal verify says more"
    if done.erased:
        yield f"{counted(done.erased, 'was', 'were')} erased and cannot be replayed"


def _c_library() -> str:
    return " ".join(platform.libc_ver()).strip() or platform.system()


def not_the_same(done: Replayed) -> Iterator[str]:
    for name in done.differing:
        yield f"Different: {name}"
    if more := done.different - len(done.differing):
        yield f"Different: {more:,} more"
    for name in done.unreadable:
        yield f"Damaged: {name}"
    if more := done.damaged - len(done.unreadable):
        yield f"Damaged: {more:,} more"
    for why, count in done.unloaded.items():
        yield f"Not replayed: {counted(count, 'receipt')}, because {why}"
