"""The card's part on groups of clients: how they are treated, side by side."""

from collections.abc import Iterable

from quality.bootstrap import Interval
from quality.fairness import Comparison
from quality.groups import SMALLEST_GROUP
from training.results.tables import table


def section(comparisons: Iterable[Comparison]) -> str:
    """A table for each attribute, and how far its groups are apart."""
    found = []
    for comparison in comparisons:
        header = (comparison.attribute, "clients", "defaulted", "predicted", "approved", "equal opportunity")
        rows = [
            (
                group.name,
                f"{group.clients:,}",
                _share(group.default_rate),
                f"{group.mean_probability:.1%}",
                _share(group.approval_rate),
                f"{group.equal_opportunity:.1%}",
            )
            for group in comparison.groups
        ]
        found.append(f"{table(header, rows)}\n\n{_between(comparison)}")
    return "\n\n".join(found) or "The data allows no comparison."


def _between(comparison: Comparison) -> str:
    ratio, gap = comparison.approval_ratio, comparison.opportunity_gap
    if ratio is None or gap is None:
        return f"By {comparison.attribute} no two groups have {SMALLEST_GROUP} clients: nothing is compared."
    below = ", below four fifths" if comparison.is_below_four_fifths else ""
    return (
        f"Lowest approval rate over the highest (adverse impact): {_in_thousandths(ratio)}{below}. "
        f"Gap in equal opportunity: {_share(gap)}."
    )


def _share(figure: Interval) -> str:
    return f"{figure.value:.1%} [{figure.low:.1%}, {figure.high:.1%}]"


def _in_thousandths(figure: Interval) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
