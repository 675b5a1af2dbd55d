"""About how long the units of notebook 02 take, in seconds: what a budget of minutes goes by.

Guesses for two kinds of machine, a GPU of the H100's class with 16 cores and two cores alone: the
roofline of `convcost.predict` at a share of the peaks that such steps reach, launches, and the data
pipeline as the reference run measured it. What a machine really took corrects them
(`sweep.budget.Pace`), so that they need to be right in proportion only.
"""

from functools import cache

from convcost import nets, predict
from convcost.counting.count import Count, count
from convcost.predict import Device

GPU_SHARE, LAUNCH_S = 0.3, 12e-6
_DEVICES = {
    "cuda": "NVIDIA H200",  # its arithmetic is the H100's
    "cpu": Device("two cores", fp32_flops_per_s=150e9, memory_bytes_per_s=20e9),
}
BUILD_S = {"cuda": 0.5, "cpu": 2.0}  # a net, its weights drawn
COMPILE_S = {"cuda": 60.0, "cpu": 15.0}
_RATES = {"cuda": 1e14, "cpu": 1e11}  # FLOP/s of large steps
FLOPS_PER_PX = 1.6e5  # of an inference, the mean of the families' nets at 224 px
OTHER_LOOPS = 0.6  # of the plain loop's step, on average


@cache
def counted(net: str, px: int, channels: int) -> Count:
    """One image of a net with ten classes, without weights in memory."""
    model = nets.build(net, num_classes=10, in_channels=channels, device="meta")
    return count(model.eval(), (channels, px, px))


@cache
def step_s(net: str, px: int, channels: int, batch: int, device: str, part: str) -> float:
    """A step of training or validation, without its data."""
    step = predict.step(counted(net, px, channels), batch, _DEVICES[device], part)
    if device == "cpu":
        return step.busy_s
    return max(step.busy_s / GPU_SHARE, step.calls * LAUNCH_S)


def image_s(px: int, workers: int = 0) -> float:
    """A picture resized by PIL and made a tensor, with so many loader processes."""
    return (0.2e-3 + 1e-8 * px**2) / max(1, workers)


def _training_s(net: str, case: dict, images: int, tested: int, device: str) -> float:
    """So many images of training and of validation; a GPU works beside the loader."""
    px, batch, whole = case["input_px"], case["batch"], 0.0
    both = max if device != "cpu" else lambda a, b: a + b
    for part, many in (("training", images), ("validation", tested)):
        loading = many * image_s(px, case["workers"])
        steps = many / batch * step_s(net, px, case["in_channels"], batch, device, part)
        whole += both(loading, steps)
    return whole


def _loops(unit: dict) -> float:
    device, total = unit["device"], 0.0
    for case in unit["cases"]:
        images = (case["steps"] + unit["warmup_steps"]) * case["batch"]
        tested = (unit["validation_steps"] + unit["warmup_steps"]) * case["batch"]
        seconds = _training_s(unit["net"], case, images, tested, device)
        total += BUILD_S[device] + seconds * (1 if case["loop"] == "plain" else OTHER_LOOPS)
        total += COMPILE_S[device] * (case["loop"] == "compiled")
    return total


def _full(unit: dict) -> float:
    train, test = (unit["images"] or many for many in (60_000, 10_000))
    whole = _training_s(unit["net"], unit["case"], train, test, unit["device"])
    return BUILD_S[unit["device"]] + unit["epochs"] * whole


def _accuracy(unit: dict) -> float:
    case = {"input_px": unit["input_px"], "in_channels": 1, "batch": 64, "workers": 0}
    images, tested = unit["train_images"], unit["tested"] or 10_000
    return OTHER_LOOPS * _training_s(unit["net"], case, images, tested, unit["device"])


def _pipeline(unit: dict) -> float:
    own = image_s(unit["input_px"], unit["workers"] if unit["pipeline"] == "loader" else 0)
    return 1.0 + unit["repetitions"] * unit["images"] * own


def _peaks(unit: dict) -> float:
    ways = 2 * (len(unit["sizes"]) + len(unit["convolutions"])) + len(unit["copies"])
    return 2.0 + ways * (unit["repetitions"] + 2) * 0.05


def _layers(unit: dict) -> float:
    one = step_s(unit["net"], unit["input_px"], 3, unit["batch"], unit["device"], "validation")
    return BUILD_S[unit["device"]] + 2 * (unit["repetitions"] + 3) * one


def _operators(unit: dict) -> float:
    one = step_s(unit["net"], unit["input_px"], 3, unit["batch"], unit["device"], "training")
    profiled = 1.5  # what the profiler takes to write down and add up a step
    return BUILD_S[unit["device"]] + (unit["repetitions"] // 2 + 2) * (2 * one + profiled)


def _batches(unit: dict) -> float:
    """By the mean of the families' nets: to count two dozen of them would take longer than it is
    worth.
    """
    device, nets_timed = unit["device"], sum(map(len, unit["families"].values()))
    passes = 3 if unit["what"] == "training_step" else 1
    flops = passes * FLOPS_PER_PX * unit["input_px"] ** 2 * unit["batch"]
    # a repetition is at least so long that the clock tells it well
    one = max(0.02, flops / _RATES[device])
    return nets_timed * (BUILD_S[device] + 1.5 * (unit["repetitions"] + 2) * one)


COSTS = {
    "loops_of": _loops,
    "full_epoch_of": _full,
    "accuracy_of": _accuracy,
    "pipeline_of": _pipeline,
    "peaks_of": _peaks,
    "layers_of": _layers,
    "operators_of": _operators,
    "batches_of": _batches,
}
