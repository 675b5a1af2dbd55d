"""The sources' counts put against an exact one: rows for the tables of notebook 01.

Each function returns rows (dicts) for the table of its name in `convcost.records.TABLES`.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise, product
from typing import ClassVar

from convcost import nets
from convcost.chapters.flop_counting.findings import FIVE
from convcost.core.errors import BadInputError
from convcost.core.extras import optional
from convcost.counting import conventions, ops
from convcost.counting.count import Count, count
from convcost.sources import equations

DENSENETS = ("densenet121", "densenet161", "densenet169", "densenet201")

TABLE1_CANDIDATES = {
    "table1_alexnet_gflops": ("alexnet",),
    "table1_vgg16_gflops": ("vgg16", "vgg16_bn"),
    "table1_googlenet_gflops": ("googlenet",),
    "table1_resnet18_gflops": ("resnet18",),
    "table1_densenet_gflops": DENSENETS,
}
"""Row of Table 1 -> torchvision nets that its name may mean."""

INPUT_SIZES = (28, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448)
SEARCHED_SIZES = (224, 227, 229, 256, 96, 64, 32, 28)


def _of_own_size(name: str) -> Count:
    """One net counted on one image of its own size."""
    return count(nets.build(name, device="meta"), nets.get(name).input_shape)


def _weighted(counted: Count) -> list[ops.OperatorCall]:
    """Its convolutions and linear layers, in the order of their calls."""
    return [call for call in counted.calls if call.op in ("conv", "linear")]


def _of(counted: Count, *names: str) -> dict:
    return {name: getattr(counted, name) for name in names}


def _counted(name: str, *, px: int, **options):
    """One net counted on one size, without weights in memory."""
    return next(counted for _, counted in _counted_sizes(name, (px,), **options))


def _counted_sizes(
    name: str, sizes: Iterable[int], *, channels: int = 3, training: bool = False, **options
) -> Iterator[tuple[int, Count]]:
    """(size, count) of one net at each size that leaves something of every map."""
    heads = training and name == "googlenet"
    net = nets.build(name, in_channels=channels, aux=heads, device="meta", **options)
    for px in sizes:
        try:
            yield px, count(net, (channels, px, px), training=training)
        except BadInputError:
            continue


def layer_counts(names: Iterable[str] = (*FIVE, "lenet_atsumi")) -> Iterator[dict]:
    """One row an operator call of each net, for one image of the net's own size."""
    for name in names:
        for position, row in enumerate(_of_own_size(name).table.to_dict("records")):
            yield {
                "net": name,
                "position": position,
                **{key: row[key] for key in ("path", "module_type", "op", "macs", "params")},
                "input_shape": _shape(row["input_shape"]),
                "output_shape": _shape(row["output_shape"]),
                "acts": row["acts"],
                "bytes": row["bytes"],
            }


def _shape(value: object) -> str:
    return value if isinstance(value, str) else "x".join(map(str, value))


def net_counts() -> Iterator[dict]:
    """Totals of the five nets and all DenseNets at 224 px.

    In two forms: ImageNet's (1000 classes, 3 channels) and FashionMNIST's (10 classes, 1 channel).
    """
    for name in dict.fromkeys((*FIVE, *DENSENETS)):
        for classes, channels, training in ((1000, 3, False), (10, 1, False), (1000, 3, True)):
            if training and name != "googlenet":
                continue  # only GoogLeNet has layers that run in training alone
            counted = _counted(
                name, px=224, channels=channels, training=training, num_classes=classes
            )
            yield {
                "net": name,
                "in_channels": channels,
                "num_classes": classes,
                "input_px": 224,
                "training": training,
                **_of(counted, "macs", "flops", "params", "acts", "bytes", "backward_flops"),
                **_of(counted, "backward_flops_with_input_gradient"),
            }


def convention_totals(names: Iterable[str] = (*FIVE, "densenet161")) -> Iterator[dict]:
    """Every net in every convention, at 224 px, 1000 classes, evaluation mode."""
    for name in names:
        calls = _counted(name, px=224).calls
        for key, convention in conventions.CONVENTIONS.items():
            silent = convention.uncounted(calls)
            yield {
                "net": name,
                "convention": key,
                "unit": convention.unit,
                "total": int(convention.total(calls)),
                "silent_zero_calls": sum(silent.values()),
            }


