"""Makes the receipt of a decision from what the service knows of it."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from api.delivery.served import Model
from api.recording.records import Asked
from journal import ids, models
from journal.code_version import code_version
from journal.receipt import Form
from journal.record import Entry
from mlflow_model.errors import BadReference

_PRINTABLE = re.compile(r"[ -~]{1,64}")


class Receipts:
    """Makes receipts in one process, at one door."""

    def __init__(self, door: str) -> None:
        self._door = door
        self._last: tuple[Model, Form] | None = None
        self._values = _values_of(())

    def of(self, model: Model, client: Mapping[str, Any], decision: Mapping[str, Any], asked: Asked) -> Entry:
        """Raises BadReference or CannotKeep."""
        reference = asked.client_reference
        if reference is not None and not _PRINTABLE.fullmatch(reference):
            raise BadReference
        form = self._form(model)
        values = self._values(client)
        if None in values:
            values = tuple(math.nan if value is None else value for value in values)
        return form.entry(values, [*decision.values()], asked.request_id, asked.caller, reference or "")

    def of_many(
        self, model: Model, clients: Mapping[str, Any], decisions: Mapping[str, Any], asked: Asked
    ) -> list[Entry]:
        """The receipts of one call, which share its id. Clients, decisions: columns. Raises CannotKeep."""
        form, call_id = self._form(model), ids.new()
        columns = [np.asarray(column).tolist() for column in decisions.values()]
        rows = zip(model.scorer.matrix(clients).tolist(), zip(*columns, strict=True), strict=True)
        return [
            form.entry(inputs, outputs, asked.request_id, asked.caller, call_id=call_id)
            for inputs, outputs in rows
        ]

    def _form(self, model: Model) -> Form:
        """That of the version as the journal describes it; nearly always that of the last decision."""
        if self._last is None or self._last[0] is not model:
            described = models.of_scorer(
                model.scorer, model.name, model.version, model.digest, code_version()
            )
            self._last = model, Form(described, self._door)
            self._values = _values_of(model.scorer.features)
        return self._last[1]


def _values_of(features: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if len(features) > 1:
        return itemgetter(*features)
    return lambda client: tuple(client[name] for name in features)
