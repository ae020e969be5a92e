"""`python -m api.reference.history_process`: asks the registry about a version, once.

It is asked which one, and answers what the registry says, or null if the registry is out of reach: a process
of its own, because MLflow is slow and large, and can hang.
"""

import logging
from dataclasses import asdict
from datetime import datetime
from typing import Any

from api import logs
from mlflow_model import processes
from mlflow_model.errors import LoadingFailed
from mlflow_model.registry import lean_import

MEMORY_BYTES = 2 * 2**30

_log = logging.getLogger("scoring_client")


def main() -> None:
    processes.end_with_parent()
    processes.limit(memory=MEMORY_BYTES)
    processes.give_way()
    logs.configure()
    lean_import.prepare()
    processes.answer(_answer)


def _answer(name: str, version: str, alias: str | None) -> dict[str, Any] | None:
    try:
        return _told(name, version, alias)
    except LoadingFailed as error:
        _log.error("the registry does not tell a version's history: %s", error)
        return None


def _told(name: str, version: str, alias: str | None) -> dict[str, Any]:
    """Raises LoadingFailed."""
    from mlflow_model.registry import examinations, moves, versions  # seconds

    examined = examinations.last_of(name, version)
    return {
        "card": examinations.card_of(name, version),
        "champions": [_shown(term) for term in moves.history(name, alias or versions.CHAMPION)],
        "examination": None if examined is None else asdict(examined),
    }


def _shown(term: Any) -> dict[str, Any]:
    """Without who moved the alias: the operator's own name is for the operators."""
    return {
        "version": str(term.version),
        "since": _time(term.since),
        "until": _time(term.until),
        "how": term.how,
        "why": term.why,
        "overridden": term.overridden,
    }


def _time(found: datetime | None) -> str | None:
    return None if found is None else found.isoformat(timespec="seconds")


if __name__ == "__main__":
    main()
