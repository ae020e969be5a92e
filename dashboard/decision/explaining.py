"""Asks for the explanation of a decision in the words of the version that has decided."""

from collections.abc import Mapping
from typing import Any

from dashboard import shell
from dashboard.api_client import zone
from dashboard.decision.fields import Client


def explained(client: Client, schemas: Mapping[str, Any], digest: str | None) -> dict[str, Any]:
    """`schemas`, `digest`: of the version that has decided. Raises ApiError, also for an unknown label."""
    explanation = shell.api(digest).explain(client)
    offers = explanation["offers"]
    for one in [explanation["decision"], *offers["found"], *([offers["worse"]] if offers["worse"] else [])]:
        zone(one["prediction"], schemas)
    return explanation
