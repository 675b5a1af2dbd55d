"""Exact counts to text. The only home of 1e9 and of the factor 2.

A multiply-accumulate (MAC) is one multiplication and one addition. The field calls either of the
two numbers "FLOPs"; here `macs` counts pairs and `flops` counts both operations, so
`flops = FLOPS_PER_MAC * macs`, always.
"""

from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

FLOPS_PER_MAC = 2

SCALES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}

_MODES = {"round": ROUND_HALF_UP, "truncate": ROUND_DOWN}


def scaled(count: int | float, scale: str) -> float:
    """`count` in units of `scale` ("K", "M", "G", "T", "P" or ""), as a float for plotting."""
    return count / SCALES[scale]


def printed(count: int, scale: str, digits: int, mode: str = "round") -> str:
    """The text a table would print for an exact count.

    `count` an int (exact, no float error), `scale` a key of `SCALES`, `digits` decimals,
    `mode` "round" (half up, as people do) or "truncate". Raises KeyError for another mode or
    scale.

    >>> printed(2 * 714_188_480, "G", 2, "truncate")
    '1.42'
    >>> printed(2 * 714_188_480, "G", 2)
    '1.43'
    """
    step = Decimal(1).scaleb(-digits)
    return str((Decimal(count) / SCALES[scale]).quantize(step, rounding=_MODES[mode]))


def readable(count: int | float, digits: int = 2) -> str:
    """A count with the scale that suits it: 1814073344 gives '1.81 G'; below 1000 unscaled."""
    for scale in ("P", "T", "G", "M", "K"):
        if abs(count) >= SCALES[scale]:
            return f"{count / SCALES[scale]:.{digits}f} {scale}"
    return f"{count:g}"


def byte_size(count: int) -> str:
    """Bytes for people, in powers of 1024.

    >>> byte_size(3 * 2**20), byte_size(24 * 2**30), byte_size(500)
    ('3.0 MiB', '24.0 GiB', '500 B')
    """
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def seconds(value: float) -> str:
    """A duration for people: '85 µs', '3.2 ms', '4.1 s', '12 min', '3.5 h'."""
    for limit, factor, unit, form in (
        (1e-3, 1e6, "µs", "{:.0f}"),
        (1.0, 1e3, "ms", "{:.1f}"),
        (100.0, 1.0, "s", "{:.1f}"),
        (6000.0, 1 / 60, "min", "{:.0f}"),
    ):
        if value < limit:
            return f"{form.format(value * factor)} {unit}"
    return f"{value / 3600:.1f} h"
