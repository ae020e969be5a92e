"""A search for better LightGBM parameters by Optuna, on the development clients only."""

import time
from collections.abc import Callable
from typing import Any

import optuna
import pandas as pd
from sklearn.metrics import log_loss

from features.raw_tables import LABEL
from training.protocol import candidates, lessons, partition
from training.protocol.candidates import Candidate

NAME = "LightGBM, searched"
# A better outside score never means a higher risk.
MONOTONE = [-1 if name.startswith("EXT_SOURCE") else 0 for name in candidates.MODEL_FEATURES]


def best(
    development: pd.DataFrame,
    seed: int,
    minutes: float,
    hidden_share: float,
    n_jobs: int,
    step: Callable[[str], None],
) -> Candidate:
    """A candidate with the parameters of least out-of-fold log loss that were found in `minutes`.

    The folds differ from the protocol's, so that the search does not fit the folds on which the candidates
    are compared later. The first trial is candidates.PARAMETERS, so the outcome is never worse than those on
    these folds. How many trials follow depends on the machine.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_warmup_steps=1),
    )
    study.enqueue_trial({**{name: candidates.PARAMETERS[name] for name in _SPACE}, "monotone": False})
    end = time.monotonic() + 60 * minutes

    def objective(trial: optuna.Trial) -> float:
        left = max(0.0, end - time.monotonic()) / 60
        step(f"search: trial {trial.number + 1}, {left:.1f} minutes left")
        return _loss(trial, _candidate(_suggested(trial)), development, hidden_share, seed, n_jobs)

    study.optimize(objective, timeout=60 * minutes)
    return _candidate({name: study.best_params[name] for name in [*_SPACE, "monotone"]})


_SPACE: dict[str, Callable[[optuna.Trial, str], Any]] = {
    "n_estimators": lambda trial, name: trial.suggest_int(name, 100, 1200, step=50),
    "learning_rate": lambda trial, name: trial.suggest_float(name, 0.01, 0.2, log=True),
    "num_leaves": lambda trial, name: trial.suggest_int(name, 3, 31),
    "min_child_samples": lambda trial, name: trial.suggest_int(name, 20, 1000, log=True),
    "subsample": lambda trial, name: trial.suggest_float(name, 0.5, 1.0),
    "colsample_bytree": lambda trial, name: trial.suggest_float(name, 0.2, 1.0),
    "reg_lambda": lambda trial, name: trial.suggest_float(name, 0.1, 100.0, log=True),
}


def _suggested(trial: optuna.Trial) -> dict[str, Any]:
    suggested = {name: suggest(trial, name) for name, suggest in _SPACE.items()}
    return {**suggested, "monotone": trial.suggest_categorical("monotone", [False, True])}


def _candidate(parameters: dict[str, Any]) -> Candidate:
    monotone = parameters.pop("monotone")
    constraints: dict[str, Any] = {"monotone_constraints": MONOTONE} if monotone else {}
    return candidates.lightgbm(NAME, **parameters, **constraints)


def _loss(
    trial: optuna.Trial,
    candidate: Candidate,
    clients: pd.DataFrame,
    hidden_share: float,
    seed: int,
    n_jobs: int,
) -> float:
    losses: list[float] = []
    for number, (known, unseen) in enumerate(partition.folds(clients, seed + 1)):
        seen, tried = clients.iloc[known], clients.iloc[unseen]
        model = candidates.fit(candidate, lessons.of_outcomes(seen, hidden_share, seed), seed, n_jobs)
        losses.append(log_loss(tried[LABEL], candidates.probabilities(model, tried, n_jobs)))
        trial.report(sum(losses) / len(losses), number)
        if trial.should_prune():
            raise optuna.TrialPruned
    return sum(losses) / len(losses)
