"""Some steps of a training loop, phase by phase; and data pipelines alone.

`loops.LOOPS` are the loops, each adding one thing to the one before; `epochs.full_epoch` runs
whole epochs of them.
"""

import time
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import pandas as pd
import torch

from convcost.core.errors import BadInputError
from convcost.datasets import Dataset
from convcost.measuring import memory
from convcost.training import pipelines
from convcost.training.execution import Execution, guest
from convcost.training.inputs import Sets, at_least, batch_bounds, drawn_seeds
from convcost.training.loops import (
    PARTS,
    PHASES,
    Loop,
    Session,
    Setting,
    setting,
    with_memory,
)
from convcost.training.trainer import Clock

COLUMNS = ("batch", "part", "step", "warmup", "images", *PHASES, "step_s")


@dataclass(frozen=True, eq=False)
class LoopRun:
    """What `timed_steps` gives: `rows`, a dict per step, and `record`.

    The columns of `rows`, and of `steps`, the same as a DataFrame, are `COLUMNS`, as the table
    `training_steps` describes them, warm-up included; what a step has not is None in `rows` and
    missing in `steps`. The record has `batch` (as used; None where no step was done), `status`
    ("done" or "out of memory"), `reason` of the latter, `setup_s` (seconds to the first step done:
    building, resizing beforehand, compiling), `seconds` (of all) and `memory_peak_bytes` (on CUDA
    the most that the process held there once the net was built); what is not available is None.
    """

    rows: list[dict]
    record: dict

    @property
    def steps(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=COLUMNS)


def timed_steps(
    net: str,
    sets: Sets,
    loop: Loop | str,
    *,
    input_px: int,
    in_channels: int = 1,
    batch: int,
    workers: int = 0,
    threads: int = 1,
    steps: int,
    validation_steps: int = 0,
    warmup: int = 1,
    device: str = "cpu",
    seed: int = 0,
) -> LoopRun:
    """Steps of a training loop and of its validation, phase by phase.

    What comes out: `LoopRun`; `warmup + steps` rows of part "training", then, unless
    `validation_steps` is 0, `warmup + validation_steps` of "validation" (in evaluation mode,
    without gradients; no weight changes). All times are wall-clock seconds. `pipeline_s` is what
    the loop waits for its batch: with `workers` that is less than the making of it. `step_s` is
    the whole step; the phases add up to it but for the release of the batch.

    net: a name of `convcost.nets`, built with as many outputs as there are classes; sets: two grey
    splits, or the name of a set; images reach the net as (batch, in_channels, input_px, input_px).
    `seed` gives weights, dropout and order of the images: the same for every loop.

    On CUDA the device is waited for at every border between phases. That is what separates them,
    and it costs the overlap of Python with the device: how long an epoch takes when nobody looks is
    told by `full_epoch`.

    Where memory does not suffice, the batch is halved until it does, or is 1: then the status is
    "out of memory" and there are no rows. Random generators and torch's threads are as before
    afterwards. What was compiled in this process before is forgotten where `loop.compiled`.

    Refused with `BadInputError`: an unknown net, loop or set, images the net cannot take or that
    are not grey, numbers out of range, sets with too few images for the steps. What the net or the
    pipeline raises becomes a `ConvcostError` that names the net and the loop.

    >>> run = timed_steps("lenet_atsumi", "digits", "plain", input_px=28, batch=4, steps=2)
    >>> run.steps[["part", "step", "warmup", "images"]].values.tolist()
    [['training', 0, True, 4], ['training', 1, False, 4], ['training', 2, False, 4]]
    """
    chosen = setting(
        net, sets, loop, input_px=input_px, in_channels=in_channels, batch=batch, workers=workers,
        threads=threads, device=device, seed=seed,
    )  # fmt: skip
    at_least(1, steps=steps)
    at_least(0, validation_steps=validation_steps, warmup=warmup)
    counts = {
        "training": warmup + steps,
        "validation": warmup + validation_steps if validation_steps else 0,
    }
    for part, images in zip(PARTS, map(len, chosen.sets), strict=True):
        if counts[part] * batch > images:
            raise BadInputError(
                f"{counts[part]} steps of {part} with {batch} images each need "
                f"{counts[part] * batch:,}; there are {images:,}"
            )
    begin = time.perf_counter()
    # the numbers of rows are known before the first: a halved batch repeats all of them
    found, used, reason = with_memory(batch, chosen, partial(_measured, chosen, counts, warmup))
    rows, first_done, memory_peak_bytes = found or ([], None, None)
    record = {
        "batch": used,
        "status": "out of memory" if reason else "done",
        "reason": reason,
        "setup_s": first_done and first_done - begin,
        "seconds": time.perf_counter() - begin,
        "memory_peak_bytes": memory_peak_bytes,
    }
    return LoopRun(rows, record)


