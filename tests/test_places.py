"""Requests that wait for a place hold threads of a worker, and /health must not wait for these."""

import importlib
import pkgutil

from api.deciding.places import Room
from api.server import lane


def test_there_are_more_threads_than_all_rooms_hold() -> None:
    names = [f"api.{room}" for room in ("deciding", "recording", "reviewing", "reference", "web")]
    modules = [
        importlib.import_module(module.name)
        for name in names
        for module in pkgutil.iter_modules(importlib.import_module(name).__path__, f"{name}.")
    ]
    rooms = {id(value): value for one in modules for value in vars(one).values() if isinstance(value, Room)}

    assert {*rooms} == {id(room) for room in lane.ROOMS}
    assert sum(room.at_once + room.waiting for room in rooms.values()) + 4 <= lane._FLASK_THREADS
