"""What becomes of decisions when the journal's file is not where it was, or was never a journal."""

import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.live import line_with
from tests.recording_support import (
    WITHIN,
    Load,
    findings,
    held_against,
    is_whole,
    recording,
    sqlite_in,
    written,
)
from tests.servers import SocketDoor

Client = dict[str, Any]
FILES = ("journal.db", "journal.db-wal", "journal.db-shm")


def _together(folder: Path) -> None:
    (folder / "away").mkdir()
    for name in FILES:
        (folder / name).rename(folder / "away" / name)


def _alone(folder: Path) -> None:
    """What SQLite keeps beside it stays."""
    (folder / "away").mkdir()
    (folder / FILES[0]).rename(folder / "away" / FILES[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "move",
    [pytest.param(_together, id="with its log"), pytest.param(_alone, id="alone")],
)
def test_a_journal_that_was_moved_is_missed_and_written_again_when_it_is_back(
    documented_pickle: Path, documented_request: Client, tmp_path: Path, move: Callable[[Path], None]
) -> None:
    url = sqlite_in(tmp_path)
    with recording(documented_pickle, tmp_path, url) as door, _asking(door, documented_request) as load:
        move(tmp_path)
        load.refuses()
        assert not (tmp_path / FILES[0]).exists()  # nor has anybody made another one
        line_with(door, "the journal was moved, replaced or deleted while it was written")
        for file in (tmp_path / "away").iterdir():
            file.rename(tmp_path / file.name)
        load.answers_again()
        line_with(door, "the journal is written again")

    held_against(url, load)
    assert load.longest < WITHIN


@pytest.mark.slow
def test_a_deleted_journal_is_missed_until_a_backup_is_restored_from_which_it_goes_on(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    url = sqlite_in(tmp_path)
    with recording(documented_pickle, tmp_path, url) as door, _asking(door, documented_request) as load:
        _copied(tmp_path / FILES[0], tmp_path / "backup")
        for name in FILES:
            (tmp_path / name).unlink()
        load.refuses()
        line_with(door, "the journal was moved, replaced or deleted while it was written: put it back")
        before = dict(load.given)
        (tmp_path / "backup").rename(tmp_path / FILES[0])
        load.answers_again()

    found = dict(written(url))
    assert {reference: found.get(reference) for reference in load.given.keys() - before} == {
        reference: one for reference, one in load.given.items() if reference not in before
    }
    assert findings(url) == []


def _renamed(backup: Path, file: Path) -> None:
    backup.rename(file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("put", "sentence"),
    [
        (_renamed, "the journal was replaced, and beside it lies the log of the former one"),
        (shutil.copyfile, "the journal's file became shorter while it was written"),
    ],
    ids=["moved", "copied"],
)
def test_a_backup_that_the_log_of_the_former_journal_would_damage_is_not_written_to(
    documented_pickle: Path,
    documented_request: Client,
    tmp_path: Path,
    put: Callable[[Path, Path], object],
    sentence: str,
) -> None:
    url = sqlite_in(tmp_path)
    with recording(documented_pickle, tmp_path, url) as door, _asking(door, documented_request) as load:
        _copied(tmp_path / FILES[0], tmp_path / "backup")
        small = (tmp_path / FILES[0]).stat().st_size
        servers.eventually(lambda: (tmp_path / FILES[0]).stat().st_size > 2 * small or None, "more pages")
        load.answers_again()
        put(shutil.copyfile(tmp_path / "backup", tmp_path / "copy"), tmp_path / FILES[0])
        load.refuses()
        line_with(door, sentence)
        assert load.statuses[503] > 30
        _removed(tmp_path, FILES)  # as the sentence says
        (tmp_path / "backup").rename(tmp_path / FILES[0])
        load.answers_again()

    assert is_whole(tmp_path / FILES[0])
    assert findings(url) == []


def _removed(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _copied(source: Path, target: Path) -> None:
    """As `sqlite3 SOURCE ".backup TARGET"` does."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


@pytest.mark.slow
def test_a_backup_restored_through_sqlite_is_gone_on_from(
    documented_pickle: Path, documented_request: Client, tmp_path: Path
) -> None:
    url = sqlite_in(tmp_path)
    with recording(documented_pickle, tmp_path, url) as door, _asking(door, documented_request) as load:
        _copied(tmp_path / FILES[0], tmp_path / "backup")
        load.answers_again(100)
        _copied(tmp_path / "backup", tmp_path / FILES[0])
        load.answers_again()

    assert is_whole(tmp_path / FILES[0])
    assert findings(url) == []


@contextmanager
def _asking(door: SocketDoor, client: Client) -> Iterator[Load]:
    with Load(door.port, client).going_on() as load:
        load.answers_again()
        yield load


# ---- What is no journal


def _database_of_somebody(folder: Path) -> Path:
    with closing(sqlite3.connect(folder / "theirs.db")) as database, database:
        database.execute("CREATE TABLE experiments (name TEXT)")
    return folder / "theirs.db"


def _text(folder: Path) -> Path:
    (folder / "theirs.txt").write_text("A letter, and no database.\n" * 100)
    return folder / "theirs.txt"


def _empty_folder(folder: Path) -> Path:
    (folder / "theirs").mkdir()
    return folder / "theirs"


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        (_database_of_somebody, "the database holds tables of something else (experiments, for instance)"),
        pytest.param(
            _text,
            "the file is no database, or its beginning is damaged: check JOURNAL_URL",
            marks=pytest.mark.slow,
        ),
        pytest.param(_empty_folder, "is no file: JOURNAL_URL must name one", marks=pytest.mark.slow),
    ],
    ids=["database", "text", "folder"],
)
@pytest.mark.slow
def test_what_is_no_journal_is_refused_in_one_sentence_at_the_start_and_left_as_it_is(
    documented_pickle: Path,
    documented_request: Client,
    tmp_path: Path,
    theirs: Callable[[Path], Path],
    sentence: str,
) -> None:
    place = theirs(tmp_path)
    place.chmod(0o644)
    before = _looked_at(place)

    with recording(documented_pickle, tmp_path, f"sqlite:///{place}") as door:
        line_with(door, sentence)
        refused = door.predict(documented_request)
        said = [line for line in door.said.splitlines() if "journal" in line]

    assert refused.status == 503
    assert len(said) == 1
    assert "Traceback" not in door.said
    assert _looked_at(place) == before
    assert [*tmp_path.glob("theirs*")] == [place]


def _looked_at(place: Path) -> tuple[int, bytes]:
    return stat.S_IMODE(place.stat().st_mode), place.read_bytes() if place.is_file() else b""
