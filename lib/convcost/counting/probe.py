"""Watch a model's forward pass and leave the model exactly as found.

Four things, each usable alone: `as_found` puts a model and the random generators back, `evaluating`
runs it in evaluation mode besides, `ModuleStack` knows which module is running, `watch` shows
chosen modules' inputs and outputs.
"""

import contextlib
import random
import sys
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import eq, is_

import torch
from torch import nn

from convcost.core.errors import BadInputError

_CONTAINERS = frozenset((dict, OrderedDict, list, set, deque))


def module_paths(model: nn.Module) -> dict[int, list[str]]:
    """`id(module)` to every dotted path under which the model holds it, root "" first.

    A module that two parents share has two paths. `nn.Sequential(nn.ReLU())` gives the paths
    "" and "0".
    """
    paths: dict[int, list[str]] = {}
    todo = [("", model)]
    while todo:
        path, module = todo.pop()
        paths.setdefault(id(module), []).append(path)
        if not module._modules:
            continue
        prefix = path + "." if path else ""
        children = [
            (prefix + k, child) for k, child in module._modules.items() if child is not None
        ]
        todo.extend(reversed(children))
    return paths


def every_module(model: nn.Module) -> list[nn.Module]:
    """Every module of the model once, the model itself first."""
    found = {id(model): model}
    todo = [model]
    while todo:
        for child in todo.pop()._modules.values():
            if child is not None and id(child) not in found:
                found[id(child)] = child
                todo.append(child)
    return list(found.values())


def call_names(paths: Sequence[str]) -> list[str]:
    """A name for each of these calls: its module's path, numbered where there are several.

    >>> call_names(["conv", "relu", "pool", "relu"])
    ['conv', 'relu[0]', 'pool', 'relu[1]']
    """
    times, turns, names = Counter(paths), Counter(), []
    for path in paths:
        names.append(f"{path}[{turns[path]}]" if times[path] > 1 else path)
        turns[path] += 1
    return names


class as_found:
    """Context manager: on the way out, also after an exception, the model is as it was.

    Put back per module: every attribute (so mode, hooks, buffers and parameters by identity, and
    what a forward stored on `self`), one level of lists, dicts and sets; and the random state of
    torch, random, numpy (if loaded) and CUDA (if in use). Values inside tensors are not copied:
    who runs a forward that writes into a buffer must give it copies.
    `with as_found(model): model.eval()` leaves every mode as before.
    """

    def __init__(self, model: nn.Module, modules: list[nn.Module] | None = None, rng: bool = True):
        self.modules, self.rng = modules or every_module(model), rng

    def __enter__(self):
        self.now = [module.__dict__ for module in self.modules]
        self.before = [attributes.copy() for attributes in self.now]
        held = [v for own in self.before for v in own.values() if type(v) in _CONTAINERS]
        # Nearly all of them are hooks, and empty: those are only checked to be empty still.
        self.empty = [container for container in held if not container]
        filled = [container for container in held if container]
        self.dicts = [container for container in filled if type(container) is dict]
        self.others = [container for container in filled if type(container) is not dict]
        self.copies = [[c.copy() for c in self.dicts], [c.copy() for c in self.others]]
        if self.rng:
            numpy = sys.modules.get("numpy")
            self.states = (
                random.getstate(),
                torch.get_rng_state(),
                numpy.random.get_state() if numpy else None,
                torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,
            )
        return self

    def __exit__(self, *exc):
        _put_back(self.now, self.before, names=False)
        if any(self.empty):
            for container in self.empty:
                container.clear()
        dicts, others = self.copies
        _put_back(self.dicts, dicts, names=True)
        for container, before in zip(self.others, others, strict=True):
            if not _same(container, before):
                container.clear()
                fill = (
                    container.extend if isinstance(container, (list, deque)) else container.update
                )
                fill(before)
        if self.rng:
            python, cpu, numpy, cuda = self.states
            random.setstate(python)
            torch.set_rng_state(cpu)
            if numpy is not None:
                sys.modules["numpy"].random.set_state(numpy)
            if cuda is not None:
                torch.cuda.set_rng_state_all(cuda)
        return False


