"""How long the supervisor waits for its processes. docs/operations.md lists all bounds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """Seconds that the supervisor waits before it acts.

    `starting`: until a process has started and listens, and again until it accepts connections. `loading`:
    until it has loaded a copy. `silence`: without a sign of life from its event loop, which gives one every
    half second. `ending`: after SIGTERM; it ends within 14.5 s by itself. `exchange`: until all new workers
    answer. The challenger's process has `loading` and `silence`, too.
    """

    starting: float = 60.0
    loading: float = 30.0
    silence: float = 10.0
    ending: float = 15.0
    exchange: float = 120.0
