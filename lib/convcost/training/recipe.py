"""How a network is trained: everything that the numbers depend on, but for the seed."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from convcost.core.errors import BadInputError
from convcost.datasets import Dataset

OPTIMISERS = ("adam", "sgd")
SCHEDULES = ("one-cycle", "cosine", "constant")
INITIALISATIONS = ("torch default", "xavier", "he")
NORMALISATIONS = ("0..1", "-1..1", "mean/std")

# Raise it when the numbers that come out of a training change: checkpoints of before then no
# longer count as done.
TRAINING_VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """One way of training; the same for every seed.

    `optimiser`: "adam" (betas 0.9 and 0.999) or "sgd" (with `momentum`); `lr` its highest rate;
    `weight_decay` as in torch.optim. `schedule`: the rate at each step, see `rate`.
    `initialisation`: "torch default" (uniform within one over the root of the fan-in), "xavier"
    (Glorot's uniform) or "he" (He's normal, fan-in, gain of ReLU); the last two set biases to 0 and
    concern convolutions and linear layers. `normalisation`: what becomes of a grey level v of
    0..255: "0..1" v/255, "-1..1" v/127.5 - 1, "mean/std" (v/255 - mean) / std with the training
    images' own, per channel. The loss is cross-entropy.

    Raises BadInputError for a name that is none of these, or a number out of range.
    """

    optimiser: str = "adam"
    lr: float = 3e-3
    batch_size: int = 128
    epochs: int = 3
    schedule: str = "one-cycle"
    initialisation: str = "torch default"
    normalisation: str = "mean/std"
    momentum: float = 0.9
    weight_decay: float = 0.0

    def __post_init__(self):
        for field, allowed in (
            ("optimiser", OPTIMISERS),
            ("schedule", SCHEDULES),
            ("initialisation", INITIALISATIONS),
            ("normalisation", NORMALISATIONS),
        ):
            if getattr(self, field) not in allowed:
                raise BadInputError(
                    f"recipe: {field} is {getattr(self, field)!r}; choose one of "
                    + ", ".join(repr(name) for name in allowed)
                )
        for field in ("batch_size", "epochs"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadInputError(f"recipe: {field} is {value!r}; it is an integer from 1 on")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise BadInputError(f"recipe: lr is {self.lr!r}; it is a number above 0")
        if not 0 <= self.momentum < 1:
            raise BadInputError(f"recipe: momentum is {self.momentum!r}; it lies in 0 <= m < 1")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise BadInputError(f"recipe: weight_decay is {self.weight_decay!r}; at least 0")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of one step (from 0) out of `steps`.

        "constant" is `lr`; "cosine" falls from `lr` towards 0 along half a cosine; "one-cycle"
        rises in a line to `lr` over the first 30 % of the steps, then falls as "cosine" does.

        >>> [round(Recipe(lr=1.0, schedule="cosine").rate(step, 2), 3) for step in (0, 1)]
        [1.0, 0.5]
        """
        if self.schedule == "constant":
            return self.lr
        warm = round(0.3 * steps) if self.schedule == "one-cycle" else 0
        if step < warm:
            return self.lr * (step + 1) / (warm + 1)
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))

    def optimiser_of(self, model: nn.Module, *, fused: bool = True) -> torch.optim.Optimizer:
        """The optimiser over a model's trainable parameters; `fused` is torch's one-pass step."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        # None: what torch takes where nobody asks for anything
        shared = {"lr": self.lr, "weight_decay": self.weight_decay, "fused": fused or None}
        if self.optimiser == "adam":
            return torch.optim.Adam(parameters, **shared)
        return torch.optim.SGD(parameters, momentum=self.momentum, **shared)

    def initialise(self, model: nn.Module) -> None:
        """Give convolutions and linear layers the weights of `initialisation`, in place.

        Draws from torch's global generator, which the caller seeds and puts back.
        """
        if self.initialisation == "torch default":
            return
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                if self.initialisation == "xavier":
                    nn.init.xavier_uniform_(module.weight)
                else:
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def scaling(self, train: Dataset) -> "Scaling":
        """The normalisation as numbers, for the images of `train` and of its other splits.

        Raises BadInputError for "mean/std" where a channel has the same value everywhere.
        """
        channels = train.images.shape[1]
        if self.normalisation == "0..1":
            return Scaling((1 / 255,) * channels, (0.0,) * channels)
        if self.normalisation == "-1..1":
            return Scaling((1 / 127.5,) * channels, (-1.0,) * channels)
        means, deviations = train.channel_statistics()
        if min(deviations) == 0:
            raise BadInputError(
                "recipe: normalisation 'mean/std' needs images that vary; a channel of these has "
                "one value only: choose '0..1' or '-1..1'"
            )
        return Scaling(
            tuple(1 / (255 * deviation) for deviation in deviations),
            tuple(-mean / deviation for mean, deviation in zip(means, deviations, strict=True)),
        )


@dataclass(frozen=True)
class Scaling:
    """A normalisation: value * scale + shift, a number per channel each.

    >>> Scaling((1 / 127.5,), (-1.0,))(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    tensor([[[[-1.,  1.]]]])
    """

    scale: tuple[float, ...]
    shift: tuple[float, ...]

    def __call__(self, images) -> torch.Tensor:
        """Images (N, C, H, W) of unsigned bytes, tensor or array, as float32 on their device."""
        if isinstance(images, np.ndarray):
            images = torch.from_numpy(np.array(images))
        return self.apply(images, *self.tensors(images.device))

    def tensors(self, device) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and shift, (1, C, 1, 1) each, as float32."""
        return tuple(
            torch.tensor(numbers, dtype=torch.float32, device=device).view(1, -1, 1, 1)
            for numbers in (self.scale, self.shift)
        )

    @staticmethod
    def apply(images: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """`images` scaled and shifted by ready tensors."""
        return images.to(torch.float32).mul_(scale).add_(shift)


def key(
    net: str,
    train: Dataset,
    test: Dataset,
    recipe: Recipe,
    seed: int | None = None,
    options: Mapping | None = None,
    *,
    numerics: Mapping,
) -> str:
    """What a training is known by: sha256 over net, data fingerprints, recipe, seed, `numerics`
    (`Execution.numerics`: the kind of device and the like), version.

    Two trainings with the same key give the same numbers on one machine with one torch. Without a
    seed: what all seeds of one family share.
    """
    built = {"options": dict(options)} if options else {}
    parts = built | {
        "net": net,
        "train": train.sha256,
        "test": test.sha256,
        "recipe": asdict(recipe),
        "seed": seed,
        "numerics": dict(numerics),
        "training_version": TRAINING_VERSION,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
