"""What somebody should know before a model is used: signs of something amiss in its data or figures."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from features.raw_tables import LABEL
from quality import stability
from training.protocol.candidates import CONSTANT, MODEL_FEATURES
from training.protocol.experiment import Findings
from training.protocol.partition import Alike

_HIGHEST_AUC = 0.95  # what is known before a loan hardly tells more
_HIGHEST_SHARE = 0.9  # of the gain, by one feature
_MOST_GREY = 0.5  # of the clients: more would be reviewed than decided on
_STANDARD_ERRORS = 1.96


def of(findings: Findings) -> list[str]:
    """One sentence for each doubt; empty if there is none."""
    return [
        *_about_repetitions(findings),
        *_about_skill(findings),
        *_about_probabilities(findings),
        *_about_the_zone(findings),
        *_about_knowing_too_much(findings),
        *_about_time(findings),
    ]


def _about_repetitions(findings: Findings) -> Iterator[str]:
    everyone = pd.concat([findings.development, findings.test])
    if repeated := Alike.of(everyone).repeated:
        kept = "were kept together" if findings.first_of_test is None else "may be in both sets"
        yield (
            f"{repeated:,} of {len(everyone):,} clients have the same features as another one; these {kept}, "
            "and the intervals take them for different clients"
        )


def _about_skill(findings: Findings) -> Iterator[str]:
    (constant,) = (result for result in findings.results if result.candidate.name == CONSTANT)
    if not constant.extra_cost.low > 0:
        yield (
            "the champion is not surely cheaper than one probability for all: "
            f"that costs {constant.extra_cost} more per client, out of fold"
        )


def _about_probabilities(findings: Findings) -> Iterator[str]:
    if not findings.champion.candidate.calibrated:
        yield "the champion's outputs are no probabilities of default, since its classes were weighted"


def _about_the_zone(findings: Findings) -> Iterator[str]:
    figures = findings.champion.test
    approved, grey = figures["approval_rate"].value, figures["grey_rate"].value
    if not approved or grey > _MOST_GREY:
        yield f"the grey zone holds {grey:.0%} of the clients, and {approved:.0%} are approved"


def _about_knowing_too_much(findings: Findings) -> Iterator[str]:
    champion = findings.champion
    if champion.test["auc"].value > _HIGHEST_AUC:
        yield (
            f"an AUC of {champion.test['auc'].value:.3f} is more than can be known before a loan: "
            "a feature may know the outcome"
        )
    gains = np.asarray(champion.model.booster_.feature_importance("gain"), dtype=np.float64)
    most = int(gains.argmax())
    if gains[most] > _HIGHEST_SHARE * gains.sum():
        yield (
            f"{MODEL_FEATURES[most]} alone brings {gains[most] / gains.sum():.0%} of the gain: "
            "it may know the outcome"
        )


def _about_time(findings: Findings) -> Iterator[str]:
    """Only where the test clients came after the others."""
    if findings.first_of_test is None:
        return
    before, after = findings.development[LABEL], findings.test[LABEL]
    error = np.sqrt(sum(rate.mean() * (1 - rate.mean()) / len(rate) for rate in (before, after)))
    if abs(after.mean() - before.mean()) > _STANDARD_ERRORS * error:
        yield f"the default rate moved from {before.mean():.2%} to {after.mean():.2%} in the test set"
    champion = findings.champion
    index = stability.population_stability_index(champion.out_of_fold, champion.probabilities)
    by_chance = stability.highest_by_chance(len(champion.out_of_fold), len(champion.probabilities))
    if index > max(stability.NOTABLE, by_chance):
        yield f"the probabilities moved: their PSI in the test set is {index:.2f}"
