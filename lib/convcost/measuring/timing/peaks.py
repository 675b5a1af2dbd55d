"""What this machine can do at best: products and convolutions for arithmetic, copies for memory."""

from collections.abc import Iterable

import pandas as pd
import torch

from convcost.core.errors import BadInputError
from convcost.core.units import FLOPS_PER_MAC
from convcost.measuring.timing.blocks import at_least, interleaved, on_cuda, on_threads

PRODUCT, CONVOLUTION, COPY = "matrix product", "convolution", "copy"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PRODUCT_SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192, 16384)}
# A library for convolutions may beat the one for products: on some processors it does.
CONVOLUTION_SIZES = {"cpu": (128, 256, 512), "cuda": (256, 512, 1024)}
IMAGES, SIDE, KERNEL = 8, 28, 3  # of a convolution: as in the middle of VGG16
COPY_SIZES = {
    "cpu": (2**14, 2**18, 2**22, 2**25),
    "cuda": (2**20, 2**24, 2**28),
}


def peaks(
    *,
    threads: int | None = None,
    dtypes: Iterable[str] = tuple(DTYPES),
    product_sizes: Iterable[int] | None = None,
    convolution_sizes: Iterable[int] | None = None,
    copy_sizes: Iterable[int] | None = None,
    repetitions: int = 10,
    min_s: float = 0.02,
    device: str = "cpu",
) -> pd.DataFrame:
    """Matrix products, convolutions and copies of several sizes, timed in turns.

    What comes out: a DataFrame with the columns of the table `machine_peaks` but its run: `what`
    ("matrix product", "convolution" or "copy"), `dtype`, `threads`, `size`, `repetition`, `calls`,
    `flops` and `bytes` (of all calls of the row), `seconds` (of these, wall clock; on CUDA between
    two events). The best rate of a kind is the highest median over the repetitions of a size.

    A product multiplies two n x n matrices into a third: n^3 multiply-adds, 2 operations each;
    bytes are those of the three matrices. A convolution of n channels into n has 3 x 3 kernels over
    8 images of 28 x 28, padded by 1: 8 * 28^2 * 3^2 * n^2 multiply-adds by definition, whatever
    algorithm it takes; bytes are those of images, weights and outputs. There is one of each per
    dtype and size. A copy moves n float32
    elements: no operations, n read and n written. The smaller copies stay in a cache, the largest
    default (2 x 128 MiB; 2 x 1 GiB on CUDA) goes to memory. sizes None: defaults of the kind of
    device; an empty one leaves that kind out. float32 runs as torch is set to: on CUDA products
    without TF32 unless it was switched on, convolutions with it unless it was switched off
    (`machine.arithmetic` says).

    Refused with `BadInputError`: an unknown dtype, sizes and numbers below 1, nothing to time, a
    device that is not there. A dtype that the device cannot multiply, and memory refused, come out
    as torch raises them.

    Source: ours; copies are counted as McCalpin's STREAM does, without what a cache reads before
    it writes.

    >>> table = peaks(dtypes=["float32"], product_sizes=[8], convolution_sizes=[1],
    ...               copy_sizes=[16], repetitions=1)
    >>> sorted(table.flops // table.calls), sorted(table.bytes // table.calls)
    ([0, 1024, 112896], [128, 768, 50212])

    A product has 2 * 8^3 operations and 3 * 8^2 * 4 bytes, a convolution 2 * 8 * 28^2 * 3^2 and
    (2 * 8 * 28^2 + 3^2) * 4, a copy 0 and 2 * 16 * 4.
    """
    kind = "cuda" if on_cuda(device) else "cpu"
    dtypes = list(dtypes)
    unknown = set(dtypes) - set(DTYPES)
    if unknown:
        raise BadInputError(f"dtypes: no {sorted(unknown)}; choose from {', '.join(DTYPES)}")
    products = list(PRODUCT_SIZES[kind] if product_sizes is None else product_sizes)
    wide = list(CONVOLUTION_SIZES[kind] if convolution_sizes is None else convolution_sizes)
    copies = list(COPY_SIZES[kind] if copy_sizes is None else copy_sizes)
    for size in (*products, *wide, *copies):
        at_least(1, size=size)
    wanted = [(PRODUCT, dtype, n) for dtype in dtypes for n in products]
    wanted += [(CONVOLUTION, dtype, n) for dtype in dtypes for n in wide]
    wanted += [(COPY, "float32", n) for n in copies]
    if not wanted:
        raise BadInputError(
            "nothing to time: give a size of a product or a convolution, with a dtype, or of a copy"
        )
    with on_threads(threads), torch.inference_mode():
        functions = {" ".join(map(str, one)): _function(*one, device) for one in wanted}
        for function in functions.values():
            function()
        table = interleaved(functions, repetitions=repetitions, min_s=min_s, device=device)
        used = torch.get_num_threads()
    costs = dict(zip(functions, wanted, strict=True))
    rows = []
    for row in table.itertuples():
        what, dtype, n = costs[row.case]
        flops, moved = _cost(what, dtype, n)
        seconds = getattr(row, "device_s", row.seconds)
        key = (what, dtype, used, n, row.repetition)
        rows.append((*key, row.calls, flops * row.calls, moved * row.calls, seconds))
    columns = ["what", "dtype", "threads", "size", "repetition"]
    return pd.DataFrame(rows, columns=[*columns, "calls", "flops", "bytes", "seconds"])


def _function(what: str, dtype: str, n: int, device: str):
    """One call; products and copies go into memory that is there, or asking for it is timed."""
    generator = torch.Generator().manual_seed(n)
    if what == COPY:
        source = torch.rand(n, generator=generator).to(device)
        target = source.clone()
        return lambda: target.copy_(source)
    if what == CONVOLUTION:
        images = torch.rand(IMAGES, n, SIDE, SIDE, generator=generator).to(device, DTYPES[dtype])
        kernels = torch.rand(n, n, KERNEL, KERNEL, generator=generator).to(device, DTYPES[dtype])
        return lambda: torch.conv2d(images, kernels, padding=KERNEL // 2)
    left, right = (
        torch.rand(n, n, generator=generator).to(device, DTYPES[dtype]) for _ in range(2)
    )
    product = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=product)


def _cost(what: str, dtype: str, n: int) -> tuple[int, int]:
    """(operations, bytes) of one call."""
    if what == COPY:
        return 0, 2 * n * DTYPES[dtype].itemsize
    if what == CONVOLUTION:
        positions, weights = IMAGES * SIDE**2, KERNEL**2 * n**2
        moved = 2 * positions * n + weights
        return FLOPS_PER_MAC * positions * weights, moved * DTYPES[dtype].itemsize
    return FLOPS_PER_MAC * n**3, 3 * n * n * DTYPES[dtype].itemsize
