"""Memory: whose words say that it is short, what is given back, and what a peak is."""

import gc
import weakref

import pytest
import torch

from convcost.measuring import memory


def test_what_says_that_memory_is_short():
    short = [
        MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        OSError(12, "Cannot allocate memory"),
    ]  # fmt: skip
    assert all(memory.refused(error, 1) for error in short)
    others = [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        ValueError("out of memory"),
        None,
    ]
    assert not any(memory.refused(error, 8) for error in others)


@pytest.mark.parametrize(
    "words",
    [
        "could not create a primitive",
        "GET was unable to find an engine to execute this computation",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    ],
)
def test_what_is_unclear_is_worth_a_smaller_batch(words):
    """It is what libraries say where they get no memory, and also otherwise."""
    assert memory.refused(RuntimeError(words), 2) and not memory.refused(RuntimeError(words), 1)


class Ring:
    """Holds itself, so that only the collector frees it."""

    def __init__(self):
        self.me = self


def test_what_nobody_holds_is_freed_and_a_gpu_gets_its_memory_back(monkeypatch):
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(held() is None))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    held = weakref.ref(Ring())
    gc.disable()
    try:
        memory.give_back()
        assert held() is None and emptied == []
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        held = weakref.ref(Ring())
        memory.give_back()
        assert emptied == [True]  # in that order: what is freed can be returned
    finally:
        gc.enable()


def test_what_the_allocator_keeps_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 70 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 50 * 2**30)
    assert memory.free_bytes("cuda:0") == (3 + 70 - 50) * 2**30
    assert 0 < memory.free_bytes("cpu") < 2**50


def test_a_peak_counts_from_the_call_on(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda d: asked.append(("reset", d)))
    monkeypatch.setattr(
        torch.cuda, "max_memory_allocated", lambda d: asked.append(("most", d)) or 7 * 2**20
    )
    peak_bytes = memory.peak_from_now("cuda:1")
    assert asked == [("reset", "cuda:1")]
    assert peak_bytes() == 7 * 2**20 and asked[1:] == [("most", "cuda:1")]


def test_nobody_counts_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", None)
    assert memory.peak_from_now("cpu")() is None
