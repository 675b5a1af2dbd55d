"""A notebook's measurements that take no time: what the tests of `measure` and archives measure."""

import time
from types import SimpleNamespace

from convcost import datasets
from convcost.records import hosts
from convcost.sweep import Planned
from convcost.sweep.study import Part, Study


def power(base, exponent):
    return [{"value": base**exponent}]


def slow_power(base, exponent):
    time.sleep(0.5)
    return [{"value": base**exponent}]


def odd_power(base, exponent):
    if exponent % 2 == 0:
        raise ValueError(f"{exponent} is even")
    return [{"value": base**exponent}]


def nap(length_s):
    time.sleep(length_s)
    return []


class Toy(Study):
    """Two parts of three and six units, and one that has none; `used` are scikit-learn's digits."""

    notebook = "02-training-time"

    def __init__(self, *, host=None, smoke=False, function="power"):
        super().__init__("quick", SimpleNamespace(), host=host or hosts.here(), smoke=smoke)
        self.function = function
        self.used = (datasets.load("digits", "test"),)

    def _powers(self, base: int, guess_s: float = 0.01) -> Planned:
        plan = [{"base": base, "exponent": e} for e in range(3)]
        return self.planned(self.function, plan, data={}, cost=lambda unit: guess_s, workers=1)

    def parts(self):
        return {
            "first": Part("the most valuable", (self._powers(2), self._powers(3)), essential=True),
            "second": Part("an hour each, so it is said", (self._powers(5, 3600.0),)),
            "empty": Part("nothing", (self.planned("power", [], data={}, cost=len),)),
        }
