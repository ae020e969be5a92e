"""The protocol: choose everything out of fold on four fifths of the clients, then test once on the rest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from features.raw_tables import LABEL
from mlflow_model.bundle.scoring import DecisionPolicy
from quality import bootstrap, fairness, measures
from quality.bootstrap import Interval
from quality.costs import Costs
from quality.scores import ScoredClients
from training.protocol import candidates, lessons, policy, search
from training.protocol.candidates import Candidate, Doubles
from training.protocol.policy import BadMargin, Evidence, MarginRule, Threshold

FOLDS = 5
TEST_SHARE = 0.2
FEWEST = 2 * FOLDS
"""Clients of each outcome, so that each fold and the test set hold some."""

Step = Callable[[str], None]
"""Called with the name of each piece of work before it begins."""


class TooFewClients(ValueError):
    """One class has too few clients for each fold and the test set to hold one."""

    def __init__(self, outcome: int, count: int) -> None:
        super().__init__(f"column TARGET is {outcome} for {count} client(s): at least {FEWEST} are needed")


@dataclass(frozen=True)
class Settings:
    """What a person chooses before a training. Together with the data it determines everything found.

    `hidden_share`: of the clients that a model is fitted on, the share whose history is hidden.
    """

    margin: MarginRule
    costs: Costs = field(default_factory=Costs)
    seed: int = 0
    search_minutes: float = 0.0
    hidden_share: float = lessons.HIDDEN_SHARE
    n_jobs: int = 1


@dataclass(frozen=True)
class CandidateResult:
    """What the protocol found about one candidate.

    `extra_cost`: how much more it costs per client than the champion, out of fold. `out_of_fold`: the
    probabilities of the development clients. `probabilities` and `test`: those of the test clients, and the
    figures measured on them.
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
class Findings:
    """Everything that a training found. `truth`: the AUC of the true probabilities, if they are known."""

    settings: Settings
    development: pd.DataFrame
    test: pd.DataFrame
    results: tuple[CandidateResult, ...]
    champion: CandidateResult
    truth: Interval | None
    fairness: tuple[fairness.Comparison, ...]


def run(clients: pd.DataFrame, settings: Settings, step: Step, truth: pd.Series | None = None) -> Findings:
    """Train and compare all candidates on labelled clients, one per row.

    `truth`: true default probabilities by the index of `clients`. One candidate learns from those of the
    development clients. What is chosen and measured is so by outcomes alone. Raises TooFewClients, BadMargin.
    """
    _check_outcomes(clients[LABEL])
    known, unseen = split(clients[LABEL], settings.seed)
    development, test = clients.iloc[known], clients.iloc[unseen]
    competing = [*candidates.baselines(), *candidates.boosted(are_probabilities_known=truth is not None)]
    if settings.search_minutes:
        minutes, hidden_share = settings.search_minutes, settings.hidden_share
        competing.append(
            search.best(development, settings.seed, minutes, hidden_share, settings.n_jobs, step)
        )
    drafts = [_draft(candidate, development, settings, step, truth) for candidate in competing]
    compared = _compared(drafts, development[LABEL], settings)
    results = tuple(_tested(one, development, test, settings, step, truth) for one in compared)
    champion = next(result for result, one in zip(results, compared, strict=True) if one.is_champion)
    return Findings(
        settings,
        development,
        test,
        results,
        champion,
        None if truth is None else _true_auc(test[LABEL], truth[test.index], settings.seed),
        fairness.compare(test, champion.probabilities, champion.policy),
    )


def split(target: pd.Series, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The positions of the development clients and of the test clients, both in ascending order."""
    known, unseen = train_test_split(
        np.arange(len(target)), test_size=TEST_SHARE, stratify=target, random_state=seed
    )
    return np.sort(known), np.sort(unseen)


def fitted(
    candidate: Candidate, clients: pd.DataFrame, settings: Settings, truth: pd.Series | None = None
) -> Any:
    """The candidate's model, fitted on these clients. `truth`: for one that learns from probabilities."""
    hidden_share, seed = settings.hidden_share, settings.seed
    if candidate.learns_probabilities:
        assert truth is not None  # noqa: S101 - no such candidate is made where they are not known
        learnt = lessons.of_probabilities(clients, truth, hidden_share, seed)
    else:
        learnt = lessons.of_outcomes(clients, hidden_share, seed)
    return candidates.fit(candidate, learnt, seed, settings.n_jobs)


def out_of_fold(
    candidate: Candidate,
    clients: pd.DataFrame,
    settings: Settings,
    step: Step,
    truth: pd.Series | None = None,
) -> Doubles:
    """Probabilities of shape (n,). Each is from a model that has not seen the client."""
    found = np.empty(len(clients))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=settings.seed)
    for number, (known, unseen) in enumerate(folds.split(clients, clients[LABEL]), start=1):
        step(f"{candidate.name}: fold {number} of {FOLDS}")
        model = fitted(candidate, clients.iloc[known], settings, truth)
        found[unseen] = candidates.probabilities(model, clients.iloc[unseen], settings.n_jobs)
    return found