def _put_back(now: list[dict], before: list[dict], names: bool) -> None:
    """Every dict as its copy has it; `names`: it may have the same objects under other names."""
    if _same_dicts(now, before, names):
        return
    for container, copy in zip(now, before, strict=True):
        if not _same_dicts([container], [copy], names):
            container.clear()
            container.update(copy)


def _same_dicts(now: list[dict], before: list[dict], names: bool) -> bool:
    """Same length, order and objects; identity, because tensors do not compare to one bool. Asked
    of all dicts of a model at once, which is fast.
    """
    joined = chain.from_iterable
    return (
        list(map(len, now)) == list(map(len, before))
        and all(map(is_, joined(map(dict.values, now)), joined(map(dict.values, before))))
        and (not names or all(map(eq, joined(now), joined(before))))
    )


@contextlib.contextmanager
def evaluating(
    model: nn.Module,
    modules: list[nn.Module] | None = None,
    *,
    rng: bool = True,
    training: bool = False,
):
    """Evaluation mode without gradients for a while; then the model is `as_found`.

    What a forward writes into a buffer is lost: the buffers are copies meanwhile, one for each
    tensor, so that modules which share one still do. `modules`: those of the model, where the
    caller has them. `training`: training mode instead.
    """
    modules = modules or every_module(model)
    with as_found(model, modules, rng), torch.no_grad():
        copies: dict[int, torch.Tensor] = {}
        for module in modules:
            # not .eval(): some models override train() to change their weights
            module.__dict__["training"] = training
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    if id(buffer) not in copies:
                        copies[id(buffer)] = buffer.clone()
                    module._buffers[name] = copies[id(buffer)]
        yield


def _same(now, before) -> bool:
    """The same of an OrderedDict, a list, a set or a deque."""
    if len(now) != len(before):
        return False
    if isinstance(now, dict):
        return all(map(is_, now.values(), before.values())) and all(map(eq, now, before))
    return all(map(is_, now, before))


class replaced:
    """Context manager: put functions of torch in the place of others while someone needs it.

    `targets` are (owner, name, replacement), replacement(original) -> function. Several threads
    can be inside; the first one sets, the last one puts back.
    """

    def __init__(self, *targets):
        self.targets, self.users, self.lock, self.originals = targets, 0, threading.Lock(), []

    def __enter__(self):
        with self.lock:
            self.users += 1
            if self.users == 1:
                for owner, name, replacement in self.targets:
                    original = getattr(owner, name)
                    self.originals.append((owner, name, original))
                    setattr(owner, name, replacement(original))
        return self

    def __exit__(self, *exc):
        with self.lock:
            self.users -= 1
            if not self.users:
                for owner, name, original in self.originals:
                    setattr(owner, name, original)
                self.originals.clear()
        return False


_ACTIVE: dict[int, list["ModuleStack"]] = {}  # thread -> its stacks, the innermost last


def _watched(original):
    def _call_impl(module, *args, **kwargs):
        stacks = _ACTIVE.get(threading.get_ident())
        if not stacks:
            return original(module, *args, **kwargs)
        return stacks[-1].call(original, module, args, kwargs)

    return _call_impl


# Not `__call__`: Python looks after that in each of the thousand classes below nn.Module, which
# takes as long as a hundred calls.
_CALL = replaced((nn.Module, "_call_impl", _watched))


