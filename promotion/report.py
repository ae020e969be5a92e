"""Shows a comparison of two models: lines for a terminal, a table and a figure for MLflow."""

from typing import TYPE_CHECKING, Any

from promotion.comparison import APPROVAL_RATIO, Change, Difference
from quality.fairness import FOUR_FIFTHS
from quality.portfolio import TARGET, TRUE_PROBABILITY, Portfolio

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OUTCOMES = {
    TRUE_PROBABILITY: f"expected outcomes: true default probabilities ({TRUE_PROBABILITY}), of drawn clients",
    TARGET: f"observed outcomes ({TARGET})",
    None: "no outcomes",
}


def origin(portfolio: Portfolio, last_sha256: str | None) -> str:
    """Which clients the figures are of, and of which kind of outcomes they come."""
    said = f"Reference: {described(portfolio)}"
    if last_sha256 in (None, portfolio.sha256):
        return said
    return (
        f"{said}\nThis is another reference than at the last promotion: "
        f"sha256 {str(last_sha256)[:12]} then, {portfolio.sha256[:12]} now."
    )


def described(portfolio: Portfolio) -> str:
    """The file, its digest, its origin if it tells one, and the kind of its outcomes."""
    of_file = f"{portfolio.name}, sha256 {portfolio.sha256[:12]}"
    told = f" ({portfolio.origin})" if portfolio.origin else ""
    return f"{of_file}{told}, {_OUTCOMES[portfolio.outcome_name]}"


def lines(difference: Difference, portfolio: Portfolio) -> str:
    """The whole report as text. Where outcomes were observed, the figures lead: they are of real people."""
    clients = f"{difference.clients} reference clients, {difference.changed:.2%} of them with another label"
    if difference.left_out:
        clients += f"; {difference.left_out} left out for a missing value{difference.refused}"
    parts = [_moves(difference), _changes(difference)]
    if portfolio.outcome_name == TARGET:
        parts.reverse()
    if difference.most_changed:
        parts += [
            "Most changed clients (row of the reference, from 1: default probability, label):",
            "\n".join(_client(difference, place) for place in difference.most_changed),
        ]
    return "\n\n".join([clients, *parts])


def summary(difference: Difference) -> str:
    """The shares and figures alone."""
    return f"{difference.changed:.2%} with another label\n{_changes(difference)}"


def _changes(difference: Difference) -> str:
    return "\n".join(map(_change, difference.changes))


def _moves(difference: Difference) -> str:
    width = max(map(len, difference.labels))
    head = " " * (width + 2) + "  ".join(label.rjust(width) for label in difference.labels)
    rows = [
        f"{before.ljust(width)}  "
        + "  ".join(str(difference.moves[before, after]).rjust(width) for after in difference.labels)
        for before in difference.labels
    ]
    return "\n".join(["From the champion's label (row) to the candidate's (column):", head, *rows])


def _change(change: Change) -> str:
    interval = "" if change.low != change.low else f" [{change.low:+.4f}, {change.high:+.4f}]"
    is_low = change.name.startswith(APPROVAL_RATIO) and change.candidate < FOUR_FIFTHS
    return (
        f"{change.name.ljust(34)}{change.champion:.4f} -> {change.candidate:.4f}  "
        f"({change.difference:+.4f}{interval}){', below four fifths' if is_low else ''}"
    )


def _client(difference: Difference, place: int) -> str:
    before, after = difference.champion, difference.candidate
    return (
        f"{difference.rows[place]:>8}: {before.probabilities[place]:.4f} {before.labels[place]} -> "
        f"{after.probabilities[place]:.4f} {after.labels[place]}"
    )


def table(difference: Difference) -> dict[str, list[Any]]:
    """The figures as columns."""
    changes = difference.changes
    return {
        "figure": [change.name for change in changes],
        "champion": [change.champion for change in changes],
        "candidate": [change.candidate for change in changes],
        "difference": [change.difference for change in changes],
        "low": [change.low for change in changes],
        "high": [change.high for change in changes],
    }


def figure(difference: Difference) -> "Figure":
    """Left: how many clients move from one label to another. Right: their probabilities under both models."""
    import numpy as np
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = drawn.subplots(1, 2)
    counts = np.array(
        [[difference.moves[one, other] for other in difference.labels] for one in difference.labels]
    )
    left.imshow(counts, cmap="Blues", norm="symlog")
    ticks = range(len(difference.labels))
    left.set_xticks(ticks, difference.labels, fontsize="small")
    left.set_yticks(ticks, difference.labels, fontsize="small", rotation=90, va="center")
    left.set(xlabel="candidate", ylabel="champion", title=f"Labels of {difference.clients} clients")
    for row in ticks:
        for column in ticks:
            dark = counts[row, column] > counts.max() / 4
            left.text(
                column, row, f"{counts[row, column]:,}", ha="center", color="white" if dark else "black"
            )
    before, after = difference.champion, difference.candidate
    changed = before.labels != after.labels
    for chosen, colour, label in (
        (~changed, "tab:gray", "same label"),
        (changed, "tab:red", "another label"),
    ):
        right.scatter(before.probabilities[chosen], after.probabilities[chosen], s=4, c=colour, label=label)
    right.axline((0, 0), slope=1, color="black", linewidth=0.5)
    right.set(xlabel="champion", ylabel="candidate", title="Default probability")
    right.legend(markerscale=3)
    return drawn
