"""What a net would take on a machine we do not have: from cited peaks, and from others' tables.

`device` and `devices` give cited peaks, `step` the roofline of one step of a counted net,
`teaching_protocols` lists the settings that teaching material uses. What launching and loading add
is a matter of hypotheses: `chapters.training_time.findings`.

`time` says what a net takes on a device of which prices are stored (`known`), with an interval.
`report` fits prices of every kind of work (`operators`, `pricing`) to a table of nets and times,
and says how far off they are for designs that were not fitted to, beside simpler models.
"""

from convcost.predict.devices import Device, device, devices, teaching_protocols
from convcost.predict.estimate import Estimate, known, time
from convcost.predict.roofline import ARITHMETIC, PARTS, Prediction, call_seconds, step
from convcost.predict.validation import report

__all__ = [
    "ARITHMETIC",
    "PARTS",
    "Device",
    "Estimate",
    "Prediction",
    "call_seconds",
    "device",
    "devices",
    "known",
    "report",
    "step",
    "teaching_protocols",
    "time",
]