def _measured(
    chosen: Setting, counts: dict[str, int], warmup: int, batch: int
) -> tuple[list[dict], float | None, int | None]:
    """The rows, the moment at which the first step was done, and the peak of memory."""
    rows, first_done = [], None
    with guest(chosen.execution):
        session = Session(chosen, batch)
        peak_bytes = memory.peak_from_now(chosen.execution.device)
        clock = Clock(chosen.execution.device)
        for part, count in counts.items():
            batches = session.batches(part)[:count]
            session.pipeline[part].prepare(batches)
            source = session.source(part, batches)
            for step in range(count):
                getattr(session, part)(source, clock)
                clock.mark()  # the batch and what came of it have been released
                (seconds,) = clock.take()
                first_done = first_done or time.perf_counter()
                row = {"batch": batch, "part": part, "step": step, "warmup": step < warmup}
                row |= {"images": len(batches[step]), "step_s": sum(seconds)}
                # all intervals but the last are phases
                rows.append(row | dict(zip_longest(PHASES, seconds[:-1])))
        return rows, first_done, peak_bytes()


def pipeline_times(
    part: Dataset,
    pipeline: str,
    *,
    input_px: int,
    in_channels: int = 1,
    batch: int,
    images: int,
    workers: int = 0,
    threads: int = 1,
    repetitions: int = 1,
    device: str = "cpu",
    seed: int = 0,
) -> pd.DataFrame:
    """A data pipeline alone, without a net: some images of a split, made into batches.

    What comes out: one row per repetition with the columns of the table `pipeline_times`. `seconds`
    runs from the first batch being asked for, when the workers have been started, to the last one
    being there; a worker that begins early has a head start of that starting. What "resident" does
    beforehand (the resizing) is not in it. `images` are drawn by `seed`, for every repetition anew.

    Refused with `BadInputError`: another pipeline, images that are not grey, more than there are,
    numbers out of range.

    >>> from convcost import datasets
    >>> some = datasets.load("digits", "train")
    >>> table = pipeline_times(some, "device", input_px=32, batch=4, images=10, repetitions=2)
    >>> table[["images", "repetition"]].values.tolist()
    [[10, 0], [10, 1]]
    """
    at_least(
        1, input_px=input_px, in_channels=in_channels, batch=batch, images=images,
        repetitions=repetitions, threads=threads,
    )  # fmt: skip
    at_least(0, workers=workers)
    if images > len(part):
        raise BadInputError(f"images is {images:,}; the split has {len(part):,}")
    asked = {"input_px": input_px, "in_channels": in_channels, "workers": workers}
    draws = torch.Generator().manual_seed(drawn_seeds(seed)["order"])
    execution, rows = Execution(device, threads), []
    with guest(execution):
        source = pipelines.named(pipeline)(
            part, pipelines.statistics(part), **asked, device=device,
            order=torch.contiguous_format,
        )  # fmt: skip
        clock = Clock(device)
        for repetition in range(repetitions):
            order = torch.randperm(len(part), generator=draws)[:images]
            chosen = [order[first:last] for first, last in batch_bounds(images, batch)]
            source.prepare(chosen)
            batches = source.over(chosen)
            clock.begin()
            for _ in batches:
                pass
            clock.mark()
            ((seconds,),) = clock.take()
            rows.append({"repetition": repetition, "images": images, "seconds": seconds})
    return pd.DataFrame(rows).assign(pipeline=pipeline, batch=batch, **asked)
