"""How much notebook 06 measures: the scale of each profile."""

from dataclasses import asdict, dataclass, field, replace

from convcost.chapters.acceleration.study.steps import Pipeline
from convcost.nets.residual import KINDS
from convcost.training import Recipe

BASE, TRAIN, EXPORT = ("base", {}), ("train", {}), ("export", {})
CONTROL = "trained on"
STUDENT = {"widths": [16, 32, 64], "blocks": 1}
BRIEFLY_EXPORTED = ("none", "structured pruning")
COMPARED = "temperature 4, weight 0.9"
COMBINED = {"teacher": "base", "temperature": 4, "weight": 0.9}


@dataclass(frozen=True)
class Method:
    """A method at one setting: its name, the setting in words, and the pipeline."""

    method: str
    setting: str
    pipeline: Pipeline

    def unit(self) -> dict:
        return {"method": self.method, "setting": self.setting, "pipeline": list(self.pipeline)}


@dataclass(frozen=True)
class Scale:
    """How much of everything; nothing else differs between the profiles.

    All nets are trained on `train_images` of FashionMNIST (None: all) and tried on `test_images`:
    the base by `recipe`, whatever is trained on after a method by `tuning`, and what begins anew by
    `recipe` for as many epochs as both have together. `seeds` of each. The rest are the settings of
    the methods: `weight_bits` (8 of the activations), `mixed_averages` of `mixed_choices`,
    `sparsities` of the weights and `shares` of the filters that go, `taught` (temperature, weight
    of the teacher), `kept_shares` of a layer's multiply-adds after factorisation, `dropped` blocks.

    `searched`: (kind, width of the first stage, blocks a stage) of the nets that a search chooses
    from, trained by `search_recipe` on `search_images`, tried on as many other training images;
    every way to search is repeated `search_repeats` times for `search_trials`, with each of
    `search_limits` (share of the slowest net's time).
    `timed_cases`: (batch, threads or None for all) on the clock, each net beside the base in
    `timed_sessions` of `repetitions`; `input_px` is the side of the images there. `sparse_layers`:
    (channels, map side) of the convolutions whose weights are stored sparse. `brief`: one setting a
    method, few of them exported, no pairs of blocks.
    """

    device: str = "cpu"
    brief: bool = False
    threads: int | None = None  # None: as many as there are usable cores
    train_images: int | None = 30_000  # half of them: of all, an hour would become two
    test_images: int | None = None
    seeds: int = 3
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=4))
    tuning: Recipe = field(default_factory=lambda: Recipe(lr=1e-3, epochs=1))
    weight_bits: tuple[int, ...] = (8, 4, 2, 1)
    mixed_averages: tuple[float, ...] = (2.0,)
    mixed_choices: tuple[int, ...] = (4, 2, 1)
    sensitivity_bits: tuple[int, ...] = (2,)
    sparsities: tuple[float, ...] = (0.9, 0.95, 0.98)
    untuned_sparsities: tuple[float, ...] = (0.3, 0.5, 0.6, 0.7, 0.8)
    shares: tuple[float, ...] = (0.25, 0.5, 0.75)
    taught: tuple[tuple[float, float], ...] = ((4, 0.9), (10, 0.9), (4, 0.5))
    kept_shares: tuple[float, ...] = (0.5, 0.25)
    untuned_kept_shares: tuple[float, ...] = (0.75, 0.125)
    dropped: tuple[int, ...] = (1, 3)
    searched: tuple[tuple[str, int, int], ...] = tuple(
        (kind, width, blocks) for kind in KINDS for width in (8, 16, 32)
        for blocks in (1, 2, 3)
    )  # fmt: skip
    search_seeds: int = 2
    search_recipe: Recipe = field(default_factory=lambda: Recipe(epochs=1))
    search_images: int | None = 10_000
    search_limits: tuple[float, ...] = (0.25, 0.5)
    search_trials: int = 20
    search_repeats: int = 100
    timed_cases: tuple[tuple[int, int | None], ...] = ((1, 1), (1, None), (64, None))
    timed_sessions: int = 3
    repetitions: int = 15
    input_px: int = 28
    runtimes: tuple[str, ...] = ("torch", "onnx")
    formats: tuple[str, ...] = ("float64", "float32", "bfloat16", "float16")
    sparse_layers: tuple[tuple[int, int], ...] = ((32, 14), (64, 7), (128, 4))
    sparse_batches: tuple[int, ...] = (1, 64)
    sparse_levels: tuple[float, ...] = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)

    def methods(self) -> tuple[Method, ...]:
        """Every method at every setting, the most valuable first; of a brief scale one each."""
        every = self._every()
        if not self.brief:
            return every
        chosen = {method.method: method for method in reversed(every)}
        student = next(m for m in every if m.setting == COMPARED)
        first = [*reversed(chosen.values()), student]
        return tuple(
            m if m.method in BRIEFLY_EXPORTED
            else replace(m, pipeline=tuple(step for step in m.pipeline if step != EXPORT))
            for m in first
        )  # fmt: skip

    def _every(self) -> tuple[Method, ...]:
        anew = ("train", {"epochs": self.recipe.epochs + self.tuning.epochs, "first": True})
        return (
            Method("none", CONTROL, (BASE, TRAIN, EXPORT)),
            *(
                Method("quantisation", f"{bits} bits",
                       (BASE, ("quantise", {"weights": bits}), TRAIN,
                        *((("round", {}), EXPORT) if bits == 8 else ())))
                for bits in self.weight_bits
            ),
            *(
                Method("structured pruning", f"{share:.0%} of the filters",
                       (BASE, ("narrow", {"share": share}), TRAIN, EXPORT))
                for share in self.shares
            ),
            *_combined(),
            *_distilled(self, anew),
            *(
                Method("low rank", f"{method}, {share:.0%} kept",
                       (BASE, ("factorise", {"method": method, "share": share}), TRAIN, EXPORT))
                for method in ("svd", "tucker")
                for share in self.kept_shares
            ),
            *(
                Method("unstructured pruning", f"{sparsity:.0%} of the weights",
                       (BASE, ("mask", {"sparsity": sparsity}), TRAIN))
                for sparsity in self.sparsities
            ),
            *(
                Method("blocks removed", f"{blocks} of 9",
                       (BASE, ("drop", {"blocks": blocks}), TRAIN, EXPORT))
                for blocks in self.dropped
            ),
            *(
                Method("compact design", name, (("new", options), anew, EXPORT))
                for name, options in (
                    ("separable", {"kind": "separable"}),
                    ("shuffle", {"kind": "shuffle"}),
                )
            ),
            *_controls(self, anew),
            *(
                Method("mixed bits", f"{average:g} bits on average",
                       (BASE, ("mix", {"average": average, "choices": list(self.mixed_choices)}),
                        TRAIN))
                for average in self.mixed_averages
            ),
            *(
                Method("unstructured pruning", f"{sparsity:.0%} of the weights",
                       (BASE, ("mask", {"sparsity": sparsity})))
                for sparsity in self.untuned_sparsities
            ),
            *(
                Method("low rank", f"{method}, {share:.0%} kept",
                       (BASE, ("factorise", {"method": method, "share": share})))
                for method in ("svd", "tucker")
                for share in self.untuned_kept_shares
            ),
        )  # fmt: skip

    def training(self) -> dict:
        """What each pipeline is told of training, as plain values."""
        return {
            "recipe": asdict(self.recipe), "tuning": asdict(self.tuning), "device": self.device,
            "train_images": self.train_images, "test_images": self.test_images,
        }  # fmt: skip


