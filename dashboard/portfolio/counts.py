"""A portfolio's decisions in numbers, by label: clients, probabilities, and what mistakes may cost."""

import numpy as np
import numpy.typing as npt

from dashboard import labels
from dashboard.costs import Doubles
from dashboard.numbers import fixed, in_percent, in_percents, in_thousands

_NONE = "–"


def table(zones: npt.NDArray[np.int64], probabilities: Doubles, costs: Doubles | None) -> str:
    """Markdown. `zones`: the place of each client's label. `costs`: of each client."""
    of_zones = [zones == zone for zone in range(len(labels.NAMES))]
    shares = in_percents([int(one.sum()) for one in of_zones])
    head = [
        "Décision",
        "Clients",
        "Part",
        "Probabilité moyenne",
        *([] if costs is None else ["Coût attendu"]),
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    everybody = "Ensemble", in_percent(1.0), np.full(len(zones), True)
    for name, share, chosen in [*zip(labels.NAMES, shares, of_zones, strict=True), everybody]:
        mean = in_percent(float(probabilities[chosen].mean()), 2) if chosen.any() else _NONE
        cost = [] if costs is None else [fixed(float(costs[chosen].sum()), 1)]
        lines.append([name.replace(" ", "\u00a0"), in_thousands(int(chosen.sum())), share, mean, *cost])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
