"""Makes the receipt of a decision from what the service knows of it."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from api.delivery.served import Model
from api.recording.records import Asked
from journal import models
from journal.code_version import code_version
from journal.events import Answered
from journal.receipt import Form
from journal.record import Entry
from mlflow_model.errors import BadReference

_PRINTABLE = re.compile(r"[ -~]{1,64}")


class Receipts:
    """Makes receipts at one door, in any thread."""

    def __init__(self, door: str) -> None:
        self._door = door
        code_version()  # of the code that was imported, and not of what a file holds at the first decision
        self._last: tuple[Model, Form, _ValuesOf] | None = None

    def of(self, model: Model, client: Mapping[str, Any], decision: Mapping[str, Any], asked: Asked) -> Entry:
        """Raises BadReference or CannotKeep."""
        reference = asked.client_reference
        if reference is not None and not _PRINTABLE.fullmatch(reference):
            raise BadReference
        form, values_of = self._made_for(model)
        values = values_of(client)
        if None in values:
            values = tuple(math.nan if value is None else value for value in values)
        return form.entry(values, [*decision.values()], asked.request_id, asked.caller, reference or "")

    def of_many(
        self,
        model: Model,
        clients: Mapping[str, Any],
        decisions: Mapping[str, Any],
        asked: Asked,
        call: bytes,
    ) -> tuple[list[Entry], Entry]:
        """The receipts of one call, which share its id, and the event that all of them are there.

        Clients, decisions: columns. Raises CannotKeep.
        """
        form = self._made_for(model)[0]
        columns = [np.asarray(column).tolist() for column in decisions.values()]
        rows = zip(model.scorer.matrix(clients).tolist(), zip(*columns, strict=True), strict=True)
        receipts = [
            form.entry(inputs, outputs, asked.request_id, asked.caller, call_id=call)
            for inputs, outputs in rows
        ]
        return receipts, Answered(call=call, receipts=len(receipts)).entry()

    def described(self, model: Model) -> models.Model:
        """The version as the journal describes it."""
        return self._made_for(model)[0].model

    def _made_for(self, model: Model) -> tuple[Form, "_ValuesOf"]:
        """What was made for the last decision's model, which is nearly always this one's, too."""
        last = self._last
        if last is None or last[0] is not model:
            described = models.of_scorer(
                model.scorer, model.name, model.version, model.digest, code_version()
            )
            last = self._last = model, Form(described, self._door), _values_of(model.scorer.features)
        return last[1:]


_ValuesOf = Callable[[Mapping[str, Any]], tuple[Any, ...]]


def _values_of(features: Sequence[str]) -> _ValuesOf:
    if len(features) > 1:
        return itemgetter(*features)
    return lambda client: tuple(client[name] for name in features)
