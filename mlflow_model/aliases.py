"""Which version an alias names, and which ones it has named: tags that survive a crash, a race, a bad clock.

A move first adds a tag of its own to the registered model, with a number in sequence and what the alias named
until then. Only then it moves the alias, which the registry does in one step: a crash in between, or a tag
that is refused, leaves the champion. No tag is ever rewritten, and no order is read from a clock.
"""

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from mlflow_model.leases import Overtaken

REGISTRATION, PROMOTION, ROLLBACK = "registration", "promotion", "rollback"
ELSEWHERE = "moved elsewhere"


@dataclass(frozen=True)
class Term:
    """A version that an alias named, since when and until when; None for what nobody wrote down."""

    version: int
    since: datetime | None
    until: datetime | None
    how: str
    why: str | None = None
    by: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class _Move:
    """`origin`: what the alias named before. `time` is None for a move by other hands.

    `by`: the operator. `reference`: the SHA-256 of the portfolio on which the version was examined.
    """

    origin: int | None
    version: int
    how: str
    why: str | None = None
    time: datetime | None = None
    by: str | None = None
    reference: str | None = None


def move(
    client: Any,
    name: str,
    alias: str,
    version: int,
    how: str,
    why: str | None = None,
    *,
    by: str | None = None,
    reference: str | None = None,
) -> None:
    """Write down that the alias is going to a version, then point it there, and see it there.

    Raises Overtaken where others than ours have moved it at the same moment.
    """
    model = client.get_registered_model(name)
    number = 1 + max(_numbered(model.tags, alias).values(), default=0)
    content = {
        "from": _named(model, alias),
        "version": version,
        "how": how,
        "why": why,
        "by": by,
        "reference": reference,
        "time": datetime.now(UTC).isoformat(),
    }
    key = f"history.{alias}.{number:06d}-{secrets.token_hex(3)}"
    client.set_registered_model_tag(name, key, json.dumps(content, ensure_ascii=False))
    client.set_registered_model_alias(name, alias, str(version))
    if (found := named(client, name, alias)) != version:
        raise Overtaken(f"{alias} of {name} was moved by others at the same moment: it names version {found}")


def named(client: Any, name: str, alias: str) -> int | None:
    """The version that the alias names now."""
    return _named(client.get_registered_model(name), alias)


def history(client: Any, name: str, alias: str) -> list[Term]:
    """Oldest first. A move by other hands than ours has no time."""
    model = client.get_registered_model(name)
    taken = list(_effective(_moves(model.tags, alias), _named(model, alias)))
    ends = [*(one.time for one in taken[1:]), None]
    return [
        Term(one.version, one.time, end, one.how, one.why, one.by, one.reference)
        for one, end in zip(taken, ends, strict=False)
    ]


def former(client: Any, name: str, alias: str) -> int | None:
    """The version to roll back to: the one that was named before the present one was promoted."""
    model = client.get_registered_model(name)
    current = _named(model, alias)
    stack = _stack(list(_effective(_moves(model.tags, alias), current)))
    if current in stack:
        del stack[stack.index(current) :]
    existing = {int(version.version) for version in client.search_model_versions(f"name = '{name}'")}
    stack = [version for version in stack if version in existing]
    return stack[-1] if stack else None


def _effective(moves: Sequence[_Move], current: int | None) -> Iterator[_Move]:
    """The moves that the alias made, with those of other hands, which show where an origin does not follow.

    Moves with one origin were cut off, or raced: of them one counts, that to the version seen next. If the
    origin itself is seen next, none does; if a third version is, the last one counts, and other hands came
    after it.
    """
    races = [(origin, list(race)) for origin, race in groupby(moves, key=lambda one: one.origin)]
    seen_next = [*(origin for origin, _ in races[1:]), current]
    at: int | None = None
    for (origin, race), then in zip(races, seen_next, strict=False):
        if origin is not None and origin != at:
            yield _Move(at, origin, ELSEWHERE)
        at = origin
        if then != origin:
            taken = next((one for one in reversed(race) if one.version == then), race[-1])
            at = taken.version
            yield taken
    if current is not None and current != at:
        yield _Move(at, current, ELSEWHERE)


def _stack(moves: Sequence[_Move]) -> list[int]:
    """Versions in the order of their last promotion; a rollback takes back what is above its version."""
    stack: list[int] = []
    for one in moves:
        if one.how == ROLLBACK and one.version in stack:
            del stack[stack.index(one.version) + 1 :]
        else:
            stack = [*(version for version in stack if version != one.version), one.version]
    return stack


def _moves(tags: Mapping[str, str], alias: str) -> list[_Move]:
    """In sequence. A tag of other hands, whatever it holds, is no move."""
    numbered = _numbered(tags, alias)
    found = (_read(tags[key]) for key in sorted(numbered, key=lambda key: (numbered[key], key)))
    return [one for one in found if one is not None]


def _numbered(tags: Mapping[str, str], alias: str) -> dict[str, int]:
    """The keys of the alias's own tags, with their numbers."""
    pattern = re.compile(rf"history\.{re.escape(alias)}\.([0-9]{{6,}})-[0-9a-f]{{6}}")
    return {key: int(match[1]) for key in tags if (match := pattern.fullmatch(key))}


def _read(text: str) -> _Move | None:
    try:
        content = json.loads(text)
        origin, version = content["from"], int(content["version"])
        return _Move(
            None if origin is None else int(origin),
            version,
            str(content["how"]),
            _text(content["why"]),
            datetime.fromisoformat(content["time"]),
            _text(content.get("by")),
            _text(content.get("reference")),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _text(found: object) -> str | None:
    return None if found is None else str(found)


def _named(model: Any, alias: str) -> int | None:
    found = model.aliases.get(alias)
    return None if found is None else int(found)
