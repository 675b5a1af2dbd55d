"""How much notebook 02 measures: its nets, its training loops, and the scale of each profile."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from convcost.chapters.training_time.findings import paper

PAPER_GPU = "NVIDIA GeForce RTX 4080"
PAPER_NETS = paper.NETS
TEXTBOOK_NETS = paper.LINEUPS["textbook", "densenet_textbook"]
FAMILIES = {
    "alexnet": ("alexnet",),
    "vgg": ("vgg11", "vgg13", "vgg16", "vgg19"),
    "googlenet": ("googlenet",),
    "resnet": ("resnet18", "resnet34", "resnet50", "resnet101"),
    "densenet": ("densenet121", "densenet169", "densenet161"),
    "regnet_y": ("regnet_y_400mf", "regnet_y_800mf", "regnet_y_1_6gf", "regnet_y_3_2gf"),
    "mobilenet": ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    "squeezenet": ("squeezenet1_0", "squeezenet1_1"),
}
"""Nets of one design each, for time against FLOPs within and across families."""

COMPILED = "compiled"  # the loop that takes longer to be made ready than to be timed


@dataclass(frozen=True)
class Case:
    """One training loop over one net's inputs: what a row of `loop_runs` is about."""

    loop: str
    input_px: int
    in_channels: int = 3
    batch: int = 32
    workers: int = 0


@dataclass(frozen=True)
class Scale:
    """How much of everything; nothing else differs between the profiles.

    `loops` are timed for the five nets at `input_px`, `batch` images a step, `steps` steps and
    `validation_steps` after `warmup`; "compiled" for `compiled` only. `protocols` are the cases of
    the forensics, by net. `full` (net, case) runs whole epochs, and so does `full_with_workers`,
    later; `full_images` of each split (None: all), from where they were stopped if `resumable`.
    `pipelines`: sizes and workers of the data pipelines alone. `accuracy_images` of FashionMNIST at
    `accuracy_px` train each net for its accuracy, on `accuracy_tested` of the test split (None:
    all). `layer_batch` images go through each layer of the nets, and through a profiled training
    step. `batches` says which batch
    sizes are timed, by (what, input_px), over `families`. `fresh`: each net's loops and each batch
    size in a process of its own.
    """

    loops: tuple[str, ...]
    compiled: tuple[str, ...]
    input_px: int
    batch: int
    steps: int
    validation_steps: int
    warmup: int
    protocols: dict[str, tuple[Case, ...]]
    protocol_steps: int
    full: tuple[tuple[str, Case], ...]
    full_with_workers: tuple[tuple[str, Case], ...]
    full_images: int | None
    resumable: bool
    pipeline_px: tuple[int, ...]
    pipeline_workers: tuple[int, ...]
    pipeline_images: int
    pipeline_repetitions: int
    accuracy_images: int
    accuracy_px: int
    accuracy_nets: tuple[str, ...]
    accuracy_tested: int | None
    layer_nets: tuple[str, ...]
    layer_px: int
    layer_batch: int
    repetitions: int
    peak_sizes: tuple[int, ...]
    peak_channels: tuple[int, ...]
    copy_sizes: tuple[int, ...]
    families: dict[str, tuple[str, ...]]
    batches: dict[tuple[str, int], tuple[int, ...]]
    fresh: bool = True
    device: str = "cpu"
    threads: int | None = None  # None: as many as there are usable cores


def _protocols(px: Sequence[int], batches: Sequence[int]) -> dict[str, tuple[Case, ...]]:
    """Torchvision's nets and the textbooks', colour and grey, over sizes and batches."""
    cases: dict[str, list[Case]] = {}
    for side in px:
        # large batches where they tell something: at 224 px the arithmetic takes all the time
        for batch in batches if side < 224 else batches[:1]:
            for net in (*PAPER_NETS, "densenet121"):
                cases.setdefault(net, []).append(Case("plain", side, 3, batch))
            for net in TEXTBOOK_NETS:
                cases.setdefault(net, []).append(Case("plain", side, 1, batch))
    return {net: tuple(found) for net, found in cases.items()}


