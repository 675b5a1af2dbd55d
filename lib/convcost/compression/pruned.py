"""Pruning: channels taken out of nets with branches, weights set to zero, blocks left out.

Channels are found and cut by torch-pruning, which follows what hangs together through additions;
masks are torch's own (`torch.nn.utils.prune`). `filters.without_filters` shows how a cut works on
one chain.
"""

import copy
import math
import warnings
import zlib
from collections.abc import Iterable, Sequence

import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune

from convcost.core.errors import BadInputError
from convcost.core.extras import optional
from convcost.counting.probe import every_module

L1, RANDOM = "smallest L1 norm", "random"
CRITERIA = (L1, RANDOM)
_WEIGHTED = (nn.Conv2d, nn.Linear)


# ---------------------------------------------------------------- channels


def narrowed(
    model: nn.Module,
    input_shape: Sequence[int],
    share: float,
    criterion: str = L1,
    *,
    seed: int | None = None,
) -> nn.Module:
    """A copy without this share of the channels, in every group of layers that hang together.

    What comes out: a net with narrower layers, no masks; outputs of the last linear layer stay.
    Layers whose channels meet, as in an addition, lose the same ones. A layer of c channels keeps
    int(c * (1 - share)) of them.

    input_shape: of one image, without the batch. criterion: "smallest L1 norm" (sum of absolute
    weights of a channel over all layers of its group) or "random" (from `seed`; torch's generator
    is left as found). The copy has the model's mode; gradients are not copied.

    Refused with `BadInputError`: a share outside 0 <= share < 1, an unknown criterion, random
    without a seed, a net that torch-pruning cannot follow or that no longer runs behind it (its
    reason is told), a net of which no layer got narrower though a share was asked for.

    Source: Fang et al. 2023, "DepGraph: Towards Any Structural Pruning"; the norm that of Li et al.
    2017, section 3.1.

    >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4, 2))
    >>> narrowed(net, (1, 4, 4), 0.5)[0].weight.shape[0]  # 8 - 4
    4
    """
    if not 0 <= share < 1:
        raise BadInputError(f"share is {share}: 0 <= share < 1 of the channels is expected")
    if criterion not in CRITERIA:
        raise BadInputError(f"no criterion {criterion!r}; choose one of: {', '.join(CRITERIA)}")
    if criterion == RANDOM and seed is None:
        raise BadInputError("random channels need a seed: give seed=")
    smaller = copy.deepcopy(model)
    if not share:
        return smaller
    with optional():
        import torch_pruning as tp
    importance = (
        tp.importance.GroupMagnitudeImportance(p=1)
        if criterion == L1
        else tp.importance.RandomImportance()
    )
    modes = {module: module.training for module in every_module(smaller)}
    device = next(smaller.parameters()).device
    images = torch.zeros(2, *input_shape, device=device)
    wide = _widths(smaller)
    linear = [module for module in smaller.modules() if isinstance(module, nn.Linear)]
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # parameters that belong to no layer it would cut on a guess
            warnings.filterwarnings("error", message="Unwrapped parameters")
            if seed is not None:
                torch.manual_seed(seed)
            smaller.eval()  # torch-pruning runs the net: it must not move its statistics
            pruner = tp.pruner.BasePruner(
                smaller, images, importance=importance, pruning_ratio=share,
                ignored_layers=linear[-1:],
            )  # fmt: skip
            pruner.step()
            with torch.no_grad():
                smaller(images)
    except Exception as error:  # whatever a net's own forward raises
        raise BadInputError(
            f"{type(model).__name__} cannot be narrowed, {type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"
        ) from error
    for module, mode in modes.items():
        module.training = mode
    narrow = _widths(smaller)
    if narrow == wide and any(int(width * share) for width in wide.values()):
        raise BadInputError(
            f"{type(model).__name__} has no layer that could be narrowed: torch-pruning knows "
            f"none of {', '.join(sorted({type(m).__name__ for m in smaller.modules()}))}, or all "
            "of them make the outputs"
        )
    for parameter in smaller.parameters():
        parameter.grad = None
    return smaller


def _widths(model: nn.Module) -> dict[str, int]:
    return {
        path: m.weight.shape[0] for path, m in model.named_modules() if isinstance(m, _WEIGHTED)
    }


# ---------------------------------------------------------------- single weights


