"""The protocol: choose everything out of fold on four fifths of the clients, then test once on the rest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from features.raw_tables import LABEL
from mlflow_model.bundle.scoring import DecisionPolicy
from quality import bootstrap, fairness, groups, measures
from quality.bootstrap import Interval
from quality.costs import NEGLIGIBLE, Costs, cheapest_threshold
from quality.scores import ScoredClients
from training.protocol import candidates, lessons, partition, policy, search
from training.protocol.candidates import Candidate, Doubles
from training.protocol.partition import FOLDS, Alike, Partition
from training.protocol.policy import BadMargin, Evidence, MarginRule, Threshold

FEWEST = 2 * FOLDS
"""Different clients of each outcome, so that each fold and the test set hold some."""

Step = Callable[[str], None]
"""Called with the name of each piece of work before it begins."""


class TooFewClients(ValueError):
    """One class has too few clients for each fold and the test set to hold one."""

    def __init__(self, outcome: int, count: int, among: str = "") -> None:
        super().__init__(
            f"column TARGET is {outcome} for {count} different client(s){among}: at least {FEWEST} are needed"
        )


class NothingLearnt(ValueError):
    """The champion gives all clients the same probability."""

    def __init__(self, name: str, clients: int) -> None:
        super().__init__(f"no tree of {name} could tell any of {clients:,} clients apart: more are needed")


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
    """Everything that a training found.

    `truth`: the AUC of the true probabilities, if they are known. `first_of_test`: the value of `order` from
    which on clients are in the test set; None if chance has chosen them.
    """

    settings: Settings
    development: pd.DataFrame
    test: pd.DataFrame
    results: tuple[CandidateResult, ...]
    champion: CandidateResult
    truth: Interval | None
    fairness: tuple[fairness.Comparison, ...]
    first_of_test: Any = None


def run(
    clients: pd.DataFrame,
    settings: Settings,
    step: Step,
    truth: pd.Series | None = None,
    order: pd.Series | None = None,
) -> Findings:
    """Train and compare all candidates on labelled clients, one per row.

    `truth`: true default probabilities by the index of `clients`. One candidate learns from those of the
    development clients. What is chosen and measured is so by outcomes alone. `order`: values, as dates, by
    the same index: the last clients are the test set, instead of some by chance. Raises TooFewClients,
    NothingToSplitBy, NothingLearnt, BadMargin.
    """
    parts = _parts(clients, settings.seed, order)
    development, test = clients.iloc[parts.development], clients.iloc[parts.test]
    competing = [*candidates.baselines(), *candidates.boosted(truth)]
    if settings.search_minutes:
        minutes, hidden_share = settings.search_minutes, settings.hidden_share
        competing.append(
            search.best(development, settings.seed, minutes, hidden_share, settings.n_jobs, step)
        )
    drafts = [_draft(candidate, development, settings, step) for candidate in competing]
    compared = _compared(drafts, _charges(drafts, development, settings), settings)
    results = tuple(_tested(one, development, test, settings, step) for one in compared)
    champion = next(result for result, one in zip(results, compared, strict=True) if one.is_champion)
    if len(candidates.unused_features(champion.model)) == len(candidates.MODEL_FEATURES):
        raise NothingLearnt(champion.candidate.name, len(development))
    return Findings(
        settings,
        development,
        test,
        results,
        champion,
        None if truth is None else _true_auc(test[LABEL], truth[test.index], settings.seed),
        by_group(test, champion.probabilities, champion.policy, settings.seed),
        None if order is None else order.loc[test.index].min(),
    )


def by_group(
    clients: pd.DataFrame, probabilities: Doubles, policy: DecisionPolicy, seed: int
) -> tuple[fairness.Comparison, ...]:
    """How groups of labelled clients, by age band and by sex, are treated."""
    attributes = groups.attributes(
        clients["DAYS_BIRTH"].to_numpy(np.float64), clients[groups.GENDER].to_numpy(object)
    )
    return fairness.compare(attributes, clients[LABEL].to_numpy(np.float64), probabilities, policy, seed)


def _parts(clients: pd.DataFrame, seed: int, order: pd.Series | None) -> Partition:
    if order is not None:
        parts = partition.by_order(order.loc[clients.index])
        _check_outcomes(clients.iloc[parts.development], " before those of the test set")
        _check_outcomes(clients.iloc[parts.test], " of the test set")
        return parts
    _check_outcomes(clients)
    return partition.by_chance(clients, seed)


def fitted(candidate: Candidate, clients: pd.DataFrame, settings: Settings) -> Any:
    """The candidate's model, fitted on these clients."""
    hidden_share, seed = settings.hidden_share, settings.seed
    if candidate.truth is None:
        learnt = lessons.of_outcomes(clients, hidden_share, seed)
    else:
        learnt = lessons.of_probabilities(clients, candidate.truth, hidden_share, seed)
    return candidates.fit(candidate, learnt, seed, settings.n_jobs)


