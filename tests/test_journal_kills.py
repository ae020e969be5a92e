"""Writers that are killed at random moments: what was acknowledged is in the journal, once."""

import random
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from journal import ids, store, verification
from tests.journal_support import journal_at, receipts, rows, write

ROOT = Path(__file__).resolve().parents[1]
_ENDLESS = """
import random, sys
from journal import ids
from tests.journal_support import receipts, writer
chance = random.Random()
with writer() as one:
    while True:
        group = receipts(chance.randrange(1, 60))
        one.append(group)
        sys.stdout.write("".join(ids.written(each.id) + "\\n" for each in group))
        sys.stdout.flush()
"""
KILLS = 12


def _acknowledged_until_killed(seconds: float) -> list[str]:
    """The ids that a writer said were written, the last of which may be cut."""
    with subprocess.Popen([sys.executable, "-c", _ENDLESS], cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(seconds)
        child.kill()
        rest = child.stdout.read()
    return (first + rest).decode().splitlines()


@pytest.mark.slow
def test_twelve_kills_lose_nothing_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = journal_at(tmp_path, monkeypatch)
    chance = random.Random(9)  # noqa: S311 - the moments are random enough by themselves
    acknowledged: list[str] = []

    for _ in range(KILLS):
        *whole, last = _acknowledged_until_killed(chance.uniform(0, 0.3))
        acknowledged += [*whole, *([last] if len(last) == 36 else [])]
    write(receipts(1))

    kept = [ids.written(one) for (one,) in rows(file, "SELECT id FROM record WHERE kind = 1")]
    with closing(store.opened()) as opened, opened.reading() as connection:
        report = verification.verify(connection)
    assert len(acknowledged) > 20 * KILLS
    assert set(acknowledged) - set(kept) == set()
    assert len(kept) == len(set(kept))
    assert report.findings == []
    assert report.unended == list(range(KILLS))
