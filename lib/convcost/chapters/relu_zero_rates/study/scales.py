"""How much notebook 03 measures: its nets, recipes and products, and the scale of each profile."""

from dataclasses import dataclass, replace

from convcost import sources
from convcost.training import Recipe

NET = "lenet_atsumi"
ORIGINAL = "lenet5_1998"
IMAGES_PER_DIGIT = int(sources.value("atsumi2020", "images_per_digit"))
TIMED_IMAGES = int(sources.value("atsumi2020", "timing_images"))
LEVEL = float(sources.value("atsumi2020", "background_level"))
REMOVED = 2  # filters of conv1, as the paper's 0 and 3
WHOLE = "none"  # the layer and criterion of a net that lost nothing
FROM_SCRATCH = "from scratch"

# The level of -0.9 has a meaning for images of -1 to 1 only, so these are; the rest is what courses
# teach. `Recipe()` reaches a better accuracy, and is one of the others.
TEXTBOOK = Recipe(lr=1e-3, schedule="constant", epochs=5, normalisation="-1..1")

# One recipe for the four nets: without batch normalisation AlexNet and VGG16 want small steps.
FASHION_RECIPE = Recipe(lr=3e-4, batch_size=64, epochs=3)
FINE_TUNING = Recipe(lr=1e-3, epochs=1)


@dataclass(frozen=True)
class Scale:
    """How much of everything; nothing else differs between the profiles.

    `seeds` LeNets of the first recipe, `varied_seeds` of each other initialisation and
    normalisation, and of the `other` recipes as many as beside them; `train_images` of MNIST
    (None: all). `pruned_seeds` nets lose filters: `removed` says how many of which layer without
    fine-tuning, `tuned` with it, on `tuning_images`, and `from_scratch` which of the small nets are
    also trained from new weights. `repetitions` of each timing; `processes` for first calls.
    `fashion_nets` are trained on `fashion_images` of FashionMNIST at `fashion_px`, those in
    `fashion_epochs` for so many epochs, AlexNet from `alexnet_seeds` in all, and tried on
    `tried_images` of its test split.
    `zero_rates` of the made inputs of the products in `sparse_cases`; these and the layers of the
    trained nets are timed `sparse_repetitions` times. `together`: the LeNets of a recipe are
    trained all at once, which pays on a GPU.
    """

    seeds: int
    varied_seeds: int
    recipe: Recipe
    other: tuple[tuple[Recipe, int], ...]
    train_images: int | None
    watched: tuple[Recipe, ...]
    watched_epochs: tuple[int, ...]
    watched_seeds: int
    original_recipe: Recipe
    original_seeds: int
    saving_sessions: int
    saving_repetitions: int
    pruned_seeds: int
    removed: dict[str, tuple[int, ...]]
    tuned: dict[str, tuple[int, ...]]
    from_scratch: dict[str, tuple[int, ...]]
    tuning_images: int
    repetitions: int
    processes: int
    fashion_nets: tuple[str, ...]
    fashion_images: int | None
    fashion_px: int
    fashion_recipe: Recipe
    fashion_epochs: dict[str, int]
    alexnet_seeds: int
    tried_images: int
    sparse_cases: tuple[str, ...]
    zero_rates: tuple[float, ...]
    sparse_repetitions: int
    device: str = "cpu"
    together: bool = False


SPARSE_CASES = {
    "LeNet fc120, batch 1": (1, 256, 120),
    "LeNet fc120, batch 64": (64, 256, 120),
    "LeNet conv2, batch 1": (8 * 8, 6 * 5 * 5, 16),
    "AlexNet fc6, batch 1": (1, 9216, 4096),
    "AlexNet fc6, batch 8": (8, 9216, 4096),
    "AlexNet conv3, batch 1": (13 * 13, 192 * 3 * 3, 384),
}
"""Name -> (rows, inputs, outputs) of the matrix product that the layer is; AlexNet's at 224 px."""

