"""`python -m convcost figures`: redraw every figure from `data/`."""

import time
from pathlib import Path


def add_arguments(parser) -> None:
    parser.add_argument("--out", type=Path, help="folder to write to (default: figures/)")


def run(args) -> int:
    import matplotlib

    matplotlib.use("Agg")
    from convcost import figures, paths

    start = time.monotonic()
    drawn, missing = figures.redraw_all(args.out)
    folder = args.out or paths.FIGURES
    print(f"{len(drawn)} figures drawn into {folder} in {time.monotonic() - start:.1f} s")
    for name in missing:
        print(f"  not drawn: {name} (no reference run has written its tables yet)")
    return 0
