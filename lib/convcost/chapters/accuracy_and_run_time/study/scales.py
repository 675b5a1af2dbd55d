"""How much notebook 05 measures: the scale of each profile."""

from dataclasses import dataclass, replace

from convcost.training import Recipe

POST = (64, 128, 112)
"""The post's example: input channels, output channels, side of the map."""

RECIPE = Recipe()


@dataclass(frozen=True)
class Scale:
    """How much of everything; nothing else differs between the profiles.

    `separable_blocks`: (input channels, output channels, side of the map) of the blocks on the
    clock, at each of `separable_batches`, `separable_repetitions` times; `separable_peaks` are the
    sizes of products, convolutions and copies beside them. `separable_seeds`: how many seeds of
    which net are trained by `separable_recipe` on `separable_images` of FashionMNIST (None: all)
    and tried on `separable_tried`; `separable_longer`: of how many seeds those of equal cost are
    trained again, for `separable_longer_epochs`; `separable_net_cases` is what all these nets are
    timed at.
    """

    device: str = "cpu"
    threads: int | None = None  # None: as many as there are usable cores
    separable_blocks: tuple[tuple[int, int, int], ...] = (
        POST,
        (32, 64, 112),
        (128, 128, 56),
        (256, 256, 28),
        (512, 512, 14),
    )
    # from 8 on the results of the example are so large that the system hands them out anew
    separable_batches: tuple[int, ...] = (1, 4, 8, 32)
    separable_repetitions: int = 15
    separable_peaks: tuple[tuple[int, ...], ...] = ((1024, 2048), (128, 256, 512), (2**20, 2**25))
    # a family in the order in which figures and tables show it
    separable_seeds: tuple[tuple[str, int], ...] = (
        ("plain_cnn", 5),
        ("separable_cnn", 5),
        ("plain_cnn_narrow", 5),
        ("separable_cnn_wide", 3),
    )
    separable_longer: tuple[tuple[str, int], ...] = (("separable_cnn", 3), ("plain_cnn_narrow", 3))
    separable_longer_epochs: int = 9
    separable_recipe: Recipe = RECIPE
    separable_images: int | None = None
    separable_tried: int | None = None
    separable_net_cases: tuple[tuple[str, int], ...] = (
        ("inference", 1),
        ("inference", 64),
        ("training_step", 128),
    )


_QUICK = Scale(
    separable_blocks=(POST, (256, 256, 28)),
    separable_batches=(1, 4),
    separable_repetitions=3,
    separable_peaks=((1024,), (256,), (2**20, 2**25)),
    separable_seeds=(("plain_cnn", 2), ("separable_cnn", 2), ("plain_cnn_narrow", 2)),
    separable_longer=(),
    separable_recipe=replace(RECIPE, batch_size=32, epochs=1),
    separable_images=2_000,
    separable_tried=1_000,
)
SCALES = {
    "quick": _QUICK,
    "cpu": Scale(),
    "gpu": Scale(
        device="cuda",
        separable_peaks=((4096, 8192), (256, 512, 1024), (2**24, 2**28)),
        separable_seeds=tuple((net, 5) for net, _ in Scale().separable_seeds),
        separable_longer=tuple((net, 5) for net, _ in Scale().separable_seeds),
    ),
}
SMOKE = replace(
    _QUICK,
    device="cuda",
    separable_blocks=((8, 16, 14),),
    separable_batches=(1,),
    separable_repetitions=2,
    separable_peaks=((64,), (8,), (2**10, 2**12)),
    separable_seeds=(("plain_cnn", 1), ("separable_cnn", 1)),
    separable_images=256,
    separable_tried=100,
    separable_net_cases=(("inference", 1), ("training_step", 16)),
)
"""One step of everything that `gpu` does: whether it runs at all."""
