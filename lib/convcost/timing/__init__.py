"""Time: raw samples of what calls, layers and first calls take; summaries are made elsewhere.

`interleaved` times any callables in turns, `layer_times` a net layer by layer and as a whole,
`cold_layer_times` each layer's first call in a fresh process beside its later ones.
"""

from convcost.timing.blocks import interleaved
from convcost.timing.fresh import cold_layer_times
from convcost.timing.layers import NET, layer_times

__all__ = ["NET", "cold_layer_times", "interleaved", "layer_times"]
