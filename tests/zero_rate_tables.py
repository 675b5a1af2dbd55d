"""What figures of notebook 03 draw, made up for tests: whole as after a reference run, or thin."""

import base64

import numpy as np
import pandas as pd

FIRST = ("adam 0.001 constant, 5 epochs", "torch default", "-1..1")
OTHER = {
    ("adam 0.001 constant, 1 epoch", "torch default", "-1..1"): 5,
    ("adam 0.001 constant, 10 epochs", "torch default", "-1..1"): 5,
    ("sgd 0.01 constant, 5 epochs", "torch default", "-1..1"): 5,
    ("adam 0.003 one-cycle, 3 epochs", "torch default", "mean/std"): 100,
}
LAYERS = {"conv1": (6, 24), "conv2": (16, 8), "fc120": (120, 1), "fc84": (84, 1)}
MICROSECONDS = {
    "conv1": 60, "relu1": 9, "pool1": 14, "conv2": 55, "relu2": 7, "pool2": 11, "flatten": 3,
    "fc120": 12, "relu3": 4, "fc84": 9, "relu4": 4, "fc10": 7, "(net)": 210,
}  # fmt: skip
RELUS = {"alexnet": 7, "vgg16": 15, "resnet18": 17, "googlenet": 57}
REMOVED = {"conv1": (1, 2, 3, 4, 5), "conv2": (3, 6, 9, 12)}
TUNED = {"conv1": (1, 2, 3, 4), "conv2": (6,)}
FROM_SCRATCH = {"conv1": (2,)}
RATES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98, 0.99, 0.995)
CASES = {
    "LeNet fc120, batch 1": (1, 256, 120),
    "LeNet fc120, batch 64": (64, 256, 120),
    "LeNet conv2, batch 1": (8 * 8, 6 * 5 * 5, 16),
    "AlexNet fc6, batch 1": (1, 9216, 4096),
    "AlexNet fc6, batch 64": (64, 9216, 4096),
    "AlexNet conv3, batch 1": (13 * 13, 192 * 3 * 3, 384),
}
PREPARATIONS = {"as it is": 0.0, "padded to 32 x 32": -0.04, "resized to 32 x 32": 0.02}
CONVS = {"lenet_atsumi": 5, "alexnet": 8, "vgg16": 16, "resnet18": 21, "googlenet": 58}