def out_of_fold(candidate: Candidate, clients: pd.DataFrame, settings: Settings, step: Step) -> Doubles:
    """Probabilities of shape (n,). Each is from a model that has not seen the client."""
    found = np.empty(len(clients))
    for number, (known, unseen) in enumerate(partition.folds(clients, settings.seed), start=1):
        step(f"{candidate.name}: fold {number} of {FOLDS}")
        model = fitted(candidate, clients.iloc[known], settings)
        found[unseen] = candidates.probabilities(model, clients.iloc[unseen], settings.n_jobs)
    return found


@dataclass(frozen=True)
class _Draft:
    """A candidate with its out-of-fold probabilities and the threshold chosen on them."""

    candidate: Candidate
    probabilities: Doubles
    threshold: Threshold


def _draft(candidate: Candidate, development: pd.DataFrame, settings: Settings, step: Step) -> _Draft:
    probabilities = out_of_fold(candidate, development, settings, step)
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


def _charges(drafts: list[_Draft], development: pd.DataFrame, settings: Settings) -> Doubles:
    """The out-of-fold cost of each client under each draft, of shape (drafts, n).

    A threshold that was chosen by cost is chosen again for each fold, on the others: else the candidate that
    fits chance best would seem the cheapest.
    """
    target, costs = development[LABEL].to_numpy(), settings.costs
    charged = np.stack(
        [costs.of_each(draft.probabilities, draft.threshold.chosen, target) for draft in drafts]
    )
    for known, unseen in partition.folds(development, settings.seed):
        for draft, of_each in zip(drafts, charged, strict=True):
            if draft.threshold.chosen != draft.threshold.ideal:
                others = ScoredClients(target[known], draft.probabilities[known]).distribution()
                threshold = cheapest_threshold(others, costs)
                of_each[unseen] = costs.of_each(draft.probabilities[unseen], threshold, target[unseen])
    return charged


def _compared(drafts: list[_Draft], charged: Doubles, settings: Settings) -> list[_Compared]:
    """Choose the champion, and compare every draft with it.

    The cheapest deliverable candidate that gives probabilities of default wins, unless another one is surely
    cheaper by more than what is negligible. `charged`: as `_charges` finds them.
    """
    clients = charged.shape[1]
    once = charged.mean(axis=1)
    again = np.stack([charged @ counts for counts in bootstrap.resamplings(clients, settings.seed)]) / clients

    def extra_cost(one: int, other: int) -> Interval:
        return bootstrap.interval(once[one] - once[other], again[:, one] - again[:, other])

    deliverable = [place for place, draft in enumerate(drafts) if draft.candidate.deliverable]
    cheapest = min(deliverable, key=lambda place: once[place])
    calibrated = [place for place in deliverable if drafts[place].candidate.calibrated]
    best = min(calibrated, key=lambda place: once[place], default=cheapest)
    negligible = NEGLIGIBLE * settings.costs.false_positive
    chosen = cheapest if extra_cost(best, cheapest).low > negligible else best
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
) -> CandidateResult:
    """Fit the candidate once more, on all development clients, and measure it on the test set."""
    draft = compared.draft
    chosen = _policy(draft, compared.is_champion, settings)
    step(f"{draft.candidate.name}: test")
    model = fitted(draft.candidate, development, settings)
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


def _check_outcomes(clients: pd.DataFrame, among: str = "") -> None:
    alike, target = Alike.of(clients).of_each, clients[LABEL].to_numpy()
    for outcome in (0, 1):
        if (count := len(np.unique(alike[target == outcome]))) < FEWEST:
            raise TooFewClients(outcome, count, among)
