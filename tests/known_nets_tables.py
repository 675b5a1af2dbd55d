"""The tables of known nets, made up for tests: small, and in laws that can be worked by hand."""

import numpy as np
import pandas as pd

DEVICES = ("rtx4090", "rtx3090", "i7-12700h")


def net(net, top1, gmacs, design="d", *, weights="a_in1k", px=224, source="timm",
        data="imagenet-1k", params=1_000_000):  # fmt: skip
    """One row of `known_nets`."""
    return {
        "source": source, "net": net, "weights": weights, "input_px": px, "design": design,
        "data": data, "top1": top1, "top5": min(1.0, top1 + 0.1), "params": params,
        "macs": None if gmacs is None else gmacs * 1e9,
        "acts": None if gmacs is None else gmacs * 1e6,
    }  # fmt: skip


def time(net, image_s, device="rtx4090", px=224, what="inference", batch=256):
    """One row of `published_times`."""
    return {"net": net, "input_px": px, "device": device, "what": what, "batch": batch,
            "image_s": image_s}  # fmt: skip


def here(net, seconds, *, px=224, batch=1, repetition=0, stable=True, what="inference", calls=1):
    """One row of `known_net_times`."""
    return {"net": net, "input_px": px, "what": what, "batch": batch, "repetition": repetition,
            "calls": calls, "seconds": seconds, "stable": stable}  # fmt: skip


def systems() -> pd.DataFrame:
    """The table `training_compute`: two systems a year, doubling every 3.5 and every 4 months."""
    rows = [
        {"system": f"{name}{year}", "date": f"{year}-01-01", "year": float(year),
         "petaflop_s_days": 2 ** (12 * (year - 2012) / months), "source": "made up"}
        for year in range(2012, 2018)
        for name, months in (("large", 3.5), ("small", 4.0))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def many(designs: int = 12, each: int = 40, spread: float = 1.0) -> dict[str, pd.DataFrame]:
    """Tables as a reference run writes them: `designs` * `each` nets, with noise of its own.

    `spread` 0: accuracy and time follow from FLOPs without exception, on every device alike.
    """
    rng = np.random.default_rng(0)
    nets, times, own = [], [], []
    for design in range(designs):
        shift, slow = spread * rng.normal(0, 0.015), spread * rng.normal(0, 0.7, len(DEVICES))
        for number in range(each):
            gmacs = float(10 ** rng.uniform(-0.5, 1.5))
            clean = 0.74 + 0.03 * np.log2(gmacs)
            top1 = float(np.clip(clean + shift + spread * rng.normal(0, 0.015), 0.5, 0.9))
            name = f"net{design}_{number}"
            # the larger in FLOPs the larger in parameters
            size = round(gmacs * 1e7)
            one = net(name, top1, gmacs, f"design{design}", params=size)
            nets.append(one)
            for factor, device in zip(slow, DEVICES, strict=True):
                times.append(time(name, float(gmacs * 1e-4 * np.exp(factor)), device))
            if number < 5:
                nets.append(one | {"source": "torchvision", "weights": "IMAGENET1K_V1"})
                own += [here(name, gmacs * 1e-2 * (1 + r / 100), repetition=r) for r in range(3)]
    nets.append(net("resnet50", 0.76, 4.1, "resnet", weights="tv_in1k"))
    nets.append(net("resnet50", 0.80, 4.1, "resnet", weights="a1_in1k"))
    nets.append(net("resnet50", 0.82, 4.1, "resnet", weights="in21k_ft_in1k", data="more"))
    nets.append(net("odd", 0.75, None, None))
    return {
        "known_nets": pd.DataFrame(nets), "published_times": pd.DataFrame(times),
        "known_net_times": pd.DataFrame(own), "training_compute": systems(),
    }  # fmt: skip