def tool_totals(names: Iterable[str] = FIVE) -> Iterator[dict]:
    """What thop itself returns for each net, run here on real weights."""
    from importlib.metadata import version

    import torch

    with optional():
        import thop

    for name in names:
        net = nets.build(name).eval()  # a fresh copy: thop leaves buffers behind
        with torch.no_grad():
            total, _ = thop.profile(net, inputs=(torch.zeros(1, 3, 224, 224),), verbose=False)
        yield {"net": name, "tool": "thop", "tool_version": version("thop"), "total": int(total)}


def table1_totals(sizes: Iterable[int] = SEARCHED_SIZES) -> Iterator[dict]:
    """Every candidate protocol for Table 1: nets, classes, channels, sizes, heads, conventions."""
    keys = [key for key in conventions.CONVENTIONS if key not in ("atsumi-eq1", "ke-eq1")]
    for row, candidates in TABLE1_CANDIDATES.items():
        for name, classes, channels in product(candidates, (1000, 10), (3, 1)):
            for heads in (False, True) if name == "googlenet" else (False,):
                counts = _counted_sizes(
                    name, sizes, channels=channels, training=heads, num_classes=classes
                )
                for (px, counted), key in product(counts, keys):
                    yield {
                        "row": row,
                        "net": name,
                        "num_classes": classes,
                        "in_channels": channels,
                        "input_px": px,
                        "aux_heads": heads,
                        "convention": key,
                        "total": int(conventions.CONVENTIONS[key].total(counted.calls)),
                    }


def input_sweep(names: Iterable[str] = FIVE) -> Iterator[dict]:
    """The five nets over the side of the input; sizes too small for a net are left out."""
    for name in names:
        for px, counted in _counted_sizes(name, INPUT_SIZES):
            yield {"net": name, "input_px": px, **_of(counted, "macs", "params", "acts")}


def equation_checks() -> Iterator[dict]:
    """Cheng & Liu's eqs. (1)-(4) on every layer they describe, in nets that have such layers.

    In the five nets, ResNeXt50 32x4d (grouped) and MobileNetV2 (separable): (1), (2), (3) on each
    layer by itself, a depthwise convolution being one in as many groups as channels, and (4) on
    each depthwise and pointwise pair.
    """
    for name in (*FIVE, "resnext50_32x4d", "mobilenet_v2"):
        calls = _weighted(_counted(name, px=224))
        for call in calls:
            checked = _by_cheng(call)
            if checked is not None:
                equation, value = checked
                yield _check(equation, f"{name}: {call.path}", value, call.macs)
        if name == "mobilenet_v2":
            yield from _separable_pairs(calls)


def _by_cheng(call: ops.OperatorCall) -> tuple[str, int] | None:
    """(equation, its value) for one call, from the shapes alone."""
    weight, output = call.weights[0], call.outputs[0]
    if call.op == "linear":
        return "(1)", equations.cheng_fully_connected(weight[1], weight[0])
    c_out, _, k, k_w = weight
    if k != k_w:
        return None  # the equations know square kernels only
    c_in, (h, w) = call.inputs[0][1], output[-2:]
    groups = call.attrs["groups"]
    if groups == 1:
        return "(2)", equations.cheng_convolution(k, c_in, c_out, w, h)
    return "(3)", equations.cheng_group_convolution(k, c_in, c_out, w, h, groups)


def _separable_pairs(calls: list[ops.OperatorCall]) -> Iterator[dict]:
    for first, second in pairwise(calls):
        depthwise = first.op == "conv" and 1 < first.attrs["groups"] == first.inputs[0][1]
        if depthwise:
            (h, w), c_in, c_out = first.outputs[0][-2:], first.inputs[0][1], second.outputs[0][1]
            value = equations.cheng_separable_convolution(first.weights[0][-1], c_in, c_out, w, h)
            label = f"mobilenet_v2: {first.path} + {second.path}"
            yield _check("(4)", label, value, first.macs + second.macs)


def _check(equation: str, layer: str, value: int, traced: int) -> dict:
    return {
        "source": "cheng2025",
        "equation": equation,
        "layer": layer,
        "by_equation": value,
        "traced": traced,
    }


LENET_LAYERS = ("conv1", "conv2", "fc120", "fc84", "fc10")