class ModuleStack:
    """Context manager: which module of `model` is running, by path, in this thread.

    `path` and `module` are those of the innermost running module. A module held under several
    paths gets the path below the module that calls it; a parent that holds one child under two
    names gets them in turn. `failed` is (path, module, args) of the innermost module that raised.
    `shortcut(module, args)`, if set, may answer a module's call in place of its forward, or return
    NotImplemented.

    No hook is set on any module. `nn.Module._call_impl` is replaced while a stack is active in some
    thread (half the cost of torch's global hooks) and put back by the last one. A module that was
    compiled in place runs uncompiled meanwhile.
    """

    def __init__(self, model: nn.Module, modules: list[nn.Module] | None = None):
        self.model, self.modules = model, modules or every_module(model)
        self.paths = module_paths(model)
        self.path, self.module = "", model
        self.turns: dict[tuple[str, int], int] = {}
        self.failed = self.error = self.shortcut = None

    def __enter__(self):
        self.thread = threading.get_ident()
        compiled = [m for m in self.modules if m._compiled_call_impl is not None]
        self.compiled = [(m, m._compiled_call_impl) for m in compiled]
        for module in compiled:
            module._compiled_call_impl = None
        _CALL.__enter__()
        _ACTIVE.setdefault(self.thread, []).append(self)
        return self

    def __exit__(self, *exc):
        stacks = _ACTIVE[self.thread]
        stacks.remove(self)
        if not stacks:
            del _ACTIVE[self.thread]
        for module, impl in self.compiled:
            module._compiled_call_impl = impl
        return _CALL.__exit__(*exc)

    def call(self, original, module, args, kwargs):
        """Run one module's call as torch would, keeping `path`, `module` and `failed`."""
        found = self.paths.get(id(module))
        if found is None:  # made during the forward pass: no name, so its class
            name = f"<{type(module).__name__}>"
            path = f"{self.path}.{name}" if self.path else name
        elif len(found) == 1:
            path = found[0]
        else:
            path = self._choose(module, found)
        outer = self.path, self.module
        self.path, self.module = path, module
        try:
            if self.shortcut is not None and not kwargs:
                output = self.shortcut(module, args)
                if output is not NotImplemented:
                    return output
            return original(module, *args, **kwargs)
        except (Exception, SystemExit) as error:
            if error is not self.error:
                self.error, self.failed = error, (path, module, args)
            raise
        finally:
            self.path, self.module = outer

    def _choose(self, module, found):
        prefix = self.path + "." if self.path else ""
        near = [p for p in found if p.startswith(prefix)] or found
        depth = min(p.count(".") for p in near)
        near = [p for p in near if p.count(".") == depth]
        turn = self.turns.get((self.path, id(module)), 0)
        self.turns[self.path, id(module)] = turn + 1
        return near[turn % len(near)]


class watch:
    """Context manager: call `seen(path, module, inputs, output)` after each chosen module ran.

    `select` chooses: None for all modules without children, module classes, dotted names, or a
    function (path, module) -> bool. `inputs` is the tuple of positional arguments. Modules are
    watched, functional calls (F.relu) are not: they belong to the module that makes them. Hooks
    are removed on the way out, also after an exception.
    Raises `BadInputError` for a name that the model does not have, listing the valid ones.

    >>> sizes = {}
    >>> with watch(nn.Sequential(nn.Flatten()), lambda p, m, i, o: sizes.update({p: o.shape})):
    ...     pass
    """

    def __init__(
        self,
        model: nn.Module,
        seen: Callable,
        select: type | str | Iterable | Callable | None = None,
    ):
        self.model, self.seen = model, seen
        self.chosen = _chosen(model, select)
        self.handles = []
        self.stack = None

    def __enter__(self):
        paths = module_paths(self.model)
        if any(len(paths[id(module)]) > 1 for module in self.chosen):
            self.stack = ModuleStack(self.model)
            self.stack.__enter__()
        for module in self.chosen:
            self.handles.append(module.register_forward_hook(self._hook(paths[id(module)][0])))
        return self

    def _hook(self, path):
        def hook(module, inputs, output):
            self.seen(self.stack.path if self.stack else path, module, inputs, output)

        return hook

    def __exit__(self, *exc):
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        if self.stack:
            self.stack.__exit__(*exc)
            self.stack = None
        return False


def _chosen(model, select) -> list[nn.Module]:
    named = list(model.named_modules())
    if select is None:
        return [module for _, module in named if not module._modules]
    if isinstance(select, (type, str)):
        select = [select]
    if not callable(select):
        wanted = list(select)
        classes = tuple(w for w in wanted if isinstance(w, type))
        every = {path: m for path, m in model.named_modules(remove_duplicate=False)}
        names = [w for w in wanted if not isinstance(w, type)]
        unknown = [n for n in names if n not in every]
        if unknown:
            raise BadInputError(
                f"the model has no module {', '.join(map(repr, unknown))}; "
                f"it has: {', '.join(p for p in every if p)}"
            )
        ids = {id(every[n]) for n in names}
        return [m for _, m in named if isinstance(m, classes) or id(m) in ids]
    return [module for path, module in named if select(path, module)]
