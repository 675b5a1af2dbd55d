"""Count zeros: outputs that ReLU zeroes, dark pixels, multiplications with a zero factor.

`zero_rates`, `dark_pixels` and `skippable_macs` count in exact integers and divide only in the last
column. A model is watched while it runs, call by call, so that nothing depends on how it is
written: modules, functions and in-place forms are one and the same torch function underneath.
What is kept of an activation is its counts, so memory does not grow with the number of images.
"""

from convcost.measuring.zeros.activations import KEYS, zero_rates
from convcost.measuring.zeros.pixels import dark_pixels
from convcost.measuring.zeros.products import NET, skippable_macs

__all__ = ["KEYS", "NET", "dark_pixels", "skippable_macs", "zero_rates"]