def lenet_multiplications() -> Iterator[dict]:
    """LeNet of Atsumi et al. per layer: by their equations, exactly, and with sparse C3 of 1998."""
    for layer, call in zip(LENET_LAYERS, _weighted(_of_own_size("lenet_atsumi")), strict=True):
        output = call.outputs[0]
        if call.op == "conv":
            filters, _, k, _ = call.weights[0]
            by_equation = equations.atsumi_convolution(output[-1], output[-2], k, filters)
            # of 16 x 6 pairs of maps LeCun's table of 1998 connects 60
            pairs = (
                sum(map(len, nets.LENET5_C3)) if layer == "conv2" else call.weights[0][1] * filters
            )
            sparse = output[-1] * output[-2] * k * k * pairs
        else:
            by_equation = equations.atsumi_fully_connected(call.weights[0][1], call.weights[0][0])
            sparse = call.macs
        readings = {"equation": by_equation, "exact": call.macs, "sparse-1998": sparse}
        for reading, value in readings.items():
            yield {"layer": layer, "reading": reading, "multiplications": value}


def separable_example() -> Iterator[dict]:
    """The post's example: 3 x 3, 64 to 128 channels on a 112 x 112 map, by formula and traced."""
    k, c_in, c_out, side = 3, 64, 128, 112
    separable = count(nets.build("depthwise_separable", device="meta"), (c_in, side, side))
    regular = count(nets.build("regular_conv", device="meta"), (c_in, side, side))
    depthwise, pointwise = [c.macs for c in separable.calls if c.macs]
    steps = {
        "depthwise": (equations.separable_depthwise(k, c_in, side, side), depthwise),
        "pointwise": (equations.separable_pointwise(c_in, c_out, side, side), pointwise),
        "separable": (
            equations.cheng_separable_convolution(k, c_in, c_out, side, side),
            separable.macs,
        ),
        "regular": (equations.cheng_convolution(k, c_in, c_out, side, side), regular.macs),
    }
    for step, (by_formula, traced) in steps.items():
        yield {"step": step, "by_formula": by_formula, "traced": traced}


def separable_sweep() -> Iterator[dict]:
    """The example again for kernels 3, 5, 7 and 1 to 1024 output channels."""
    for kernel, power in product((3, 5, 7), range(11)):
        c_in, c_out, side = 64, 2**power, 112
        yield {
            "kernel": kernel,
            "out_channels": c_out,
            "regular_macs": equations.cheng_convolution(kernel, c_in, c_out, side, side),
            "separable_macs": equations.cheng_separable_convolution(
                kernel, c_in, c_out, side, side
            ),
        }


POOLINGS = {"none": None, "2 x 2, stride 2": (2, 2), "3 x 3, stride 2": (3, 2)}
"""How the maps may shrink after each of Ke's convolutions: name -> (side, stride)."""


def ke_baseline_sums() -> Iterator[dict]:
    """The sum of Ke, Cao & Lv's eq. (1) for T0 = (64, 64, 5, 3) in each architecture reading."""
    f, s, k, layers = 64, 64, 5, 3
    for channels, padding, pool in product((3, 1), ("same", "valid"), POOLINGS):
        side, stride = POOLINGS[pool] or (None, 2)
        net = nets.build(
            "ke_cnn", f=f, s=s, k=k, l=layers, in_channels=channels, padding=padding,
            pool=side, pool_stride=stride, device="meta",
        )  # fmt: skip
        convolutions = [c for c in count(net, (channels, s, s)).calls if c.op == "conv"]
        yield {
            "in_channels": channels,
            "padding": padding,
            "pool": pool,
            "sum": equations.ke_sum(
                (c.inputs[0][1], k, c.outputs[0][1], c.outputs[0][-1]) for c in convolutions
            ),
            "traced": sum(c.macs for c in convolutions),
        }


def parameter_counts() -> Iterator[dict]:
    """Parameters of the nets whose size a source names: LeNet-5, VGG16, BERT base and TinyBERT."""
    for name in ("lenet5_1998", "lenet_atsumi", "vgg16"):
        net = nets.build(name, device="meta")
        params = sum(parameter.numel() for parameter in net.parameters())
        yield {"net": name, "params": params, "how": "traced"}
    for name, (layers, width, inner) in BERTS.items():
        params = equations.bert_parameters(layers, width, inner)
        yield {"net": name, "params": params, "how": "by formula"}


