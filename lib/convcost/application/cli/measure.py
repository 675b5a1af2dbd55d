"""`python -m convcost measure`: the measurements of a notebook, without Jupyter."""

import argparse
from pathlib import Path

from convcost.application import profiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which notebook, how much, how long, and where results go along."""
    parser.add_argument("notebook", help='"02", or a name')
    profiles.add_argument(parser)
    parser.add_argument(
        "--part", nargs="+", default=[], metavar="NAME", help="only these; --plan lists them"
    )
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="begin nothing that would not be done in time"
    )
    parser.add_argument("--plan", action="store_true", help="print parts and minutes, and stop")
    parser.add_argument(
        "--smoke", action="store_true", help="one step of everything, kept apart: does it run?"
    )
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="FILE",
        help="write what was measured into FILE.tar (.tar.gz, .tar.xz), after every sweep anew",
    )
    parser.add_argument(
        "--with-checkpoints", action="store_true", help="trained nets go into the archive, too"
    )


def run(args: argparse.Namespace) -> int:
    """Measure what is left. 1 where a measurement failed, else 0, also where some is left."""
    from convcost.application import measure_notebook

    if args.plan:
        experiments = measure_notebook.study(args.notebook, args.profile, smoke=args.smoke)
        lines = measure_notebook.outlook(measure_notebook.chosen(experiments, args.part))
        print(measure_notebook.text(lines, experiments.notebook, experiments.profile))
        return 0
    lines = measure_notebook.measure(
        args.notebook,
        args.profile,
        minutes=args.minutes,
        parts=args.part,
        smoke=args.smoke,
        into=args.archive,
        checkpoints=args.with_checkpoints,
        say=lambda text: print(text, flush=True),
    )
    return 1 if any(line.failed for line in lines) else 0