@dataclass(frozen=True)
class _Draft:
    """A candidate with its out-of-fold probabilities and the threshold chosen on them."""

    candidate: Candidate
    probabilities: Doubles
    threshold: Threshold


def _draft(
    candidate: Candidate,
    development: pd.DataFrame,
    settings: Settings,
    step: Step,
    truth: pd.Series | None,
) -> _Draft:
    probabilities = out_of_fold(candidate, development, settings, step, truth)
    step(f"{candidate.name}: threshold")
    scored = ScoredClients(development[LABEL], probabilities)
    return _Draft(candidate, probabilities, policy.choose_threshold(scored, settings.costs, settings.seed))


@dataclass(frozen=True)
class _Compared:
    """A draft with its cost per client, and its extra cost over the champion's, paired by client."""

    draft: _Draft
    is_champion: bool
    cost: Interval
    extra_cost: Interval


def _compared(drafts: list[_Draft], target: pd.Series, settings: Settings) -> list[_Compared]:
    """Choose the champion, and compare every draft with it.

    The cheapest deliverable candidate wins, with one exception: a candidate that gives probabilities of
    default wins over a cheaper one that does not, if the interval of their difference in cost holds zero.
    """
    charged = np.stack(
        [settings.costs.of_each(draft.probabilities, draft.threshold.chosen, target) for draft in drafts]
    )
    once = charged.mean(axis=1)
    again = np.stack([charged @ counts for counts in bootstrap.resamplings(len(target), settings.seed)])
    again /= len(target)

    def extra_cost(one: int, other: int) -> Interval:
        return bootstrap.interval(once[one] - once[other], again[:, one] - again[:, other])

    deliverable = [place for place, draft in enumerate(drafts) if draft.candidate.deliverable]
    cheapest = min(deliverable, key=lambda place: once[place])
    equals = [
        place
        for place in deliverable
        if drafts[place].candidate.calibrated and extra_cost(place, cheapest).holds_zero
    ]
    chosen = min(equals, key=lambda place: once[place], default=cheapest)
    return [
        _Compared(
            draft,
            place == chosen,
            bootstrap.interval(once[place], again[:, place]),
            extra_cost(place, chosen),
        )
        for place, draft in enumerate(drafts)
    ]


def _tested(
    compared: _Compared,
    development: pd.DataFrame,
    test: pd.DataFrame,
    settings: Settings,
    step: Step,
    truth: pd.Series | None,
) -> CandidateResult:
    """Fit the candidate once more, on all development clients, and measure it on the test set."""
    draft = compared.draft
    chosen = _policy(draft, compared.is_champion, settings)
    step(f"{draft.candidate.name}: test")
    model = fitted(draft.candidate, development, settings, truth)
    probabilities = candidates.probabilities(model, test, settings.n_jobs)
    scored = ScoredClients(test[LABEL], probabilities)
    figures = bootstrap.intervals(
        len(scored),
        settings.seed,
        lambda counts: measures.measure(scored, chosen, settings.costs, counts),
    )
    return CandidateResult(
        draft.candidate,
        draft.threshold,
        chosen,
        model,
        compared.cost,
        compared.extra_cost,
        draft.probabilities,
        probabilities,
        figures,
    )


def _policy(draft: _Draft, is_champion: bool, settings: Settings) -> DecisionPolicy:
    """The chosen threshold with the rule's margin. Raises BadMargin if the rule does not fit the champion.

    Any other candidate that it does not fit is measured without a margin.
    """
    evidence = Evidence(draft.threshold, draft.probabilities, draft.candidate.calibrated, settings.costs)
    try:
        return settings.margin.policy(evidence)
    except BadMargin:
        if is_champion:
            raise
        return DecisionPolicy(draft.threshold.chosen)


def _true_auc(target: pd.Series, truth: pd.Series, seed: int) -> Interval:
    scored = ScoredClients(target, truth.to_numpy())
    return bootstrap.intervals(
        len(scored), seed, lambda counts: {"auc": measures.auc(scored.distribution(counts))}
    )["auc"]


def _check_outcomes(target: pd.Series) -> None:
    for outcome in (0, 1):
        if (count := int((target == outcome).sum())) < FEWEST:
            raise TooFewClients(outcome, count)
