"""The version that an alias names, and the versions that it named before.

1. A move first adds a tag of its own to the registered model. The tag holds a sequence number and the version
   that the alias named until then.
2. Only then it moves the alias, which the registry does in one step. After a crash in between, or if the tag
   is refused, the alias still names the same version.
3. No tag is ever rewritten, and no order is read from a clock.
"""

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from mlflow_model.registry.leases import Overtaken

REGISTRATION, PROMOTION, ROLLBACK = "registration", "promotion", "rollback"
ELSEWHERE = "moved elsewhere"
SIGNATURE = "signature"  # the name of the objection that `--unsigned` overrides


class RollbackRefused(Exception):
    """The alias stays where it is. The message says why, and what to do."""


@dataclass(frozen=True)
class Term:
    """A version that an alias named, since when and until when; None for what was not recorded.

    `portfolio`: the SHA-256 of the reference portfolio on which the version was examined. `overridden`: the
    names of the objections in spite of which it was promoted, and the limits that were not the defaults.
    """

    version: int
    since: datetime | None
    until: datetime | None
    how: str
    why: str | None = None
    by: str | None = None
    portfolio: str | None = None
    overridden: str | None = None


@dataclass(frozen=True)
class Move:
    """An alias is to go to a version. `by`: the operator. `portfolio`, `overridden`: as in `Term`."""

    version: int
    how: str
    why: str | None = None
    by: str | None = None
    portfolio: str | None = None
    overridden: str | None = None


@dataclass(frozen=True)
class RecordedMove(Move):
    """`origin`: the version that the alias named before. `time`: None if it was not moved by this project."""

    origin: int | None = None
    time: datetime | None = None


def move(client: Any, name: str, alias: str, step: Move) -> None:
    """Record that the alias is going to a version, point it there, then check that it is there.

    Raises Overtaken if somebody outside this project has moved it at the same moment.
    """
    model = client.get_registered_model(name)
    number = 1 + max(_numbered(model.tags, alias).values(), default=0)
    content = {
        "from": _named(model, alias),
        "version": step.version,
        "how": step.how,
        "why": step.why,
        "by": step.by,
        "reference": step.portfolio,
        "overridden": step.overridden,
        "time": datetime.now(UTC).isoformat(),
    }
    key = f"history.{alias}.{number:06d}-{secrets.token_hex(3)}"
    client.set_registered_model_tag(name, key, json.dumps(content, ensure_ascii=False))
    client.set_registered_model_alias(name, alias, str(step.version))
    if (found := named(client, name, alias)) != step.version:
        raise Overtaken(f"{alias} of {name} was moved by others at the same moment: it names version {found}")


def named(client: Any, name: str, alias: str) -> int | None:
    """The version that the alias names now."""
    return _named(client.get_registered_model(name), alias)


def history(client: Any, name: str, alias: str) -> list[Term]:
    """The terms of the alias, oldest first. A move that was made outside this project has no time."""
    model = client.get_registered_model(name)
    taken = list(_effective(_moves(model.tags, alias), _named(model, alias)))
    ends = [*(one.time for one in taken[1:]), None]
    return [
        Term(one.version, one.time, end, one.how, one.why, one.by, one.portfolio, one.overridden)
        for one, end in zip(taken, ends, strict=False)
    ]


def rollback_target(client: Any, name: str, alias: str) -> int | None:
    """The version to roll back to: the one that the alias named before the present one was promoted."""
    model = client.get_registered_model(name)
    current = _named(model, alias)
    stack = _stack(list(_effective(_moves(model.tags, alias), current)))
    if current in stack:
        del stack[stack.index(current) :]
    existing = {int(version.version) for version in client.search_model_versions(f"name = '{name}'")}
    stack = [version for version in stack if version in existing]
    return stack[-1] if stack else None


def _effective(moves: Sequence[RecordedMove], current: int | None) -> Iterator[RecordedMove]:
    """The moves that the alias really made, in order.

    1. If an origin is not the version that the alias was left at, somebody outside this project moved it in
       between. That move is added, without a time.
    2. Of several moves with one origin, all but one were cut off or lost a race. The one that counts is the
       one to the version seen next.
    3. If the origin itself is seen next, none of them counts.
    4. If a third version is seen next, the last of them counts, and somebody outside moved the alias after
       it.
    """
    races = [(origin, list(race)) for origin, race in groupby(moves, key=lambda one: one.origin)]
    seen_next = [*(origin for origin, _ in races[1:]), current]
    at: int | None = None
    for (origin, race), then in zip(races, seen_next, strict=False):
        if origin is not None and origin != at:
            yield RecordedMove(origin, ELSEWHERE, origin=at)
        at = origin
        if then != origin:
            taken = next((one for one in reversed(race) if one.version == then), race[-1])
            at = taken.version
            yield taken
    if current is not None and current != at:
        yield RecordedMove(current, ELSEWHERE, origin=at)


def _stack(moves: Sequence[Move]) -> list[int]:
    """Versions in the order of their last promotion. A rollback removes those above its version."""
    stack: list[int] = []
    for one in moves:
        if one.how == ROLLBACK and one.version in stack:
            del stack[stack.index(one.version) + 1 :]
        else:
            stack = [*(version for version in stack if version != one.version), one.version]
    return stack


def _moves(tags: Mapping[str, str], alias: str) -> list[RecordedMove]:
    """The recorded moves in sequence. A tag that this project did not write is ignored."""
    numbered = _numbered(tags, alias)
    found = (_read(tags[key]) for key in sorted(numbered, key=lambda key: (numbered[key], key)))
    return [one for one in found if one is not None]


def _numbered(tags: Mapping[str, str], alias: str) -> dict[str, int]:
    """The keys of the tags about this alias, with their sequence numbers."""
    pattern = re.compile(rf"history\.{re.escape(alias)}\.([0-9]{{6,}})-[0-9a-f]{{6}}")
    return {key: int(match[1]) for key in tags if (match := pattern.fullmatch(key))}


def _read(text: str) -> RecordedMove | None:
    try:
        content = json.loads(text)
        origin, version = content["from"], int(content["version"])
        return RecordedMove(
            version,
            str(content["how"]),
            _text(content["why"]),
            _text(content.get("by")),
            _text(content.get("reference")),
            _text(content.get("overridden")),
            origin=None if origin is None else int(origin),
            time=datetime.fromisoformat(content["time"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _text(found: object) -> str | None:
    return None if found is None else str(found)


def _named(model: Any, alias: str) -> int | None:
    found = model.aliases.get(alias)
    return None if found is None else int(found)
