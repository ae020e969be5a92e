"""One hand at a time moves a model's aliases, though MLflow has no way to compare and set.

Whoever wants the lease adds a tag of its own to the registered model and then reads all of them. Of two who
want it at once, the later to write sees the other's tag, so that at least one of them takes its tag away and
tries again a little later: both never hold it. A tag of somebody who died ends by itself.
"""

import json
import random
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

SECONDS = 60
# The holder itself stops earlier: a call to the registry may be on its way, and clocks do not run alike.
_USABLE_SECONDS = 40.0
# A clock may be wrong, and anybody can write a tag: no lease is respected that claims to last longer.
_LONGEST = timedelta(hours=1)
_PATIENCE_SECONDS = 20.0
_PAUSES = (0.02, 0.2)
_PREFIX = "lease."


class Overtaken(Exception):
    """Somebody else was at work on the model. Nothing was changed: a sentence that says so."""


@dataclass(frozen=True)
class Lease:
    """`ends` in seconds of the monotonic clock."""

    key: str
    ends: float

    def check(self) -> None:
        """Raises Overtaken when it has ended, and somebody else may have it."""
        if time.monotonic() > self.ends:
            raise Overtaken("the registry was too slow: nothing was moved, try again")


def taken(client: Any, name: str, by: str | None) -> Lease:
    """Wait for the lease, though not for long. Raises Overtaken."""
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
    """Until when others have it, or want it. The tags of those who died are taken away."""
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
