"""A unit: one configuration of one function, the key it is known by, and how it is done."""

import datetime
import importlib
import importlib.util
import inspect
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path

import convcost
from convcost.core import files, machine
from convcost.core.errors import BadInputError, ConvcostError
from convcost.sweep import code

ASKED = 48  # digits of a key that say what is asked, whatever code answers


class Diverged(ConvcostError):
    """Raised by a unit's function: the numbers ran away, and doing it again gives the same.

    `rows` is what there was before that, if anything.
    """

    def __init__(self, reason: str, rows: Iterable[Mapping] = ()):
        super().__init__(reason)
        self.rows = rows


@dataclass(frozen=True, eq=False)
class Unit:
    """What is done once: `function` by name, `configuration`, `data` fingerprint, by which `code`.

    `code`: as `code.of` hashes it.
    """

    function: str
    configuration: dict
    data: dict | None
    code: str | None = None

    @classmethod
    def of(cls, record: Mapping) -> "Unit":
        """The unit that a stored record is the result of."""
        return cls(**{field.name: record.get(field.name) for field in fields(cls)})

    @property
    def identity(self) -> dict:
        """All that its result depends on, as plain values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def key(self) -> str:
        """64 digits: 48 of a sha256 over what is asked, then 16 of one over the code."""
        asked = files.digest(canonical(self.identity | {"code": None}))
        return asked[:ASKED] + files.digest(canonical({"code": self.code}))[ASKED:]

    def __str__(self) -> str:
        words = " ".join(f"{name}={value}" for name, value in self.configuration.items())
        return f"{words[:80]} ({self.key[:8]})"


def canonical(content: dict) -> bytes:
    """The same content always as the same bytes of JSON. ValueError for nan and inf."""
    return json.dumps(content, sort_keys=True, allow_nan=False).encode()


def units(function: str, plan: Iterable[Mapping], data: Mapping | None) -> list[Unit]:
    """The units of a plan, in its order, checked against the function's parameters.

    Raises BadInputError for a function that cannot be had, a configuration that is not JSON or
    that the function does not take, the same unit twice, and no units.
    """
    parameters = _parameters(resolve(function))
    frozen_data = None if data is None else _frozen(data, "data")
    by = code.of(function, home(function))
    found: dict[str, Unit] = {}
    if not isinstance(plan, Iterable) or isinstance(plan, Mapping | str):
        raise BadInputError(f"the plan is {plan!r}: give a list of dicts, one per unit")
    for number, configuration in enumerate(plan, 1):
        where = f"unit {number} of the plan"
        unit = Unit(function, _frozen(configuration, where), frozen_data, by)
        try:
            if parameters:
                parameters.bind(**unit.configuration)
        except TypeError as error:
            raise BadInputError(f"{where}, {unit}: {function}{parameters}: {error}") from None
        if unit.key in found:
            raise BadInputError(f"{where}, {unit}, is in it twice: each once, or give it a seed")
        found[unit.key] = unit
    if not found:
        raise BadInputError("the plan is empty: give at least one configuration")
    return list(found.values())


def _parameters(function: Callable) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:  # written in C, and does not say
        return None


def _frozen(content: Mapping, where: str) -> dict:
    """A copy in plain JSON values, or BadInputError."""
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise BadInputError(f"{where}: give a dict with texts as names, not {content!r}")
    try:
        return json.loads(canonical(dict(content)))
    except (TypeError, ValueError) as error:
        raise BadInputError(
            f"{where}: {error}; give plain numbers, texts, true, false, None, and lists of them"
        ) from None


# --- the function ----------------------------------------------------------------------------


def resolve(name: str) -> Callable:
    """The function called "package.module:function".

    Raises BadInputError where there is none, and where its module is the running script itself: a
    worker that imports it would start the sweep again.
    """
    module_name, _, attribute = str(name).partition(":")
    form = 'give it as "package.module:function"'
    if not (module_name and attribute):
        raise BadInputError(f"{name!r} names no function: {form}")
    script = getattr(sys.modules["__main__"], "__file__", None)
    in_script = f"{name!r} is in the running script: put the function into a module of its own"
    if module_name == "__main__":  # which find_spec may refuse
        raise BadInputError(in_script)
    try:
        spec = importlib.util.find_spec(module_name)
        origin = spec.origin if spec else None
        if script and origin and os.path.realpath(script) == os.path.realpath(origin):
            raise BadInputError(in_script)
        module = importlib.import_module(module_name)
    except BadInputError:
        raise
    except (Exception, SystemExit) as error:
        raise BadInputError(
            f"{module_name!r} cannot be imported ({type(error).__name__}: {error}): {form}"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise BadInputError(f"{module_name!r} has no function {attribute!r}: {form}")
    return function


def home(name: str) -> str | None:
    """The folder that must be in sys.path for the function's module to be found.

    None where the module is not loaded, or has no file.
    """
    module = sys.modules.get(name.partition(":")[0])
    file = getattr(module, "__file__", None)
    if not file:
        return None
    inner = module.__name__.count(".") + hasattr(module, "__path__")
    return str(Path(os.path.abspath(file)).parents[inner])


# --- the data --------------------------------------------------------------------------------

_expected: dict | None = None


def expect(data: dict | None) -> None:
    """Remember the fingerprint of the sweep that this process works for."""
    global _expected
    _expected = data


def expected_data() -> dict | None:
    """For a unit's function: the `data` of the sweep that it is called by; None outside of one.

    A worker on another machine has data of its own: the function that loads them should compare,
    and raise where they differ, or results of other data stand under this fingerprint.
    """
    return _expected


# --- doing it --------------------------------------------------------------------------------


def perform(function: Callable, configuration: Mapping) -> dict:
    """Call the function; its outcome: `status`, `rows`, `reason`, `seconds`, and where and when.

    "done" with its rows; "diverged" where it raises `Diverged`, and where a row has a number that
    is not finite (None in its place); "failed" with the reason where it raises anything else, or
    returns no list of dicts of plain values.
    """
    began = time.perf_counter()
    try:
        try:
            returned, diverged = function(**configuration), None
        except Diverged as error:
            returned, diverged = error.rows, str(error) or "diverged"
        rows, runaway = _plain(returned, configuration)
        canonical({"rows": rows})  # ValueError where they cannot be stored
        reason = diverged or runaway
        status = "diverged" if reason else "done"
    except (Exception, SystemExit) as error:
        status, rows, reason = "failed", [], f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - began
    return {"status": status, "rows": rows, "reason": reason, "seconds": seconds, **provenance()}


def provenance() -> dict:
    """This machine, the versions a result depends on, `machine.arithmetic`, and the date."""
    now = datetime.datetime.now(datetime.UTC)
    # what does not change is found out once; how torch is set may
    changing = {"arithmetic": machine.arithmetic(), "date": now.isoformat(timespec="seconds")}
    return {**_here(), **changing}


@cache
def _here() -> dict:
    versions = {package: machine.version(package) for package in machine.PACKAGES}
    python = sys.version.split()[0]
    versions = {"convcost": convcost.__version__, "python": python, **versions}
    return {"machine": machine.slug(), "versions": versions}


def _plain(returned: object, configuration: Mapping) -> tuple[list[dict], str | None]:
    """The rows as JSON has them, and which number is not finite, if one is."""
    rows, runaway = [], None
    if not isinstance(returned, Iterable) or isinstance(returned, Mapping | str):
        raise BadInputError(f"it returned {type(returned).__name__}; a list of dicts is wanted")
    for row in returned:
        if not isinstance(row, Mapping):
            raise BadInputError(f"a row is {type(row).__name__}; dicts are wanted")
        rows.append({})
        for name, value in row.items():
            if getattr(value, "ndim", None) == 0:  # a scalar of numpy or torch
                value = value.item()
            if not isinstance(name, str) or not isinstance(value, bool | int | float | str | None):
                raise BadInputError(
                    f"a row has {type(value).__name__} under {name!r}; numbers, texts, true, false "
                    "and None are wanted"
                )
            if isinstance(value, float) and not math.isfinite(value):
                value, runaway = None, runaway or f"{name} is {value}"
            if name in configuration and configuration[name] != value:
                raise BadInputError(
                    f"a row has {name} = {value!r}, its configuration {configuration[name]!r}"
                )
            rows[-1][name] = value
    return rows, runaway
