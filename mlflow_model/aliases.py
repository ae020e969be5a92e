"""Which version an alias names, and which ones it has named: tags that survive a crash and a race.

The registry moves an alias in one step, so that there is one whole champion at any time. After each move a
tag of its own is added to the registered model; none is ever rewritten, so that two moves at once lose
nothing.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

PROMOTION, ROLLBACK = "promotion", "rollback"


@dataclass(frozen=True)
class Term:
    """A version that an alias named, since when and until when; None for what nobody wrote down."""

    version: int
    since: datetime | None
    until: datetime | None
    how: str
    why: str | None = None


@dataclass(frozen=True)
class _Move:
    time: datetime
    version: int
    how: str
    why: str | None


def move(client: Any, name: str, alias: str, version: int, how: str, why: str | None = None) -> None:
    """Point the alias at a version, then write down that it was done."""
    client.set_registered_model_alias(name, alias, str(version))
    key = f"{_prefix(alias)}{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"
    content = {"version": version, "how": how, "why": why}
    client.set_registered_model_tag(name, key, json.dumps(content, ensure_ascii=False))


def named(client: Any, name: str, alias: str) -> int | None:
    """The version that the alias names now."""
    found = client.get_registered_model(name).aliases.get(alias)
    return None if found is None else int(found)


def history(client: Any, name: str, alias: str) -> list[Term]:
    """Oldest first. A move by other hands than ours, or one cut off by a crash, has no time."""
    moves = _moves(client, name, alias)
    ends = [one.time for one in moves[1:]]
    current = named(client, name, alias)
    is_known = bool(moves) and moves[-1].version == current
    terms = [
        Term(one.version, one.time, end, one.how, one.why)
        for one, end in zip(moves, [*ends, None], strict=True)
    ]
    return terms if is_known or current is None else [*terms, Term(current, None, None, "moved elsewhere")]


def former(client: Any, name: str, alias: str) -> int | None:
    """The version to roll back to: the one that was named before the present one was promoted."""
    stack = _stack(_moves(client, name, alias))
    current = named(client, name, alias)
    if current in stack:
        del stack[stack.index(current) :]
    existing = {int(version.version) for version in client.search_model_versions(f"name = '{name}'")}
    stack = [version for version in stack if version in existing]
    return stack[-1] if stack else None


def _stack(moves: Sequence[_Move]) -> list[int]:
    """Versions in the order of their last promotion; a rollback takes back what is above its version."""
    stack: list[int] = []
    for one in moves:
        if one.how == ROLLBACK and one.version in stack:
            del stack[stack.index(one.version) + 1 :]
        else:
            stack = [*(version for version in stack if version != one.version), one.version]
    return stack


def _moves(client: Any, name: str, alias: str) -> list[_Move]:
    tags = client.get_registered_model(name).tags
    found = []
    for key in sorted(key for key in tags if key.startswith(_prefix(alias))):
        time = datetime.strptime(key.removeprefix(_prefix(alias)).partition("-")[0], "%Y%m%dT%H%M%S%f")
        content = json.loads(tags[key])
        found.append(_Move(time.replace(tzinfo=UTC), content["version"], content["how"], content["why"]))
    return found


def _prefix(alias: str) -> str:
    return f"history.{alias}."
