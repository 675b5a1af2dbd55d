"""`python -m convcost hygiene`: are the committed notebooks fit to be read?"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which files."""
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="NOTEBOOK", help="default: all of notebooks/"
    )


def run(args: argparse.Namespace) -> int:
    """Print every complaint. 0 where there is none, 1 otherwise."""
    from convcost.application import hygiene

    complaints = hygiene.check_all(args.files or None)
    for complaint in complaints:
        print(complaint)
    if not complaints:
        print("the notebooks are clean")
    return 1 if complaints else 0