BERTS = {"bert_base": (12, 768, 3072), "tinybert4": (4, 312, 1200)}
"""(layers, width, inner width): Devlin et al. 2019, section 3; Jiao et al. 2020, section 4.1."""


# --- small statements ------------------------------------------------------------------------


class _Tally:
    """A number that counts the multiplications and additions done with it."""

    done: ClassVar[dict[str, int]] = {"multiplications": 0, "additions": 0}

    def __mul__(self, other: "_Tally") -> "_Tally":
        self.done["multiplications"] += 1
        return self

    def __add__(self, other: "_Tally") -> "_Tally":
        self.done["additions"] += 1
        return self


def _literal_convolution(c_in: int, c_out: int, k: int, side: int) -> tuple[int, int]:
    """(multiplications, additions) that a convolution really does, in the plainest loops."""
    _Tally.done.update(multiplications=0, additions=0)
    number = _Tally()
    for _output in range(c_out * side * side):
        total = number  # an accumulator that is there before the first product
        for _term in range(c_in * k * k):
            total = total + number * number
    return _Tally.done["multiplications"], _Tally.done["additions"]


def net_facts() -> Iterator[dict]:
    """Small statements of the sources, each tried out on real layers. 1 holds, 0 does not."""
    yield from _facts_of_arithmetic()
    yield from _facts_of_layers()
    yield from _facts_of_lenet()


def _fact(fact: str, value: float, detail: str) -> dict:
    return {"fact": fact, "value": float(value), "detail": detail}


def _facts_of_arithmetic() -> Iterator[dict]:
    c_in, c_out, k, side = 2, 3, 3, 4
    macs = ops.conv_macs(1, c_in, c_out, (k, k), (side, side))
    multiplications, additions = _literal_convolution(c_in, c_out, k, side)
    loop = f"literal loops, {c_in} to {c_out} channels, {k} x {k}, {side} x {side} outputs"
    yield _fact(
        "multiplications_per_mac",
        multiplications / macs,
        f"{loop}: {multiplications} multiplications for {macs} MACs",
    )
    yield _fact(
        "additions_per_mac", additions / macs, f"{loop}: {additions} additions for {macs} MACs"
    )
    points = c_out * c_in * side * side  # output points, each over every input map
    yield _fact(
        "kernel_area_per_point",
        multiplications == points * k * k,
        f"{loop}: {multiplications} = {points} x {k}^2, per filter, output point and input map",
    )
    ratios = {}
    for name in FIVE:
        counted = _counted(name, px=224)
        # without a bias the first addition of each output has nothing to add to
        ratios[name] = (2 * counted.macs - counted.acts) / counted.macs
    text = ", ".join(f"{name} {ratio:.4f}" for name, ratio in ratios.items())
    mean = sum(ratios.values()) / len(ratios)
    yield _fact("flops_per_mac", mean, f"operations per MAC if no bias is added: {text}")
    close = all(abs(ratio - 2) < 0.02 for ratio in ratios.values())
    yield _fact("flops_about_twice_macs", close, f"operations per MAC if no bias is added: {text}")