def _combined() -> tuple[Method, ...]:
    """Several methods behind each other; int8 is the last step of each."""
    taught = ("train", COMBINED)
    half, most = ("narrow", {"share": 0.5}), ("narrow", {"share": 0.75})
    return (
        Method("combined", "half the filters, taught, int8", (BASE, half, taught, EXPORT)),
        Method("combined", "quarter of the filters, taught, int8", (BASE, most, taught, EXPORT)),
        Method("combined", "3 blocks and half the filters gone, taught, int8",
               (BASE, ("drop", {"blocks": 3}), half, taught, EXPORT)),
    )  # fmt: skip


def _distilled(scale: Scale, anew: tuple[str, dict]) -> tuple[Method, ...]:
    """One student: alone, twice as long, with teachers."""
    student, (word, options) = ("new", STUDENT), anew

    def method(setting: str, end: tuple = (), **more) -> Method:
        return Method("distillation", setting, (student, (word, options | more), *end))

    return (
        method("student alone", (EXPORT,)),
        *(
            method(f"temperature {temperature:g}, weight {weight:g}",
                   (EXPORT,) if (temperature, weight) == (4, 0.9) else (),
                   teacher="base", temperature=temperature, weight=weight)
            for temperature, weight in scale.taught
        ),
        method("weak teacher", **COMBINED | {"teacher": "weak"}),
        method("student alone, twice as long", epochs=2 * options["epochs"]),
    )  # fmt: skip


