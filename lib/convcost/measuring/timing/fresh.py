"""First calls: what a layer costs in a process that has done nothing before."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import convcost
from convcost import nets
from convcost.core.errors import BadInputError, ConvcostError
from convcost.measuring.timing.blocks import at_least, on_cuda

_EVERY_S = 10  # between two lines of progress


def cold_layer_times(
    net: str,
    *,
    input_shape: tuple[int, ...] | None = None,
    processes: int,
    later_calls: int = 50,
    num_classes: int | None = 10,
    in_channels: int | None = 1,
    threads: int = 1,
    progress: Callable[[str], None] | None = print,
    device: str = "cpu",
) -> pd.DataFrame:
    """Each layer's first call in a fresh process, beside its later calls there.

    What comes out: a DataFrame, one row per process and layer: `process` (from 0), `position` in
    the forward pass (from 0), `layer` (as in `layer_times`), `first_s` (wall-clock seconds of the
    layer's call in the first pass), `later_s` (median of its calls in the `later_calls` passes
    after that), `later_calls`.

    net: a name of `convcost.nets`, built with new weights; num_classes and in_channels as in
    `nets.build`, None for the net's own. It runs in inference mode on one random image of
    `input_shape` (C, H, W); None is the net's own with `in_channels`. `processes` new Python
    processes run it one after the other, with `threads` threads each. progress gets a line every
    ten seconds, and one at the end.

    A first call holds all that is done once and then kept: a library made ready, a kernel chosen
    or generated for these shapes, memory asked of the system. So the first layer of a kind pays
    for the ones after it. Only the first process of all may also have to read from the disk.

    Refused with `BadInputError`: an unknown net or one that takes two inputs, options it does not
    take, a shape with other channels, numbers below 1, a device that is not there. A process that
    dies, or a net that fails on the shape, is a `ConvcostError` with the process's last words.

    Source: ours, to test whether atsumi2020's Table I, means over 1,000 images, holds such first
    calls: there conv1 and fc120, each the first of its kind, are the slow ones.

        cold_layer_times("lenet_atsumi", processes=5)
    """
    at_least(1, processes=processes, later_calls=later_calls, threads=threads)
    on_cuda(device)
    own = nets.get(net).input_shape
    channels = in_channels or own[0]
    shape = input_shape or (channels, *own[1:])
    if not all(isinstance(side, int) and side > 0 for side in shape) or shape[0] != channels:
        raise BadInputError(
            f"input_shape {tuple(shape)} of {net}: whole numbers are expected, first the "
            f"{channels} channels"
        )
    options = {"num_classes": num_classes, "in_channels": in_channels}
    nets.build(net, device="meta", **options)  # refuses here what no process could build
    asked = {"net": net, "input_shape": shape, "later_calls": later_calls, "threads": threads}
    asked = json.dumps(asked | options | {"device": device})
    rows, said = [], time.monotonic()
    for process in range(processes):
        for position, (layer, first_s, later_s) in enumerate(_run(asked, net, threads)):
            rows.append((process, position, layer, first_s, later_s, later_calls))
        done = process + 1
        if progress and (done == processes or time.monotonic() - said > _EVERY_S):
            said = time.monotonic()
            progress(f"{net}: {done} of {processes} fresh processes")
    columns = ["process", "position", "layer", "first_s", "later_s", "later_calls"]
    return pd.DataFrame(rows, columns=columns)


def _run(asked: str, net: str, threads: int) -> list:
    library = str(Path(convcost.__file__).parents[1])
    paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-m", "convcost.measuring.timing.cold", asked],
        capture_output=True,
        text=True,
        env={**os.environ, **limits, "PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        if done.returncode == 0:
            return json.loads(done.stdout)
    except ValueError:  # it left before it answered
        pass
    code, lines = done.returncode, done.stderr.strip().splitlines()
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise ConvcostError(
        f"the process that times the first calls of {net} ended with {how}"
        + (f": {lines[-1]}" if lines else "")
    )
