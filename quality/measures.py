"""How good probabilities are: discrimination, calibration and cost of scored clients."""

import math

import numpy as np
import numpy.typing as npt

from mlflow_model.bundle.scoring import DecisionPolicy
from quality.bootstrap import Summed
from quality.costs import Costs, is_refused
from quality.scores import BINS, Doubles, ScoredClients, ScoreDistribution


def measure(
    clients: ScoredClients, policy: DecisionPolicy, costs: Costs, counts: Doubles | None = None
) -> dict[str, float]:
    """Every figure that the model card and MLflow show of scored clients under a policy.

    NaN for those that compare defaulters with repayers, if one of them is not there, and for a rate among
    the approved if there are none.
    """
    scores = clients.distribution(counts)
    discrimination = auc(scores)
    return {
        "auc": discrimination,
        "gini": 2 * discrimination - 1,
        "ks": kolmogorov_smirnov(scores),
        "pr_auc": average_precision(scores),
        "brier": brier(scores),
        "ece": clients.calibration_error(scores),
        **business(scores, policy, costs),
    }


def auc(scores: ScoreDistribution) -> float:
    """How often a random defaulter has a higher probability than a random repayer; a tie counts half."""
    repaid_below = np.cumsum(scores.repaid) - scores.repaid
    pairs = scores.defaulted @ (repaid_below + scores.repaid / 2)
    return float(pairs / (scores.defaulted.sum() * scores.repaid.sum())) if scores.has_both else math.nan


def auc_influence(target: npt.ArrayLike, probabilities: Doubles) -> Doubles:
    """How each client moves the AUC, of shape (n,): its empirical influence function, of mean 0.

    The AUC's variance is the mean of the squares, divided by n. With outcomes of 0 and 1 that is the variance
    of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988) but for their divisors m - 1 and n - 1.
    Outcomes may be default probabilities. NaN if all clients defaulted, or none.
    """
    outcome = np.asarray(target, dtype=np.float64)
    _, of = np.unique(probabilities, return_inverse=True)
    defaulted, repaid = np.bincount(of, outcome), np.bincount(of, 1.0 - outcome)
    defaults, repayments = defaulted.sum(), repaid.sum()
    if not defaults * repayments:
        return np.full(len(outcome), np.nan)
    # What a default, or a repayment, with this probability adds to the pairs that are in the right order.
    below, above = np.cumsum(repaid) - repaid / 2, defaults - np.cumsum(defaulted) + defaulted / 2
    pairs = defaulted @ below
    of_each = outcome * below[of] + (1.0 - outcome) * above[of]
    expected = outcome / defaults + (1.0 - outcome) / repayments
    return np.asarray(len(outcome) / (defaults * repayments) * (of_each - pairs * expected))


def calibration(target: npt.ArrayLike, probabilities: Doubles) -> Summed:
    """`ScoredClients.calibration_error` as a figure of sums. The bins are those of all clients throughout."""
    scored, clients = ScoredClients(target, probabilities), len(probabilities)
    columns = np.zeros((clients, BINS + 1))
    columns[np.arange(clients), scored.bin_of_each()] = probabilities - np.asarray(target, dtype=np.float64)
    columns[:, BINS] = 1.0
    return Summed(columns, lambda sums: np.abs(sums[..., :BINS]).sum(axis=-1) / sums[..., BINS])


def kolmogorov_smirnov(scores: ScoreDistribution) -> float:
    """The largest distance between the cumulative score distributions of defaulters and repayers."""
    if not scores.has_both:
        return math.nan
    defaulted, repaid = (np.cumsum(part) / part.sum() for part in (scores.defaulted, scores.repaid))
    return float(np.abs(defaulted - repaid).max())


def average_precision(scores: ScoreDistribution) -> float:
    """The area under the precision-recall curve, as a sum of steps."""
    if not scores.has_both:
        return math.nan
    found = np.cumsum(scores.defaulted[::-1])
    drawn = np.cumsum((scores.defaulted + scores.repaid)[::-1])
    precision = np.divide(found, drawn, out=np.zeros_like(found), where=drawn > 0)
    return float(precision @ scores.defaulted[::-1] / found[-1])


def brier(scores: ScoreDistribution) -> float:
    """The mean squared distance of probability and outcome (Brier, Monthly Weather Review 78, 1950)."""
    squares = scores.defaulted * (1.0 - scores.probabilities) ** 2 + scores.repaid * scores.probabilities**2
    return float(squares.sum() / scores.clients)


def business(scores: ScoreDistribution, policy: DecisionPolicy, costs: Costs) -> dict[str, float]:
    """What the bank sees: the cost per client (see `quality.costs`) and the shares of the policy's zones."""
    clients, probabilities = scores.defaulted + scores.repaid, scores.probabilities
    approved = probabilities < policy.lower_bound
    grey = ~approved & (probabilities <= policy.upper_bound)
    refused = is_refused(probabilities, policy.threshold)
    cost = costs.charge(scores.defaulted[~refused].sum(), scores.repaid[refused].sum())
    lent_to = clients[approved].sum()
    return {
        "cost_per_client": float(cost / scores.clients),
        "approval_rate": float(lent_to / scores.clients),
        "grey_rate": float(clients[grey].sum() / scores.clients),
        "default_rate_of_approved": float(scores.defaulted[approved].sum() / lent_to)
        if lent_to
        else math.nan,
    }
