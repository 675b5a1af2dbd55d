"""The experiments of notebook 02: training steps by phase, protocols, layers, batch sizes.

`Study(profile)` has one method a table of `chapters.training_time.tables`; each returns its rows.
What is timed runs in processes of its own, one at a time, and is kept under `data/raw/` as it
comes: key of the kept results are the plan, the data, the machine and its versions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cache, cached_property
from itertools import product

import numpy as np
import pandas as pd

from convcost import datasets, nets, predict, records
from convcost import training as trainings
from convcost.chapters.training_time.study import seconds as training_seconds
from convcost.chapters.training_time.study.scales import (
    COMPILED,
    PAPER_GPU,
    PAPER_NETS,
    SCALES,
    SMOKE,
    TEXTBOOK_NETS,
    Case,
)
from convcost.core import machine, paths
from convcost.core.errors import BadInputError
from convcost.counting.count import count
from convcost.datasets import Dataset
from convcost.measuring import sensors, timing
from convcost.sweep import Planned, study
from convcost.sweep.study import Part
from convcost.training import Execution, Recipe

DRIFT_LIMIT = 0.10  # a step that takes 10 % longer at the end than at the beginning: not stable
LOAD_LIMIT = 0.25  # processor cores that others may keep busy


class Study(study.Study):
    """The experiments at the scale of a profile, on the data that this machine has."""

    notebook = "02-training-time"
    scales, smoke_scale = SCALES, SMOKE

    @cached_property
    def sets(self) -> tuple[Dataset, ...]:
        """Both splits."""
        return _sets()

    @property
    def used(self) -> tuple[Dataset, ...]:
        """The data set, as it was found."""
        return self.sets

    def parts(self) -> dict[str, Part]:
        """What a machine measures, the most valuable first."""
        parts = {
            "table-2": Part(
                "whole epochs of the five nets under the plain loop: Table 2 and Figure 1",
                (self._full(self.scale.full),),
            ),
            "step": Part(
                "what a step is made of: loops, operators, layers, peaks, data pipelines",
                (
                    self._loops_of(self._cases("main")),
                    *self._per_net,
                    self._peaks,
                    self._pipelines,
                ),
            ),
            "workers": Part(
                "the same whole epochs with a loader that has processes of its own",
                (self._full(self.scale.full_with_workers),),
            ),
            "protocols": Part(
                "other nets, sizes and batches: which protocol gives the paper's ratios",
                (self._loops_of(self._cases("protocols")), self._batches, self._accuracies),
            ),
            "compiled": Part(
                "the tuned loop, compiled", (self._loops_of(self._cases("compiled")),)
            ),
        }
        return {
            name: part
            for name, part in parts.items()
            if any(planned.configurations for planned in part.sweeps)
        }

    def _sweep(self, function: str, plan: Iterable[dict], **options) -> Planned:
        """What a function of this module says of each configuration, one process at a time."""
        shared = {"device": self.scale.device, "threads": self.threads}
        return self.planned(
            function,
            [shared | unit for unit in plan],
            data={part.split: part.sha256 for part in self.sets},
            cost=training_seconds.COSTS[function],
            **{"workers": 1, "threads": self.threads, "attempts": 1} | options,
        )

    # --- training loops ------------------------------------------------------------------------

    def _cases(self, kind: str) -> dict[str, dict[Case, int]]:
        """By net: each case once, with its number of steps.

        Kinds: "main", the loops at the scale's own size; "compiled", what is compiled of these,
        apart because compiling takes so long; "protocols", all others.
        """
        scale = self.scale
        loops = [loop for loop in scale.loops if (loop == COMPILED) == (kind == "compiled")]
        wanted = PAPER_NETS if kind == "main" else scale.compiled if kind == "compiled" else ()
        main = {
            net: {Case(loop, scale.input_px, 3, scale.batch): scale.steps for loop in loops}
            for net in wanted
            if loops
        }
        if kind != "protocols":
            return main
        known, planned = self._cases("main"), {}
        also = [(net, (case,)) for net, case in scale.full]
        for net, cases in [*scale.protocols.items(), *also]:
            for case in cases:
                if case not in known.get(net, {}) and takes(net, case.input_px, case.in_channels):
                    planned.setdefault(net, {}).setdefault(case, scale.protocol_steps)
        return planned

    def _loops_of(self, by_net: dict[str, dict[Case, int]]) -> Planned:
        """A unit for each net and size, with all its cases."""
        scale, plan = self.scale, []
        for net, cases in by_net.items():
            for px in dict.fromkeys(case.input_px for case in cases):
                mine = {case: steps for case, steps in cases.items() if case.input_px == px}
                plan.append(
                    {
                        "net": net,
                        "cases": [asdict(case) | {"steps": n} for case, n in mine.items()],
                        "validation_steps": scale.validation_steps,
                        "warmup_steps": scale.warmup,
                    }
                )
        return self._sweep("loops_of", plan, fresh=scale.fresh)

    @cached_property
    def _loops(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """(runs, steps) of every net and case: a process for each net and size."""
        runs, steps = [], []
        for kind in ("main", "protocols", "compiled"):
            done = self.done(self._loops_of(self._cases(kind)))
            rows = done.rows if len(done.rows) else pd.DataFrame(columns=["kind"])
            runs.append(study.typed(rows[rows["kind"] == "run"], "loop_runs"))
            steps.append(study.typed(rows[rows["kind"] == "step"], "training_steps"))
            # a process that died says nothing: its cases are rows with the reason
            for unit in done.units.to_dict("records"):
                if unit["status"] not in ("done", "diverged", "left"):
                    lost = [
                        _no_run(unit["net"], Case(**_without(case, "steps")), unit["threads"])
                        | {"status": unit["status"], "reason": unit["reason"]}
                        for case in unit["cases"]
                    ]
                    runs.append(study.typed(pd.DataFrame(lost), "loop_runs"))
        return _stacked(runs), _stacked(steps)

    def loop_runs(self) -> pd.DataFrame:
        """One row a net and training loop: how it went."""
        return self._loops[0]

    def training_steps(self) -> pd.DataFrame:
        """One row a step of training, and of validation."""
        return self._loops[1]

    def _full(self, cases: Iterable[tuple[str, Case]]) -> Planned:
        scale = self.scale
        plan = [
            {"net": net, "case": asdict(case), "epochs": 1, "images": scale.full_images,
             "resumable": scale.resumable}
            for net, case in cases
        ]  # fmt: skip
        return self._sweep("full_epoch_of", plan, fresh=scale.fresh)

    def full_epochs(self) -> pd.DataFrame:
        """One row an epoch that was run in full."""
        full = self._full([*self.scale.full, *self.scale.full_with_workers])
        return study.typed(self.done(full).rows, "full_epochs")

    @property
    def _accuracies(self) -> Planned:
        scale = self.scale
        plan = [
            {"net": net, "seed": 0, "train_images": min(scale.accuracy_images, len(self.sets[0])),
             "tested": scale.accuracy_tested, "input_px": scale.accuracy_px, "threads": 1}
            for net in scale.accuracy_nets
        ]  # fmt: skip
        workers = 1 if scale.device != "cpu" else None
        return self._sweep("accuracy_of", plan, workers=workers, threads=1)

    def fashion_accuracies(self) -> pd.DataFrame:
        """One row a net trained on a part of the set, for its accuracy."""
        return study.typed(self.done(self._accuracies).rows, "fashion_accuracies")

    @property
    def _pipelines(self) -> Planned:
        scale = self.scale
        images = min(scale.pipeline_images, len(self.sets[0]))
        plan = [
            {"pipeline": pipeline, "input_px": px, "in_channels": 3, "batch": 32,
             "workers": workers, "images": images, "repetitions": scale.pipeline_repetitions}
            for pipeline in ("loader", "resident", "device")
            for px in scale.pipeline_px
            for workers in (scale.pipeline_workers if pipeline == "loader" else (0,))
        ]  # fmt: skip
        return self._sweep("pipeline_of", plan)

    def pipeline_times(self) -> pd.DataFrame:
        """One row a repetition of a data pipeline alone."""
        return study.typed(self.done(self._pipelines).rows, "pipeline_times")

    # --- why -----------------------------------------------------------------------------------

    @property
    def _peaks(self) -> Planned:
        scale = self.scale
        cores = {1, self.threads} if scale.device == "cpu" else {self.threads}
        plan = [
            {"sizes": list(scale.peak_sizes), "convolutions": list(scale.peak_channels),
             "copies": list(scale.copy_sizes), "repetitions": scale.repetitions,
             "threads": threads}
            for threads in sorted(cores)
        ]  # fmt: skip
        return self._sweep("peaks_of", plan)

    def machine_peaks(self) -> pd.DataFrame:
        """One row a timing of a matrix product, a convolution or a copy."""
        return study.typed(self.done(self._peaks).rows, "machine_peaks")

    @property
    def _per_net(self) -> tuple[Planned, Planned]:
        """(operators of a training step, layers of an inference) of each net."""
        scale = self.scale
        plan = [
            {"net": net, "input_px": scale.layer_px, "batch": scale.layer_batch,
             "repetitions": scale.repetitions}
            for net in scale.layer_nets
        ]  # fmt: skip
        return self._sweep("operators_of", plan), self._sweep("layers_of", plan)

    def layer_costs(self) -> pd.DataFrame:
        """One row a layer and repetition, with its counts."""
        return study.typed(self.done(self._per_net[1]).rows, "layer_costs")

    def operator_times(self) -> pd.DataFrame:
        """One row a kind of operator and repetition of a profiled training step."""
        return study.typed(self.done(self._per_net[0]).rows, "operator_times")

    @property
    def _batches(self) -> Planned:
        scale = self.scale
        plan = [
            {"what": what, "input_px": px, "batch": batch,
             "families": {name: list(members) for name, members in scale.families.items()},
             "repetitions": max(2, scale.repetitions // 2 + 1)}
            for (what, px), batches in scale.batches.items()
            for batch in batches
        ]  # fmt: skip
        return self._sweep("batches_of", plan, fresh=scale.fresh)

    def batch_times(self) -> pd.DataFrame:
        """One row a net, batch size and repetition."""
        return study.typed(self.done(self._batches).rows, "batch_times")

    # --- counted -------------------------------------------------------------------------------

    def _protocol_nets(self) -> Iterator[tuple[str, int, int]]:
        """Net, size and channels of all that the notebook compares; the same in all profiles."""
        names = (*PAPER_NETS, "densenet121", *TEXTBOOK_NETS)
        for px, channels, net in product((224, 96, 64, 32), (3, 1), names):
            if takes(net, px, channels):
                yield net, px, channels

    def net_costs(self) -> Iterator[dict]:
        """One row a net, size and number of channels: exact counts of one image."""
        for net, px, channels in self._protocol_nets():
            counted = training_seconds.counted(net, px, channels)
            names = ("macs", "backward_flops", "bytes", "acts", "params")
            yield {
                "net": net, "input_px": px, "in_channels": channels,
                **{name: getattr(counted, name) for name in names}, "calls": len(counted.calls),
            }  # fmt: skip

    def predicted_steps(self) -> Iterator[dict]:
        """One row a net, size, batch and part of an epoch on the paper's GPU."""
        gpu, batches = predict.device(PAPER_GPU), (8, 16, 32, 64, 128, 256)
        for (net, px, channels), batch, part in product(
            self._protocol_nets(), batches, predict.PARTS
        ):
            step = predict.step(training_seconds.counted(net, px, channels), batch, gpu, part)
            case = {"net": net, "input_px": px, "in_channels": channels, "batch": batch}
            yield {"device": PAPER_GPU, **case, "part": part, **asdict(step)}