def masked(model: nn.Module, sparsity: float) -> nn.Module:
    """A copy in which this share of all weights, the smallest by absolute value, is zero.

    What comes out: a net with torch's own pruning masks on every Conv2d and Linear, ranked over
    all of them together; biases and normalisations are left. What is zero stays zero while the net
    is trained on. Masks that are there stay, and `sparsity` is the share of all of them.

    Refused with `BadInputError`: a sparsity outside 0 to 1, a net without such layers.

    Source: Han et al. 2015, "Learning both Weights and Connections"; `torch.nn.utils.prune`.

    >>> net = nn.Linear(2, 2)
    >>> net.weight.data = torch.tensor([[1.0, -4.0], [3.0, 2.0]])
    >>> masked(net, 0.5).weight.tolist()
    [[0.0, -4.0], [3.0, 0.0]]
    """
    if not 0 <= sparsity <= 1:
        raise BadInputError(f"sparsity is {sparsity}: a share of the weights, 0 to 1, is expected")
    sparse = made_permanent(model)
    layers = [(module, "weight") for _, module in _layers(sparse)]
    if not layers:
        raise BadInputError(
            f"{type(model).__name__} has no Conv2d and no Linear to take weights of"
        )
    for module, _ in layers:  # torch's ranking reads weights in plain order only
        module.weight.data = module.weight.data.contiguous()
    # weights that are zero already are the smallest, so that sparsity is of all of them
    prune.global_unstructured(layers, prune.L1Unstructured, amount=float(sparsity))
    return sparse


def made_permanent(model: nn.Module) -> nn.Module:
    """A copy whose masks are folded into its weights; of a net without masks a plain copy."""
    # torch refuses to copy a masked weight, which is computed: the copy gets a plain tensor
    computed = [m.weight for _, m in _layers(model) if not m.weight.is_leaf]
    plain = copy.deepcopy(model, {id(weight): weight.detach().clone() for weight in computed})
    for _, module in _layers(plain):
        if prune.is_pruned(module) and hasattr(module, "weight_mask"):
            prune.remove(module, "weight")
    return plain


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(path, m) for path, m in model.named_modules() if isinstance(m, _WEIGHTED)]


def zero_weights(model: nn.Module) -> int:
    """Exact zeros among the weights of all Conv2d and Linear, biases not counted.

    >>> zero_weights(masked(nn.Linear(4, 5), 0.25))  # 0.25 * 4 * 5
    5
    """
    return sum(int((module.weight == 0).sum()) for _, module in _layers(model))


def sparsity_of(model: nn.Module) -> float:
    """The share of these weights that is exactly zero."""
    return zero_weights(model) / sum(module.weight.numel() for _, module in _layers(model))


def stored_bytes(model: nn.Module) -> dict[str, int]:
    """What the file of a net takes, by four ways to store its weights.

    "dense": safetensors, float32. "deflated": the same file by zlib, level 9. "csr": every weight
    matrix (outputs, inputs * k * k) in compressed sparse rows: a float32 for each nonzero, its
    column as int16 (int32 where a row has more than 32,767 columns), an int32 for each row and one
    more. "bitmap": one bit a weight, and a float32 for each nonzero. Whatever is no such weight
    is counted dense in all of them.
    """
    plain = made_permanent(model)
    state = {n: t.detach().cpu().float().contiguous() for n, t in plain.state_dict().items()}
    dense = safetensors.torch.save({name: t.clone() for name, t in state.items()})
    weights = {f"{path}.weight" if path else "weight" for path, _ in _layers(plain)}
    rest = sum(4 * t.numel() for name, t in state.items() if name not in weights)
    csr = bitmap = rest
    for name in weights:
        matrix = state[name].flatten(1)
        rows, columns = matrix.shape
        kept = int((matrix != 0).sum())
        csr += kept * (4 + (2 if columns <= 2**15 - 1 else 4)) + 4 * (rows + 1)
        bitmap += math.ceil(matrix.numel() / 8) + 4 * kept
    deflated = len(zlib.compress(dense, 9))
    return {"dense": len(dense), "csr": csr, "bitmap": bitmap, "deflated": deflated}


# ---------------------------------------------------------------- blocks


def blocks(model: nn.Module) -> list[str]:
    """Paths of the residual blocks of a net: modules with a `body` and a `shortcut`."""
    return [
        path
        for path, module in model.named_modules()
        if isinstance(getattr(module, "body", None), nn.Module)
        and isinstance(getattr(module, "shortcut", None), nn.Module)
    ]


def without_blocks(model: nn.Module, paths: Iterable[str]) -> nn.Module:
    """A copy in which residual blocks are what is left when their body gives zero.

    What comes out: of a block relu(body(x) + shortcut(x)) its shortcut and its ReLU; where the
    shortcut is the input itself, nothing: the block before it has ended in a ReLU already. None of
    the paths gives a plain copy.

    Refused with `BadInputError`: a path that is no block of the net (`blocks` lists them).

    Source: Veit et al. 2016, "Residual Networks Behave Like Ensembles", section 4.1.
    """
    paths, known = list(paths), blocks(model)
    if strange := [path for path in paths if path not in known]:
        raise BadInputError(
            f"no residual block is called {', '.join(map(repr, strange))}; there are: "
            f"{', '.join(known) or 'none'}"
        )
    shorter = copy.deepcopy(model)
    for path in paths:
        block = shorter.get_submodule(path)
        shortcut = block.shortcut
        left = shortcut if isinstance(shortcut, nn.Identity) else nn.Sequential(shortcut, nn.ReLU())
        parent, _, name = path.rpartition(".")
        setattr(shorter.get_submodule(parent), name, left.train(block.training))
    return shorter
