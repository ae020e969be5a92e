"""Explains recorded decisions by the versions that made them, in the French sentences of `POST /explain`."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from journal import replay
from journal.errors import JournalError, Refused
from journal.models import Model
from journal.reading import Record
from mlflow_model.bundle.scoring import Scorer

if TYPE_CHECKING:
    from explain.tariff import Tariff

TARIFF_FILE = "TARIFF_FILE"


class CannotExplain(JournalError):
    """The decision is recorded, and what explains it is gone or never was."""


class Explanations:
    """Loads each version once. `load`: `replay.of_registry`.

    Raises Refused for a file of the bank's loans that holds none.
    """

    def __init__(self, load: Callable[[Model], Scorer]) -> None:
        self._load, self._tariff = load, _tariff_in_force()
        self._scorers: dict[Model, Scorer | replay.CannotLoad] = {}

    def of(self, decision: Record) -> str:
        """The lines that follow the receipt. Raises CannotExplain or CannotLoad."""
        from explain import explanation  # imported here: nothing else of the journal needs it
        from mlflow_model.errors import CannotExplain as VersionCannot

        model, client = decision.model, decision.client
        if not decision.is_intact or model is None:
            raise CannotExplain("its record was changed")
        if client is None:
            raise CannotExplain("its inputs were erased")
        given = zip(model.features, client.inputs, strict=True)
        inputs = {name: None if value != value else value for name, value in given}
        answer = dict(zip(model.columns, decision.kept.outputs, strict=True))
        scorer = self._scorer(model)
        try:
            found = explanation.of(scorer, inputs, answer, self._tariff)
        except VersionCannot as error:
            raise CannotExplain(f"{model.name} version {model.version} cannot explain itself") from error
        return "\n".join(_lines(found))

    def _scorer(self, model: Model) -> Scorer:
        if model not in self._scorers:
            try:
                self._scorers[model] = self._load(model)
            except replay.CannotLoad as error:
                self._scorers[model] = error
        scorer = self._scorers[model]
        if isinstance(scorer, replay.CannotLoad):
            raise scorer
        return scorer


def _tariff_in_force() -> "Tariff":
    """As the service's: the file's that TARIFF_FILE names, or without one all plausible loans."""
    from explain.tariff import PLAUSIBLE, BadTariff, Tariff

    named = os.environ.get(TARIFF_FILE)
    if not named:
        return PLAUSIBLE
    try:
        return Tariff.of_json(Path(named).read_bytes())
    except OSError as error:
        raise Refused(f"{TARIFF_FILE} cannot be read: {error.strerror}") from error
    except BadTariff as error:
        raise Refused(f"{TARIFF_FILE} holds no tariff: {error}") from error


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield from _listed("Raisons pour le crédit", _sentences(found["reasons"]["for"]), "aucune")
    yield from _listed("Raisons contre le crédit", _sentences(found["reasons"]["against"]), "aucune")
    yield from _listed("Avertissements", _sentences(found["warnings"]), "aucun")
    offers = found["offers"]
    ways = [*offers["found"], *([offers["worse"]] if offers["worse"] else [])]
    yield from _listed("Changements possibles", [offers["sentence"], *_sentences(ways)], "aucun")


def _sentences(told: Sequence[Mapping[str, Any]]) -> list[str]:
    return [one["sentence"] for one in told]


def _listed(title: str, sentences: Sequence[str], none: str) -> list[str]:
    return [title, *(f"  {one}" for one in sentences)] if sentences else [f"{title}\u00a0: {none}"]
