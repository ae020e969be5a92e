"""The protocol: everything is chosen out of fold on four fifths of the clients; the rest is asked once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from mlflow_model.scoring import DecisionPolicy
from training import candidates, fairness, measures, policy, search
from training.candidates import Candidate, Doubles
from training.measures import Costs, Interval, ScoredClients
from training.policy import BadMargin, Evidence, MarginRule, Threshold
from training.tables import LABEL

FOLDS = 5
TEST_SHARE = 0.2
FEWEST = 2 * FOLDS
"""Clients of each outcome, for each fold and the test set to hold some."""

Step = Callable[[str], None]
"""Told the name of each piece of work before it begins."""


class TooFewClients(ValueError):
    """Not enough clients of one class for each fold, and the test set, to hold one."""

    def __init__(self, outcome: int, count: int) -> None:
        super().__init__(f"column TARGET is {outcome} for {count} client(s): at least {FEWEST} are needed")


@dataclass(frozen=True)
class Settings:
    """What a person decides before a training; with the data, it decides the result."""

    margin: MarginRule
    costs: Costs = field(default_factory=Costs)
    seed: int = 0
    search_minutes: float = 0.0
    n_jobs: int = 1


@dataclass(frozen=True)
class Trial:
    """One candidate's course through the protocol.

    `extra_cost`: how much more it costs than the champion per client, out of fold. `test`: its figures on the
    test set, as `probabilities` are those of its clients; `out_of_fold` are those of the development clients.
    """

    candidate: Candidate
    threshold: Threshold
    policy: DecisionPolicy
    model: Any
    out_of_fold_cost: Interval
    extra_cost: Interval
    out_of_fold: Doubles
    probabilities: Doubles
    test: Mapping[str, Interval]


@dataclass(frozen=True)
class Outcome:
    """Everything that a training found.

    `truth`: the AUC of the true probabilities, where the data tells them.
    """

    settings: Settings
    development: pd.DataFrame
    test: pd.DataFrame
    trials: tuple[Trial, ...]
    champion: Trial
    truth: Interval | None
    fairness: tuple[fairness.Comparison, ...]


def run(clients: pd.DataFrame, settings: Settings, step: Step, truth: pd.Series | None = None) -> Outcome:
    """Train and compare all candidates on labelled clients, one a row.

    `truth`: true default probabilities by the index of `clients`, compared with and never learnt from.
    Raises TooFewClients, BadMargin.
    """
    _check_outcomes(clients[LABEL])
    known, unseen = split(clients[LABEL], settings.seed)
    development, test = clients.iloc[known], clients.iloc[unseen]
    competing = [*candidates.baselines(), *candidates.boosted()]
    if settings.search_minutes:
        competing.append(
            search.best(development, settings.seed, settings.search_minutes, settings.n_jobs, step)
        )
    drafts = [_draft(candidate, development, settings, step) for candidate in competing]
    chosen, costs, extra_costs = _compared(drafts, development[LABEL], settings)
    trials = tuple(
        _trial(draft, draft is chosen, cost, extra_cost, development, test, settings, step)
        for draft, cost, extra_cost in zip(drafts, costs, extra_costs, strict=True)
    )
    champion = trials[drafts.index(chosen)]
    return Outcome(
        settings,
        development,
        test,
        trials,
        champion,
        None if truth is None else _true_auc(test[LABEL], truth[test.index], settings.seed),
        fairness.compare(test, champion.probabilities, champion.policy),
    )


def split(target: pd.Series, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The places of the clients to develop on and of those to test on, each in their order."""
    known, unseen = train_test_split(
        np.arange(len(target)), test_size=TEST_SHARE, stratify=target, random_state=seed
    )
    return np.sort(known), np.sort(unseen)


def out_of_fold(candidate: Candidate, clients: pd.DataFrame, settings: Settings, step: Step) -> Doubles:
    """Probabilities of shape (n,), each from a model that has not seen the client."""
    found = np.empty(len(clients))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=settings.seed)
    for number, (known, unseen) in enumerate(folds.split(clients, clients[LABEL]), start=1):
        step(f"{candidate.name}: fold {number} of {FOLDS}")
        seen = clients.iloc[known]
        model = candidates.fit(candidate, seen, seen[LABEL], settings.seed, settings.n_jobs)
        found[unseen] = candidates.probabilities(model, clients.iloc[unseen], settings.n_jobs)
    return found


