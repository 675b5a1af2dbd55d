"""GPUs that are not there: the host runs ahead of what it gives them, on clocks of the test."""

import torch


class Gpus:
    """Two GPUs in the place of CUDA's; all times are nanoseconds.

    `now` is the host's clock, `done[i]` the moment at which GPU i will have done what it was given.
    Events are moments of a GPU's own time, and can be read only once the host knows of them.
    """

    def __init__(self, monkeypatch):
        self.now, self.done, self.current = 0, [0, 0], 0
        fakes = {
            "device_count": lambda: 2,
            "synchronize": self.synchronize,
            "current_stream": self.index,
            "device": lambda device: _Chosen(self, self.index(device)),
            "Event": lambda enable_timing: _Event(self),
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    def index(self, device=None) -> int:
        index = None if device is None else torch.device(device).index
        return self.current if index is None else index

    def synchronize(self, device=None) -> None:
        self.now = max(self.now, self.done[self.index(device)])

    def launch(self, kernel_ns: int, host_ns: int = 0, device=None) -> None:
        """The host takes `host_ns` to launch a kernel of `kernel_ns`, and goes on."""
        self.now += host_ns
        index = self.index(device)
        self.done[index] = max(self.done[index], self.now) + kernel_ns


class _Chosen:
    """`torch.cuda.device`: another GPU is the current one."""

    def __init__(self, gpus: Gpus, index: int):
        self.gpus, self.index = gpus, index

    def __enter__(self):
        self.before, self.gpus.current = self.gpus.current, self.index

    def __exit__(self, *_):
        self.gpus.current = self.before


class _Event:
    def __init__(self, gpus: Gpus):
        self.gpus, self.at = gpus, None

    def record(self, stream: int | None = None) -> None:
        # a stream stands for all that its GPU was given
        index = self.gpus.current if stream is None else stream
        self.gpus.done[index] = self.at = max(self.gpus.done[index], self.gpus.now)

    def elapsed_time(self, other: "_Event") -> float:
        """Milliseconds."""
        if self.at is None or other.at is None or max(self.at, other.at) > self.gpus.now:
            raise RuntimeError("CUDA error: device not ready")
        return (other.at - self.at) / 1e6
