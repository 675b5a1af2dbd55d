"""What a training step would take on a machine we do not have: peaks, roofs, overheads.

`device` and `devices` give cited peaks, `step` the roofline of one step of a counted net,
`with_overheads` and `seconds` add launches and the data pipeline, `teaching_protocols` lists the
settings that teaching material uses. Nothing here needs torch.
"""

from convcost.predict.devices import Device, device, devices, teaching_protocols
from convcost.predict.roofline import (
    ARITHMETIC,
    PARTS,
    Prediction,
    call_seconds,
    seconds,
    step,
    with_overheads,
)

__all__ = [
    "ARITHMETIC",
    "PARTS",
    "Device",
    "Prediction",
    "call_seconds",
    "device",
    "devices",
    "seconds",
    "step",
    "teaching_protocols",
    "with_overheads",
]
