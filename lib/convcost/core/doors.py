"""Doors: names that stay where notebooks look for them, wherever their rooms are."""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType

from convcost.core import paths
from convcost.core.extras import optional


def door(here: str, rooms: Mapping[str, str]) -> Callable[[str], ModuleType]:
    """A `__getattr__` for the module named `here`: name -> the module it leads to.

    The module is imported when it is asked for. AttributeError for any other name.

    >>> door("convcost.example", {"sums": "math"})("sums").gcd(12, 18)
    6
    """

    def enter(name: str) -> ModuleType:
        if name in rooms:
            with optional():
                return importlib.import_module(rooms[name])
        raise AttributeError(f"module {here!r} has no attribute {name!r}")

    return enter


def release() -> str:
    """The version of this library: of the installed package, else of the repository it lies in."""
    import tomllib  # slow, and seldom asked, as is what machine imports

    from convcost.core import machine

    if installed := machine.version("convcost"):
        return installed
    file = paths.LIBRARY.parents[1] / "pyproject.toml"  # of a node with PYTHONPATH alone
    if not file.is_file():
        return "unknown"
    return tomllib.loads(file.read_text(encoding="utf-8"))["project"]["version"]
