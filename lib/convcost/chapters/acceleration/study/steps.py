"""What is done to a net of notebook 06, step by step: the words of a pipeline, and their meaning.

A pipeline is a list of (word, options), plain JSON, so that a plan is data. `run` works it off for
one seed and gives a row a step. `shaped` does it to an untrained net and leaves training out: what
is left has the shapes, and so the speed.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from convcost import datasets, training
from convcost.compression import bits, exported, lowrank, pruned
from convcost.core import machine, paths
from convcost.core.errors import BadInputError
from convcost.counting.count import count
from convcost.datasets import Dataset
from convcost.training import Execution, Recipe
from convcost.training.inputs import arguments, drawn_seeds, new_net

NET = "residual_cnn"
IMAGE = (1, 28, 28)
JUDGED_ON = 2_000  # of the training images: what chooses layers, blocks or widths looks at these
CALIBRATED_ON = 500  # of the training images: what ranges of activations are taken from
WEAK_IMAGES = 3_000  # that the weak teacher has seen

Pipeline = Sequence[tuple[str, dict]]


@dataclass
class Work:
    """A net on its way through a pipeline: what it is, and what it has been given."""

    seed: int
    sets: tuple[Dataset, Dataset]
    recipe: Recipe
    tuning: Recipe
    execution: Execution
    trained: bool = True  # else steps that train do nothing, and nets have their first weights
    model: nn.Module | None = None
    epochs: int = 0  # of training, all steps together
    said: dict = field(default_factory=dict)  # what the last step found besides

    @property
    def scaling(self) -> training.Scaling:
        return self.recipe.scaling(self.sets[0])

    def images(self, first: int) -> torch.Tensor:
        """The first training images as the net gets them."""
        return self.scaling(self.sets[0].images[:first])

    def new(self, **options) -> nn.Module:
        build = arguments(NET, self.sets, options=options)
        return new_net(NET, build, self.recipe, drawn_seeds(self.seed), self.execution)


def _base(work: Work) -> None:
    """The trained net that all methods begin from; of the shelf, trained where it is not there."""
    if not work.trained:
        work.model = work.new()
        return
    work.model = _kept(work, work.sets).net()
    work.epochs = work.recipe.epochs


def _kept(work: Work, sets: tuple[Dataset, Dataset]) -> training.Trained:
    return training.kept(
        paths.RAW / "checkpoints", NET, sets, work.recipe, work.seed, execution=work.execution
    )


def _new(work: Work, **options) -> None:
    work.model = work.new(**options)


def _train(
    work: Work, epochs: int = 1, *, first: bool = False, teacher: str | None = None,
    temperature: float = 1.0, weight: float = 0.0,
) -> None:  # fmt: skip
    """Trained on with all weights; `first`: by the recipe of a new net, else by that for tuning."""
    if not work.trained:
        return
    recipe = replace(work.recipe if first else work.tuning, epochs=epochs)
    told = {"execution": work.execution, "tests": False}
    if teacher is None:
        history = training.fit(work.model, work.sets, recipe, work.seed, **told)
    else:
        history = training.distil(
            work.model, work.sets, recipe, work.seed, _taught(work, teacher),
            temperature=temperature, weight=weight, **told,
        )  # fmt: skip
    work.epochs += epochs
    work.said = {"train_s": sum(history.epoch_s), "diverged": history.diverged}


def _taught(work: Work, teacher: str) -> torch.Tensor:
    """What a teacher says of the training images."""
    key = teacher, work.seed, work.recipe, work.execution, work.sets[0].sha256
    if key not in _lessons:
        _lessons.clear()  # one of them is enough at a time
        train, test = work.sets
        few = min(WEAK_IMAGES, max(1, len(train) // 20))
        sets = {"base": work.sets, "weak": (train.first(few), test)}[teacher]
        model = _kept(work, sets).net()
        _lessons[key] = training.logits(model, train, train, work.recipe, work.execution)
    return _lessons[key]


_lessons: dict[tuple, torch.Tensor] = {}


def _mask(work: Work, sparsity: float) -> None:
    work.model = pruned.masked(work.model, sparsity)


def _narrow(work: Work, share: float, criterion: str = "smallest L1 norm") -> None:
    work.model = pruned.narrowed(work.model, IMAGE, share, criterion, seed=work.seed)


def _factorise(work: Work, method: str, share: float) -> None:
    work.model = lowrank.factorised(work.model, method, share)


def _drop(work: Work, blocks: int) -> None:
    """Blocks without which the net still does best, one after the other, judged on training
    images."""
    for _ in range(blocks):
        fewer = {path: pruned.without_blocks(work.model, [path]) for path in removable(work.model)}
        scores = {path: judged(work, model) if work.trained else 0 for path, model in fewer.items()}
        # of equals the last, whose maps are the smallest
        work.model = fewer[max(reversed(scores), key=scores.get)]


def removable(model: nn.Module) -> list[str]:
    """Blocks whose shortcut is the input itself: what is left without them is nothing."""
    return [
        path
        for path in pruned.blocks(model)
        if isinstance(model.get_submodule(path).shortcut, nn.Identity)
    ]


def _quantise(work: Work, weights: int, activations: int = 8) -> None:
    images = work.images(CALIBRATED_ON)
    work.model = bits.fake_quantised(work.model, weights, activations, images)
    work.said = {"packed_bytes": bits.weight_bytes(bits.made_plain(work.model), weights)}


def _mix(work: Work, average: float, choices: list[int]) -> None:
    """Widths chosen layer by layer, so that the average over the weights is reached."""
    tables = {
        width: bits.sensitivity(work.model, width, lambda model: judged(work, model))
        for width in choices
    }
    widths = bits.widths_by_sensitivity(tables, choices, average)
    images = work.images(CALIBRATED_ON)
    work.model = bits.fake_quantised(work.model, widths, 8, images)
    work.said = {"packed_bytes": bits.weight_bytes(bits.made_plain(work.model), widths)}


def _round(work: Work) -> None:
    """Weights that are what the rounding made of them, for good."""
    work.model = bits.made_plain(work.model)


WORDS: dict[str, Callable] = {
    "base": _base,
    "new": _new,
    "train": _train,
    "mask": _mask,
    "narrow": _narrow,
    "factorise": _factorise,
    "drop": _drop,
    "quantise": _quantise,
    "mix": _mix,
    "round": _round,
}
SHAPES = ("base", "new", "narrow", "factorise", "drop")
"""Words that a net's speed depends on."""


