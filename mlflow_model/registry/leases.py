"""A lease lets one process at a time move a model's aliases, although MLflow has no compare-and-set.

1. To take the lease, a process adds a tag of its own to the registered model, then reads all tags.
2. If two processes do this at once, the later one to write sees the other's tag. So at least one of them sees
   the other, removes its own tag and tries again a little later: never do both hold the lease.
3. The tag of a process that died expires.
"""

import json
import random
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

SECONDS = 60
# The holder stops earlier than the lease ends: a call may still be on its way, and clocks differ.
_USABLE_SECONDS = 40.0
# A lease that claims to last longer is ignored: a clock may be wrong, and anybody can write a tag.
_LONGEST = timedelta(hours=1)
_PATIENCE_SECONDS = 20.0
_PAUSES = (0.02, 0.2)
_PREFIX = "lease."


class Overtaken(Exception):
    """Somebody else was changing the model, so nothing was changed. The message is a sentence about it."""


@dataclass(frozen=True)
class Lease:
    """The tag under `key`. `ends` is in seconds of the monotonic clock."""

    key: str
    ends: float

    def check(self) -> None:
        """Raises Overtaken once the lease has ended, because somebody else may then hold one."""
        if time.monotonic() > self.ends:
            raise Overtaken("the registry was too slow: nothing was moved, try again")


def taken(client: Any, name: str, by: str | None) -> Lease:
    """Take the lease, waiting up to 20 seconds for it. Raises Overtaken."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        lease = Lease(_PREFIX + secrets.token_hex(8), time.monotonic() + _USABLE_SECONDS)
        until = datetime.now(UTC) + timedelta(seconds=SECONDS)
        content = json.dumps({"by": by, "until": until.isoformat()})
        client.set_registered_model_tag(name, lease.key, content)
        others = _others(client, name, lease.key)
        if not others:
            return lease
        end(client, name, lease)
        if time.monotonic() > deadline:
            raise Overtaken(
                f"somebody else is changing {name}, until {max(others):%H:%M:%S} (UTC) at the latest"
            )
        time.sleep(random.uniform(*_PAUSES))  # noqa: S311 - no secret


def end(client: Any, name: str, lease: Lease) -> None:
    client.delete_registered_model_tag(name, lease.key)


def _others(client: Any, name: str, own: str) -> list[datetime]:
    """Until when others hold the lease, or want it. Expired tags are deleted."""
    now = datetime.now(UTC)
    found = []
    for key, text in client.get_registered_model(name).tags.items():
        if key == own or not key.startswith(_PREFIX):
            continue
        until = _until(text)
        if until is not None and now < until < now + _LONGEST:
            found.append(until)
        else:
            client.delete_registered_model_tag(name, key)
    return found


def _until(text: str) -> datetime | None:
    try:
        until = datetime.fromisoformat(json.loads(text)["until"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return until if until.tzinfo is not None else None
