"""Which version all workers answer with: decided without a process, so every order of events can be tried."""

import itertools
import json
import random
import tracemalloc
from collections.abc import Sequence
from dataclasses import asdict

import pytest

from api.delivery.news import Copy, News
from api.server import lifeline
from api.server.clock import Clock
from api.server.generations import NONE, Generations, Orders

LOADING = 30.0


def copy(version: str) -> Copy:
    return Copy(f"/cache/{version * 64}", "scoring-client", version, "champion")


class Workers:
    """A supervisor of imagined workers, which are called by letters, and its clock."""

    def __init__(self, names: str = "", version: str | None = None) -> None:
        self.generations: Generations[str] = Generations(LOADING)
        self.now = 0.0
        self.page = 0
        self.asked: dict[str, list[int]] = {}
        self.serving: list[str] = []
        if version is not None:
            self.generations.want(copy(version))
        for name in names:
            self.come(name)
        if version is not None:
            self.load(names)

    def come(self, name: str) -> None:
        self.generations.join(name)
        self.generations.here(name, self.now)
        self.settle()

    def go(self, name: str) -> None:
        self.generations.leave(name)
        self.asked.pop(name, None)
        self.settle()

    def want(self, version: str) -> None:
        self.generations.want(copy(version))
        self.settle()

    def settle(self) -> Orders[str]:
        orders = self.generations.settle(self.now)
        for name, generation in orders.prepare:
            self.asked.setdefault(name, []).append(generation.number)
        if orders.turned_to is not None:
            self.page = orders.turned_to.number
        self.serving += orders.serve
        return orders

    def load(self, names: Sequence[str], *, fails: bool = False) -> Orders[str]:
        """They answer for all that they were asked to load. Gives what follows from the last answer."""
        orders: Orders[str] = Orders()
        for name in names:
            for number in self.asked.pop(name, []):
                (self.generations.unusable if fails else self.generations.loaded)(name, number, self.now)
                orders = self.settle()
        return orders

    def after(self, seconds: float) -> Orders[str]:
        self.now += seconds
        return self.settle()

    @property
    def version(self) -> str | None:
        found = self.generations.in_use.copy
        return found.version if found else None


def test_nobody_changes_before_the_last_one_has_loaded() -> None:
    workers = Workers("abc", "1")

    workers.want("2")
    workers.load("ab")
    before = workers.version
    workers.load("c")

    assert (before, workers.version) == ("1", "2")


def test_whoever_comes_loads_what_is_in_use_before_it_serves() -> None:
    workers = Workers("a", "1")

    workers.come("b")
    before = list(workers.serving)
    workers.load("b")

    assert (before, workers.serving) == (["a"], ["a", "b"])


def test_a_worker_that_starts_and_hangs_keeps_no_version_from_the_others() -> None:
    workers = Workers("ab", "1")
    workers.generations.join("c")

    workers.want("2")
    workers.load("ab")

    assert workers.version == "2"


def test_a_worker_that_goes_is_waited_for_no_longer() -> None:
    workers = Workers("ab", "1")
    workers.want("2")
    workers.load("a")

    workers.go("b")

    assert workers.version == "2"


def test_a_copy_that_ends_its_process_ends_one_worker_at_a_time_and_not_all() -> None:
    workers = Workers("abc", "1")
    workers.want("2")
    ended = []
    for second in range(130):
        for name in [*workers.asked]:
            ended.append(second)
            workers.go(name)
            workers.come(name)
            workers.asked[name] = [number for number in workers.asked[name] if number == 1]
            workers.load(name)
        workers.after(1.0)

    assert ended == [0, 1, 3, 7, 15, 31, 63, 123]
    assert (workers.version, workers.generations.is_refused) == ("1", True)


def test_one_that_ends_in_order_may_still_answer_and_is_waited_for() -> None:
    workers = Workers("ab", "1")
    workers.generations.leaving("b")
    workers.want("2")
    workers.load("a")
    before = workers.version

    workers.go("b")

    assert (before, workers.version) == ("1", "2")


def test_a_version_that_is_wanted_no_more_is_forgotten() -> None:
    workers = Workers("ab", "1")
    workers.want("2")
    workers.load("a")

    workers.want("1")
    workers.load("b")

    assert workers.version == "1"


