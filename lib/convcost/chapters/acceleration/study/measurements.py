"""What the workers of notebook 06 do: one function a kind of unit, rows come out.

`Study` plans them. What is done to a net is in `steps`.
"""

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import nn

from convcost import datasets, nets, training
from convcost.chapters.acceleration.study import steps
from convcost.chapters.acceleration.study.steps import IMAGE, NET, Pipeline
from convcost.compression import bits, exported, lowrank, pruned, sparse_weights
from convcost.core.errors import BadInputError
from convcost.measuring import timing, zeros
from convcost.training import Recipe

UNTRAINED = {
    "seed": 0, "recipe": {}, "tuning": {}, "train_images": 2_000, "test_images": 100,
    "device": "cpu",
}  # fmt: skip
"""What a net is given that only its shapes are wanted of."""

DTYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


# --- trained -----------------------------------------------------------------------------------


def accelerated_of(method: str, setting: str, pipeline: Pipeline, **told) -> Iterator[dict]:
    """Rows of `accelerated_nets`: a pipeline worked off for one seed."""
    for number, row in enumerate(steps.run(pipeline, **told)):
        yield {"step": number} | row


def _trained_base(**told) -> steps.Work:
    """The base net of a seed, on the CPU or the device, with what it was trained on."""
    work = steps.work_for(**told)
    steps.WORDS["base"](work)
    work.model.eval()
    return work


def removed_blocks_of(pairs: bool, **told) -> Iterator[dict]:
    """Rows of `removed_blocks`: each block alone, and with `pairs` each pair of those that leave
    nothing."""
    work = _trained_base(**told)
    singles = [[path] for path in pruned.blocks(work.model)]
    both = map(list, combinations(steps.removable(work.model), 2)) if pairs else ()
    for gone in ([], *singles, *both):
        model = pruned.without_blocks(work.model, gone) if gone else work.model
        given = steps.scores(work, model, work.sets[1])
        yield {
            "removed": " + ".join(gone) or "none",
            "blocks": len(gone),
            "judged_share": steps.judged(work, model),
            "tried_on": len(work.sets[1]),
            "test_correct": int((given.argmax(1) == work.sets[1].labels).sum()),
        } | steps.counted(model)


def reconstruction_of(plan: Sequence[tuple[str, float]], **told) -> Iterator[dict]:
    """Rows of `reconstruction_errors`: how far factors are from the trained filters."""
    work = _trained_base(**told)
    images = work.images(steps.CALIBRATED_ON)
    work.model.cpu()
    for method, share in plan:
        smaller = lowrank.factorised(work.model, method, share)
        table = lowrank.reconstruction(work.model, smaller, images)
        # of a layer without ReLU there is no such error, which is no divergence
        for row in table.astype(object).where(table.notna(), None).to_dict("records"):
            yield {"factors": method, "share": share} | row


def sensitivities_of(widths: list[int], **told) -> Iterator[dict]:
    """Rows of `layer_sensitivities`: one layer with few bits, all others as they are."""
    work = _trained_base(**told)
    for width in widths:
        table = bits.sensitivity(work.model, width, lambda model: steps.judged(work, model))
        for row in table.to_dict("records"):
            yield {"bits": width} | row


def formats_of(formats: list[str], **told) -> Iterator[dict]:
    """Rows of `format_accuracies`: the base net in other formats of numbers, as torch has them."""
    work = _trained_base(**told)
    test = work.sets[1]
    images = work.scaling(test.images)
    expected = _given(work.model, images, torch.float32)
    for name in formats:
        try:
            given = _given(work.model, images, DTYPES[name])
        except RuntimeError:  # no kernels for it here
            continue
        yield {
            "format": name,
            "file_bytes": sum(t.numel() for t in work.model.parameters()) * DTYPES[name].itemsize,
            "tried_on": len(test),
            "test_correct": int((given.argmax(1) == test.labels).sum()),
            "same": int((given.argmax(1) == expected.argmax(1)).sum()),
        }


