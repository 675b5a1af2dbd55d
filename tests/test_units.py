import doctest

import pytest

from convcost.core import units


def test_examples_in_docstrings_hold():
    assert doctest.testmod(units).failed == 0


def test_printed_rounds_half_up_and_truncates():
    assert units.printed(5, "K", 2) == "0.01"  # 0.005: half up, where float formatting gives 0.01
    assert units.printed(1_005, "K", 2) == "1.01"  # 1.005 as a float lies below its half
    assert units.printed(1_009, "K", 2, "truncate") == "1.00"


def test_printed_keeps_every_digit_of_a_large_count():
    count = 10**18 + 1
    assert units.printed(count, "", 0) == "1000000000000000001"


def test_unknown_scale_or_mode_is_refused():
    with pytest.raises(KeyError):
        units.printed(1, "X", 2)
    with pytest.raises(KeyError):
        units.printed(1, "G", 2, "ceil")


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999"), (1000, "1.00 K"), (1_814_073_344, "1.81 G"), (10**15, "1.00 P")],
)
def test_readable(count, text):
    assert units.readable(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(85e-6, "85 µs"), (3.2e-3, "3.2 ms"), (4.1, "4.1 s"), (720.0, "12 min"), (12600.0, "3.5 h")],
)
def test_seconds(value, text):
    assert units.seconds(value) == text