def tables(
    *,
    seeds: int = 100,
    varied_seeds: int = 5,
    other: dict[tuple[str, str, str], int] = OTHER,
    processes: int = 10,
    repetitions: int = 30,
    nets: tuple[str, ...] = tuple(RELUS),
    removed: dict[str, tuple[int, ...]] = REMOVED,
    tuned: dict[str, tuple[int, ...]] = TUNED,
    from_scratch: dict[str, tuple[int, ...]] = FROM_SCRATCH,
    pruned_seeds: int = 20,
    rates: tuple[float, ...] = RATES,
) -> dict[str, pd.DataFrame]:
    """Each of these tables by name, without `run_id`, the same for the same arguments."""
    rng = np.random.default_rng(3)
    varied = {
        (FIRST[0], initialisation, normalisation): varied_seeds
        for initialisation in ("torch default", "xavier", "he")
        for normalisation in ("0..1", "-1..1", "mean/std")
    }
    recipes = {FIRST: seeds} | {r: n for r, n in varied.items() if r != FIRST} | other
    found = {
        "lenet_trainings": _trainings(rng, recipes),
        "activation_maps": _maps(rng),
        "dark_pixels": _dark(rng),
        "layer_times": _times(rng, repetitions),
        "cold_layer_times": _cold(rng, processes),
        "pruned_nets": _pruned(rng, removed, tuned, from_scratch, pruned_seeds),
        "pruned_times": _pruned_times(rng, removed, repetitions),
        "net_trainings": _net_trainings(nets),
        "net_zero_rates": _net_rates(rng, nets),
        "skippable_macs": _skippable(rng, ("lenet_atsumi", *nets)),
        "sparse_layers": _sparse_layers(rng, ("lenet_atsumi", *nets), repetitions // 4 + 1),
        "sparse_sweep": _sweep(rng, rates, repetitions // 4 + 1),
    }
    found["filter_zero_rates"], found["layer_zero_rates"] = _rates(rng, recipes)
    return {name: pd.DataFrame(rows) for name, rows in found.items()}


def _recipe(recipe):
    return dict(zip(("training", "initialisation", "normalisation"), recipe, strict=True))


def _trainings(rng, recipes):
    return [
        _recipe(r)
        | {"seed": s, "status": "trained", "epochs": 3}
        | {"train_images": 60_000, "test_images": 10_000, "seconds": 9.0 + rng.random()}
        | {"test_correct": int(rng.normal(9895, 10))}
        for r, seeds in recipes.items()
        for s in range(seeds)
    ]


def _rates(rng, recipes):
    filters, layers = [], []
    centre = {"conv1": 0.5, "conv2": 0.55, "fc120": 0.6, "fc84": 0.5}
    for number, (recipe, seeds) in enumerate(recipes.items()):
        for seed in range(seeds):
            for layer, (width, side) in LAYERS.items():
                spread = 0.22 if layer == "conv1" else 0.12
                own = centre[layer] - 0.01 * number + spread * rng.standard_normal(min(width, 16))
                for digit in range(10):
                    shift = 0.05 * (digit == 1) + 0.02 * rng.standard_normal(len(own))
                    total = 100 * side * side
                    zeros = (np.clip(own + shift, 0, 1) * total).astype(int)
                    key = {"seed": seed, "layer": layer}
                    layers.append(
                        _recipe(recipe) | key | {"digit": digit}
                        | {"zeros": int(zeros.sum()), "total": total * len(own)}
                    )  # fmt: skip
                    if number == 0 and layer.startswith("conv"):
                        filters += [
                            key | {"filter": f, "digit": digit, "zeros": int(z), "total": total}
                            for f, z in enumerate(zeros)
                        ]
    return filters, layers


def _maps(rng):
    rows = []
    for digit in range(10):
        for layer, count, side in (("image", 1, 28), ("conv1", 6, 24), ("conv2", 16, 8)):
            y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
            for number in range(count):
                ring = np.exp(-(((x**2 + y**2) ** 0.5 - 0.5 + 0.03 * digit) ** 2) / 0.02)
                tilt = np.cos(number) * x + np.sin(number) * y
                values = ring if layer == "image" else np.clip(ring * (0.4 + tilt) - 0.1, 0, None)
                levels = np.ceil(255 * values / 1.3).clip(0, 255).astype(np.uint8)
                if layer == "image":
                    levels[ring < 0.05] = 0
                rows.append(
                    {"digit": digit, "layer": layer, "filter": number, "side_px": side}
                    | {"zeros": int((levels == 0).sum())}
                    | {"levels": base64.b64encode(levels.tobytes()).decode()}
                )
    return rows


def _dark(rng):
    share = [0.80, 0.89, 0.81, 0.82, 0.84, 0.83, 0.82, 0.85, 0.81, 0.84]
    return [
        {"preparation": preparation, "chosen": chosen, "digit": digit, "level": -0.9}
        | {"images": images, "total": images * 784}
        | {"dark": int((share[digit] - less + 0.003 * rng.random()) * images * 784)}
        for preparation, less in PREPARATIONS.items()
        for chosen, images in (("all", 1000), ("100 of each digit", 100))
        for digit in range(10)
    ]


def _times(rng, repetitions):
    return [
        {"net": "lenet_atsumi", "batch": batch, "threads": 1, "position": p, "layer": layer}
        | {"repetition": r, "images": 1024}
        | {"seconds": 1024e-6 * MICROSECONDS[layer] * rng.lognormal(0, 0.08) / batch**0.25}
        for batch in (1, 64)
        for p, layer in enumerate(MICROSECONDS)
        for r in range(repetitions)
    ]


def _cold(rng, processes):
    return [
        {"net": "lenet_atsumi", "process": process, "position": p, "layer": layer}
        | {"first_s": MICROSECONDS[layer] * 1e-6 * rng.lognormal(3, 0.4)}
        | {"later_s": MICROSECONDS[layer] * 1e-6 * rng.lognormal(0, 0.1), "later_calls": 999}
        for process in range(processes)
        for p, layer in enumerate(MICROSECONDS)
    ]


_MACS = {"conv1": 86_400, "conv2": 153_600, "fc120": 30_720, "fc84": 10_080, "fc10": 840}


def _left(layer, gone):
    """Multiply-adds left in the layer and in the net without `gone` filters of the layer."""
    macs = dict(_MACS)
    if layer == "conv1":
        macs["conv1"] = 14_400 * (6 - gone)
        macs["conv2"] = 25_600 * (6 - gone)
    elif layer == "conv2":
        macs["conv2"] = 9_600 * (16 - gone)
        macs["fc120"] = 1_920 * (16 - gone)
    return macs.get(layer), sum(macs.values())


def _pruned(rng, removed, tuned, from_scratch, seeds):
    harm = {"highest zero rate": 1.0, "smallest L1 norm": 0.7, "random": 0.85, "from scratch": 1.0}
    cases = [("none", "none", 0, False), ("none", "none", 0, True)]
    for layer, counts in removed.items():
        for gone in counts:
            for criterion in list(harm)[:3]:
                cases.append((layer, criterion, gone, False))
                if gone in tuned.get(layer, ()):
                    cases.append((layer, criterion, gone, True))
        for gone in from_scratch.get(layer, ()):
            cases += [(layer, "from scratch", gone, False), (layer, "from scratch", gone, True)]
    rows = []
    for seed in range(seeds):
        for layer, criterion, gone, is_tuned in cases:
            filters = LAYERS[layer][0] if layer in LAYERS else 0
            layer_macs, macs = _left(layer, gone)
            lost = 9000 * harm.get(criterion, 0) * (gone / max(filters, 1)) ** 2.5
            lost = 8895 if criterion == "from scratch" else lost
            lost *= 0.01 if is_tuned else 1.0
            correct = 9895 - abs(rng.normal(lost, 0.3 * lost + 6))
            known = criterion in list(harm)[:3]
            rows.append(
                {"seed": seed, "layer": layer, "criterion": criterion, "removed": gone}
                | {"filters": filters, "fine_tuned": is_tuned, "macs": macs}
                | {"removed_zero_fraction": 0.6 if known else None, "layer_macs": layer_macs}
                | {"test_images": 10_000, "test_correct": int(max(980, correct))}
            )
    frame = pd.DataFrame(rows)
    return frame.assign(layer_macs=frame["layer_macs"].astype("Int64"))


def _pruned_times(rng, removed, repetitions):
    cases = [("none", 0), *((layer, gone) for layer in removed for gone in removed[layer])]
    rows = []
    for layer, gone in cases:
        _, macs = _left(layer, gone)
        for batch in (1, 64):
            for r in range(repetitions):
                seconds = 1024e-6 * (150 + 60 * macs / 281_640) / batch**0.4
                rows.append(
                    {"layer": layer, "removed": gone, "batch": batch, "threads": 1}
                    | {"repetition": r, "macs": macs, "images": 1024}
                    | {"seconds": seconds * rng.lognormal(0, 0.03)}
                )
    return rows


def _net_trainings(nets):
    return [
        {"net": net, "seed": 0, "input_px": 64, "train_images": 20_000, "epochs": 3}
        | {"status": "trained", "test_images": 2_000, "test_correct": 1_750, "seconds": 600.0}
        for net in nets
    ]


def _net_rates(rng, nets):
    return [
        {"net": net, "seed": 0, "position": p, "layer": f"features.{p}#0"}
        | {"after": f"features.{p - 1}", "images": 2_000, "total": 10**7}
        | {"zeros": int(1e7 * np.clip(0.35 + 0.6 * p / RELUS[net] + rng.normal(0, 0.08), 0, 0.99))}
        for net in nets
        for p in range(RELUS[net])
    ]


def _skippable(rng, nets):
    return [
        {"net": net, "seed": 0, "position": p, "layer": f"features.{p}", "images": 2_000}
        | {"op": "conv" if p < CONVS[net] - 1 else "linear", "macs": 10**9, "padding_macs": 10**7}
        | {"zero_input_macs": int(1e9 * rng.uniform(0.1, 0.8)) if p else 10**7}
        for net in nets
        for p in range(CONVS[net])
    ]


METHODS = {  # parts of the dense time: what does not shrink with the zeros, and what does
    "gather": (1.1, 0.0),
    "csr (torch)": (0.6, 9.0),
    "csr (scipy)": (0.05, 7.0),
    "row sums": (0.1, 1.8),
    "row sums, blocked": (0.1, 1.3),
}


def _sparse_layers(rng, nets, repetitions):
    rows = []
    for net in nets:
        for batch in (1, 64) if net == "lenet_atsumi" else (1,):
            for p in range(CONVS[net]):
                share = 0.02 if p == 0 else rng.uniform(0.2, 0.9)
                for method, (fixed, slope) in {"dense": (1.0, 0.0), **METHODS}.items():
                    seconds = 2e-3 * (fixed + slope * (1 - share))
                    rows += [
                        {"net": net, "batch": batch, "threads": 1, "position": p}
                        | {"layer": f"features.{p}", "method": method, "zero_input_share": share}
                        | {"repetition": r, "calls": 5}
                        | {"seconds": 5 * seconds * rng.lognormal(0, 0.1)}
                        for r in range(repetitions)
                    ]
    return rows


def _sweep(rng, rates, repetitions):
    return [
        {"case": case, "rows": n, "inputs": i, "outputs": o, "threads": 1, "method": method}
        | {"zero_rate": rate, "repetition": r, "calls": 5}
        | {"seconds": n * i * o / 4e9 * (fixed + slope * (1 - rate)) * rng.lognormal(0, 0.06)}
        for case, (n, i, o) in CASES.items()
        for rate in rates
        for method, (fixed, slope) in {"dense": (1.0, 0.0), **METHODS}.items()
        for r in range(repetitions)
    ]


QUICK = {
    "seeds": 8,
    "varied_seeds": 1,
    "other": {("adam 0.001 constant, 1 epoch", "torch default", "-1..1"): 1},
    "processes": 1,
    "repetitions": 5,
    "nets": ("alexnet",),
    "removed": {"conv1": (1, 2, 4), "conv2": (6,)},
    "tuned": {"conv1": (2,)},
    "from_scratch": {},
    "pruned_seeds": 2,
    "rates": (0.0, 0.5, 0.8, 0.9, 0.95, 0.99),
}
"""Arguments for tables as thin as those of the quick profile."""
