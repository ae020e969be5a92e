"""What has been reviewed: by whom, how, and how often people and model agree."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.api_client import ScoringApi
from dashboard.numbers import counted, in_percent, in_thousands

_PAGE, MOST_PAGES = 500, 4
MOST = _PAGE * MOST_PAGES


def reviewed(api: ScoringApi) -> list[Mapping[str, Any]]:
    """The newest decisions that somebody has reviewed, MOST of them at most. Raises ApiError."""
    found: list[Mapping[str, Any]] = []
    after: dict[str, str] = {}
    for _ in range(MOST_PAGES):
        page = api.past_decisions(reviewed="true", limit=str(_PAGE), **after)
        found += [
            one for one in page["decisions"] if None not in (one["outcome"], one["reviewer"], one["reviewed"])
        ]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    return found


def agreement(decisions: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """How many reviews have the model's own leaning, of how many where it leans to a side."""
    held = [one for one in decisions if one["leaning"] is not None]
    return sum(one["outcome"] == one["leaning"] for one in held), len(held)


def told(agreed: int, held: int) -> str:
    reviews, verb = counted(agreed, "revue", "revues"), "va" if agreed < 2 else "vont"
    return (
        f"{reviews} sur {in_thousands(held)} ({in_percent(agreed / held)}) {verb} du côté du seuil "
        "où le modèle place le client. Dans la zone grise, il ne tranche pas lui-même."
    )


def by_label(decisions: Sequence[Mapping[str, Any]]) -> Counter[tuple[str, str | None, str]]:
    """How many have each label, leaning and outcome."""
    return Counter((one["label"], one["leaning"], one["outcome"]) for one in decisions)


def by_reviewer(decisions: Sequence[Mapping[str, Any]]) -> dict[str, Counter[str]]:
    """For each name how many were accepted and refused, and how many as the model leans."""
    found: dict[str, Counter[str]] = {}
    for one in decisions:
        counts = found.setdefault(one["reviewer"], Counter())
        counts[one["outcome"]] += 1
        counts["leaning"] += one["leaning"] is not None
        counts["agreed"] += one["leaning"] is not None and one["outcome"] == one["leaning"]
    return found
