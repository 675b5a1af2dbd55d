"""Networks made smaller: filters that are gone for good, and the order in which to take them.

`without_filters` builds a new network with fewer filters in one layer: tensors with fewer numbers,
fewer multiplications, no masks. Who reads that layer comes from a symbolic trace (torch.fx) of the
model's own forward; where the answer is not one chain of known layers, it refuses.
"""

import copy
import inspect
import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx, nn

from convcost.core.errors import BadInputError
from convcost.counting.probe import evaluating, every_module
from convcost.measuring import zeros

CRITERIA = ("highest zero rate", "smallest L1 norm", "random")

# The attribute that says how many filters (dimension 0 of the weights) or inputs (dimension 1) a
# layer has. Exact types: a subclass, or what torch.nn.utils.parametrize makes, may do anything.
_SIZE = {
    (nn.Conv2d, 0): "out_channels",
    (nn.Conv2d, 1): "in_channels",
    (nn.Linear, 0): "out_features",
    (nn.Linear, 1): "in_features",
    (nn.BatchNorm1d, 0): "num_features",
    (nn.BatchNorm2d, 0): "num_features",
}
_PLAIN = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def _split(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Modules, functions and tensor methods, in small letters and without underscores, that make each
# channel of their output of that channel of their input alone, and of numbers.
_ANYWHERE = _split(
    "identity dropout alphadropout featurealphadropout relu relu6 leakyrelu rrelu elu selu celu "
    "gelu silu mish softplus softsign sigmoid logsigmoid tanh tanhshrink hardtanh hardswish "
    "hardsigmoid hardshrink softshrink threshold clamp"
)
_ON_MAPS = _ANYWHERE | _split(
    "maxpool2d avgpool2d lppool2d adaptivemaxpool2d adaptiveavgpool2d dropout2d"
)


# ---------------------------------------------------------------- smaller networks


def without_filters(model: nn.Module, layer: str, filters: Iterable[int]) -> nn.Module:
    """A new network in which one layer has lost these filters, and its reader their inputs.

    It computes what the old one does when the reader gets zeros from those filters. In a chain of
    layer, ReLU, pooling, reader: when the maps of those filters are zero after ReLU.

    model: on any device, meta included; left as found. layer: dotted path of a Conv2d (filters) or
    Linear (units). filters: their indices from 0, in any order; none gives a plain copy. What is
    left keeps its order.

    Narrowed are the weights and biases of the layer, every BatchNorm1d or 2d behind it (running
    statistics too), and the inputs of the Conv2d or Linear that reads it: behind a Flatten, the
    in_features / out_channels inputs of each filter. In between stay elementwise activations,
    poolings, dropouts. The rest is a deep copy, hooks included (what hooks do is not looked into);
    modes, dtype, device, memory order and requires_grad are the old ones, gradients are not copied.

    Refused with `BadInputError`: a layer that is not there or no plain Conv2d or Linear; an index
    out of range or given twice; all filters; and what is no chain from the layer to one reader,
    in training and in evaluation mode: the last layer, outputs that go to several places or are
    added or concatenated to others, grouped convolutions, modules that run twice, tensors that two
    modules share, any other operator in between, a forward that torch.fx cannot follow.

    Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets", section 3.1 (figure 1).

    >>> net = nn.Sequential(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 24 * 24, 10))
    >>> small = without_filters(net, "0", [0, 3])
    >>> small[0].weight.shape[0] == 4, small[3].in_features == 4 * 24 * 24
    (True, True)
    """
    model = _original(model)
    count = _filters(_layer(model, layer))
    gone = _indices(layer, filters, count)
    cuts, _ = _plan(model, layer)
    kept = [i for i in range(count) if i not in gone]
    try:
        smaller = copy.deepcopy(model)
    except RuntimeError as error:  # torch.nn.utils.weight_norm and its like
        raise BadInputError(f"{type(model).__name__} cannot be copied: {error}") from error
    for cut in cuts:
        every = [i * cut.block + j for i in kept for j in range(cut.block)]
        _narrow(smaller.get_submodule(cut.path), cut.dim, every)
    return smaller


def _narrow(module: nn.Module, dim: int, kept: list[int]) -> None:
    setattr(module, _SIZE[type(module), dim], len(kept))
    for tensors in (module._parameters, module._buffers):
        for name, tensor in tensors.items():
            if tensor is None or tensor.ndim <= dim:  # a reader's bias has no inputs
                continue
            with torch.no_grad():
                chosen = tensor.index_select(dim, torch.tensor(kept, device=tensor.device))
                # index_select makes plain order; this has the old one's (channels_last)
                values = torch.empty_like(tensor.narrow(dim, 0, len(kept))).copy_(chosen)
            if isinstance(tensor, nn.Parameter):
                values = nn.Parameter(values, tensor.requires_grad)
            tensors[name] = values


# ---------------------------------------------------------------- which filters


def ranking(
    model: nn.Module,
    layer: str,
    criterion: str,
    *,
    images=None,
    seed: int | None = None,
) -> list[int]:
    """All filters of a layer, in the order in which a criterion would take them out.

    What comes out: every index once. `ranking(...)[:n]` are the n filters to remove.

    criterion: "highest zero rate" (see `zero_fractions`; needs `images`), "smallest L1 norm" (sum
    of the absolute weights of a filter, without its bias, in float64), "random" (from `seed`, the
    same on every machine). Equals stand in the order of their indices. What a criterion does not
    need is not looked at.

    Refused with `BadInputError`: an unknown criterion; a layer that is not there or no plain Conv2d
    or Linear; missing images; a seed that is no integer from 0 on; weights that are NaN; and what
    `zero_fractions` refuses.

    Source: the zero rate is atsumi2020's, section III.C; the norm that of Li et al. 2017, "Pruning
    Filters for Efficient ConvNets", section 3.1, with random filters as its control (section 4.4).

    >>> layer = nn.Linear(2, 3)
    >>> layer.weight.data = torch.tensor([[1.0, -2.0], [0.0, 2.0], [1.0, 1.0]])  # norms 3, 2, 2
    >>> ranking(nn.Sequential(layer, nn.ReLU()), "0", "smallest L1 norm")
    [1, 2, 0]
    """
    model = _original(model)
    module = _layer(model, layer)
    if criterion == "highest zero rate":
        if images is None:
            raise BadInputError(f"{criterion!r} needs images to count zeros on: give images=")
        score = -zero_fractions(model, layer, images)
    elif criterion == "smallest L1 norm":
        score = module.weight.detach().double().abs().flatten(1).sum(1).cpu().numpy()
        if np.isnan(score).any():
            raise BadInputError(f"weights of {layer!r} are NaN: such filters have no order")
    elif criterion == "random":
        # sorted words: numpy promises these for ever, its permutations may change
        score = _sequence(seed).generate_state(_filters(module), np.uint64)
    else:
        raise BadInputError(f"no criterion {criterion!r}; choose one of: {', '.join(CRITERIA)}")
    return np.argsort(score, kind="stable").tolist()


def zero_fractions(model: nn.Module, layer: str, images) -> np.ndarray:
    """Share of exact zeros that the ReLU behind a layer gives, per filter.

    What comes out: float64 of shape (filters,), 0 to 1, over all images and positions. The ReLU is
    the first that runs behind the layer and before its reader. images: (N, C, H, W), or whatever
    `zeros.zero_rates` takes as data; the model runs in evaluation mode and is left as found.

    Refused with `BadInputError`: a layer that `without_filters` cannot narrow; one without ReLU
    (or one that `zeros` counts); other calculations that run between the layer and its reader, so
    that a ReLU might be theirs; what `zeros.zero_rates` refuses.

    >>> net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1))
    >>> net[0].weight.data = torch.tensor([[1.0], [-1.0]])
    >>> zero_fractions(net, "0", torch.tensor([[1.0], [2.0], [-3.0], [4.0]])).tolist()
    [0.25, 0.75]
    """
    model = _original(model)
    module = _layer(model, layer)
    _, others = _plan(model, layer)
    if others:
        raise BadInputError(
            f"zeros of {layer!r} cannot be told apart: {', '.join(others)} run between it and the "
            "layer that reads it"
        )
    table = zeros.zero_rates(model, images, by=("layer", "channel"))
    # by identity, for a module may be held under two paths
    named = dict(model.named_modules(remove_duplicate=False))
    after = table.attrs["after"].items()
    relu = next((relu for relu, before in after if named.get(before) is module), None)
    if relu is None:
        raise BadInputError(
            f"no ReLU between {layer!r} and the layer that reads it: there are no zeros to count"
        )
    own = table[table["layer"] == relu]
    # behind a Flatten the "channels" are pixels, filter by filter
    counts = own[["zeros", "total"]].to_numpy().reshape(_filters(module), -1, 2).sum(1)
    return counts[:, 0] / counts[:, 1]


# ---------------------------------------------------------------- what is given


def _original(model) -> nn.Module:
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper: same parameters
    if not isinstance(model, nn.Module):
        raise BadInputError(f"a torch.nn.Module is expected, got {type(model).__name__}")
    return model


def _layer(model: nn.Module, layer: str) -> nn.Module:
    known = {
        path: module
        for path, module in model.named_modules(remove_duplicate=False)
        if type(module) in (nn.Conv2d, nn.Linear)
    }
    if layer not in known:
        raise BadInputError(
            f"{type(model).__name__} has no plain Conv2d or Linear {layer!r}; "
            f"it has: {', '.join(known) or 'none'}"
        )
    return known[layer]


def _filters(module: nn.Module) -> int:
    return getattr(module, _SIZE[type(module), 0])


def _indices(layer: str, filters: Iterable[int], count: int) -> set[int]:
    try:
        given = [operator.index(i) for i in filters]
    except TypeError as error:
        raise BadInputError(f"filters {filters!r}: a list of integers is expected") from error
    outside = sorted({i for i in given if not 0 <= i < count})
    twice = sorted(i for i, times in Counter(given).items() if times > 1)
    if outside or twice:
        raise BadInputError(
            f"filters of {layer!r}: {outside or twice} are {'not there' if outside else 'doubled'};"
            f" it has 0 to {count - 1}, each can go once"
        )
    if len(given) == count:
        raise BadInputError(f"filters of {layer!r}: all {count} were to go; one has to stay")
    return set(given)


def _sequence(seed) -> np.random.SeedSequence:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise BadInputError(f"seed is {seed!r}: 'random' needs an integer from 0 on")
    return np.random.SeedSequence(int(seed))


# ---------------------------------------------------------------- who reads whom


@dataclass(frozen=True)
class _Cut:
    """Tensors to narrow: along dimension `dim`, `block` neighbours for each filter."""

    path: str
    dim: int
    block: int


class _Tracer(fx.Tracer):
    """torch.fx without hooks: the user's own are not to meet what stands for a tensor."""

    def call_module(self, m, forward, args, kwargs):
        return super().call_module(m, m.forward, args, kwargs)


def _plan(model: nn.Module, layer: str) -> tuple[list[_Cut], list[str]]:
    """What to narrow; and what else runs between the layer and its reader, in evaluation mode."""
    plans = []
    for training in (True, False):
        with evaluating(model, training=training):
            plans.append(_Walk(model, layer).plan())
    if plans[0][0] != plans[1][0]:
        raise _refusal(layer, "another layer reads it in training than in evaluation mode")
    return plans[1]


def _refusal(layer: str, why: str) -> BadInputError:
    return BadInputError(f"filters of {layer!r} cannot be taken out: {why}")


def _graph(model: nn.Module, layer: str) -> fx.Graph:
    # neither torch.fx nor a deep copy would take it along
    if any("forward" in vars(module) for module in every_module(model)):
        raise _refusal(layer, "a module of the net has a forward of the object's own")
    # an argument with a default keeps it: a forward(x, mask=None) is called with x alone
    given = inspect.signature(model.forward).parameters.values()
    fixed = {p.name: p.default for p in given if p.default is not p.empty}
    try:
        return _Tracer().trace(model, fixed)
    except Exception as error:
        raise _refusal(
            layer,
            f"torch.fx cannot follow the forward of {type(model).__name__} "
            f"({type(error).__name__}: {error})",
        ) from error


class _Walk:
    """One graph, followed from a layer to the one that reads it."""

    def __init__(self, model: nn.Module, layer: str):
        self.layer = layer
        self.named = dict(model.named_modules(remove_duplicate=False))
        self.first = self.named[layer]
        self.filters = _filters(self.first)
        # maps (N, C, H, W); units (…, C); flat (N, C*H*W), filter by filter
        self.form = "maps" if type(self.first) is nn.Conv2d else "units"
        self.nodes = list(_graph(model, layer).nodes)
        self.runs = Counter(id(self.module(node)) for node in self.nodes)
        self.owners = Counter(
            id(tensor) for module in every_module(model) for tensor in _tensors(module).values()
        )
        # a tensor that a forward takes by itself has one more owner
        taken = [node.target for node in self.nodes if node.op == "get_attr"]
        self.owners.update(id(operator.attrgetter(target)(model)) for target in taken)

    def plan(self) -> tuple[list[_Cut], list[str]]:
        node = next((node for node in self.nodes if self.module(node) is self.first), None)
        if node is None:
            raise _refusal(self.layer, "torch.fx sees no call of it in the forward pass")
        chain, cuts = [node], [self.cut(node, 0)]
        while cuts[-1].dim == 0:
            chain.append(self.reader(chain[-1]))
            if cut := self.step(chain[-1]):
                cuts.append(cut)
        between = self.nodes[self.nodes.index(node) : self.nodes.index(chain[-1])]
        others = [n for n in between if n.op.startswith("call") and n not in chain]
        return cuts, [self.name(other) for other in others]

    def module(self, node: fx.Node) -> nn.Module | None:
        return self.named[node.target] if node.op == "call_module" else None

    def name(self, node: fx.Node) -> str:
        """Path and class of a module, name of a function or tensor method."""
        if node.op == "call_module":
            return f"{node.target!r} ({type(self.module(node)).__name__})"
        return str(getattr(node.target, "__name__", node.target))

    def reader(self, node: fx.Node) -> fx.Node:
        """The one node that uses what this one puts out."""
        readers = list(node.users)
        if any(reader.op == "output" for reader in readers):
            raise _refusal(self.layer, f"what {self.name(node)} puts out leaves the net")
        if len(readers) != 1:
            places = " and ".join(map(self.name, readers)) or "nowhere"
            raise _refusal(self.layer, f"what {self.name(node)} puts out goes to {places}")
        (reader,) = readers
        if reader.all_input_nodes != [node]:
            raise _refusal(self.layer, f"{self.name(reader)} joins its outputs with other values")
        return reader

    def step(self, node: fx.Node) -> _Cut | None:
        """Pass one node: what has to be narrowed in it, None where nothing has."""
        module = self.module(node)
        if type(module) in (nn.Conv2d, nn.Linear):
            return self.cut(node, 1)
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
            return self.cut(node, 0)
        name = self.name(node) if module is None else type(module).__name__
        name = name.replace("_", "").lower()
        if name == "flatten":
            self.flatten(node, module)
        elif name not in (_ON_MAPS if self.form == "maps" else _ANYWHERE):
            raise _refusal(
                self.layer,
                f"{self.name(node)} comes before a Conv2d or Linear, and may mix channels",
            )
        return None

    def flatten(self, node: fx.Node, module: nn.Flatten | None) -> None:
        names = ("input", "start_dim", "end_dim")
        given = {"start_dim": 0, "end_dim": -1} | dict(zip(names, node.args, strict=False))
        given = vars(module) if module is not None else given | node.kwargs
        if (given["start_dim"], given["end_dim"]) != (1, -1):
            raise _refusal(self.layer, f"{self.name(node)} is not from dimension 1 to the last")
        if self.form == "maps":
            self.form = "flat"

    def cut(self, node: fx.Node, dim: int) -> _Cut:
        module, name = self.module(node), self.name(node)
        if self.runs[id(module)] > 1:
            raise _refusal(self.layer, f"{name} runs {self.runs[id(module)]} times")
        if getattr(module, "groups", 1) != 1:
            raise _refusal(self.layer, f"{name} is grouped: its filters read different channels")
        tensors = _tensors(module)
        if strange := sorted(tensors.keys() - _PLAIN):
            raise _refusal(
                self.layer,
                f"{name} has {', '.join(strange)}: make the mask or the normalisation permanent",
            )
        if shared := [key for key, tensor in tensors.items() if self.owners[id(tensor)] > 1]:
            raise _refusal(self.layer, f"{' and '.join(shared)} of {name} is used elsewhere too")
        block, rest = divmod(getattr(module, _SIZE[type(module), dim]), self.filters)
        on_maps = type(module) in (nn.Conv2d, nn.BatchNorm2d)
        if on_maps != (self.form == "maps") or rest or (block > 1 and self.form != "flat"):
            raise _refusal(
                self.layer,
                f"{name} does not read it channel by channel (a Flatten from dimension 1 "
                "belongs between maps and a Linear)",
            )
        return _Cut(self.layer if module is self.first else node.target, dim, block)


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    both = module._parameters | module._buffers
    return {name: tensor for name, tensor in both.items() if tensor is not None}
