"""Whether receipts are marked as reviewed that are, and no others: the rest waits for a review."""

import sqlalchemy as sa

from journal import schema
from journal.record import Kind
from journal.store import Journal

_of_it = schema.record.c
_review = schema.record.alias("review").c
# Reviews are no receipts: said so, an index that holds no receipt finds them.
_is_review = sa.and_(_review.kind == int(Kind.REVIEW), _review.kind != int(Kind.RECEIPT))

IS_WITHOUT_REVIEW = sa.and_(schema.is_reviewed, ~sa.exists().where(_is_review, _review.subject == _of_it.id))
IS_WITHOUT_MARK = sa.and_(
    schema.is_receipt,
    _of_it.is_reviewed == 0,
    _of_it.id.in_(sa.select(_review.subject).where(_is_review)),
)


def mend(journal: Journal) -> int:
    """Make the marks those that the reviews ask for. Returns how many were not. Raises JournalError.

    Code of form 0003 that waited for the lock while the journal was brought to 0004 has marked none.
    """
    with journal.writing() as connection:
        changed = 0
        for is_wrong, mark in ((IS_WITHOUT_REVIEW, 0), (IS_WITHOUT_MARK, 1)):
            wrong = connection.execute(sa.select(_of_it.position).where(is_wrong)).scalars().all()
            for position in wrong:
                one = schema.record.update().where(_of_it.position == position)
                connection.execute(one.values(is_reviewed=mark))
            changed += len(wrong)
    return changed