def _without(mapping: dict, *names: str) -> dict:
    return {name: value for name, value in mapping.items() if name not in names}


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """All rows of several frames of one table; without rows, its columns with their types."""
    return pd.concat([frame for frame in frames if len(frame)] or [frames[0]], ignore_index=True)


# --- in a worker -----------------------------------------------------------------------------


@cache
def _sets() -> tuple[Dataset, Dataset]:
    return datasets.load("fashionmnist", "train"), datasets.load("fashionmnist", "test")


@cache
def takes(net: str, input_px: int, in_channels: int) -> bool:
    """Whether a net can be counted, and so trained, at this size."""
    try:
        training_seconds.counted(net, input_px, in_channels)
    except BadInputError:
        return False
    return True


def _no_run(net: str, case: Case, threads: int) -> dict:
    """What is known of a case of which no step was done; the rest is not available."""
    nothing = dict.fromkeys(records.TABLES["loop_runs"].columns)
    asked = asdict(case)
    return nothing | asked | {
        "net": net, "batch_asked": asked["batch"], "batch": None, "threads": threads,
        "stable": False, "instability": "no step was done",
    }  # fmt: skip


def loops_of(
    net: str, cases: list[dict], validation_steps: int, warmup_steps: int, threads: int, device: str
) -> Iterator[dict]:
    """Every case of one net, the first one again at the end: its runs, and their steps."""
    first_s = None
    found = []
    for planned in cases:
        case = Case(**_without(planned, "steps"))
        run, steps = _timed(
            net, case, planned["steps"], validation_steps, warmup_steps, threads, device
        )
        found.append(run)
        yield from steps
        if first_s is None:
            first_s = _median_step(steps)
    drift = None
    # compiling again would tell of nothing else
    again = cases[0]["steps"] > 1 and cases[0]["loop"] != COMPILED
    if first_s and found[0]["status"] == "done" and again:
        # the same again after all the others: has the machine changed meanwhile? A single step,
        # as `quick` takes it, could not tell
        case = Case(**_without(cases[0], "steps"))
        _, steps = _timed(net, case, min(2, cases[0]["steps"]), 0, warmup_steps, threads, device)
        again_s = _median_step(steps)
        drift = again_s / first_s - 1 if again_s else None
    for run in found:
        reasons = [run["instability"]] if run["instability"] else []
        if drift is not None and abs(drift) > DRIFT_LIMIT:
            reasons.append(
                f"the first case took {100 * drift:+.0f} % when repeated at the end, limit "
                f"{100 * DRIFT_LIMIT:.0f} %"
            )
        yield run | {"stable": not reasons, "instability": "; ".join(reasons) or None}