# Seconds for a whole epoch, so that every profile can hold an extrapolation against a real one.
_SMALL = ("lenet_atsumi", Case("plain", 28, 1, 128))
_CPU = Scale(
    loops=("plain", "resident data", "resized on the device", "channels_last", "bf16", "compiled"),
    compiled=("alexnet", "vgg16", "googlenet", "resnet18"),
    input_px=224,
    batch=32,
    steps=4,
    validation_steps=2,
    warmup=1,
    protocols=_protocols((224, 96, 64, 32), (32, 128)),
    protocol_steps=2,
    full=(("resnet18", Case("plain", 32)), _SMALL),
    full_with_workers=(),
    full_images=None,
    resumable=True,
    pipeline_px=(224, 96, 64, 32),
    pipeline_workers=(0, 1, 2, 4),
    pipeline_images=1024,
    pipeline_repetitions=5,
    accuracy_images=20_000,
    accuracy_px=64,
    accuracy_nets=PAPER_NETS,
    accuracy_tested=None,
    layer_nets=PAPER_NETS,
    layer_px=224,
    layer_batch=16,
    repetitions=5,
    peak_sizes=(256, 512, 1024, 2048),
    peak_channels=(128, 256, 512),
    copy_sizes=(2**14, 2**18, 2**22, 2**26),
    families=FAMILIES,
    batches={
        ("inference", 224): (1, 4, 16),
        ("inference", 64): (1, 8, 64),
        ("training_step", 64): (2, 8, 32),
    },
)
SCALES = {
    "quick": replace(
        _CPU,
        loops=("plain", "bf16"),
        compiled=(),
        input_px=64,
        batch=8,
        steps=1,
        validation_steps=1,
        protocols={"resnet18_textbook": (Case("plain", 64, 1, 8),)},
        protocol_steps=1,
        full=(_SMALL,),
        pipeline_px=(224, 64),
        pipeline_workers=(0,),
        pipeline_images=64,
        pipeline_repetitions=2,
        accuracy_images=128,
        accuracy_nets=("resnet18",),
        accuracy_tested=200,
        fresh=False,
        layer_nets=("alexnet", "googlenet", "resnet18"),
        layer_px=64,
        layer_batch=4,
        repetitions=2,
        peak_sizes=(256, 1024),
        peak_channels=(256,),
        copy_sizes=(2**14, 2**24),
        families={
            "resnet": ("resnet18", "resnet34"),
            "vgg": ("vgg11", "vgg16"),
            "googlenet": ("googlenet",),
        },
        batches={("inference", 64): (8,)},
    ),
    "cpu": _CPU,
    # sized to minutes, as docs/gpu.md lists them: an epoch takes about one, and is not resumed
    "gpu": replace(
        _CPU,
        compiled=("alexnet", "resnet18", "googlenet", "vgg16"),
        batch=64,
        steps=20,
        validation_steps=5,
        warmup=5,
        protocols=_protocols((96, 64), (8, 32, 128)),
        protocol_steps=15,
        full=tuple((net, Case("plain", 224, 3, 64)) for net in PAPER_NETS),
        full_with_workers=tuple((net, Case("plain", 224, 3, 64, 8)) for net in PAPER_NETS),
        resumable=False,
        pipeline_workers=(0, 4, 8),
        pipeline_repetitions=3,
        accuracy_nets=(),  # whole epochs tell it
        layer_batch=64,
        repetitions=10,
        peak_sizes=(2048, 4096, 8192),
        peak_channels=(256, 512, 1024),
        copy_sizes=(2**22, 2**26, 2**28),
        batches={
            ("inference", 224): (1, 8, 64),
            ("training_step", 224): (8, 64),
            ("training_step", 64): (8, 32, 128),
        },
        # one process for all units of a kind: starting one takes as long as many a unit
        fresh=False,
        device="cuda",
    ),
}
SMOKE = replace(
    SCALES["gpu"],
    loops=("plain", "bf16", COMPILED),
    compiled=("alexnet",),
    steps=1,
    validation_steps=1,
    warmup=1,
    batch=4,
    protocols={"resnet18_textbook": (Case("plain", 64, 1, 8),)},
    protocol_steps=1,
    full=tuple((net, Case("plain", 224, 3, 4)) for net in PAPER_NETS),
    full_with_workers=(("alexnet", Case("plain", 224, 3, 4, 2)),),
    full_images=8,
    pipeline_px=(64,),
    pipeline_workers=(0, 2),
    pipeline_images=64,
    pipeline_repetitions=1,
    layer_nets=("alexnet",),
    layer_batch=2,
    repetitions=2,
    peak_sizes=(256,),
    peak_channels=(64,),
    copy_sizes=(2**20,),
    families={"resnet": ("resnet18",), "squeezenet": ("squeezenet1_0",)},
    batches={("inference", 64): (2,), ("training_step", 64): (2,)},
)
"""One step of everything that `gpu` does: whether it runs at all."""
