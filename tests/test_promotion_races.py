"""Promotions beside somebody else's moves at the same moment."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlflow_model.bundle.bundles import Bundle
from mlflow_model.registry import aliases, connection, listing, moves, registration, versions
from mlflow_model.registry.aliases import Move
from mlflow_model.registry.leases import Overtaken
from promotion import examination, promoting
from tests.command_line import register_py
from tests.live import policy_of
from tests.promotion_support import CARD, champion, examined, outcome_of

pytest_plugins = ["tests.promotion_fixtures"]
pytestmark = pytest.mark.usefixtures("few_resamplings")


@pytest.mark.endurance
def test_of_two_promotions_that_examined_the_same_champion_one_is_made(candidates: Path) -> None:
    first, second = examined(2), examined(3)
    promoting.promote(first, None)

    with pytest.raises(Overtaken, match="champion of scoring-client names version 2 by now: compare with"):
        promoting.promote(second, None)

    assert (champion(), outcome_of(2), outcome_of(3)) == (2, "promoted", "overtaken")
    assert [term.version for term in moves.history()] == [1, 2]


@pytest.mark.slow
def test_two_promotions_at_once_say_what_is_true(candidates: Path) -> None:
    both = [examined(2), examined(3)]
    at_once = threading.Barrier(2)

    def promoted(one: examination.Examination) -> bool:
        at_once.wait()
        try:
            promoting.promote(one, None)
        except Overtaken:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(promoted, both))

    assert sorted(said) == [False, True]
    assert champion() == (2 if said[0] else 3)


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_version_that_was_exchanged_after_its_examination_is_not_promoted(
    candidates: Path, version: int
) -> None:
    found = examined(2)
    client = connection.connect()
    client.set_model_version_tag(versions.NAME, str(version), "bundle.sha256", "0" * 64)

    with pytest.raises(Overtaken, match=f"version {version} of scoring-client was exchanged meanwhile"):
        promoting.promote(found, None)

    assert champion() == 1


@pytest.mark.slow
def test_a_command_that_was_overtaken_changes_nothing_and_says_so(
    candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody moves the alias after the two versions were compared and before it is moved."""
    look = examination.examine

    def slow(number: int, **more: Any) -> examination.Examination:
        found = look(number, **more)
        moves.promote(3)
        return found

    monkeypatch.setattr(examination, "examine", slow)

    refused = register_py("promote", "2", "--max-cost-increase", "9")

    assert (refused.returncode, champion()) == (2, 3)
    assert refused.stderr.splitlines()[-1] == (
        "champion of scoring-client names version 3 by now: compare with that one"
    )


def test_a_rollback_beside_a_promotion_does_not_return_from_what_it_has_not_seen(
    candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves.promote(2)
    lease = moves.lease

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(moves, "lease", lease)
        moves.promote(3)
        return lease(*arguments)

    monkeypatch.setattr(moves, "lease", late)

    with pytest.raises(Overtaken, match="champion has been moved meanwhile"):
        moves.rollback()
    assert champion() == 3


def test_an_alias_that_others_move_at_the_same_moment_is_not_said_to_be_ours(candidates: Path) -> None:
    """Somebody outside this project moves the alias, without taking the lease."""

    class Beside:
        def __init__(self) -> None:
            self._client = connection.connect()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
            self._client.set_registered_model_alias(name, alias, version)
            self._client.set_registered_model_alias(name, alias, "3")

    with pytest.raises(Overtaken, match="was moved by others at the same moment: it names version 3"):
        aliases.move(Beside(), versions.NAME, "champion", Move(2, aliases.PROMOTION))


@pytest.mark.slow
def test_two_first_registrations_at_once_make_one_champion_and_one_candidate(
    store: Path, bundle: Bundle
) -> None:
    bundles_at_once = [bundle, policy_of(bundle, 0.3)]

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda one: registration.register(one, CARD), bundles_at_once))

    by_alias = {one.alias: one.number for one in done}
    assert sorted(by_alias) == ["candidate", "champion"]
    assert (listing.version_at(), listing.version_at(alias="candidate")) == (
        by_alias["champion"],
        by_alias["candidate"],
    )
