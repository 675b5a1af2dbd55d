"""`python -m convcost predict`: the time of a net on a device, and how well a table tells it."""

import json

from convcost.core import tables
from convcost.core.errors import BadInputError

SHOWN = {
    "mape": ("mean error", "{:.1f} %"),
    "median": ("median", "{:.1f} %"),
    "p90": ("90 % are below", "{:.1f} %"),
    "within_10": ("within 10 %", "{:.0%}"),
    "spearman": ("rank correlation", "{:.3f}"),
    "coverage_90": ("in the 90 % interval", "{:.0%}"),
}
DROPPED_SHOWN = 5
CALLS_SHOWN = 8


def add_arguments(parser) -> None:
    """A net and a device, or a table and what else to test on."""
    from convcost.predict.operators import USED, WHATS

    parser.add_argument("net", nargs="?", help="as of `count`: resnet18, …, or file.py:function")
    parser.add_argument("--input", help="shape of one image without batch: 3,224,224")
    parser.add_argument("--batch", type=int, default=1, help="images per batch (default 1)")
    parser.add_argument(
        "--device", metavar="NAME", help="whose prices (default: this machine's, once calibrated)"
    )
    parser.add_argument(
        "--what", choices=WHATS, help=f"of a table that does not say, or a net (default: {USED})"
    )
    parser.add_argument(
        "--fit", metavar="TABLE.csv",
        help="nets (timm's or torchvision's names) and their times; timm's tables as they are",
    )  # fmt: skip
    parser.add_argument(
        "--test", metavar="OTHER.csv", help="judge on the nets of this table instead"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args) -> int:
    """Print a prediction; or the errors of a table's models; or the devices that are known."""
    if args.fit is not None:
        if args.net or args.device:
            raise BadInputError("--fit judges a table: leave the net and --device out")
        return _judge(args)
    if args.test is not None:
        raise BadInputError("--test is judged by a fit to another table: add --fit TABLE.csv")
    return _predict(args) if args.net else _devices(args)


def _predict(args) -> int:
    from convcost.application.cli.count import network
    from convcost.predict import estimate
    from convcost.predict.operators import USED

    model, name, shape = network(args.net, args.input)
    found = estimate.time(
        model, shape, batch=args.batch, what=args.what or USED, device=args.device
    )
    if args.json:
        told = {
            "net": name, "input": shape, "batch": found.batch, "device": found.device,
            "what": found.what, "seconds": found.seconds, "low": found.low, "high": found.high,
            "unpriced": found.unpriced, "extrapolated": found.extrapolated,
            "calls": found.table.to_dict("records"),
        }  # fmt: skip
        print(json.dumps(told, indent=1, allow_nan=False))
        return 0
    print(f"{name}: {found}")
    print(found.why())
    dearest = found.table.nlargest(CALLS_SHOWN, "seconds")
    rows = [
        (one.path or "(net)", one.op, f"{one.seconds / found.seconds:.1%}", one.spent_on)
        for one in dearest.itertuples()
    ]
    header = ("layer", "operator", "of the time", "spent on")
    print(tables.text(header, rows, right=("of the time",)))
    return 0


def _devices(args) -> int:
    from convcost.predict import prices

    known = prices.devices()
    if args.json:
        print(known.to_json(orient="records", indent=1))
        return 0
    rows = [
        (
            one.device,
            one.what,
            _shown("mape", one.mape),
            _shown("within_10", one.within_10),
            one.title,
        )
        for one in known.itertuples()
    ]
    header = ("device", "what", "mean error", "within 10 %", "measured with")
    print("Prices of these devices are known; errors are those on designs that were not fitted to:")
    print(tables.text(header, rows, right=header[2:4]))
    return 0


def _judge(args) -> int:
    from convcost.predict import validation

    found = validation.report(args.fit, args.test, args.what)
    if args.json:
        print(json.dumps(found, indent=1, allow_nan=False))
        return 0
    _print("convolutional networks", found)
    if "begun_from" in found:
        print(f"ours begins from the prices of {' and '.join(found['begun_from'])}: few designs")
    for name, words in (
        ("lineages", "related designs left out together"),
        ("random_folds", "nets left out at random"),
    ):
        if name in found:
            scores = found[name]["models"]["ours"]
            print(f"ours, {words}: {_shown('mape', scores['mape'])} on average")
    if "with_attention" in found:
        print()
        _print("networks with attention or other products of results", found["with_attention"])
    dropped = found["dropped"]
    if dropped:
        print(f"\n{len(dropped)} rows were left out, such as:")
        for one in dropped[:DROPPED_SHOWN]:
            print(f"  {one['net']}, {one['input_px']} px: {one['reason']}")
    return 0


def _print(title: str, judged: dict) -> None:
    print(f"{title}: {judged['rows']} rows of {judged['designs']} designs, each from all others")
    rows = [
        (model, *(_shown(name, scores[name]) for name in SHOWN))
        for model, scores in judged.get("models", {}).items()
    ]
    header = ("model", *(words for words, _ in SHOWN.values()))
    print(tables.text(header, rows, right=header[1:]))


def _shown(name: str, score: float | None) -> str:
    return "–" if score is None or score != score else SHOWN[name][1].format(score)