def _median_step(steps: list[dict]) -> float | None:
    timed = [row["step_s"] for row in steps if row["part"] == "training" and not row["warmup"]]
    return float(np.median(timed)) if timed else None


def _timed(net, case, steps, validation_steps, warmup, threads, device) -> tuple[dict, list[dict]]:
    """(run, steps) of one case; a failure is a run with its reason."""
    run = _no_run(net, case, threads) | {"kind": "run"}
    with sensors.watching(device) as watch:
        try:
            timed = trainings.timed_steps(
                net, _sets(), trainings.LOOPS[case.loop], input_px=case.input_px,
                in_channels=case.in_channels, batch=case.batch, workers=case.workers,
                threads=threads, steps=steps, validation_steps=validation_steps, warmup=warmup,
                device=device,
            )  # fmt: skip
            run |= timed.record
        except Exception as error:
            run |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    run |= {
        "others_load": watch.others_load,
        "clock_mhz": watch.clock_mhz,
        "temperature_c": watch.temperature_c,
        "energy_j": watch.energy_j,
        "throttled": watch.throttled,
    }
    if run["status"] != "done":
        return run, []
    loaded = watch.others_load is not None and watch.others_load > LOAD_LIMIT
    run["instability"] = (
        f"others kept {watch.others_load:.2f} cores busy, limit {LOAD_LIMIT}" if loaded else None
    )
    shared = {name: run[name] for name in ("net", "loop", "input_px", "in_channels", "batch_asked",
                                           "workers", "threads", "batch")}  # fmt: skip
    return run, [{"kind": "step"} | row | shared for row in timed.rows]