# --- what a net is worth ---------------------------------------------------------------------


def scores(work: Work, model: nn.Module, part: Dataset) -> np.ndarray:
    """What a net says of each image, in float32: (N, classes)."""
    plain = replace(work.execution, bf16=False)
    return training.logits(model, part, work.sets[0], work.recipe, plain).numpy()


def judged(work: Work, model: nn.Module) -> float:
    """Share of hits on the training images that choices look at; no test image has a say."""
    part = work.sets[0].first(min(JUDGED_ON, max(1, len(work.sets[0]) // 4)))
    given = training.logits(model, part, work.sets[0], work.recipe, work.execution)
    return float((given.argmax(1).numpy() == part.labels).mean())


def _scores_of_base(work: Work) -> np.ndarray:
    """What the base says of the test images: once for all pipelines that begin from it."""
    key = work.seed, work.recipe, work.execution, work.sets[0].sha256, work.sets[1].sha256
    if key not in _known:
        _known.clear()
        _known[key] = scores(work, work.model, work.sets[1])
    return _known[key]


_known: dict[tuple, np.ndarray] = {}


def counted(model: nn.Module) -> dict[str, int]:
    """Parameters and multiply-adds of one image."""
    found = count(model, IMAGE)
    return {"params": found.params, "macs": found.macs}


# --- a pipeline worked off -------------------------------------------------------------------


def work_for(
    seed: int, recipe: dict, tuning: dict, train_images: int | None, test_images: int | None,
    device: str, trained: bool = True,
) -> Work:  # fmt: skip
    """What a pipeline begins with; all of it plain values, as a unit of a sweep has them."""
    execution = Execution(device=device, bf16=device != "cpu" or machine.has_bf16())
    sets = datasets.splits("fashionmnist", train_images, test_images)
    return Work(seed, sets, Recipe(**recipe), Recipe(**tuning), execution, trained)


def shaped(pipeline: Pipeline, **told) -> nn.Module:
    """A net of the shapes that a pipeline gives, with untrained weights."""
    work = work_for(trained=False, **told)
    for word, options in pipeline:
        if word in SHAPES:
            WORDS[word](work, **options)
    return work.model.eval()


def run(pipeline: Pipeline, **told) -> Iterator[dict]:
    """A row a step: what was done, what the net costs and how many test images it names rightly.

    `same`: test images that get the class that they got after the step before. The last word may
    be "export": the net as ONNX in float32, then in int8, by ONNX Runtime; two rows.
    """
    work, before = work_for(**told), None
    test = work.sets[1]
    for word, options in pipeline:
        if word == "export":
            yield from _exported(work, before)
            return
        if word not in WORDS:
            raise BadInputError(f"no step is called {word!r}; there are: {', '.join(WORDS)}")
        work.said = {}
        WORDS[word](work, **options)
        if word == "new":  # untrained: what it says is noise
            continue
        is_base = word == "base"
        given = _scores_of_base(work) if is_base else scores(work, work.model, test)
        yield _row(work, word, given, before, counted(_plain(work.model)))
        before = given


def _plain(model: nn.Module) -> nn.Module:
    """Without what only training needs, so that it is counted as it will run."""
    return bits.made_plain(pruned.made_permanent(model))


def _row(work: Work, word: str, given: np.ndarray, before: np.ndarray | None, costs: dict) -> dict:
    test = work.sets[1]
    model = _plain(work.model)
    stored = pruned.stored_bytes(model)
    row = {
        "word": word,
        "epochs": work.epochs,
        "bf16": work.execution.bf16,
        "zero_weights": pruned.zero_weights(model),
        "file_bytes": stored["dense"],
        "sparse_bytes": min(stored["csr"], stored["bitmap"]),
        "deflated_bytes": stored["deflated"],
        "trained_on": len(work.sets[0]),
        "tried_on": len(test),
        "test_correct": int((given.argmax(1) == test.labels).sum()),
        "status": "diverged" if work.said.pop("diverged", False) else "trained",
    }
    if before is not None:
        row |= {
            "same": int((given.argmax(1) == before.argmax(1)).sum()),
            "difference": float(np.abs(given - before).max() / np.abs(before).max()),
        }
    return row | costs | work.said


def _exported(work: Work, before: np.ndarray) -> Iterator[dict]:
    """The net as ONNX Runtime runs it: in float32, then with 8 bits, both in the same order."""
    work.said = {}
    test = work.scaling(work.sets[1].images).numpy()
    model = work.model.cpu()
    with tempfile.TemporaryDirectory() as folder:
        float32 = exported.exported(model, IMAGE, Path(folder) / "float32.onnx")
        images = work.images(CALIBRATED_ON).numpy()
        int8 = exported.quantised(float32, images, Path(folder) / "int8.onnx")
        for word, path in (("onnx", float32), ("int8", int8)):
            given = exported.Session(path)(test)
            costs = counted(model) | {"macs": exported.macs(path)}
            yield _row(work, word, given, before, costs) | {"file_bytes": path.stat().st_size}
            before = given
