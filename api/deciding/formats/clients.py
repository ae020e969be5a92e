"""What a format has read from a body: the clients, and how to answer in the form in which they came."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from api.deciding.formats.checked_columns import Column


@dataclass(frozen=True)
class Clients:
    """`values`: by feature. `write`: decisions to the bytes of the answer.

    `fault`: what is wrong with a value that the scorer refuses, if the format knows better than the scorer.
    """

    values: dict[str, Column]
    write: Callable[[Mapping[str, Column]], bytes]
    fault: Callable[[object], str | None] = lambda _: None
