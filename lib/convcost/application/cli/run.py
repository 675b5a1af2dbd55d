"""`python -m convcost run`: one notebook, safely, with parameters."""

import argparse
import os
from pathlib import Path

from convcost.application import profiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which notebook, with what."""
    parser.add_argument("notebook", help='a file, or a notebook\'s number or name ("01")')
    parser.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a parameter (may be given several times)",
    )
    profiles.add_argument(parser)
    parser.add_argument(
        "-o", "--output", type=Path, help="default: build/notebooks/<name>[.custom].ipynb"
    )
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="for the whole notebook; default: none"
    )
    parser.add_argument(
        "--cell-timeout", type=float, metavar="SECONDS", help="for one cell; default: none"
    )


def run(args: argparse.Namespace) -> int:
    """Run it and say where the output lies. 0 done, 1 failed."""
    from convcost.application import notebooks, reproduce, runner
    from convcost.core import paths
    from convcost.core.errors import BadInputError

    for name, seconds in (("--timeout", args.timeout), ("--cell-timeout", args.cell_timeout)):
        if seconds is not None and not seconds > 0:
            raise BadInputError(f"{name} takes seconds above 0, not {seconds:g}")
    source = Path(args.notebook)
    if source.suffix != ".ipynb" or not source.is_file():
        found = reproduce.select(args.notebook)
        if len(found) != 1:
            listed = ", ".join(path.stem for path in found)
            raise BadInputError(
                f"{args.notebook!r} asks for several notebooks ({listed}): name one"
            )
        source = found[0]
    defaults = notebooks.parameters(notebooks.read(source), source.stem)
    given = notebooks.parsed_parameters(args.parameter, defaults, source.stem)
    chosen = given.pop("profile", args.profile)
    # a run with parameters of its own must not pass for the notebook's own output
    name = f"{source.stem}.custom.ipynb" if given else source.name
    output = args.output or paths.EXECUTED_NOTEBOOKS / name

    def tell(now: runner.Progress) -> None:
        if now.state != "running":
            print(f"cell {now.cell} of {now.cells} {now.state}, {now.seconds:.1f} s", flush=True)

    result = runner.run_notebook(
        source,
        output,
        given,
        profile=profiles.resolve(chosen),
        timeout_s=args.timeout,
        cell_timeout_s=args.cell_timeout,
        progress=tell,
    )
    for note in result.notes:
        print(note)
    if result.error:
        print(result.error)
    where = os.path.relpath(result.path) if result.path else "nothing was written"
    print(f"{result.state} in {result.seconds:.1f} s: {where}")
    return 0 if result.ok else 1