@dataclass(frozen=True)
class _Draft:
    """A candidate with what out-of-fold predictions say of it."""

    candidate: Candidate
    probabilities: Doubles
    threshold: Threshold


def _draft(candidate: Candidate, development: pd.DataFrame, settings: Settings, step: Step) -> _Draft:
    probabilities = out_of_fold(candidate, development, settings, step)
    step(f"{candidate.name}: threshold")
    scored = ScoredClients(development[LABEL], probabilities)
    return _Draft(candidate, probabilities, policy.choose_threshold(scored, settings.costs, settings.seed))


def _compared(
    drafts: list[_Draft], target: pd.Series, settings: Settings
) -> tuple[_Draft, list[Interval], list[Interval]]:
    """The champion, each one's cost per client, and its extra cost over the champion's, paired.

    Of the deliverable candidates the cheapest wins; but one that gives probabilities of default wins over
    a cheaper one that does not, as long as the interval of their difference holds zero.
    """
    charged = np.stack([_cost_of_each(draft, target, settings.costs) for draft in drafts])
    once = charged.mean(axis=1)
    again = np.stack([charged @ counts for counts in measures.resamplings(len(target), settings.seed)])
    again /= len(target)

    def extra_cost(one: int, other: int) -> Interval:
        return measures.interval(once[one] - once[other], again[:, one] - again[:, other])

    deliverable = [place for place, draft in enumerate(drafts) if draft.candidate.deliverable]
    cheapest = min(deliverable, key=lambda place: once[place])
    equals = [
        place
        for place in deliverable
        if drafts[place].candidate.calibrated and extra_cost(place, cheapest).holds_zero
    ]
    chosen = min(equals, key=lambda place: once[place], default=cheapest)
    costs = [measures.interval(once[place], again[:, place]) for place in range(len(drafts))]
    return drafts[chosen], costs, [extra_cost(place, chosen) for place in range(len(drafts))]


def _cost_of_each(draft: _Draft, target: pd.Series, costs: Costs) -> Doubles:
    refused, defaulted = draft.probabilities > draft.threshold.chosen, target.to_numpy() == 1
    return costs.false_negative * (defaulted & ~refused) + costs.false_positive * (~defaulted & refused)


def _trial(
    draft: _Draft,
    is_champion: bool,
    cost: Interval,
    extra_cost: Interval,
    development: pd.DataFrame,
    test: pd.DataFrame,
    settings: Settings,
    step: Step,
) -> Trial:
    """Fit once more on all that is known, then ask the test set."""
    chosen = _policy(draft, is_champion, settings)
    step(f"{draft.candidate.name}: test")
    model = candidates.fit(draft.candidate, development, development[LABEL], settings.seed, settings.n_jobs)
    probabilities = candidates.probabilities(model, test, settings.n_jobs)
    scored = ScoredClients(test[LABEL], probabilities)
    figures = measures.intervals(
        len(scored),
        settings.seed,
        lambda counts: measures.measure(scored, chosen, settings.costs, counts),
    )
    return Trial(
        draft.candidate,
        draft.threshold,
        chosen,
        model,
        cost,
        extra_cost,
        draft.probabilities,
        probabilities,
        figures,
    )


def _policy(draft: _Draft, is_champion: bool, settings: Settings) -> DecisionPolicy:
    """The margin's rule must fit the champion; a candidate that it does not fit is measured without one."""
    evidence = Evidence(draft.threshold, draft.probabilities, draft.candidate.calibrated, settings.costs)
    try:
        return settings.margin.policy(evidence)
    except BadMargin:
        if is_champion:
            raise
        return DecisionPolicy(draft.threshold.chosen)


def _true_auc(target: pd.Series, truth: pd.Series, seed: int) -> Interval:
    scored = ScoredClients(target, truth.to_numpy())
    return measures.intervals(len(scored), seed, lambda counts: {"auc": measures.auc(scored.tally(counts))})[
        "auc"
    ]


def _check_outcomes(target: pd.Series) -> None:
    for outcome in (0, 1):
        if (count := int((target == outcome).sum())) < FEWEST:
            raise TooFewClients(outcome, count)