def _facts_of_layers() -> Iterator[dict]:
    import torch

    convolutions = {
        name: [c for c in _counted(name, px=224).calls if c.op == "conv"] for name in FIVE
    }
    every = [call for calls in convolutions.values() for call in calls]
    alike = sum(call.outputs[0][1] == call.weights[0][0] for call in every)
    yield _fact(
        "maps_equal_kernels",
        alike == len(every),
        f"{alike} of {len(every)} convolutions of the five nets make one map a kernel",
    )
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 8, 8, generator=generator)
    pooled = torch.nn.functional.max_pool2d(maps, 2)
    blocks = maps.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(-1, -2))
    average = torch.nn.functional.avg_pool2d(maps, 2)
    yield _fact(
        "max_pool_keeps_maximum",
        torch.equal(pooled, blocks),
        "max pooling: all blocks give their maximum; average pooling, which LeNet-5 of 1998 "
        f"used: {int((average == blocks).sum())} of {blocks.numel()} blocks do",
    )
    places = torch.eye(64).view(64, 1, 8, 8)
    single = places[:, :, :, :7]  # one bright pixel, not in the last column
    maps = torch.nn.functional.pad(single[single.sum((1, 2, 3)) > 0], (0, 1))
    shifted = maps.roll(1, dims=-1)
    pool = torch.nn.functional.max_pool2d
    same = int((pool(maps, 2) == pool(shifted, 2)).all(dim=(1, 2, 3)).sum())
    yield _fact(
        "max_pool_some_invariance",
        0 < same < len(maps),
        f"a bright pixel moved by one: {same} of {len(maps)} places leave the 2 x 2 pooled map "
        "as it was, without pooling none does",
    )
    for name in ("vgg16", "vgg19"):
        weighted = _weighted(_counted(name, px=224))
        yield _fact(f"{name}_weighted_layers", len(weighted), "convolutions and linear layers")
    sides = {c.weights[0][-1] for c in convolutions["vgg16"]}
    yield _fact("vgg_kernel_px", max(sides), f"kernel sides of VGG16's convolutions: {sides}")
    yield from _facts_of_inception(convolutions["googlenet"])
    separable = count(nets.build("depthwise_separable", device="meta"), (64, 112, 112))
    regular = count(nets.build("regular_conv", device="meta"), (64, 112, 112))
    pointwise = [c for c in separable.calls if c.op == "conv"][1]
    yield _fact("pointwise_kernel_px", pointwise.weights[0][-1], f"weight {pointwise.weights[0]}")
    yield _fact(
        "separable_is_cheaper",
        separable.macs < regular.macs,
        f"{separable.macs:,} against {regular.macs:,} multiply-adds",
    )
    depthwise = torch.randn(64, 3 * 3, generator=generator, dtype=torch.float64)
    mixing = torch.randn(128, 64, generator=generator, dtype=torch.float64)
    # the separable kernels that reach all 128 outputs from input channel 0, one row an output
    composed = int(torch.linalg.matrix_rank(torch.outer(mixing[:, 0], depthwise[0])))
    free = int(torch.linalg.matrix_rank(torch.randn(128, 9, generator=generator).double()))
    yield _fact(
        "separable_less_expressive",
        composed < free,
        f"the kernels from one input channel to all outputs have rank {composed} if separable, "
        f"{free} if regular; {separable.params:,} against {regular.params:,} parameters",
    )


def _facts_of_inception(convolutions: list[ops.OperatorCall]) -> Iterator[dict]:
    """GoogLeNet's 1 x 1 reductions: what the parameters would be without them."""
    params = {"with": 0, "without": 0}
    sides = set()
    for reduction, wide in pairwise(convolutions):
        # branch2.0 and branch3.0 of a module reduce, branch2.1 and branch3.1 follow
        head, _, place = reduction.path.removesuffix(".conv").rpartition(".")
        if "branch" not in head or place != "0" or not wide.path.startswith(f"{head}.1"):
            continue
        out, narrow, k, _ = wide.weights[0]
        c_in = reduction.weights[0][1]
        sides.add(reduction.weights[0][-1])
        params["with"] += narrow * c_in * _kernel_area(reduction) + out * narrow * k * k
        params["without"] += out * c_in * k * k
    yield _fact("inception_kernel_px", max(sides), f"sides of the reducing kernels: {sides}")
    yield _fact(
        "inception_saves_parameters",
        params["with"] < params["without"],
        f"reduced branches of all modules: {params['with']:,} weights, "
        f"{params['without']:,} without the reduction",
    )


def _kernel_area(call: ops.OperatorCall) -> int:
    """Area of a convolution's kernel, px²."""
    return call.weights[0][-1] * call.weights[0][-2]


_PLUMBING = {"concat", "embedding", "reshape", "reduction"}  # how the sparse layer is assembled


def _facts_of_lenet() -> Iterator[dict]:
    types = {call.op for call in _of_own_size("lenet5_1998").calls}
    yield _fact(
        "lenet5_layer_types",
        {"conv", "pool", "linear"} <= types,
        f"operator types of LeNet-5 (1998): {', '.join(sorted(types - _PLUMBING))}",
    )
    conv1, conv2, fc120 = _weighted(_of_own_size("lenet_atsumi"))[:3]
    for fact, value in {
        "lenet_input_px": conv1.inputs[0][-1],
        "lenet_kernel_px": conv1.weights[0][-1],
        "lenet_conv1_output_px": conv1.outputs[0][-1],
        "lenet_conv2_output_px": conv2.outputs[0][-1],
        "lenet_fc120_inputs": fc120.weights[0][1],
    }.items():
        yield _fact(fact, value, "traced in LeNet as in the paper's figure 1")
