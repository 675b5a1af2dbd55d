"""`python -m convcost reproduce`: run the notebooks, the project's main job."""

import argparse
import os
import sys

from convcost.application import profiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which notebooks, how much work."""
    profiles.add_argument(parser)
    parser.add_argument(
        "--notebook", default="all", help='"01", a name, several with commas; default: all'
    )
    parser.add_argument(
        "--host", metavar="NAME", help="draw what another machine has measured (see docs/gpu.md)"
    )
    parser.add_argument("--force", action="store_true", help="run also what is done")
    parser.add_argument("--plan", action="store_true", help="print the plan and stop")
    parser.add_argument(
        "--reference",
        action="store_true",
        help="for maintainers: write the committed results and notebooks",
    )
    parser.add_argument(
        "--table",
        action="append",
        metavar="NAME",
        help="with --reference and one --notebook: measure this table only, and put it beside the "
        "committed ones (again for several); --redraw then draws the notebook",
    )
    parser.add_argument(
        "--redraw",
        metavar="MACHINE",
        help="for maintainers: write the committed notebooks again from the committed tables of a "
        "machine; nothing is measured (after the code of figures or verdicts has changed)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the plan, run it. 0 only where every notebook that was asked for is done."""
    from convcost import datasets
    from convcost.application import reproduce
    from convcost.core.errors import BadInputError
    from convcost.records import hosts

    if args.host:
        known = [host.name for host in hosts.stored()]
        if args.host not in {hosts.here().name, *known}:
            raise BadInputError(
                f"no results of a machine {args.host!r} are here: choose from "
                f"{', '.join(known) or 'none yet'}, or take some in with `python -m convcost merge`"
            )
        os.environ[hosts.VARIABLE] = args.host  # the kernels are to know it, too
    if missing := datasets.missing_folder():
        print(f"{missing}; what a notebook needs is downloaded", file=sys.stderr, flush=True)
    if args.redraw and (args.host or args.reference):
        raise BadInputError(
            "--redraw goes with neither --host nor --reference: it takes nothing in"
        )
    if args.table:
        if not args.reference or args.redraw:
            raise BadInputError("--table goes with --reference, and without --redraw")
        print(reproduce.add_tables(args.profile, args.notebook, tuple(args.table)), flush=True)
        return 0
    options = {"force": args.force, "reference": args.reference, "redraw": args.redraw}
    if args.plan:
        print(reproduce.plan(args.profile, args.notebook, **options).text(), flush=True)
        return 0
    outcomes = reproduce.main_job(args.profile, args.notebook, **options)
    return 0 if all(o.state in ("done", "already done") for o in outcomes) else 1
