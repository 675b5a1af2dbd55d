"""`python -m convcost figures`: redraw from `data/` the figures that are not current."""

import time
from pathlib import Path


def add_arguments(parser) -> None:
    parser.add_argument("--all", action="store_true", help="also those that are current")
    parser.add_argument("--out", type=Path, help="folder to write to (default: figures/)")


def run(args) -> int:
    import matplotlib

    matplotlib.use("Agg")
    from convcost import figures
    from convcost.core import paths

    start = time.monotonic()
    drawn, missing = figures.redraw_all(args.out, every=args.all)
    folder = args.out or paths.FIGURES
    print(f"{len(drawn)} figures drawn into {folder} in {time.monotonic() - start:.1f} s")
    if kept := len(figures.FIGURES) - len(drawn) - len(missing):
        print(f"  {kept} are current (--all or `make figures ALL=1` draws them, too)")
    for name in missing:
        print(f"  not drawn: {name} (no reference run has written its tables yet)")
    return 0
