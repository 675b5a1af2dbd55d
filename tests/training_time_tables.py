"""The tables of notebook 02, made up for tests: whole as after a reference run, or thin."""

import numpy as np
import pandas as pd

from convcost import records

NETS = ("alexnet", "vgg16", "googlenet", "resnet18", "densenet161")
TEXTBOOK = tuple(f"{n}_textbook" for n in ("alexnet", "vgg16", "googlenet", "resnet18", "densenet"))
LOOPS = (
    "plain", "resident data", "resized on the device", "channels_last", "bf16", "compiled",
)  # fmt: skip
SIZES = (224, 96, 64, 32)
SMALLEST_PX = {"alexnet": 64, "alexnet_textbook": 96}  # 64 px otherwise 32

# million multiply-adds, million activations, million parameters, operator calls, one image, 224 px
COSTS = {
    "alexnet": (714, 0.6, 57, 22),
    "vgg16": (15_470, 13.6, 134, 40),
    "googlenet": (1_498, 3.3, 6, 140),
    "resnet18": (1_814, 2.5, 11, 69),
    "densenet161": (7_728, 11.1, 26, 570),
    "densenet121": (2_834, 6.9, 7, 430),
    "alexnet_textbook": (960, 0.9, 47, 22),
    "vgg16_textbook": (15_440, 13.6, 134, 40),
    "googlenet_textbook": (1_480, 3.3, 6, 60),
    "resnet18_textbook": (1_730, 2.4, 11, 69),
    "densenet_textbook": (2_160, 4.4, 0.8, 120),
}
# nanoseconds per training image and million multiply-adds and activations, at 224 px
_NS_PER_MMAC, _NS_PER_MACT = 8_000, 3_000_000
_FASTER = dict(zip(LOOPS, (1.0, 1.0, 1.0, 0.8, 0.45, 0.4), strict=True))
_PIPELINE_S = dict(zip(LOOPS, (2e-3, 1e-3, 2e-4, 2e-4, 2e-4, 2e-4), strict=True))
FAMILIES = {
    "alexnet": {"alexnet": (714, 0.6)},
    "vgg": {"vgg11": (7_610, 7.4), "vgg13": (11_310, 12.2), "vgg16": (15_470, 13.6)},
    "googlenet": {"googlenet": (1_498, 3.3)},
    "resnet": {"resnet18": (1_814, 2.5), "resnet34": (3_664, 3.7), "resnet50": (4_090, 11.1)},
    "densenet": {"densenet121": (2_834, 6.9), "densenet161": (7_728, 11.1)},
    "regnet_y": {
        "regnet_y_400mf": (400, 3.9), "regnet_y_800mf": (834, 5.2), "regnet_y_1_6gf": (1_612, 8.0),
        "regnet_y_3_2gf": (3_177, 11.3),
    },
}  # fmt: skip


def tables(
    *,
    nets: tuple[str, ...] = NETS,
    loops: tuple[str, ...] = LOOPS,
    input_px: int = 224,
    batch: int = 32,
    steps: int = 5,
    validation_steps: int = 3,
    protocols: tuple[str, ...] = (*NETS, "densenet121", *TEXTBOOK),
    sizes: tuple[int, ...] = SIZES,
    batches: tuple[int, ...] = (32, 128),
    full: tuple[str, ...] = ("alexnet",),
    full_workers: tuple[int, ...] = (0,),
    workers: tuple[int, ...] = (0, 1, 2, 4),
    repetitions: int = 5,
    failed: tuple[tuple[str, str], ...] = (("densenet161", "compiled"),),
    families: dict[str, dict[str, tuple[float, float]]] = FAMILIES,
    batch_cases: tuple[tuple[str, int, tuple[int, ...]], ...] = (
        ("inference", 224, (1, 16)),
        ("training_step", 64, (2, 32)),
    ),
) -> dict[str, pd.DataFrame]:
    """Every table of the notebook by name, without `run_id`, the same for the same arguments."""
    rng = np.random.default_rng(2)
    planned = [(net, (loop, input_px, 3, batch)) for net in nets for loop in loops]
    for net in protocols:
        for px in sizes:
            for size in batches if px < 224 else batches[:1]:
                case = (net, ("plain", px, 1 if net in TEXTBOOK else 3, size))
                if case not in planned and px >= SMALLEST_PX.get(net, 32):
                    planned.append(case)
    found = {
        "loop_runs": _runs(rng, planned, failed),
        "training_steps": _steps(rng, planned, failed, steps, validation_steps),
        "full_epochs": [
            row for count in full_workers for row in _full(full, input_px, batch, count)
        ],
        "fashion_accuracies": [
            {"net": net, "seed": 0, "input_px": 64, "train_images": 20_000, "epochs": 1}
            | {"status": "trained", "test_images": 10_000, "test_correct": 8_000 + 100 * place}
            for place, net in enumerate(nets)
        ],
        "pipeline_times": _pipelines(rng, sizes, workers, repetitions),
        "machine_peaks": _peaks(rng, repetitions),
        "layer_costs": _layers(rng, nets, input_px, repetitions),
        "operator_times": _operators(rng, nets, input_px, repetitions),
        "net_costs": _costs(),
        "batch_times": _batches(rng, families, batch_cases, repetitions),
        "predicted_steps": _predicted(),
    }
    return {name: _typed(rows, name) for name, rows in found.items()}


