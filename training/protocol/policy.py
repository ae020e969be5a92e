"""Chooses the threshold and the margin of a policy, and keeps the reason for each."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlflow_model.bundle.scoring import DecisionPolicy
from quality.bootstrap import Interval, intervals
from quality.costs import Costs, cheapest_threshold
from quality.scores import Doubles, ScoredClients


class BadMargin(ValueError):
    """A margin for which the policy has no room, or a rule that does not apply."""


@dataclass(frozen=True)
class Threshold:
    """Theory's threshold, the cheapest one on out-of-fold probabilities, and the one that was chosen."""

    ideal: float
    optimum: Interval
    chosen: float

    @property
    def reason(self) -> str:
        if self.chosen == self.ideal:
            return "theory: the ratio of the costs, which lies in the interval of the cheapest threshold"
        return "the cheapest threshold on out-of-fold probabilities: theory's lies outside its interval"


def choose_threshold(clients: ScoredClients, costs: Costs, seed: int) -> Threshold:
    """Theory's threshold if it lies in the interval of the cheapest one out of fold, else the cheapest."""

    def optimum(counts: Doubles | None) -> dict[str, float]:
        return {"threshold": cheapest_threshold(clients.distribution(counts), costs)}

    found = intervals(len(clients), seed, optimum)["threshold"]
    ideal = costs.ideal_threshold
    return Threshold(ideal, found, ideal if found.low <= ideal <= found.high else found.value)


@dataclass(frozen=True)
class Evidence:
    """What a margin is chosen from. `calibrated`: the out-of-fold probabilities are those of a default."""

    threshold: Threshold
    probabilities: Doubles
    calibrated: bool
    costs: Costs


@dataclass(frozen=True)
class MarginRule:
    """How to find the margin. `text` is the rule as the command line takes it, `meaning` says it in words.

    `review`: what a review costs, in units of one refused good client, where the rule asks for that.
    """

    text: str
    meaning: str
    margin: Callable[[Evidence], float]
    review: float | None = None

    def policy(self, evidence: Evidence) -> DecisionPolicy:
        """The threshold with this rule's margin. Raises BadMargin."""
        threshold, margin = evidence.threshold.chosen, self.margin(evidence)
        room = min(threshold, 1.0 - threshold)
        if not 0.0 <= margin <= room:
            raise BadMargin(
                f"margin {margin:g} is not between 0 and {room:.4f}, the room around {threshold:.4f}"
            )
        return DecisionPolicy(threshold, margin)


def margin_rule(text: str) -> MarginRule:
    """Read `0.02`, `auto:ci`, `auto:capacity=0.05` or `auto:chow=0.8`. Raises ValueError with a sentence."""
    kind, _, argument = text.partition("=")
    if kind == "auto:ci" and not argument:
        meaning = (
            "covers the bootstrap interval of the cheapest threshold: how unsure the line is, and not the "
            "probability of a client"
        )
        return MarginRule(text, meaning, _of_interval)
    if kind == "auto:capacity":
        share = _number(argument, 1.0, "the share of clients that can be reviewed")
        meaning = f"the widest that sends at most {share:.1%} of the clients to a loan officer"
        return MarginRule(text, meaning, lambda evidence: _of_capacity(evidence, share))
    if kind == "auto:chow":
        review = _number(argument, np.inf, "the cost of a review in units of one refused good client")
        meaning = (
            f"the cheapest when a review costs {review:g} times a refused good client (Chow's reject option)"
        )
        return MarginRule(text, meaning, lambda evidence: _of_reject_option(evidence, review), review)
    margin = _number(text, 0.5, "a margin (or auto:ci, auto:capacity=SHARE, auto:chow=COST)")
    return MarginRule(text, "given, not estimated", lambda _: margin)


def _number(text: str, highest: float, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not (0.0 <= value <= highest and np.isfinite(value)):
        limit = f"from 0 to {highest:g}" if np.isfinite(highest) else "from 0 on"
        raise ValueError(f"must be a number {limit}: {what}")
    return value


@dataclass(frozen=True)
class ReviewedCosts:
    """Expected costs per client where a review costs something and is never wrong: without any, with those of
    a symmetric grey zone, and with those of Chow's own zone, which is wider on one side of the threshold."""

    without: float
    with_zone: float
    with_chows: float


def reviewed_costs(evidence: Evidence, review: float, margin: float) -> ReviewedCosts:
    """By the out-of-fold probabilities, taken for true. `review`: in units of one refused good client."""
    threshold, p, costs = evidence.threshold.chosen, evidence.probabilities, evidence.costs
    expected, price = costs.of_each(p, threshold, outcomes=p), review * costs.false_positive
    is_grey = np.abs(p - threshold) <= margin
    of_the_better = np.minimum(costs.false_negative * p, costs.false_positive * (1.0 - p))
    return ReviewedCosts(
        float(expected.mean()),
        float(np.where(is_grey, price, expected).mean()),
        float(np.minimum(price, of_the_better).mean()),
    )


def _of_interval(evidence: Evidence) -> float:
    """The margin that covers the bootstrap interval of the cheapest threshold.

    For a client inside this interval, another sample of clients could have put the threshold on the other
    side. Percentile bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    threshold, optimum = evidence.threshold.chosen, evidence.threshold.optimum
    return max(threshold - optimum.low, optimum.high - threshold)


def _of_capacity(evidence: Evidence, share: float) -> float:
    """The widest margin with at most this share of the clients inside.

    It ends half-way between the last client who can be reviewed and the next one, by distance to the
    threshold.
    """
    threshold = evidence.threshold.chosen
    room = min(threshold, 1.0 - threshold)
    distances = np.sort(np.abs(evidence.probabilities - threshold))
    reviewed = int(share * len(distances))
    if reviewed >= len(distances):
        return room
    first_left_out = distances[reviewed]
    inside = distances[distances < first_left_out]
    last = inside[-1] if len(inside) else 0.0
    return float(min((last + first_left_out) / 2, room))


def _of_reject_option(evidence: Evidence, review: float) -> float:
    """The margin of least expected cost when each review costs `review`.

    Chow, IEEE Transactions on Information Theory 16 (1970), sends a client to review wherever the expected
    cost of the better decision, here min(FN p, FP (1 - p)), exceeds the cost of a review. That zone is wider
    on one side of the threshold than on the other. The grey zone of a policy is symmetric: this is the best
    such zone.
    """
    if not evidence.calibrated:
        raise BadMargin(
            "auto:chow needs probabilities of default, and the champion's classes are weighted: give a margin"
        )
    threshold, costs, p = evidence.threshold.chosen, evidence.costs, evidence.probabilities
    distance = np.abs(p - threshold)
    within = distance <= min(threshold, 1.0 - threshold)
    expected = costs.of_each(p, threshold, outcomes=p)
    order = np.argsort(distance[within], kind="stable")
    saved = np.cumsum((expected - review * costs.false_positive)[within][order])
    if not len(saved) or saved.max() <= 0.0:
        return 0.0
    last = int(saved.argmax())
    ascending = distance[within][order]
    beyond = ascending[last + 1] if last + 1 < len(ascending) else min(threshold, 1.0 - threshold)
    return float((ascending[last] + beyond) / 2)
