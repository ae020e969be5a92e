"""What the page « Modèle » says in tables, as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dashboard import labels
from dashboard.markdown import escaped
from dashboard.numbers import fixed, in_percent, in_percents, in_thousands, signed

_NAMES = [name.replace(" ", "\u00a0") for name in labels.NAMES]  # in a cell as narrow as a telephone's
_NO_FIGURE = "–"


def by_label(totals: Mapping[str, Any]) -> str:
    found = [totals["labels"][key] for key in labels.KEYS]
    parts = in_percents([one["clients"] for one in found])
    return table(
        ["Décision", "Clients", "Part", "Taux de défaut"],
        (
            [name, in_thousands(one["clients"]), part, _rate(one)]
            for name, one, part in zip(_NAMES, found, parts, strict=True)
        ),
    )


def _rate(one: Mapping[str, Any]) -> str:
    clients, defaults = one["clients"], one["defaults"]
    return in_percent(defaults / clients) if clients and defaults is not None else _NO_FIGURE


def compared(now: Mapping[str, Any], tried: Mapping[str, Any], *, has_costs: bool) -> str:
    """What is, and what would be by another threshold."""
    rows = [(name, key, 1, 0) for name, key in zip(_NAMES, labels.KEYS, strict=True)]
    if has_costs:
        rows += [("Coût de 100 clients", "cost_per_client", 100, 2)]
    if None not in (now["defaults_of_reliable"], tried["defaults_of_reliable"]):
        rows.insert(len(labels.KEYS), ("Défauts parmi les fiables", "defaults_of_reliable", 1, 0))
    head = ["", f"Seuil actuel, {_threshold(now)}", f"Seuil essayé, {_threshold(tried)}", "Écart"]
    return table(
        head,
        (
            [
                name,
                *(fixed(times * found[key], decimals) for found in (now, tried)),
                signed(times * (tried[key] - now[key]), decimals),
            ]
            for name, key, times, decimals in rows
        ),
    )


def _threshold(one: Mapping[str, Any]) -> str:
    return in_percent(one["threshold"], 2)


def by_group(comparison: Mapping[str, Any]) -> str:
    head = [escaped(comparison["attribute"]), "Clients", "Défauts (prévus)", "Accords", "Bons payeurs"]
    return table(head, map(_group, comparison["groups"]))


def _group(group: Mapping[str, Any]) -> list[str]:
    kept = group["equal_opportunity"]
    return [
        escaped(group["name"]),
        in_thousands(group["clients"]),
        f"{_value(group['default_rate'])} ({in_percent(group['mean_probability'])})",
        _value(group["approval_rate"]),
        _NO_FIGURE if kept is None else in_percent(kept),
    ]


def _value(interval: Mapping[str, float] | None) -> str:
    return in_percent(interval["value"]) if interval else _NO_FIGURE


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True) -> str:
    """The first column holds names; the others hold numbers, or words."""
    others = ["---:" if numbers else "---"] * (len(head) - 1)
    return "\n".join(map(_line, [head, ["---", *others], *rows]))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
