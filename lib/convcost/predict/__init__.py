"""What a training step would take on a machine we do not have: cited peaks, and two roofs.

`device` and `devices` give cited peaks, `step` the roofline of one step of a counted net,
`teaching_protocols` lists the settings that teaching material uses. What launching and loading add
is a matter of hypotheses: `chapters.training_time.findings`. Nothing here needs torch.
"""

from convcost.predict.devices import Device, device, devices, teaching_protocols
from convcost.predict.roofline import ARITHMETIC, PARTS, Prediction, call_seconds, step

__all__ = [
    "ARITHMETIC",
    "PARTS",
    "Device",
    "Prediction",
    "call_seconds",
    "device",
    "devices",
    "step",
    "teaching_protocols",
]
