"""The run's record in the journal, unless JOURNAL_URL=off."""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from batch.errors import Refused
from batch.summary import Counts
from batch.version import Version
from journal import models
from journal.code_version import code_version
from journal.events import Scored

if TYPE_CHECKING:
    from journal.store import Journal

_PROCESS = "python -m batch score"


@contextlib.contextmanager
def opened() -> Iterator["Journal | None"]:
    """The journal, which is made where there is none, as a service makes it. Raises Refused."""
    if os.environ.get("JOURNAL_URL") == "off":
        yield None
        return
    from journal import store  # SQLAlchemy, 20 MB
    from journal.errors import JournalError

    try:
        is_sqlite = store.address().get_backend_name() == "sqlite"
        journal = store.make()[0] if is_sqlite else store.opened()
    except JournalError as error:
        raise Refused(str(error)) from error
    with contextlib.closing(journal):
        yield journal


def write(journal: "Journal | None", version: Version, digests: tuple[str, str], counts: Counts) -> None:
    """Return when it is on the disk. `digests`: of input and output. Raises Refused."""
    if journal is None:
        return
    from journal.errors import JournalError
    from journal.writer import Writer

    code = code_version()
    model = models.of_scorer(version.scorer, version.name, version.number, version.digest, code)
    event = Scored(
        model=model,
        input=digests[0],
        output=digests[1],
        labels=dict(counts.labels),
        set_aside=counts.set_aside,
    )
    try:
        with Writer(journal, _PROCESS, code) as writer:
            writer.append([event])
    except JournalError as error:
        raise Refused(str(error)) from error