_RATES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98, 0.99, 0.995)
_CPU = Scale(
    seeds=100,
    varied_seeds=5,
    recipe=TEXTBOOK,
    other=(
        (replace(TEXTBOOK, epochs=1), 12),
        (replace(TEXTBOOK, epochs=2), 12),
        (replace(TEXTBOOK, epochs=3), 12),
        (replace(TEXTBOOK, epochs=10), 5),
        (replace(TEXTBOOK, optimiser="sgd", lr=0.01), 5),
        (Recipe(), 100),
    ),
    train_images=None,
    # images of -1 to 1, in which alone the paper's level of -0.9 has a meaning
    watched=(TEXTBOOK, replace(TEXTBOOK, optimiser="sgd", lr=0.01)),
    watched_epochs=(1, 2, 3, 5),
    watched_seeds=100,
    original_recipe=Recipe(epochs=12),
    original_seeds=3,
    saving_sessions=10,
    saving_repetitions=100,
    pruned_seeds=20,
    removed={"conv1": (1, 2, 3, 4, 5), "conv2": (3, 6, 9, 12)},
    tuned={"conv1": (1, 2, 3, 4), "conv2": (6,)},
    from_scratch={"conv1": (2,)},
    tuning_images=20_000,
    repetitions=30,
    processes=10,
    fashion_nets=("alexnet", "vgg16", "googlenet", "resnet18"),
    fashion_images=10_000,
    fashion_px=64,
    fashion_recipe=FASHION_RECIPE,
    fashion_epochs={"vgg16": 1},  # a third of an hour an epoch on one core
    alexnet_seeds=3,
    tried_images=1000,
    sparse_cases=tuple(SPARSE_CASES),
    zero_rates=_RATES,
    sparse_repetitions=10,
)
SCALES = {
    "quick": replace(
        _CPU,
        seeds=8,
        varied_seeds=1,
        # small batches make the most of few images: as many steps, at less cost
        recipe=replace(TEXTBOOK, epochs=2, batch_size=32),
        other=((replace(TEXTBOOK, epochs=1, batch_size=32), 1),),
        train_images=6_000,
        watched=(replace(TEXTBOOK, batch_size=32),),
        watched_epochs=(1,),
        watched_seeds=3,
        original_seeds=0,
        saving_sessions=3,
        saving_repetitions=5,
        pruned_seeds=2,
        removed={"conv1": (1, 2), "conv2": (6,)},
        tuned={"conv1": (2,)},
        from_scratch={},
        tuning_images=1_000,
        repetitions=5,
        processes=1,
        fashion_nets=("alexnet",),
        fashion_images=400,
        fashion_recipe=replace(FASHION_RECIPE, epochs=1),
        fashion_epochs={},
        alexnet_seeds=1,
        tried_images=100,
        sparse_cases=("LeNet fc120, batch 1", "LeNet fc120, batch 64", "AlexNet conv3, batch 1"),
        zero_rates=(0.0, 0.6, 0.95),
        sparse_repetitions=2,
    ),
    "cpu": _CPU,
    "gpu": replace(
        _CPU,
        varied_seeds=20,
        fashion_images=30_000,
        fashion_px=96,
        fashion_epochs={},
        zero_rates=_RATES[::2],
        sparse_repetitions=3,  # on the processor: it needs no GPU
        device="cuda",
        together=True,
    ),
}
SMOKE = replace(
    SCALES["quick"],
    seeds=2,
    varied_seeds=1,
    recipe=replace(TEXTBOOK, epochs=1),
    other=(),
    train_images=512,
    watched_epochs=(1,),
    watched_seeds=1,
    original_recipe=Recipe(epochs=1),
    original_seeds=1,
    saving_sessions=1,
    saving_repetitions=2,
    pruned_seeds=1,
    removed={"conv1": (1,)},
    tuned={"conv1": (1,)},
    tuning_images=128,
    repetitions=2,
    fashion_images=64,
    tried_images=20,
    sparse_cases=("LeNet fc120, batch 1",),
    zero_rates=(0.0, 0.9),
    device="cuda",
    together=True,
)
"""One step of everything that `gpu` does: whether it runs at all."""

BATCHES = (1, 64)  # the paper's, and one that keeps a processor busy
