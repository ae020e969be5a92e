"""One turn of the supervisor, without its processes."""

import socket

from api.server.supervisor import Supervisor


class Ended:
    """A worker whose lifeline was closed earlier in the same turn."""

    is_deaf = True

    def __init__(self) -> None:
        self.lifeline, other = socket.socketpair()
        self.lifeline.close()
        other.close()


def test_the_end_of_a_worker_that_was_noticed_already_in_this_turn_is_not_heard_again() -> None:
    Supervisor._hear(Supervisor.__new__(Supervisor), Ended())  # type: ignore[arg-type]
