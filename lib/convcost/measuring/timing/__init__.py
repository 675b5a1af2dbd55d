"""Time: raw samples of what calls, layers and first calls take; summaries are made elsewhere.

`interleaved` times any callables in turns, `layer_times` a net layer by layer and as a whole,
`cold_layer_times` each layer's first call in a fresh process beside its later ones. `measure` times
passes and training steps, and says whether the machine was quiet; `watched` says it of any
callables. `peaks` finds what the machine can do at best; `operator_times` says which operators a
training step spends its time in.
"""

from convcost.measuring.timing.blocks import interleaved
from convcost.measuring.timing.fresh import cold_layer_times
from convcost.measuring.timing.layers import NET, layer_times
from convcost.measuring.timing.measure import Case, Measurement, measure, measure_many, watched
from convcost.measuring.timing.operators import GROUPS, STEP, operator_times
from convcost.measuring.timing.peaks import peaks

__all__ = [
    "GROUPS",
    "NET",
    "STEP",
    "Case",
    "Measurement",
    "cold_layer_times",
    "interleaved",
    "layer_times",
    "measure",
    "measure_many",
    "operator_times",
    "peaks",
    "watched",
]