def _given(model: nn.Module, images: torch.Tensor, dtype: torch.dtype) -> np.ndarray:
    device = next(model.parameters()).device
    cast = _copied(model).to(dtype)
    with torch.inference_mode():
        parts = [cast(part.to(device, dtype)).double().cpu() for part in images.split(500)]
    return torch.cat(parts).numpy()


def _copied(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval()


def skippable_of(images: int, **told) -> list[dict]:
    """One row of `skippable_products`: multiply-adds whose input is a zero of ReLU, in the base."""
    work = _trained_base(**told)
    work.model.cpu()
    table = zeros.skippable_macs(work.model, work.images(images))
    return [{"images": images, "macs": int(table["macs"].sum()),
             "skippable": int(table["zero_input_macs"].sum())}]  # fmt: skip


def searched_of(
    kind: str, width: int, blocks: int, seed: int, recipe: dict, images: int | None, device: str
) -> list[dict]:
    """One row of `searched_nets`: a net of the space, trained briefly, tried on images that no
    training and no test saw."""
    everything, test = datasets.splits("fashionmnist")
    images = min(images or len(everything) // 2, len(everything) // 2)
    train = everything.first(images)
    held_out = everything.last(images)
    told = {"seed": seed, "recipe": recipe, "tuning": recipe, "device": device}
    work = steps.work_for(**told, train_images=None, test_images=None)
    work.sets = (train, held_out)
    work.model = work.new(kind=kind, widths=[width, 2 * width, 4 * width], blocks=blocks)
    history = training.fit(
        work.model, work.sets, Recipe(**recipe), seed, execution=work.execution, tests=False
    )
    hits = {
        name: int((steps.scores(work, work.model, part).argmax(1) == part.labels).sum())
        for name, part in (("held_out", held_out), ("test", test))
    }
    return [
        steps.counted(work.model)
        | {
            "status": "diverged" if history.diverged else "trained",
            "trained_on": images,
            "held_out_images": len(held_out),
            "held_out_correct": hits["held_out"],
            "tried_on": len(test),
            "test_correct": hits["test"],
            "train_s": sum(history.epoch_s),
        }
    ]


# --- on the clock ------------------------------------------------------------------------------


class _Ready:
    """A net in every runtime and format, to be called with batches of any size."""

    def __init__(
        self, model: nn.Module, folder: Path, name: str, runtimes: Sequence[str], input_px: int,
        device: str,
    ):  # fmt: skip
        self.shape, self.device = (IMAGE[0], input_px, input_px), device
        self.models, self.files = {}, {}
        if "torch" in runtimes:
            self.models["float32"] = _copied(model).to(device, memory_format=torch.channels_last)
            if device != "cpu":
                for dtype in (torch.bfloat16, torch.float16):
                    cast = _copied(self.models["float32"]).to(dtype)
                    self.models[str(dtype).removeprefix("torch.")] = cast
        if "onnx" in runtimes:
            path = exported.exported(model, self.shape, folder / f"{name}.onnx")
            calibration = torch.randn(64, *self.shape, generator=_drawn()).numpy()
            int8 = exported.quantised(path, calibration, folder / f"{name}-int8.onnx")
            self.files = {"float32": path, "int8": int8}

    def calls(self, batch: int, threads: int) -> Iterator[tuple[str, Callable[[], object]]]:
        """("torch float32", call), ("onnx int8", call) and so on."""
        images = torch.randn(batch, *self.shape, generator=_drawn())
        for name, model in self.models.items():
            dtype = next(model.parameters()).dtype
            given = images.to(self.device, dtype).to(memory_format=torch.channels_last)
            yield f"torch {name}", _inferring(model, given)
        for name, path in self.files.items():
            yield f"onnx {name}", exported.Session(path, threads).prepared(images.numpy())


def _drawn() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _inferring(model: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    def call():
        with torch.inference_mode():
            return model(images)

    return call


def _rows(
    functions: Mapping[str, Callable], repetitions: int, threads: int, device: str
) -> Iterator[dict]:
    table, unstable = timing.watched(
        functions, repetitions=repetitions, min_s=0.02, threads=threads, device=device
    )
    for row in table.to_dict("records"):
        yield row | {"stable": not unstable}


def speeds_of(
    method: str, setting: str, pipeline: Pipeline, cases: list[tuple[int, int]], input_px: int,
    runtimes: list[str], session: int, repetitions: int, device: str,
) -> Iterator[dict]:  # fmt: skip
    """Rows of `accelerated_times`: a net and the base in turns, by every runtime and format.

    cases: (batch, threads).
    """
    pipelines = {"base": [("base", {})], "net": pipeline}
    with tempfile.TemporaryDirectory() as folder:
        ready = {
            name: _Ready(
                steps.shaped(words, **UNTRAINED), Path(folder), name, runtimes, input_px, device
            )
            for name, words in pipelines.items()
        }
        for batch, threads in cases:
            functions = {
                f"{name} {how}": call
                for name, net in ready.items()
                for how, call in net.calls(batch, threads)
            }
            for row in _rows(functions, repetitions, threads, device):
                net, runtime, number_format = row.pop("case").split()
                row["repetition"] += session * repetitions
                yield row | {"batch": batch, "threads": threads, "net": net, "runtime": runtime,
                             "format": number_format}  # fmt: skip


def format_times_of(
    formats: list[str], batch: int, input_px: int, session: int, repetitions: int, threads: int,
    device: str,
) -> Iterator[dict]:  # fmt: skip
    """Rows of `format_times`: the base net in several formats of numbers, as torch runs them."""
    base = steps.shaped([("base", {})], **UNTRAINED).to(device)
    images = torch.randn(batch, IMAGE[0], input_px, input_px, generator=_drawn()).to(device)
    last, functions = torch.channels_last, {}
    for name in formats:
        cast = _copied(base).to(DTYPES[name]).to(memory_format=last)
        call = _inferring(cast, images.to(DTYPES[name]).to(memory_format=last))
        try:
            call()
        except RuntimeError:  # no kernels for it here
            continue
        functions[name] = call
    for row in _rows(functions, repetitions, threads, device):
        row["repetition"] += session * repetitions
        yield {"format": row.pop("case")} | row


def sparse_times_of(
    channels: int, map_px: int, sparsity: float, batch: int, repetitions: int
) -> Iterator[dict]:
    """Rows of `sparse_weight_times`: a convolution by every way to store its weights."""
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=_drawn()))
    layer = pruned.made_permanent(pruned.masked(nn.Sequential(layer), sparsity))[0]
    images = torch.randn(batch, channels, map_px, map_px, generator=_drawn())
    functions = {}
    with torch.inference_mode(), timing.blocks.on_threads(1):
        for method in sparse_weights.METHODS:
            run = sparse_weights.prepare(layer, method)
            run(images)  # what is packed once is packed now
            functions[method] = lambda run=run: run(images)
        yield from (
            {"execution": row.pop("case"), "threads": 1} | row
            for row in _rows(functions, repetitions, 1, "cpu")
        )


def searched_times_of(
    nets_: list[tuple[str, int, int]], batch: int, repetitions: int, threads: int
) -> Iterator[dict]:
    """Rows of `searched_times`: nets of the space in turns, by ONNX Runtime in float32."""
    with tempfile.TemporaryDirectory() as folder:
        functions = {}
        images = torch.randn(batch, *IMAGE, generator=_drawn()).numpy()
        for kind, width, blocks in nets_:
            model = nets.build(
                NET, kind=kind, widths=(width, 2 * width, 4 * width), blocks=blocks
            ).eval()
            name = f"{kind} {width} {blocks}"
            path = exported.exported(model, IMAGE, Path(folder) / f"{name.replace(' ', '-')}.onnx")
            functions[name] = exported.Session(path, threads).prepared(images)
        for row in _rows(functions, repetitions, threads, "cpu"):
            kind, width, blocks = row.pop("case").split()
            yield {"kind": kind, "width": int(width), "blocks": int(blocks)} | row


def known(pipeline: Pipeline) -> nn.Module:
    """The net of a pipeline, to be counted and predicted; refuses words that are not there."""
    if unknown := [word for word, _ in pipeline if word not in (*steps.WORDS, "export")]:
        raise BadInputError(f"no step is called {', '.join(unknown)}")
    return steps.shaped(pipeline, **UNTRAINED)