def test_without_a_model_one_worker_answers_and_another_takes_its_place() -> None:
    workers = Workers("abc")
    alone = list(workers.serving)

    workers.go("a")

    assert (alone, workers.serving) == (["a"], ["a", "b"])


def test_the_first_model_is_in_use_at_once_for_all_that_have_it() -> None:
    workers = Workers("abc")
    workers.want("1")
    workers.load("bc")
    before = workers.version, list(workers.serving)
    workers.load("a")

    assert before == (None, ["a"])
    assert (workers.version, workers.serving) == ("1", ["a", "b", "c"])


def test_a_copy_that_nobody_can_use_is_brought_afresh_and_the_former_one_goes_on() -> None:
    workers = Workers("ab", "1")
    workers.want("2")

    orders = workers.load("ab", fails=True)

    assert (workers.version, orders.bring_afresh, workers.generations.is_refused) == ("1", True, True)


def test_a_copy_that_could_not_be_used_is_tried_again_after_growing_pauses() -> None:
    workers = Workers("a", "1")
    workers.want("2")
    attempts = []
    for _ in range(200):
        if workers.asked.get("a"):
            attempts.append(workers.now)
            workers.load("a", fails=True)
        workers.after(1.0)

    pauses = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_worker_that_can_not_use_what_another_can_is_replaced_at_the_second_attempt() -> None:
    workers = Workers("ab", "1")
    workers.want("2")
    workers.load("a")
    first = workers.load("b", fails=True)
    workers.after(1.0)
    workers.load("a")
    second = workers.load("b", fails=True)

    assert (first.replace, second.replace) == ([], ["b"])
    workers.go("b")
    assert workers.version == "2"


def test_what_nobody_can_use_is_tried_by_a_new_worker_and_costs_one_at_each_attempt() -> None:
    """An earlier version may have spoilt all the others, which cannot use a good one either."""
    workers = Workers("ab", "1")
    workers.want("2")
    replaced, newcomer = [], "c"
    for seconds in (0.0, 1.0, 2.0, 4.0):
        workers.after(seconds)
        if orders := workers.load("".join(workers.asked), fails=True).replace:
            replaced.append(orders)
            workers.come(newcomer)
            workers.load(newcomer)
            workers.generations.leaving(orders[0])
            workers.go(orders[0])
            newcomer = chr(ord(newcomer) + 1)

    workers.after(8.0)
    assert replaced == [["a"], ["c"], ["d"]]
    assert list(workers.asked) == ["e"]


def test_without_a_model_every_worker_that_is_spoilt_is_replaced() -> None:
    """Not only the one that serves without a model: the others wait, and may be spoilt too."""
    workers = Workers("abcd")
    workers.want("1")
    for _ in range(10):
        while workers.asked:
            name = next(iter(workers.asked))
            for spoilt in workers.load(name, fails=name in "abcd").replace:
                workers.go(spoilt)
                workers.come(spoilt.upper())
        workers.after(60.0)

    assert workers.version == "1"
    assert sorted(workers.generations.members) == ["A", "B", "C", "D"]


def test_a_worker_that_never_answers_for_a_copy_is_replaced_and_the_doubt_is_said() -> None:
    workers = Workers("ab", "1")
    workers.want("2")
    workers.load("a")
    early = workers.after(LOADING - 1)
    late = workers.after(1.0)

    assert (early.replace, late.replace) == ([], ["b"])
    assert workers.generations.is_refused


def test_a_worker_that_loads_one_copy_after_the_other_has_its_time_for_each() -> None:
    workers = Workers("a", "1")
    workers.come("b")
    workers.want("2")
    workers.now += LOADING - 1
    workers.generations.loaded("b", workers.asked["b"][0], workers.now)

    assert workers.after(LOADING - 1).replace == ["a"]


def test_a_newcomer_that_cannot_load_what_is_in_use_is_asked_again_and_hinders_nobody() -> None:
    workers = Workers("a", "1")
    workers.come("b")
    orders = workers.load("b", fails=True)
    before = list(workers.serving)
    workers.after(1.0)
    workers.load("aba")

    assert (orders.bring_afresh, before, workers.serving) == (True, ["a"], ["a", "b"])


