"""`python -m convcost sweep`: the trainings of notebook 04, on this machine or on a cluster.

The notebook finds them done. What is stored already is not done again.
"""

import argparse

from convcost.application import profiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where, how many at a time, how much."""
    profiles.add_argument(parser)
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="Dask scheduler, such as tcp://10.0.0.5:8786"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="trainings at a time; default: as many as fit"
    )
    parser.add_argument(
        "--resources",
        metavar="NAME=AMOUNT",
        help='what a training takes of a Dask worker, such as "GPU=1" (several with blanks)',
    )


def run(args: argparse.Namespace) -> int:
    """Train what is left, and count what came out. 0 only where no training failed."""
    from convcost import sweep

    resources = _resources(args.resources)
    where = {"scheduler": args.scheduler, "workers": args.workers, "resources": resources}
    sweep.check_where(**where)  # before a study loads torch and its data
    from convcost.chapters.complexity_precision.study import Study

    done = Study(profiles.resolve(args.profile)).train(**where)
    statuses = done.units.status.value_counts().to_dict()
    said = ", ".join(f"{n} {status}" for status, n in statuses.items())
    print(f"{len(done.units)} trainings ({said}), {done.units.reused.sum()} of them found done")
    print(f"results: {done.folder}")
    return 1 if {"failed", "timed out"} & set(statuses) else 0


def _resources(text: str | None) -> dict[str, float] | None:
    """ "GPU=1 memory=2" as {"GPU": 1.0, "memory": 2.0}."""
    from convcost.core.errors import BadInputError

    try:
        pairs = [word.split("=") for word in (text or "").split()]
        found = {name: float(amount) for name, amount in pairs}
    except ValueError:
        found = {"": 0.0}
    if "" in found:
        raise BadInputError(f'--resources {text!r}: NAME=AMOUNT is expected, such as "GPU=1"')
    return found or None
