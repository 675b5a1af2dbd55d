"""Doors: names that stay where notebooks look for them, wherever their rooms are."""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType


def door(here: str, rooms: Mapping[str, str]) -> Callable[[str], ModuleType]:
    """A `__getattr__` for the module named `here`: name -> the module it leads to.

    The module is imported when it is asked for. AttributeError for any other name.

    >>> door("convcost.example", {"sums": "math"})("sums").gcd(12, 18)
    6
    """

    def enter(name: str) -> ModuleType:
        if name in rooms:
            return importlib.import_module(rooms[name])
        raise AttributeError(f"module {here!r} has no attribute {name!r}")

    return enter
