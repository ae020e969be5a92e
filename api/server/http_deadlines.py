"""How long a connection may take over a request, before the next one, and over its answers."""

import enum
import math

# A request must be whole so many seconds after its first byte, plus a second for each RATE bytes that came.
RECEIVE_SECONDS = 10.0
RATE = 256 * 1024
# A client that takes nothing of its answer for so long is dropped. One that is far behind has a second more
# for each RATE bytes.
SEND_SECONDS = 30.0
# Longer than proxies keep an idle connection open, so that the proxy closes it and not this side.
IDLE_SECONDS = 75.0
# A client that is refused while it sends may go on sending for so long: the system would drop our last answer
# if the connection were closed with bytes unread.
LINGER_SECONDS = 2.0
# For so long a barrier may keep answers back. Then their clients lose the connection, and know of no answer.
KEPT_SECONDS = 30.0


class Doing(enum.Enum):
    """What a connection does."""

    IDLE = enum.auto()
    RECEIVING = enum.auto()
    ANSWERING = enum.auto()
    KEPT_BACK = enum.auto()
    OVER = enum.auto()


class Late(enum.Enum):
    """What follows from being late."""

    ABORT = enum.auto()
    CLOSE = enum.auto()
    REFUSE = enum.auto()


class Deadlines:
    """Those of one connection, which is looked at twice a second.

    `since`: when it was first seen doing what it does; None once it may have done something else.
    `idle_seconds`: for the first request, and longer for those that follow.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self.idle_seconds = RECEIVE_SECONDS
        self._doing = Doing.IDLE
        self._unsent, self._unsent_since, self._caught_up_until = 0, 0.0, math.inf

    def missed(self, now: float, doing: Doing, received: int) -> Late | None:
        """What follows from what it does for too long. `received`: bytes of the present request."""
        if self.since is None or doing is not self._doing:
            self._doing, self.since = doing, now
        waited = now - self.since
        lingers = doing is Doing.OVER and waited > LINGER_SECONDS and not self._unsent
        if lingers or (doing is Doing.KEPT_BACK and waited > KEPT_SECONDS):
            return Late.ABORT
        if doing is Doing.IDLE and waited > self.idle_seconds:
            return Late.CLOSE
        if doing is Doing.RECEIVING and waited > RECEIVE_SECONDS + received / RATE:
            return Late.REFUSE
        return None

    def is_stuck(self, now: float, unsent: int, *, piles_up: bool) -> bool:
        """Whether the client has taken nothing of what is written for it, or too little of what piled up."""
        if not unsent or unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        if not piles_up:
            self._caught_up_until = math.inf
        elif self._caught_up_until == math.inf:
            self._caught_up_until = now + SEND_SECONDS + unsent / RATE
        return now - self._unsent_since > SEND_SECONDS or now > self._caught_up_until