def test_when_the_last_worker_is_lost_and_no_copy_can_be_used_one_says_so_until_there_is_one() -> None:
    workers = Workers("a", "1")
    workers.go("a")
    workers.come("b")
    workers.load("b", fails=True)
    without = workers.generations.in_use, list(workers.serving)
    workers.after(1.0)
    workers.load("b")

    assert without == (NONE, ["a", "b"])
    assert workers.version == "1"


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_in_which_order_nobody_answers_with_what_it_does_not_hold(seed: int) -> None:
    """And the page only ever turns to a later generation, or to none."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    workers, names = Workers("abcd"), iter(range(1000))
    pages = [0]
    for _ in range(1000):
        present = list(workers.generations.members)
        name = chance.choice(present) if present else None
        match chance.randrange(6):
            case 0:
                workers.want(str(chance.randrange(1, 4)))
            case 1 if len(present) < 6:
                workers.come(f"w{next(names)}")
            case 2 if name and len(present) > 1:
                workers.go(name)
            case 3 if name:
                workers.generations.leaving(name)
                workers.settle()
            case 4:
                workers.after(chance.choice([0.5, 5.0]))
            case _ if name:
                workers.load([name], fails=chance.random() < 0.2)
        number = workers.page
        pages.append(number)
        holders = [one for one in workers.generations.members.values() if one.may_answer]
        assert number == workers.generations.in_use.number
        assert number == 0 or all(number in one.loaded for one in holders)

    turns = [number for number in pages if number]
    assert turns == sorted(turns)
    assert len(set(turns)) > 3


# ---- The clock


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_time_for_which_the_supervisor_was_stopped_counts_for_nobody() -> None:
    time = Time()
    clock = Clock(time)
    began = clock.now()

    for pause in (0.5, 0.5, 60.0, 0.5):
        time.now += pause
        clock.account(0.5)

    assert clock.now() - began == pytest.approx(2.0)


def test_a_turn_that_is_a_little_late_is_counted() -> None:
    time = Time()
    clock = Clock(time)
    began = clock.now()

    for _ in range(10):
        time.now += 1.2
        clock.account(0.5)

    assert clock.now() - began == pytest.approx(12.0)


# ---- News, and lines of other releases


def test_a_copy_stays_until_there_is_another_and_a_problem_only_as_long_as_it_is_said() -> None:
    former = News(copy("1"), "registre injoignable", looked_at=5.0, refusals=2)

    now = News(looked_at=6.0, refusals=1).after(former)

    assert now == News(copy("1"), None, looked_at=6.0, refusals=3)


@pytest.mark.parametrize(("looked_at", "stays"), [(None, True), (7.0, False)])
def test_only_a_registry_that_has_answered_says_that_there_is_no_challenger(
    looked_at: float | None, stays: bool
) -> None:
    former = News(copy("1"), challenger=copy("2"), looked_at=5.0)

    now = News(copy("1"), looked_at=looked_at).after(former)

    assert now.challenger == (copy("2") if stays else None)
    assert now.looked_at == (looked_at or 5.0)


def test_news_of_another_release_are_understood() -> None:
    """Keys that are not known are ignored, and those that are missing have defaults."""
    folder = "/cache/" + 64 * "1"
    copied = {"folder": folder, "name": "x", "colour": "red"}
    line = json.dumps({"protocol": 9, "mood": "good", "copy": copied, "challenger": None}).encode()

    assert News.of(line) == News(Copy(folder, "x"))
    assert News.of(News(copy("1"), "no", copy("2"), None, 3, 4.0).line()) == News(
        copy("1"), "no", copy("2"), None, 3, 4.0
    )


def test_lines_of_another_release_are_no_error() -> None:
    found = lifeline.Lines()
    first, second = lifeline.line("prepare", number=4, copy=asdict(copy("1"))), b'{"kind": "dance"}\n[1]\n{\n'

    said = [*found.of(first[:7]), *found.of(first[7:] + second)]

    assert [(one.kind, one.number) for one in said] == [("prepare", 4), ("dance", 0), ("", 0), ("", 0)]


def test_a_line_without_an_end_takes_no_memory() -> None:
    found = lifeline.Lines()
    tracemalloc.start()
    for _ in range(100):
        assert list(found.of(b"x" * 65_536)) == []
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 1_000_000
    assert [one.kind for one in found.of(b"\n" + lifeline.line("alive"))][-1] == "alive"
