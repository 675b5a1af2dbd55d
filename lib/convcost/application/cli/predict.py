"""`python -m convcost predict`: what a table of nets and times says of nets it has not seen."""

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


def add_arguments(parser) -> None:
    """A table, what else to test on, and the form of the answer."""
    from convcost.predict.operators import WHATS

    parser.add_argument(
        "--fit", metavar="TABLE.csv",
        help="nets (timm's or torchvision's names) and their times; timm's tables as they are",
    )  # fmt: skip
    parser.add_argument(
        "--test", metavar="OTHER.csv", help="judge on the nets of this table instead"
    )
    parser.add_argument(
        "--what", choices=WHATS, help="what was timed, where the table says nothing"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args) -> int:
    """Print the errors on designs that were not fitted to, of ours and of simpler models."""
    if args.fit is None:
        raise BadInputError("name a table of nets and times: --fit TABLE.csv (see --help)")
    from convcost.predict import validation

    found = validation.report(args.fit, args.test, args.what)
    if args.json:
        print(json.dumps(found, indent=1, allow_nan=False))
        return 0
    _print("convolutional networks", found)
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
        (model, *(form.format(scores[name]) for name, (_, form) in SHOWN.items()))
        for model, scores in judged.get("models", {}).items()
    ]
    header = ("model", *(words for words, _ in SHOWN.values()))
    print(tables.text(header, rows, right=header[1:]))
