"""How the arithmetic of a training is done: on which device, with how many threads, how exactly."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from convcost.core.errors import BadInputError
from convcost.measuring import memory

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Execution:
    """How the arithmetic is done; changes speed, and numbers in the last digits only.

    `device` "cpu" or "cuda" (or "cuda:1"); `threads` of this process on a CPU; `channels_last` the
    memory order of images and filters; `fused` the optimiser's one-pass step; `bf16` autocast to
    bfloat16.
    """

    device: str = "cpu"
    threads: int = 1
    channels_last: bool = True
    fused: bool = True
    bf16: bool = False

    def __post_init__(self):
        if self.device_kind not in ("cpu", "cuda"):
            raise BadInputError(f"device {self.device!r}: choose 'cpu' or 'cuda'")
        if self.device_kind == "cuda" and not torch.cuda.is_available():
            raise BadInputError("device 'cuda': torch finds no CUDA GPU here; choose 'cpu'")

    @property
    def device_kind(self) -> str:
        """ "cpu" or "cuda", without the number of the GPU."""
        return str(self.device).split(":")[0]

    @property
    def memory_order(self) -> torch.memory_format:
        """Of images and filters."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def numerics(self, *, together: bool = False) -> dict:
        """What a kept net is known by besides its recipe: whoever asks for another gets another.

        `device` (its kind), `bf16`, and `together`: whether the net was trained with others of its
        recipe at a time (`train_together`). These are other weights and above all other seconds.
        Threads, memory order and the like are left out: a net trained with two threads will do
        for one who asks for one.

        >>> Execution().numerics()
        {'device': 'cpu', 'bf16': False, 'together': False}
        """
        return {"device": self.device_kind, "bf16": self.bf16, "together": together}


def placed(model: nn.Module, execution: Execution) -> nn.Module:
    """The model itself, on the execution's device and in its memory order."""
    model.to(execution.device)
    if execution.channels_last:
        model.to(memory_format=torch.channels_last)
    return model


def autocast(execution: Execution):
    """The context in which a forward pass runs."""
    if not execution.bf16:
        return contextlib.nullcontext()
    return torch.autocast(execution.device_kind, torch.bfloat16)


@contextlib.contextmanager
def guest(execution: Execution, seed: int | None = None):
    """Threads and generators for a while; then as they were.

    With a `seed` the generators begin at it, and cuDNN takes what gives the same bits every time.
    Without one cuDNN chooses as it does for everybody: so it is timed.
    """
    on_gpu = execution.device_kind == "cuda"
    with contextlib.ExitStack() as stack:
        devices = [torch.device(execution.device)] if on_gpu else []
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(execution.threads)
        if seed is not None:
            torch.manual_seed(seed)
            if on_gpu:
                cudnn = torch.backends.cudnn
                stack.enter_context(
                    cudnn.flags(
                        enabled=True, benchmark=False, deterministic=True,
                        allow_tf32=cudnn.allow_tf32,
                    )
                )  # fmt: skip
        yield


def halved(
    size: int, attempt: Callable[[int], _Made]
) -> tuple[_Made | None, int | None, str | None]:
    """(what `attempt(size)` gives, size, None), the size halved as long as memory is refused.

    (None, None, reason) where 1 is still too much. Whatever else is raised goes through.
    """
    while True:
        try:
            return attempt(size), size, None
        except Exception as error:
            if not memory.refused(error, size):
                raise
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        # here, where the exception and all that its frames held are gone
        memory.give_back()
        if size == 1:
            return None, None, reason[0]
        size //= 2
