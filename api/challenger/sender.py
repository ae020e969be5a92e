"""Sends the challenger a share of the clients, from the worker that has decided on them.

A worker never waits: when the socket is full, or nobody reads, the client is left out.
"""

import contextlib
import json
import random
import socket
from collections.abc import Mapping
from typing import Any

from api.delivery.served import Model, ServedModel


class Sender:
    """Passes on a share (0 to 1) of one worker's decisions."""

    def __init__(self, connection: socket.socket, served: ServedModel, share: float) -> None:
        self._connection, self._served, self._share = connection, served, share
        connection.setblocking(False)

    def decided(
        self, model: Model, client: Mapping[str, Any], decision: Mapping[str, Any], seconds: float
    ) -> None:
        """Send a client and its label, if there is a challenger and it is one of those to compare."""
        if self._served.news.challenger is None or random.random() >= self._share:  # noqa: S311 - a sample
            return
        message = json.dumps([model.called, decision["prediction"], client]).encode()
        with contextlib.suppress(OSError):  # full, too long, or nobody reads
            self._connection.send(message)

    def decided_many(self, model: Model, clients: Mapping[str, Any], decisions: Mapping[str, Any]) -> None:
        """Do nothing: the clients of a batch are not compared."""

    def recorded(self, path: str, receipts: int, seconds: float) -> None:
        """Do nothing: the decisions are told."""

    def left_unanswered(self, path: str, decisions: int) -> None:
        """Do nothing: they were not sent on."""
