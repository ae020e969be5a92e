"""A feature as it is put on an axis: days that are counted backwards become years."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dashboard.values import DAYS, DAYS_PER_YEAR, SHARE, shown


@dataclass(frozen=True)
class Measure:
    """`population`: the 0th to 100th percentile of the training's clients, as the API tells them."""

    name: str
    label: str
    unit: str
    population: tuple[float, ...]

    @property
    def title(self) -> str:
        return f"{self.label} (années)" if self.unit == DAYS else self.label

    @property
    def median(self) -> float:
        return self.population[len(self.population) // 2]

    def on_axis(self, value: float) -> float:
        return -value / DAYS_PER_YEAR if self.unit == DAYS else value

    def on_axis_written(self, place: float) -> str:
        """The number that stands beside the axis, without a unit but for a per cent."""
        if self.unit == SHARE:
            return shown(place, SHARE)
        return f"{shown(place / 1e6)}\u00a0M" if abs(place) >= 1e6 else shown(place)

    def written(self, value: float | None) -> str:
        return shown(value, self.unit)

    @property
    def ends(self) -> tuple[float, float]:
        """Where an axis begins and ends that holds all but the rarest clients."""
        low, high = sorted(self.on_axis(self.population[place]) for place in (1, -2))
        return (low, high) if low < high else (low - 1.0, high + 1.0)


def measures(model: Mapping[str, Any]) -> list[Measure]:
    """All features that `GET /model` tells the population of."""
    return [
        Measure(
            one["name"], one["label"] or one["name"], one["unit"] or "", tuple(one["population"]["quantiles"])
        )
        for one in model["features"]
        if one["population"] and one["population"]["quantiles"]
    ]