_DTYPES = {"int": "int64", "float": "float64", "bool": "bool"}


def _typed(rows, name):
    columns = records.TABLES[name].columns
    types = {
        column: "Int64" if spec.optional and spec.dtype == "int" else _DTYPES[spec.dtype]
        for column, spec in columns.items()
        if spec.dtype != "text"
    }
    return pd.DataFrame(rows, columns=list(columns)).astype(types)


_LOOP_KEY = ("loop", "input_px", "in_channels", "batch_asked")


def _key(net, case):
    return {"net": net} | dict(zip(_LOOP_KEY, case, strict=True)) | {"workers": 0, "threads": 2}


def image_s(net, px, loop="plain"):
    """(forward, backward, optimiser) seconds of one training image, before any noise."""
    macs, acts, params, _ = COSTS[net]
    forward = 1e-9 * (macs * _NS_PER_MMAC + acts * _NS_PER_MACT) * (px / 224) ** 2 * _FASTER[loop]
    return forward, 2 * forward, params * 1e-5


def _runs(rng, planned, failed):
    rows = []
    for net, case in planned:
        row = _key(net, case) | {"batch": case[-1], "status": "done", "reason": None}
        row |= {"setup_s": 2.0, "seconds": 30.0, "others_load": 0.05, "clock_mhz": 2_400.0}
        row |= dict.fromkeys(("temperature_c", "energy_j", "throttled"))
        row |= {"stable": True, "instability": None}
        if (net, case[0]) in failed:
            row |= {"batch": None, "status": "failed", "reason": "RuntimeError: made up"}
            row |= {"setup_s": None, "stable": False, "instability": "no step was done"}
        rows.append(row)
    return rows


def _steps(rng, planned, failed, steps, validation_steps):
    rows = []
    for net, case in planned:
        if (net, case[0]) in failed:
            continue
        forward, backward, optimiser = image_s(net, case[1], case[0])
        pipeline = _PIPELINE_S[case[0]] * (0.4 + 0.6 * (case[1] / 224) ** 2)
        images = case[-1]
        for part, count in (("training", steps), ("validation", validation_steps)):
            for number in range(count + 1):
                noise = rng.lognormal(0, 0.03) * (1.3 if number == 0 else 1)
                phases = {"pipeline_s": images * pipeline * noise}
                phases |= {"forward_s": images * forward * noise}
                training = part == "training"
                phases["backward_s"] = images * backward * noise if training else None
                phases["optimiser_s"] = optimiser * noise if training else None
                rows.append(
                    _key(net, case)
                    | {"batch": images, "part": part, "step": number, "warmup": number == 0}
                    | {"images": images}
                    | phases
                    | {"step_s": 1.01 * sum(value for value in phases.values() if value)}
                )
    return rows


def _full(nets, px, batch, workers):
    """Waiting for workers takes no time: they are faster than any net here."""
    rows = []
    for net in nets:
        forward, backward, optimiser = image_s(net, px)
        pipeline = 0.0 if workers else 120.0
        train = 60_000 * (forward + backward) + pipeline + 60_000 / batch * optimiser
        rows.append(
            _key(net, ("plain", px, 3, batch))
            | {"workers": workers}
            | {"batch": batch, "epoch": 1, "pipeline_s": pipeline, "forward_s": 60_000 * forward}
            | {"backward_s": 60_000 * backward, "optimiser_s": 60_000 / batch * optimiser}
            | {"train_images": 60_000, "train_s": 1.03 * train, "train_correct": 48_000}
            | {"test_images": 10_000, "validation_s": 10_000 * (forward + 2e-3)}
            | {"test_correct": 8_600}
        )
    return rows


