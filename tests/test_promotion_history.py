"""The history of the champion: promotions, rollbacks, and moves by other hands."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from mlflow_model.registry import aliases, connection, moves, versions
from mlflow_model.registry.aliases import Move
from tests.command_line import register_py
from tests.promotion_support import champion, damage

pytest_plugins = ["tests.promotion_fixtures"]
pytestmark = pytest.mark.usefixtures("few_resamplings")


def test_the_history_tells_who_was_champion_from_when_to_when(candidates: Path) -> None:
    moves.promote(2)
    moves.promote(3)
    moves.rollback()

    terms = moves.history()

    assert [term.version for term in terms] == [1, 2, 3, 2]
    assert [term.how for term in terms] == ["registration", "promotion", "promotion", "rollback"]
    assert [term.until for term in terms] == [*(term.since for term in terms[1:]), None]


def test_a_move_by_other_hands_is_seen_and_can_be_rolled_back(candidates: Path) -> None:
    connection.connect().set_registered_model_alias(versions.NAME, "champion", "3")

    assert moves.history()[-1].how == "moved elsewhere"
    assert moves.rollback() == 1


def test_a_rollback_to_a_damaged_version_is_refused_with_the_way_out(candidates: Path) -> None:
    moves.promote(2)
    damage(candidates, 1)

    refused = register_py("rollback")

    assert (refused.returncode, champion()) == (2, 2)
    assert refused.stderr == (
        "Version 1 of scoring-client cannot return: python register.py promote chooses another.\n"
        "Erreur lors du chargement du modèle : l’empreinte de 'policy.json' ne correspond pas au manifeste ; "
        "réenregistrez le modèle avec « python register.py »\n"
    )


def test_a_rollback_passes_over_a_version_that_is_gone(candidates: Path) -> None:
    moves.promote(2)
    moves.promote(3)
    connection.connect().delete_model_version(versions.NAME, "2")

    assert moves.rollback() == 1


def test_a_move_by_other_hands_between_two_of_ours_is_part_of_the_history(candidates: Path) -> None:
    connection.connect().set_registered_model_alias(versions.NAME, "champion", "2")
    moves.promote(3)

    told = [(term.version, term.how) for term in moves.history()]
    assert told == [(1, "registration"), (2, "moved elsewhere"), (3, "promotion")]
    assert moves.rollback() == 2


class Cut(Exception):
    """Stands for the end of the process."""


class Dying:
    """A client of the registry. Its process ends at a given call."""

    def __init__(self, last: str) -> None:
        self._client, self._last = connection.connect(), last

    def __getattr__(self, name: str) -> Any:
        if name == self._last:
            raise Cut
        return getattr(self._client, name)


@pytest.mark.parametrize("last", ["set_registered_model_tag", "set_registered_model_alias"])
def test_a_promotion_that_is_cut_off_leaves_the_champion_and_its_history(candidates: Path, last: str) -> None:
    with pytest.raises(Cut):
        aliases.move(Dying(last), versions.NAME, "champion", Move(2, aliases.PROMOTION))

    assert (champion(), [term.version for term in moves.history()]) == (1, [1])
    moves.promote(3)
    assert [term.version for term in moves.history()] == [1, 3]
    assert moves.rollback() == 1


def test_a_promotion_that_was_cut_off_can_be_done_again(candidates: Path) -> None:
    with pytest.raises(Cut):
        aliases.move(
            Dying("set_registered_model_alias"), versions.NAME, "champion", Move(2, aliases.PROMOTION)
        )

    moves.promote(2)

    assert [term.version for term in moves.history()] == [1, 2]
    assert moves.rollback() == 1


def test_a_clock_that_goes_back_changes_no_order(candidates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Earlier(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - timedelta(hours=1)

    moves.promote(2)
    monkeypatch.setattr(aliases, "datetime", Earlier)
    moves.promote(3)

    assert [term.version for term in moves.history()] == [1, 2, 3]
    assert moves.rollback() == 2


TAGS_OF_OTHERS = {
    "note": "hello",
    "older.000009-abcdef": "{}",
    "000009-abcdef": "hello",
    "000010-abcdef": "[]",
    "000011-abcdef": '{"from": 2, "version": null, "why": null}',
}


def test_a_tag_of_other_hands_is_no_part_of_the_history(candidates: Path) -> None:
    moves.promote(2)
    for key, value in TAGS_OF_OTHERS.items():
        connection.connect().set_registered_model_tag(versions.NAME, f"history.champion.{key}", value)

    assert register_py("list").returncode == 0
    assert [term.version for term in moves.history()] == [1, 2]
    assert register_py("rollback").returncode == 0
    assert champion() == 1


RACES: dict[str, tuple[list[tuple[int | None, int]], int, list[tuple[int, str]]]] = {
    "both wrote, then the first moved last": (
        [(None, 1), (1, 2), (1, 3)],
        2,
        [(1, "promotion"), (2, "promotion")],
    ),
    "both wrote, then the second moved last": (
        [(None, 1), (1, 2), (1, 3)],
        3,
        [(1, "promotion"), (3, "promotion")],
    ),
    "neither has moved yet": ([(None, 1), (1, 2), (1, 3)], 1, [(1, "promotion")]),
    "the winner of a race was followed": (
        [(None, 1), (1, 2), (1, 3), (2, 4)],
        4,
        [(1, "promotion"), (2, "promotion"), (4, "promotion")],
    ),
    "other hands came after a race": (
        [(None, 1), (1, 2), (1, 3)],
        4,
        [(1, "promotion"), (3, "promotion"), (4, "moved elsewhere")],
    ),
    "the model had an alias before us": ([(7, 8)], 8, [(7, "moved elsewhere"), (8, "promotion")]),
}


class Written:
    """A registry with these moves, all recorded under one sequence number, and an alias."""

    def __init__(self, moves: list[tuple[int | None, int]], current: int) -> None:
        self.aliases = {"champion": str(current)}
        self.tags = {
            f"history.champion.{number:06d}-abcdef": json.dumps(
                {
                    "from": origin,
                    "version": version,
                    "how": "promotion",
                    "why": None,
                    "time": datetime.now(UTC).isoformat(),
                }
            )
            for number, (origin, version) in enumerate(moves, 1)
        }

    def get_registered_model(self, name: str) -> "Written":
        return self


@pytest.mark.parametrize("race", RACES)
def test_a_race_reads_as_what_the_alias_named(race: str) -> None:
    moves, current, told = RACES[race]

    terms = aliases.history(Written(moves, current), "scoring-client", "champion")

    assert [(term.version, term.how) for term in terms] == told


@pytest.mark.parametrize("at_once", [(2, 3), pytest.param((2, 3, 2, 3), marks=pytest.mark.slow)], ids=len)
def test_promotions_at_once_leave_one_champion_and_a_history_that_can_be_read(
    candidates: Path, at_once: tuple[int, ...]
) -> None:
    with ThreadPoolExecutor(len(at_once)) as pool:
        list(pool.map(moves.promote, at_once))

    assert champion() in (2, 3)
    told = [term.version for term in moves.history()]
    assert (told[0], told[-1]) == (1, champion())
    assert moves.rollback() == told[-2]


def test_promoting_the_champion_says_that_it_is_that_already(candidates: Path) -> None:
    told = register_py("promote", "1")

    assert told.returncode == 0
    assert told.stderr.splitlines()[-1] == "champion of scoring-client points at version 1 already"
