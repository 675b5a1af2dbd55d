"""How the arithmetic of a training is done: on which device, with how many threads, how exactly."""

import contextlib
from dataclasses import dataclass

import torch

from convcost.core.errors import BadInputError


@dataclass(frozen=True)
class Execution:
    """How the arithmetic is done; changes speed, and numbers in the last digits only.

    `device` "cpu" or "cuda" (or "cuda:1"); `threads` of this process on a CPU; `channels_last` the
    memory order of images and filters; `fused` the optimiser's one-pass step; `bf16` autocast to
    bfloat16; `cuda_graph` records forward and backward once and replays them (CUDA only; where
    recording fails the loop runs without, and the record says why).
    """

    device: str = "cpu"
    threads: int = 1
    channels_last: bool = True
    fused: bool = True
    bf16: bool = False
    cuda_graph: bool = False

    def __post_init__(self):
        if self.device_kind not in ("cpu", "cuda"):
            raise BadInputError(f"device {self.device!r}: choose 'cpu' or 'cuda'")
        if self.device_kind == "cuda" and not torch.cuda.is_available():
            raise BadInputError("device 'cuda': torch finds no CUDA GPU here; choose 'cpu'")
        if self.cuda_graph and self.device_kind != "cuda":
            raise BadInputError("cuda_graph is for device 'cuda'")

    @property
    def device_kind(self) -> str:
        """ "cpu" or "cuda", without the number of the GPU."""
        return str(self.device).split(":")[0]

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


def autocast(execution: Execution):
    """The context in which a forward pass runs."""
    if not execution.bf16:
        return contextlib.nullcontext()
    return torch.autocast(execution.device_kind, torch.bfloat16)


@contextlib.contextmanager
def guest(execution: Execution, seed: int):
    """Threads, generators (seeded) and cuDNN's choices for a while; then as they were."""
    on_gpu = execution.device_kind == "cuda"
    threads = torch.get_num_threads()
    devices = [torch.device(execution.device)] if on_gpu else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=devices))
        if on_gpu:
            stack.enter_context(
                torch.backends.cudnn.flags(
                    enabled=True,
                    benchmark=False,
                    deterministic=True,
                    allow_tf32=torch.backends.cudnn.allow_tf32,
                )
            )
        else:
            stack.callback(torch.set_num_threads, threads)
            torch.set_num_threads(execution.threads)
        torch.manual_seed(seed)
        yield