def full_epoch_of(
    net: str, case: dict, epochs: int, images: int | None, resumable: bool, threads: int,
    device: str,
) -> list[dict]:  # fmt: skip
    """Whole epochs of one net under one loop, from where it was stopped where it is `resumable`.

    `images` of each split, None: all of it.
    """
    case, folder = Case(**case), None
    if resumable:
        name = f"{net}-{case.loop.replace(' ', '-')}-{case.input_px}"
        folder = paths.RAW / "epochs" / name
    sets = _sets() if images is None else tuple(part.first(images) for part in _sets())
    rows = trainings.full_epoch(
        net, sets, trainings.LOOPS[case.loop], input_px=case.input_px,
        in_channels=case.in_channels, batch=case.batch, workers=case.workers, threads=threads,
        epochs=epochs, device=device, folder=folder,
    )  # fmt: skip
    asked = asdict(case)
    shared = {"net": net, "batch_asked": asked.pop("batch")} | asked
    return [row | shared | {"threads": threads} for row in rows]


def accuracy_of(
    net: str, seed: int, train_images: int, tested: int | None, input_px: int, threads: int,
    device: str,
) -> list[dict]:  # fmt: skip
    """One net trained for one epoch, and kept: its accuracy."""
    train_set, test_set = _sets()
    test_set = test_set if tested is None else test_set.first(min(tested, len(test_set)))
    sets = train_set.first(train_images).resized(input_px), test_set.resized(input_px)
    trained = trainings.kept(
        paths.RAW / "checkpoints", net, sets, ACCURACY_RECIPE, seed,
        execution=Execution(device, threads, bf16=device != "cpu" or machine.has_bf16()),
    )  # fmt: skip
    history = trained.record["history"]
    return [
        {
            "status": trained.status,
            "epochs": len(history["test_correct"]),
            "test_images": history["test_images"],
            "test_correct": history["test_correct"][-1],
        }
    ]


