"""Memory, of a GPU above all: was it refused, how to give it back, how much is free, was held."""

import gc
from collections.abc import Callable

import psutil
import torch


def refused(error: BaseException | None, batch: int = 1) -> bool:
    """Whether an exception says that there is not enough memory, on the CPU or on a GPU.

    Libraries below torch do not always say why they cannot do something: memory is their usual
    reason, so that with more than one image in the `batch` a smaller one is worth a try; with one,
    memory is not called the reason.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    words = ("defaultcpuallocator", "alloc_cpu", "not enough memory", "out of memory", "bad_alloc",
             "cannot allocate memory", "status_alloc_failed")  # fmt: skip
    if batch > 1:
        words += ("could not create a primitive", "could not execute a primitive",
                  "unable to find an engine", "cublas_status_not_initialized")  # fmt: skip
    return isinstance(error, RuntimeError | OSError) and any(word in text for word in words)


def give_back() -> None:
    """Free what nobody holds any more, and return what a GPU's allocator keeps for later.

    Not inside `except`: an exception holds the tensors of all functions that it came through.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def free_bytes(device: str) -> int:
    """Bytes of a device that a new tensor may take.

    On CUDA what torch's allocator keeps for later is among them. On a CPU it is what the system
    calls available.
    """
    if torch.device(device).type != "cuda":
        return psutil.virtual_memory().available
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def peak_from_now(device: str) -> Callable[[], int | None]:
    """A function that says how much memory of a device was held at most since this call, in bytes.

    On CUDA: all that this process has in tensors there, those from before among it, and what
    libraries work in; not what torch's allocator keeps for later. None on a CPU: nobody counts
    there.

    >>> peak_from_now("cpu")() is None
    True
    """
    if torch.device(device).type != "cuda":
        return lambda: None
    give_back()
    torch.cuda.reset_peak_memory_stats(device)
    return lambda: torch.cuda.max_memory_allocated(device)
