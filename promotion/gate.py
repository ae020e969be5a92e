"""The gate: how far a candidate may go from another version, and what stops it.

A figure passes if it can be told that it is not worse by more than a non-inferiority margin: if the bound of
its 95 % interval on the worse side is within the limit. For a mean, as the cost, and for the AUC that is a
one-sided test of nominally 2.5 % (CHMP, EMEA/CPMP/EWP/2158/99, on the choice of the non-inferiority margin).
For the calibration error and between groups it is none: chance makes those figures larger than what they
measure. docs/gate.md has the limits, their reasons, and what the gate finds at which number of clients.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

from mlflow_model.registry import aliases
from promotion import comparison
from promotion.comparison import Change, Difference
from quality import costs

CLIENTS, LEFT_OUT, REFERENCE = "clients", "left-out", "reference"
CHANGED, APPROVAL, COST, AUC = "changed", "approval", "cost", "auc"
CALIBRATION, GROUPS = "calibration", "groups"
FEATURES, COLUMNS, COSTS, SIGNATURE = "features", "columns", "costs", aliases.SIGNATURE
SPLITS = "splits"
CHAMPION, ANCHOR = "champion", "anchor"
_OF_THE_PORTFOLIO = (CLIENTS, LEFT_OUT, REFERENCE)
_OF_FIGURES = (CHANGED, APPROVAL, COST, AUC, CALIBRATION, GROUPS)
_OF_CALLERS = (FEATURES, COLUMNS)
_TO_THE_ANCHOR = f"{ANCHOR}-"
NAMES = (
    *_OF_THE_PORTFOLIO,
    *_OF_FIGURES,
    *_OF_CALLERS,
    COSTS,
    SPLITS,
    SIGNATURE,
    CHAMPION,
    ANCHOR,
    *(f"{_TO_THE_ANCHOR}{name}" for name in (LEFT_OUT, *_OF_FIGURES)),
)


@dataclass(frozen=True)
class Limits:
    """How far a candidate may go without an objection. A value equal to its limit is allowed.

    `changed`: share of clients with another label. `cost_increase`: per client. `clients`: the fewest
    different clients. `left_out`: share of the portfolio's clients who cannot be compared. `approval`: how
    far the approved share may move, up or down. `auc_loss`, `calibration`: how far the AUC may fall, and the
    calibration error rise. `groups`: how far an approval ratio may fall, and an equal opportunity gap rise.
    `anchor_changed` is `changed` for the anchor; its other limits are those of the champion.
    """

    changed: float = 0.10
    cost_increase: float = costs.NEGLIGIBLE
    clients: int = 1_000
    left_out: float = 0.05
    approval: float = 0.05
    auc_loss: float = 0.01
    calibration: float = 0.005
    groups: float = 0.03
    anchor_changed: float = 0.20

    @property
    def own(self) -> str | None:
        """Those that somebody has chosen, as the history tells of them; None if they are the defaults."""
        chosen = [
            f"{field.name} {getattr(self, field.name):g}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return f"limits: {', '.join(chosen)}" if chosen else None


@dataclass(frozen=True)
class Objection:
    """Why the candidate should be promoted only if somebody gives a reason. `name`: one of NAMES."""

    name: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"


@dataclass(frozen=True)
class Override:
    """The objections in spite of which somebody promotes. `names`: None for all of them, whichever come."""

    names: frozenset[str] | None = frozenset()

    def left(self, objections: Sequence[Objection]) -> list[Objection]:
        """The objections that still stand."""
        return [one for one in objections if self.names is not None and one.name not in self.names]

    def recorded(self, objections: Sequence[Objection]) -> str | None:
        """The names of the objections that were overridden, after « all: » if nobody named them."""
        standing = {one.name for one in self.left(objections)}
        names = ", ".join(dict.fromkeys(one.name for one in objections if one.name not in standing))
        if not names:
            return None
        return f"all: {names}" if self.names is None else names


NOTHING_OVERRIDDEN = Override()


def objections(difference: Difference, limits: Limits) -> list[Objection]:
    """What stands against the candidate beside the champion."""
    return [
        *_to_the_portfolio(difference, limits),
        *_to_who_is_left_out(difference, limits),
        *_to_figures(difference, limits),
        *_of_the_callers(difference),
    ]


def objections_to_drift(difference: Difference, limits: Limits, anchor: str) -> list[Objection]:
    """What stands against the candidate beside the anchor, of this version number.

    The callers are those of the champion: what they send and get is not compared. What is said of the
    portfolio beside the champion is not said again.
    """
    theirs = replace(limits, changed=limits.anchor_changed)
    return [
        Objection(f"{_TO_THE_ANCHOR}{one.name}", f"beside the anchor, version {anchor}, {one.sentence}")
        for one in (*_to_who_is_left_out(difference, theirs), *_to_figures(difference, theirs))
    ]


def _to_the_portfolio(difference: Difference, limits: Limits) -> Iterator[Objection]:
    if difference.distinct < limits.clients:
        yield Objection(
            CLIENTS, f"{difference.distinct:,} different clients are compared, fewer than {limits.clients:,}"
        )
    if difference.cost is None:
        yield Objection(
            REFERENCE,
            "cost, discrimination and calibration are not known: the reference has neither TRUE_PROBABILITY "
            "nor TARGET",
        )


def _to_who_is_left_out(difference: Difference, limits: Limits) -> Iterator[Objection]:
    if not (share := difference.left_out / (difference.clients + difference.left_out)) <= limits.left_out:
        found = f"{share:.1%} of the clients are left out, more than {limits.left_out:.1%}"
        yield Objection(LEFT_OUT, f"{found}{difference.refused}")


def _to_figures(difference: Difference, limits: Limits) -> Iterator[Objection]:
    if not difference.changed <= limits.changed:
        yield Objection(
            CHANGED, f"{difference.changed:.1%} of the labels change, more than {limits.changed:.1%}"
        )
    for change in difference.changes:
        yield from _to_change(change, limits)


def _of_the_callers(difference: Difference) -> Iterator[Objection]:
    if difference.added:
        yield Objection(FEATURES, f"callers would have to send {', '.join(difference.added)}")
    if difference.removed:
        yield Objection(FEATURES, f"the candidate leaves out {', '.join(difference.removed)}")
    if difference.answered:
        yield Objection(COLUMNS, f"callers would get {', '.join(difference.answered)} too")
    if difference.unanswered:
        yield Objection(COLUMNS, f"callers would no longer get {', '.join(difference.unanswered)}")


# ---- Non-inferiority


@dataclass(frozen=True)
class _Margin:
    """A non-inferiority margin: how far a figure may rise, fall, or move at all. `name`: the objection's."""

    name: str
    limit: float
    may_rise: bool = False  # without limit
    may_fall: bool = False

    def exceeded(self, figure: str, change: Change) -> str | None:
        """The sentence of the objection, if it cannot be told that the change is within the margin.

        It says that the margin is exceeded only where the whole interval lies beyond it.
        """
        by, low, high, verb = change.difference, change.low, change.high, "rises"
        if self.may_rise or (not self.may_fall and by < 0):
            by, low, high, verb = -by, -high, -low, "falls"
        is_one_sided = self.may_rise or self.may_fall
        worst = high if is_one_sided else max(-low, high)
        if worst <= self.limit:
            return None
        if min(by, low) > self.limit:  # a percentile interval need not hold the figure itself
            return f"the {figure} {verb} by {by:.4f} [{low:.4f}, {high:.4f}], more than {self.limit:g}"
        if math.isnan(by):
            return f"the {figure} is not known for these clients"
        return (
            f"whether the {figure} {verb if is_one_sided else 'moves'} by more than {self.limit:g} "
            f"cannot be told from so few clients: the change is {change}"
        )


def _to_change(change: Change, limits: Limits) -> Iterator[Objection]:
    margin = _margin(change.name, limits)
    figure = "approved share" if change.name == comparison.APPROVED else change.name
    if margin is not None and (sentence := margin.exceeded(figure, change)):
        yield Objection(margin.name, sentence)


def _margin(figure: str, limits: Limits) -> _Margin | None:
    """The margin of a figure, if it has one."""
    if figure.startswith(comparison.APPROVAL_RATIO):
        return _Margin(GROUPS, limits.groups, may_rise=True)
    if figure.startswith(comparison.OPPORTUNITY_GAP):
        return _Margin(GROUPS, limits.groups, may_fall=True)
    return {
        comparison.APPROVED: _Margin(APPROVAL, limits.approval),
        comparison.COST: _Margin(COST, limits.cost_increase, may_fall=True),
        comparison.AUC: _Margin(AUC, limits.auc_loss, may_rise=True),
        comparison.CALIBRATION: _Margin(CALIBRATION, limits.calibration, may_fall=True),
    }.get(figure)
