"""Callables timed in turns, so that whatever the machine does meanwhile hits all of them alike."""

import contextlib
import gc
import math
import random
from collections.abc import Callable, Mapping
from functools import partial
from itertools import repeat
from time import perf_counter_ns

import pandas as pd
import torch

from convcost.core.errors import BadInputError, ConvcostError
from convcost.core.units import scaled


class CaseError(ConvcostError):
    """What a case raised while it was timed: `case` is its name, `__cause__` the original."""

    def __init__(self, case: str, cause: Exception):
        super().__init__(
            f"case {case!r} cannot be timed, it raises {type(cause).__name__}: {cause}"
        )
        self.case = case


def interleaved(
    cases: Mapping[str, Callable[[], object]],
    *,
    repetitions: int = 30,
    min_s: float = 0.005,
    calls: int | None = None,
    warmup: int = 3,
    threads: int | None = None,
    device: str = "cpu",
) -> pd.DataFrame:
    """How long each case takes, once per repetition, in an order that changes every time.

    What comes out: a DataFrame, one row per block in the order in which they ran: `case`,
    `repetition` (from 0), `calls` of the block (int64), `seconds` (wall clock, all calls of the
    block together, what frees their results included). Nothing is left out or averaged. On CUDA
    `device_s`, too: seconds between two events on the stream, before the first call and after the
    last.

    cases: name -> function without arguments. A block is `calls` calls of one of them; every
    repetition has one block of each. `calls` None finds a number per case: so many that two blocks
    beforehand both took at least `min_s` seconds. warmup: calls of each case before all that, not
    timed; a case of many seconds wants `calls=1, warmup=1`. threads: of torch's arithmetic, put
    back at the end; None leaves them. device: "cpu", or a CUDA device, which is waited for before
    and at the end of every block.

    The order is the same in every run. In n repetitions each of n cases has each place once, and
    the next n shuffle them anew, so that no case always follows the same one. Python's collection
    of garbage waits while a block runs.

    Refused with `BadInputError`: no cases, one that cannot be called, a number below 1 (`min_s`
    and `warmup` below 0), a device that is not there. What a case raises becomes a `CaseError`
    that names the case, with the original as its cause.

    >>> table = interleaved({"a": list, "b": dict}, repetitions=2, calls=3)
    >>> len(table), int(table.calls.sum())  # 2 * 2 blocks of 3 calls
    (4, 12)
    """
    if not cases or not all(map(callable, cases.values())):
        raise BadInputError("cases: at least one name with a function that can be called")
    at_least(1, repetitions=repetitions, calls=1 if calls is None else calls)
    at_least(0, warmup=warmup)
    if not 0 <= min_s < math.inf:
        raise BadInputError(f"min_s is {min_s}: a number of seconds from 0 on is expected")
    wait = waiting_for(device)
    events = _Events(device) if on_cuda(device) else None
    blocks = {name: partial(_block_s, name, case, wait, events) for name, case in cases.items()}
    rows = []
    with on_threads(threads):
        for block in blocks.values():
            block(warmup)
        numbers = {name: calls or _enough(block, min_s) for name, block in blocks.items()}
        for repetition in range(repetitions):
            for name in _order(list(cases), repetition):
                seconds = blocks[name](numbers[name])
                device_s = [events.seconds()] if events else []
                rows.append((name, repetition, numbers[name], seconds, *device_s))
    columns = ["case", "repetition", "calls", "seconds", "device_s"]
    return pd.DataFrame(rows, columns=columns if events else columns[:-1])


class _Events:
    """Two marks on the current stream of a CUDA device."""

    def __init__(self, device: str):
        self.device = device
        self.marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def record(self, which: int) -> None:
        self.marks[which].record(torch.cuda.current_stream(self.device))

    def seconds(self) -> float:
        return self.marks[0].elapsed_time(self.marks[1]) / 1e3


def _block_s(
    name: str,
    case: Callable[[], object],
    wait: Callable[[], None],
    events: _Events | None,
    calls: int,
) -> float:
    collecting = gc.isenabled()
    gc.disable()
    try:
        wait()
        begin = perf_counter_ns()
        if events:
            events.record(0)
        for _ in repeat(None, calls):
            case()
        if events:
            events.record(1)
        wait()
        return scaled(perf_counter_ns() - begin, "G")
    except Exception as error:
        raise CaseError(name, error) from error
    finally:
        if collecting:
            gc.enable()


def _enough(block: Callable[[int], float], min_s: float) -> int:
    """How many calls take `min_s`: the better of two blocks counts, one may be held up."""
    calls = 1
    while (seconds := min(block(calls), block(calls))) < min_s:
        # 1.2: a little more than it seems to need, so that the next blocks take long enough, too
        calls = math.ceil(calls * 1.2 * min_s / max(seconds, min_s / 10))
    return calls


def _order(names: list[str], repetition: int) -> list[str]:
    cycle, turn = divmod(repetition, len(names))
    names = random.Random(cycle).sample(names, len(names))
    return names[turn:] + names[:turn]


# ---------------------------------------------------------------- what all of timing shares


def at_least(low: int, **numbers: int) -> None:
    """Refuse, by name, what is not a whole number of at least `low`."""
    for name, number in numbers.items():
        if not isinstance(number, int) or number < low:
            raise BadInputError(f"{name} is {number!r}: a whole number from {low} on is expected")


@contextlib.contextmanager
def on_threads(threads: int | None):
    """So many threads of torch's arithmetic for a while; None leaves them."""
    if threads is None:
        yield
        return
    at_least(1, threads=threads)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_cuda(device: str) -> bool:
    """Whether the device is a CUDA GPU, and not the CPU; BadInputError for one not there."""
    kind, _, index = str(device).partition(":")
    if kind not in ("cpu", "cuda"):
        raise BadInputError(f"device {device!r}: choose 'cpu' or 'cuda'")
    there = torch.cuda.device_count() if kind == "cuda" else 1
    if not (index or "0").isdigit() or int(index or 0) >= there:
        raise BadInputError(f"device {device!r} is not here: torch finds {there} of that kind")
    return kind == "cuda"


def waiting_for(device: str) -> Callable[[], None]:
    """What returns once the device has done all it was given."""
    return partial(torch.cuda.synchronize, device) if on_cuda(device) else lambda: None


def refuse_elsewhere(model: torch.nn.Module, device: str, name: str = "") -> None:
    """BadInputError where a part of the model is not on the device; it has its `name`, if any."""
    wanted, of = torch.empty(0, device=device).device, f"{name}: " if name else ""
    for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if torch.nn.parameter.is_lazy(tensor):
            raise BadInputError(f"{of}{path} has no shape yet: run the model once before")
        if tensor.device != wanted:
            raise BadInputError(
                f"{of}{path} is on {tensor.device}, asked for is {wanted}: move the model, or name "
                "its device"
            )
