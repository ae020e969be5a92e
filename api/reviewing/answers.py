"""Answers questions to the journal, out of its database, which each opens anew: it may have been moved."""

import functools
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import sqlalchemy as sa

from api.deciding.answer import Answer
from api.reviewing import shown
from api.reviewing.errors import (
    ContraryReview,
    DecisionErased,
    JournalDamaged,
    JournalSilent,
    NotInTheGreyZone,
    UnknownDecision,
)
from api.reviewing.parameters import OLDEST, Page, bad_cursor
from journal import events, ids, listing, reading, store
from journal.code_version import code_version
from journal.errors import Damaged, JournalError
from journal.listing import Place, Wanted
from journal.models import GREY, LABELS
from journal.reading import Record
from journal.record import Kind
from journal.store import Journal
from journal.writer import Writer

PATIENCE_SECONDS = 0.5  # for a lock, or a server: who asks must hear within a second

_log = logging.getLogger("scoring_client")


def one(decision: str, *, sees_all: bool) -> Answer:
    """Raises ScoringError, as do the others."""
    with _opened() as journal, journal.reading() as connection:
        found = _found(connection, decision, sees_all=sees_all)
        is_answered = not listing.unanswered(connection, [found])
        return _answer(200, shown.whole(found, reading.about(connection, found.id), is_answered=is_answered))


def page(wanted: Page) -> Answer:
    with _opened() as journal, journal.reading() as connection:
        after = None
        if wanted.after is not None:
            # Whoever sees one label alone learns nothing of others.
            after = listing.place_of(connection, ids.read(wanted.after), wanted.label)
            if after is None:
                raise bad_cursor()
        page, last = _page(connection, wanted, after)
        lines, unread = listing.each_readable(page, functools.partial(_lines, connection))
    return _answer(200, {"decisions": lines, "damaged": [*map(shown.unread, unread)], "next": last})


def _page(connection: sa.Connection, wanted: Page, after: Place | None) -> tuple[list[Place], str | None]:
    """Its decisions, and the number that the next page begins behind, None at the end.

    A page whose numbers are all damaged takes the next one with it: nobody could ask for that.
    """
    page: list[Place] = []
    while True:
        found = listing.places(
            connection,
            _chosen(wanted),
            wanted.limit + 1,
            page[-1] if page else after,
            is_oldest_first=wanted.order == OLDEST,
        )
        page += found[: wanted.limit]
        last = next(filter(None, map(shown.own_id, reversed(page))), None)
        if len(found) <= wanted.limit or last is not None:
            return page, last if len(found) > wanted.limit else None


def _chosen(wanted: Page) -> Wanted:
    return Wanted(
        wanted.since, wanted.until, wanted.label, wanted.version, wanted.is_open, wanted.is_reviewed
    )


def _lines(connection: sa.Connection, places: Sequence[Place]) -> list[dict[str, Any]]:
    """Raises Damaged."""
    found = listing.records_at(connection, places)
    reviews = listing.last_reviews(connection, [one.id for one in found])
    unanswered = listing.unanswered(connection, found)
    lines = []
    for one in found:
        with reading.readable(one.position):
            lines.append(shown.line(one, reviews.get(one.id), is_answered=one.id not in unanswered))
    return lines


def review(decision: str, outcome: str, reason: str, reviewer: str, *, sees_all: bool) -> Answer:
    """Check and append in one transaction: of two who contradict each other one is the first."""
    new = events.Review(decision=ids.read(decision), outcome=outcome, reviewer=reviewer, reason=reason)
    entries = [new.entry(), events.End().entry()]
    with _opened() as journal:
        writer = Writer(journal, "review", code_version())
        with writer.group() as group:
            found = _found(group.connection, decision, sees_all=sees_all)
            if found.is_erased:
                raise DecisionErased
            about = reading.about(group.connection, found.id)
            shown.whole(found, about, is_answered=True)  # whoever could not see it has judged nothing
            if not sees_all:
                _check_agreement(new, about)
            group.append(entries)
    told = {"id": ids.written(new.id), "time": shown.moment(new.time), "decision": decision}
    return _answer(201, {**told, "reviewer": reviewer, "outcome": outcome, "reason": reason})


def _check_agreement(new: events.Review, about: list[Record]) -> None:
    """A reviewer may agree, or correct what nobody else has reviewed. Raises ContraryReview."""
    former = [event for record in about if isinstance(event := record.event, events.Review)]
    others = {event.reviewer for event in former} - {new.reviewer}
    if others and former[-1].outcome != new.outcome:
        raise ContraryReview


def _found(connection: sa.Connection, decision: str, *, sees_all: bool) -> Record:
    found = reading.find(connection, ids.read(decision))
    if found is None or found.kind != Kind.RECEIPT:
        raise UnknownDecision
    if not (sees_all or found.label == LABELS.index(GREY)):
        raise NotInTheGreyZone
    return found


@contextmanager
def _opened() -> Iterator[Journal]:
    try:
        with closing(store.opened(PATIENCE_SECONDS)) as journal:
            yield journal
    except JournalError as error:
        _log.error("the journal cannot be asked: %s", error)
        raise (JournalDamaged if isinstance(error, Damaged) else JournalSilent) from error


def _answer(status: int, content: object) -> Answer:
    return Answer(status, json.dumps(content, ensure_ascii=False, allow_nan=False).encode(), None)