def _pipelines(rng, sizes, workers, repetitions):
    return [
        {"pipeline": pipeline, "input_px": px, "in_channels": 3, "batch": 32, "workers": count}
        | {"repetition": r, "images": 1_024}
        | {"seconds": 1_024 * base * (0.4 + 0.6 * (px / 224) ** 2) / max(1, min(count, 2))
           * rng.lognormal(0, 0.05)}
        for pipeline, base in (("loader", 2e-3), ("resident", 1e-3), ("device", 2e-4))
        for px in sizes
        for count in (workers if pipeline == "loader" else (0,))
        for r in range(repetitions)
    ]  # fmt: skip


def _peaks(rng, repetitions):
    rows = []
    for threads in (1, 2):
        for r in range(repetitions):
            for dtype, peak in (("float32", 75e9), ("bfloat16", 150e9)):
                for size in (256, 512, 1024, 2048):
                    flops = 2 * size**3
                    rate = peak * threads * size / (size + 100) * rng.lognormal(0, 0.03)
                    rows.append(
                        {"what": "matrix product", "dtype": dtype, "threads": threads}
                        | {"size": size, "repetition": r, "calls": 4, "flops": 4 * flops}
                        | {"bytes": 4 * 12 * size**2, "seconds": 4 * flops / rate}
                    )
            for size in (2**14, 2**18, 2**22, 2**26):
                rate = (60e9 if size < 2**20 else 12e9) * threads**0.5 * rng.lognormal(0, 0.03)
                rows.append(
                    {"what": "copy", "dtype": "float32", "threads": threads, "size": size}
                    | {"repetition": r, "calls": 4, "flops": 0, "bytes": 4 * 8 * size}
                    | {"seconds": 4 * 8 * size / rate}
                )
    return rows


_KINDS = (  # op, share of the multiply-adds, and of the activations, and of the time
    ("conv", 0.9, 0.3, 0.6), ("norm", 0.0, 0.3, 0.16), ("activation", 0.0, 0.3, 0.12),
    ("pool", 0.0, 0.1, 0.08), ("linear", 0.1, 0.0, 0.04),
)  # fmt: skip


def _layers(rng, nets, px, repetitions, batch=16):
    rows = []
    for net in nets:
        macs, acts, _, _ = COSTS[net]
        forward = image_s(net, px)[0]
        for r in range(repetitions):
            position = 0
            for block in range(4):
                for op, of_macs, of_acts, of_time in _KINDS:
                    weight = (block + 1) / 10  # the four blocks together are the net
                    moved = 4e6 * (2 * acts * of_acts + macs * of_macs / 400) * weight
                    rows.append(
                        {"net": net, "input_px": px, "batch": batch, "threads": 2}
                        | {"position": position, "layer": f"block{block}.{op}", "op": op}
                        | {"macs": round(1e6 * macs * of_macs * weight) * batch}
                        | {"bytes": round(moved * batch) + 1_000, "repetition": r, "images": batch}
                        | {"seconds": batch * forward * of_time * weight * rng.lognormal(0, 0.2)}
                    )
                    position += 1
            rows.append(
                {"net": net, "input_px": px, "batch": batch, "threads": 2, "position": position}
                | {"layer": "(net)", "op": "(net)", "macs": round(1e6 * macs) * batch}
                | {"bytes": round(8e6 * acts * batch), "repetition": r, "images": batch}
                | {"seconds": batch * forward * rng.lognormal(0, 0.02)}
            )
    return rows


_GROUPS = {
    "conv": ("aten::mkldnn_convolution", 0.55), "linear": ("aten::addmm", 0.05),
    "norm": ("aten::native_batch_norm", 0.12), "activation": ("aten::clamp_min_", 0.08),
    "pool": ("aten::max_pool2d_with_indices", 0.05), "concat": ("aten::cat", 0.03),
    "elementwise": ("aten::add_", 0.04), "optimiser": ("aten::_foreach_add_ in optimiser", 0.03),
    "other": ("aten::nll_loss_forward", 0.01),
}  # fmt: skip


