"""What a net would take on a machine we do not have: from cited peaks, and from others' tables.

`device` and `devices` give cited peaks, `step` the roofline of one step of a counted net,
`teaching_protocols` lists the settings that teaching material uses. What launching and loading add
is a matter of hypotheses: `chapters.training_time.findings`.

`time` says what a net takes on a device of which prices are stored (`devices`), or on this machine
after `calibrate`, with an interval. `fit` prices every kind of work (`operators`, `pricing`) by a
table of nets and times; `report` says how far off that is for designs that were not fitted to,
beside simpler models.
"""

from convcost.predict.calibration import calibrate
from convcost.predict.devices import Device, cited_devices, device, teaching_protocols
from convcost.predict.estimate import Estimate, time
from convcost.predict.prices import devices
from convcost.predict.roofline import ARITHMETIC, PARTS, Prediction, call_seconds, step
from convcost.predict.validation import fit, report

__all__ = [
    "ARITHMETIC",
    "PARTS",
    "Device",
    "Estimate",
    "Prediction",
    "calibrate",
    "call_seconds",
    "cited_devices",
    "device",
    "devices",
    "fit",
    "report",
    "step",
    "teaching_protocols",
    "time",
]
