"""Which copy of the model all workers answer with, and when they change to another, together.

Each copy to serve is a *generation* and has a number. First one worker is asked to load it, then all, and to
hold it ready. Once all that may answer have done so, the shared number (api/server/shared_number.py) becomes
that generation's, and all workers change at once.

Nothing here starts a process or sends a line: `settle` returns what is to be done, so that it can be tested
alone.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from api.delivery.news import Copy

# A copy that a worker could not use is tried again after a pause, which doubles each time.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
# A worker that then still cannot use it is replaced: an earlier copy may have spoilt its process.
_ATTEMPTS_BEFORE_REPLACING = 2

K = TypeVar("K")


@dataclass(frozen=True)
class Generation:
    number: int = 0
    copy: Copy | None = None


NONE = Generation()


@dataclass
class Member:
    """A worker. `asked` holds the generations that it is loading, each with its deadline.

    `may_answer`: it accepts connections, or has accepted some. `is_leaving`: it accepts no more.
    """

    is_here: bool = False
    may_answer: bool = False
    is_leaving: bool = False
    asked: dict[int, float] = field(default_factory=dict)
    loaded: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)

    def has_heard_of(self, generation: Generation) -> bool:
        number = generation.number
        return number in self.asked or number in self.loaded or number in self.failed


@dataclass
class Orders(Generic[K]):
    """What is to be done, in this order; `turned_to`: the generation in use, if that has just changed.

    `bring_afresh`: a worker cannot use the copy. `replace`: other workers must take the place of these.
    """

    prepare: list[tuple[K, Generation]] = field(default_factory=list)
    turned_to: Generation | None = None
    serve: list[K] = field(default_factory=list)
    bring_afresh: bool = False
    replace: list[K] = field(default_factory=list)


class Generations(Generic[K]):
    """The generation in use, the newest, and how far each worker is with them.

    `loading`: a worker that has not loaded a copy after so many seconds is given up.
    """

    def __init__(self, loading: float) -> None:
        self.in_use = self.newest = NONE
        self._loading = loading
        self.members: dict[K, Member] = {}
        self._last_number = 0
        self._failures = 0
        self._died_of = 0
        self._try_again_at: float | None = None

    # ---- What happened

    def want(self, copy: Copy) -> None:
        """Serve this copy as soon as possible. If it is the one in use, nothing needs to be loaded."""
        if copy != self.newest.copy:
            self.newest = self.in_use if copy == self.in_use.copy else self._numbered(copy)
            self._failures, self._try_again_at = 0, None

    def join(self, key: K) -> None:
        self.members[key] = Member()

    def leave(self, key: K) -> None:
        """The worker has ended. What it was loading may be the cause, if no other worker has loaded it."""
        member = self.members.pop(key, None)
        number = self.newest.number
        if member and number in member.asked and not member.is_leaving and not self._is_loaded(number):
            self._died_of = number

    def here(self, key: K, now: float) -> None:
        """The worker listens: its time to load begins."""
        if member := self.members.get(key):
            member.is_here = True
            self._give_time(member, now)

    def loaded(self, key: K, number: int, now: float) -> None:
        self._answered(key, number, now, has_loaded=True)

    def unusable(self, key: K, number: int, now: float) -> None:
        self._answered(key, number, now, has_loaded=False)

    def leaving(self, key: K) -> None:
        """The worker accepts no more connections, but still answers on those that it has."""
        if member := self.members.get(key):
            member.is_leaving = True

    def _answered(self, key: K, number: int, now: float, *, has_loaded: bool) -> None:
        member = self.members.get(key)
        if member is None or member.asked.pop(number, None) is None:
            return
        (member.loaded if has_loaded else member.failed).add(number)
        self._give_time(member, now)  # it loads one generation after the other

    def _give_time(self, member: Member, now: float) -> None:
        member.asked = dict.fromkeys(member.asked, now + self._loading)

    def _numbered(self, copy: Copy | None) -> Generation:
        self._last_number += 1
        return Generation(self._last_number, copy)

    # ---- What follows

    @property
    def is_refused(self) -> bool:
        """Whether the newest copy is not in use because a worker could not use it."""
        return self._failures > 0 and self.in_use.copy != self.newest.copy

    def settle(self, now: float) -> Orders[K]:
        orders: Orders[K] = Orders()
        self._lose_patience(now, orders)
        self._count_failures(now, orders)
        self._ask(now, orders)
        self._turn(orders)
        self._let_serve(orders)
        return orders

    def _lose_patience(self, now: float, orders: Orders[K]) -> None:
        for key, member in self.members.items():
            overdue = [number for number, until in member.asked.items() if until <= now]
            for number in overdue:
                del member.asked[number]
                member.failed.add(number)
            if overdue:
                orders.replace.append(key)

    def _count_failures(self, now: float, orders: Orders[K]) -> None:
        """After a failed attempt, plan the next one. Pauses grow: the loader may mend the copy meanwhile."""
        if self._try_again_at is not None:
            if now < self._try_again_at:
                return
            self.newest, self._try_again_at = self._numbered(self.newest.copy), None
        elif self._failed():
            pause = min(FIRST_PAUSE * 2**self._failures, LONGEST_PAUSE)
            self._failures += 1
            self._try_again_at = now + pause
            orders.bring_afresh = True
            if self._failures >= _ATTEMPTS_BEFORE_REPLACING:
                orders.replace += self._who_could_not()
        elif self.members and all(self.newest.number in one.loaded for one in self.members.values()):
            self._failures = 0

    def _failed(self) -> bool:
        """Whether a worker could not use the newest generation, and all that were asked have answered."""
        number = self.newest.number
        everybody = self.members.values()
        has_failed = self._died_of == number > 0 or any(number in one.failed for one in everybody)
        return has_failed and not any(number in one.asked for one in everybody if one.is_here)

    def _who_could_not(self) -> list[K]:
        """The workers that could not load it. One that answers goes on until another does in its place."""
        number = self.newest.number
        return [key for key, one in self.members.items() if not one.is_leaving and number in one.failed]

    def _ask(self, now: float, orders: Orders[K]) -> None:
        """Ask workers to load. One that arrives after an attempt has failed is asked at the next attempt."""
        self._ask_for(self.in_use, list(self.members), now, orders)
        if self.newest != self.in_use and self._try_again_at is None:
            self._ask_for(self.newest, self._who_tries(), now, orders)

    def _ask_for(self, generation: Generation, keys: list[K], now: float, orders: Orders[K]) -> None:
        for key in keys:
            member = self.members[key]
            if generation.copy is not None and not member.has_heard_of(generation):
                member.asked[generation.number] = now + self._loading if member.is_here else float("inf")
                orders.prepare.append((key, generation))

    def _who_tries(self) -> list[K]:
        """The workers that load the newest generation: one first, and all once it has succeeded.

        So a copy that ends the process that loads it ends one worker, not all. After two attempts the
        youngest tries. Without a model all try at the first attempt: there is nothing to lose.
        """
        is_first = self.in_use == NONE and not self._failures
        if is_first or self._is_loaded(self.newest.number):
            return list(self.members)
        here = [key for key, one in self.members.items() if one.is_here and not one.is_leaving]
        if not here or any(one.has_heard_of(self.newest) for one in self.members.values()):
            return []
        return [here[0 if self._failures < _ATTEMPTS_BEFORE_REPLACING else -1]]

    def _is_loaded(self, number: int) -> bool:
        return any(number in one.loaded for one in self.members.values())

    def _turn(self, orders: Orders[K]) -> None:
        number, everybody = self.newest.number, self.members.values()
        if number == self.in_use.number or not any(number in one.loaded for one in everybody):
            return
        if all(number in one.loaded for one in everybody if one.may_answer):
            self.in_use = orders.turned_to = self.newest
            for member in everybody:
                member.loaded &= {number}
                member.failed &= {number}

    def _let_serve(self, orders: Orders[K]) -> None:
        """Let workers serve that hold the generation in use. Without a model one serves, and answers 503."""
        if not self._is_served() and not any(one.asked for one in self.members.values()):
            self._serve_without(orders)
        for key, member in self.members.items():
            if not (member.may_answer or member.is_leaving) and self.in_use.number in member.loaded:
                self._serve(key, orders)

    def _serve_without(self, orders: Orders[K]) -> None:
        ready = [key for key, one in self.members.items() if one.is_here and not one.is_leaving]
        if any(self.in_use.number in self.members[key].loaded for key in ready) or not ready:
            return
        if self.in_use != NONE:
            self.in_use = orders.turned_to = NONE
        self._serve(ready[0], orders)

    def _serve(self, key: K, orders: Orders[K]) -> None:
        self.members[key].may_answer = True
        orders.serve.append(key)

    def _is_served(self) -> bool:
        return any(one.may_answer and not one.is_leaving for one in self.members.values())