# Without batch normalisation AlexNet and VGG16 want small steps; one recipe for all five.
ACCURACY_RECIPE = Recipe(lr=3e-4, batch_size=64, epochs=1)


def pipeline_of(
    pipeline: str, input_px: int, in_channels: int, batch: int, workers: int, images: int,
    repetitions: int, threads: int, device: str,
) -> list[dict]:  # fmt: skip
    """One data pipeline, without a net: how long its batches take."""
    table = trainings.pipeline_times(
        _sets()[0], pipeline, input_px=input_px, in_channels=in_channels, batch=batch,
        images=images, workers=workers, threads=threads,
        repetitions=repetitions, device=device,
    )  # fmt: skip
    return table.drop(columns="images").to_dict("records")


def peaks_of(
    sizes: list[int], convolutions: list[int], copies: list[int], repetitions: int, threads: int,
    device: str,
) -> list[dict]:  # fmt: skip
    """Matrix products, convolutions and copies."""
    table = timing.peaks(
        threads=threads, product_sizes=sizes, convolution_sizes=convolutions, copy_sizes=copies,
        repetitions=repetitions, device=device,
    )  # fmt: skip
    return table.to_dict("records")


def _model(net: str, device: str):
    """A new net; what weights it has does not matter to its time, but is the same each time."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        # made where it is used: drawing the weights of twenty nets takes a processor a minute
        return nets.build(net, num_classes=10, in_channels=3, device=device)


def layers_of(
    net: str, input_px: int, batch: int, repetitions: int, threads: int, device: str
) -> list[dict]:
    """Every layer of one net in inference, with its counts."""
    import torch

    model = _model(net, device).eval()
    counted = count(model, (3, input_px, input_px), batch=batch).table
    by_layer = counted.groupby("path")[["macs", "bytes"]].sum()
    ops = counted.drop_duplicates("path").set_index("path")["op"]
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, input_px, input_px, generator=generator)
    table = timing.layer_times(
        model, images, batch=batch, repetitions=repetitions, threads=threads, warmup=1,
        device=device,
    )  # fmt: skip
    rows = []
    for row in table.to_dict("records"):
        whole = row["layer"] == timing.NET
        path = row["layer"].partition("[")[0]  # a layer that is called twice has path[0], path[1]
        calls = sum(1 for name in set(table["layer"]) if name.partition("[")[0] == path)
        known = path in by_layer.index
        rows.append(
            row
            | {
                "op": "(net)" if whole else ops.get(path, "other"),
                "macs": int(counted["macs"].sum() if whole else
                            by_layer["macs"].get(path, 0) // calls),
                "bytes": int(counted["bytes"].sum() if whole else
                             by_layer["bytes"].get(path, 0) // calls if known else 0),
            }
        )  # fmt: skip
    return rows


def operators_of(
    net: str, input_px: int, batch: int, repetitions: int, threads: int, device: str
) -> list[dict]:
    """One training step, operator by operator."""
    table = timing.operator_times(
        _model(net, device), (3, input_px, input_px), batch, repetitions=max(2, repetitions // 2),
        warmup=1, threads=threads, device=device,
    )  # fmt: skip
    return table.assign(loop="plain").to_dict("records")


def batches_of(
    what: str, input_px: int, batch: int, families: dict, repetitions: int, threads: int,
    device: str,
) -> Iterator[dict]:  # fmt: skip
    """Nets of several families at one batch size, in turns."""
    cases, facts = {}, {}
    for family, members in families.items():
        for net in members:
            if takes(net, input_px, 3):
                counted = training_seconds.counted(net, input_px, 3)
                cases[net] = timing.Case(_model(net, device), (3, input_px, input_px), batch, what)
                facts[net] = {"family": family, "macs": counted.macs, "acts": counted.acts}
    # one pass of a large batch is long enough to be timed by itself
    calls = 1 if batch * input_px**2 > 32 * 64**2 and device == "cpu" else None
    measured = timing.measure_many(
        cases, repetitions=repetitions, warmup=1, calls=calls, threads=threads, device=device,
        skip_out_of_memory=True,
    )  # fmt: skip
    for net, found in measured.items():
        for sample in found.samples.to_dict("records"):
            yield {"net": net, **facts[net], **sample, "stable": found.stable}