def _controls(scale: Scale, anew: tuple[str, dict]) -> tuple[Method, ...]:
    """What pruned nets are to be compared with."""
    return (
        *(
            Method("structured pruning, random", f"{share:.0%} of the filters",
                   (BASE, ("narrow", {"share": share, "criterion": "random"}), TRAIN))
            for share in scale.shares
            if share == 0.5
        ),
        *(
            Method("small net from scratch", f"{share:.0%} of the filters",
                   (("new", {"widths": [round(width * (1 - share)) for width in (32, 64, 128)]}),
                    anew))
            for share in scale.shares
            if share >= 0.5
        ),
    )  # fmt: skip


_BRIEF = Recipe(epochs=1, batch_size=32)
_QUICK = Scale(
    brief=True,
    train_images=400,
    test_images=200,
    seeds=2,
    recipe=replace(_BRIEF, epochs=2),
    tuning=replace(_BRIEF, lr=1e-3),
    weight_bits=(1,),
    mixed_averages=(),
    sensitivity_bits=(4,),
    sparsities=(0.9,),
    untuned_sparsities=(0.5,),
    shares=(0.5, 0.75),
    taught=((4, 0.9),),
    kept_shares=(0.25,),
    untuned_kept_shares=(),
    dropped=(1,),
    searched=(("plain", 8, 1), ("plain", 16, 1), ("separable", 8, 1), ("shuffle", 8, 1)),
    search_seeds=1,
    search_recipe=_BRIEF,
    search_images=200,
    search_limits=(0.5, 1.0),
    search_trials=6,
    search_repeats=4,
    timed_cases=((1, 1), (64, None)),
    timed_sessions=1,
    repetitions=3,
    formats=("float64", "float32", "bfloat16"),
    sparse_layers=((64, 7),),
    sparse_batches=(1,),
    sparse_levels=(0.0, 0.9, 0.99),
)
SCALES = {
    "quick": _QUICK,
    "cpu": Scale(),
    "gpu": Scale(
        device="cuda",
        train_images=None,
        search_images=20_000,
        timed_cases=((1, None), (64, None)),
        timed_sessions=1,
        input_px=224,
        runtimes=("torch",),
        sparse_layers=(),
    ),
}
SMOKE = replace(
    _QUICK,
    device="cuda",
    train_images=256,
    test_images=100,
    seeds=1,
    weight_bits=(8,),
    shares=(0.5,),
    searched=(("plain", 8, 1),),
    runtimes=("torch",),
    sparse_layers=(),
    repetitions=2,
)
"""One step of everything that `gpu` does: whether it runs at all."""
