"""How much notebook 05 measures: the scale of each profile."""

from dataclasses import dataclass, replace

from convcost.training import Recipe

POST = (64, 128, 112)
"""The post's example: input channels, output channels, side of the map."""

RECIPE = Recipe()

_TIMM = "timm/benchmark"
_RTX_3090 = f"{_TIMM}-infer-amp-nchw-pt240-cu124-rtx3090.csv"
_CORE_I7 = f"{_TIMM}-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv"
_PYCLS = "pycls/model_timing.json"


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

    `known_cases`: (use, batch, at most so many 10^9 multiply-adds, at most so many nets or None) of
    torchvision's nets of at most `known_millions` parameters, `known_in_turns` at a time, in
    `known_sessions` that follow each other: a machine is not the same in all of them.
    `calibration_rounds`: (use, rounds of made nets). `tables`: published tables that the models are
    judged on, (file, use); `transfers`: (file, device to begin from), with `transfer_given` nets,
    drawn `transfer_draws` times.
    """

    device: str = "cpu"
    threads: int | None = None  # None: as many as there are usable cores
    known_cases: tuple[tuple[str, int, float, int | None], ...] = (
        ("inference", 1, 20, None),
        ("inference", 8, 5, None),
        ("training", 4, 5, None),
    )
    known_millions: float = 150
    known_in_turns: int = 5
    known_repetitions: int = 5
    known_sessions: int = 3
    calibration_rounds: tuple[tuple[str, int], ...] = (("inference", 15), ("training", 20))
    calibration_repetitions: int = 5
    tables: tuple[tuple[str, str], ...] = (
        (f"{_TIMM}-infer-amp-nchw-pt291-cu128-4090.csv", "inference"),
        (_CORE_I7, "inference"),
        (f"{_TIMM}-train-amp-nhwc-pt112-cu113-rtx3090.csv", "training"),
        (_RTX_3090, "inference"),
        (f"{_TIMM}-infer-amp-nhwc-pt240-cu124-rtx3090.csv", "inference"),
        (_PYCLS, "inference"),
        (_PYCLS, "training"),
    )
    transfers: tuple[tuple[str, str], ...] = (
        (f"{_TIMM}-infer-amp-nchw-pt291-cu128-4090.csv", "rtx3090"),
        (_RTX_3090, "rtx4090"),
        (_CORE_I7, "rtx4090"),
    )
    transfer_given: tuple[int, ...] = (1, 2, 5, 10, 20)
    transfer_draws: int = 40
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
    known_cases=(("inference", 1, 5, 6), ("training", 2, 1, 4)),
    known_repetitions=3,
    known_sessions=1,
    calibration_rounds=(("inference", 2), ("training", 1)),
    calibration_repetitions=2,
    tables=((_CORE_I7, "inference"), (_PYCLS, "inference"), (_PYCLS, "training")),
    transfers=((_RTX_3090, "rtx4090"),),
    transfer_given=(1, 5),
    transfer_draws=5,
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
        known_cases=(
            ("inference", 1, 20, None),
            ("inference", 64, 20, None),
            ("training", 32, 13, None),
        ),
        calibration_rounds=(("inference", 8), ("training", 8)),
        known_sessions=1,  # a card is lent for minutes, and hardly differs from one to the next
        separable_peaks=((4096, 8192), (256, 512, 1024), (2**24, 2**28)),
        separable_seeds=tuple((net, 5) for net, _ in Scale().separable_seeds),
        separable_longer=tuple((net, 5) for net, _ in Scale().separable_seeds),
    ),
}
SMOKE = replace(
    _QUICK,
    device="cuda",
    known_cases=(("inference", 1, 1, 2), ("training", 2, 1, 2)),
    calibration_rounds=(("inference", 1), ("training", 1)),
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
