"""Makes the receipt of a decision from what the service knows of it."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from api.delivery.served import Model
from api.recording.records import Asked
from journal import ids, models
from journal.code_version import code_version
from journal.receipt import Receipt
from mlflow_model.errors import BadReference

_PRINTABLE = re.compile(r"[ -~]{1,64}")


class Receipts:
    """Makes receipts in one process, at one door."""

    def __init__(self, door: str) -> None:
        self._door = door
        self._last: tuple[Model, models.Model] | None = None

    def of(
        self, model: Model, client: Mapping[str, Any], decision: Mapping[str, Any], asked: Asked
    ) -> Receipt:
        """Raises BadReference."""
        reference = asked.client_reference
        if reference is not None and not _PRINTABLE.fullmatch(reference):
            raise BadReference
        values = [client[name] for name in model.scorer.features]
        if None in values:
            values = [math.nan if value is None else value for value in values]
        return Receipt(
            model=self._described(model),
            inputs=values,
            outputs=[*decision.values()],
            door=self._door,
            request_id=asked.request_id,
            caller=asked.caller,
            client_reference=reference or "",
        )

    def of_many(
        self, model: Model, clients: Mapping[str, Any], decisions: Mapping[str, Any], asked: Asked
    ) -> Iterator[Receipt]:
        """The receipts of one call, which share its id. Clients and decisions as columns."""
        described, call_id = self._described(model), ids.new()
        columns = [np.asarray(column).tolist() for column in decisions.values()]
        rows = zip(model.scorer.matrix(clients).tolist(), zip(*columns, strict=True), strict=True)
        for inputs, outputs in rows:
            yield Receipt(
                model=described,
                inputs=inputs,
                outputs=outputs,
                door=self._door,
                request_id=asked.request_id,
                caller=asked.caller,
                client_reference=asked.client_reference or "",
                call_id=call_id,
            )

    def _described(self, model: Model) -> models.Model:
        """The version as the journal describes it; nearly always that of the last decision."""
        if self._last is None or self._last[0] is not model:
            described = models.of_scorer(
                model.scorer, model.name, model.version, model.digest, code_version()
            )
            self._last = model, described
        return self._last[1]
