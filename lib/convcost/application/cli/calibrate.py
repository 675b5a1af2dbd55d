"""`python -m convcost calibrate`: this machine's prices of work, for `convcost predict`."""


def add_arguments(parser) -> None:
    """What is calibrated, and how long that may take."""
    from convcost.predict.operators import WHATS

    parser.add_argument("--what", choices=WHATS, help="one of both only")
    parser.add_argument(
        "--cpu", action="store_true", help="the processor, on a machine that has a GPU, too"
    )
    parser.add_argument("--minutes", type=float, help="of all of it (default: 3, on a GPU 1)")
    parser.add_argument("--threads", type=int, help="of torch's arithmetic (default: all cores)")


def run(args) -> int:
    """Time nets, fit prices, say how good they are and where they lie."""
    import torch

    from convcost.core import paths, tables
    from convcost.predict import calibration, prices
    from convcost.predict.operators import WHATS

    on_gpu = torch.cuda.is_available() and not args.cpu
    done = calibration.calibrate(
        (args.what,) if args.what else WHATS, device="cuda" if on_gpu else "cpu",
        minutes=args.minutes, threads=args.threads, told=lambda words: print(words, flush=True),
    )  # fmt: skip
    rows = []
    for path in done:
        name, _, what = path.stem.rpartition("-")
        known = prices.of(name, what)
        error = known.scores["mape"]
        rows.append((name, what, f"{known.model.everything.rows}", f"{error:.1f} %"))
    header = ("machine", "what", "nets", "mean error")
    print("Errors are those on kinds of made nets that were not fitted to:")
    print(tables.text(header, rows, right=header[2:]))
    print("Stored:", ", ".join(paths.shown(path) for path in done))
    print("Now `python -m convcost predict resnet50` says what it takes here.")
    return 0