def _operators(rng, nets, px, repetitions, batch=16):
    rows = []
    for net in nets:
        forward, backward, optimiser = image_s(net, px)
        step = batch * (forward + backward) + optimiser
        for r in range(max(2, repetitions // 2)):
            case = {"net": net, "loop": "plain", "input_px": px, "batch": batch, "threads": 2}
            case |= {"repetition": r}
            whole = {"operator": "(step)", "group": "(step)", "calls": 1, "seconds": step}
            rows.append(case | whole)
            for group, (operator, share) in _GROUPS.items():
                seconds = step * share * rng.lognormal(0, 0.02)
                own = {"operator": operator, "group": group, "calls": 20, "seconds": seconds}
                rows.append(case | own)
    return rows


def _costs():
    rows = []
    for net, (macs, acts, params, calls) in COSTS.items():
        for px in SIZES:
            if px < SMALLEST_PX.get(net, 32):
                continue
            for channels in (3, 1):
                area = (px / 224) ** 2
                forward = round(1e6 * macs * area)
                rows.append(
                    {"net": net, "input_px": px, "in_channels": channels, "macs": forward}
                    | {"backward_flops": 4 * forward - 1_000, "bytes": round(8e6 * acts * area)}
                    | {"acts": round(1e6 * acts * area), "params": round(1e6 * params)}
                    | {"calls": calls}
                )
    return rows


def _batches(rng, families, cases, repetitions):
    rows = []
    for what, px, batches in cases:
        for batch in batches:
            for family, members in families.items():
                for net, (macs, acts) in members.items():
                    area = (px / 224) ** 2
                    one = 1e-9 * (macs * _NS_PER_MMAC + acts * _NS_PER_MACT) * area
                    call = 2e-3 + batch * one * (1 if what == "inference" else 3)
                    rows += [
                        {"net": net, "family": family, "what": what, "input_px": px}
                        | {"batch": batch, "threads": 2, "repetition": r}
                        | {"macs": round(1e6 * macs * area), "acts": round(1e6 * acts * area)}
                        | {"calls": 2, "seconds": 2 * call * rng.lognormal(0, 0.03)}
                        | {"stable": not (net == "vgg13" and batch == batches[-1])}
                        for r in range(repetitions)
                    ]
    return rows


def _predicted():
    rows = []
    for row in _costs():
        for batch in (16, 32, 64, 128, 256):
            for part, times in (("training", 3), ("validation", 1)):
                flops = times * batch * 2 * row["macs"]
                moved = times * (batch * row["bytes"] + 4 * row["params"])
                compute, memory = 0.8 * flops / 49e12, 0.5 * moved / 700e9
                rows.append(
                    {"device": "NVIDIA GeForce RTX 4080", "net": row["net"]}
                    | {"input_px": row["input_px"], "in_channels": row["in_channels"]}
                    | {"batch": batch, "part": part, "flops": flops, "bytes": moved}
                    | {"calls": times * row["calls"], "busy_s": compute + memory}
                    | {"compute_s": compute, "memory_s": memory}
                )
    return rows


PARTS = {
    "table-2": ("full_epochs",),
    "step": (
        "loop_runs", "training_steps", "operator_times", "machine_peaks", "layer_costs",
        "pipeline_times",
    ),
    "protocols": ("loop_runs", "training_steps", "batch_times", "fashion_accuracies"),
}  # fmt: skip
"""What a GPU measures, part by part; the loops of "step" are those at the largest size."""

COUNTED = ("net_costs", "predicted_steps")


def only(made: dict[str, pd.DataFrame], *parts: str) -> dict[str, pd.DataFrame]:
    """The tables of these parts and what is counted; the others keep their columns, not a row."""
    known = {name for part in parts for name in PARTS[part]} | set(COUNTED)
    found = {name: table if name in known else table.iloc[:0] for name, table in made.items()}
    if "protocols" not in parts:
        for name in ("loop_runs", "training_steps"):
            largest = found[name]["input_px"] == found[name]["input_px"].max()
            found[name] = found[name][largest]
    return found


def without(made: dict[str, pd.DataFrame], *nets: str) -> dict[str, pd.DataFrame]:
    """The tables without what was measured of these nets; what is counted stays."""
    return {
        name: table[~table["net"].isin(nets)] if "net" in table and name not in COUNTED else table
        for name, table in made.items()
    }


QUICK = {
    "loops": ("plain", "bf16"),
    "input_px": 64,
    "batch": 8,
    "steps": 2,
    "validation_steps": 1,
    "protocols": (),
    "sizes": (224, 64),
    "full": (),
    "workers": (0,),
    "repetitions": 2,
    "failed": (),
    "families": {
        "resnet": {name: FAMILIES["resnet"][name] for name in ("resnet18", "resnet34")},
        "vgg": {name: FAMILIES["vgg"][name] for name in ("vgg11", "vgg16")},
        "densenet": {"densenet121": FAMILIES["densenet"]["densenet121"]},
        "googlenet": FAMILIES["googlenet"],
    },
    "batch_cases": (("inference", 64, (1, 8)),),
}
"""Arguments for tables as thin as those of the quick profile."""
