"""`python -m convcost merge`: take in what another machine has measured."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The archive, and what is accepted of it."""
    parser.add_argument("file", type=Path, help="an archive of `python -m convcost measure`")
    parser.add_argument(
        "--replace", action="store_true", help="also what differs from what is here (which is kept)"
    )
    parser.add_argument(
        "--other-code", action="store_true", help="also where the library there was another one"
    )


def run(args: argparse.Namespace) -> int:
    """Merge, and say what to type next."""
    from convcost.application import archive

    done = archive.merge(args.file, other_code=args.other_code, replace_existing=args.replace)
    print(f"{done.notebook}, measured on {done.host}: {done.new} files new, {done.there} were here")
    if done.set_aside:
        print(f"kept beside them: {', '.join(done.set_aside)}")
    number = done.notebook[:2]
    print(f"draw it: CONVCOST_HOST={done.host} make reproduce NOTEBOOK={number} PROFILE=…")
    return 0
