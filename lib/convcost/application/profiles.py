"""How much work a run does: `quick`, `cpu`, `gpu`, and `auto`, which chooses between them."""

import argparse
import os

from convcost.core import machine
from convcost.core.errors import BadInputError
from convcost.records import hosts

PROFILES = {
    "quick": "every notebook on 2 cores, all together within 10 minutes, at reduced scale",
    "cpu": "reference scale on a CPU: hours, resumable",
    "gpu": "the papers' own scale, on a CUDA GPU",
}
CHOICES = ("auto", *PROFILES)


def add_argument(parser: argparse.ArgumentParser) -> None:
    """`--profile` of a command, with what each profile is."""
    listed = "; ".join(f"{name}: {line}" for name, line in PROFILES.items())
    parser.add_argument(
        "--profile", default="auto", help=f"auto (gpu with CUDA, else quick); {listed}"
    )


def resolve(profile: str = "auto") -> str:
    """The profile that runs: "quick", "cpu" or "gpu".

    "auto" is the environment's CONVCOST_PROFILE where it is set (the runner sets it), else "gpu"
    where an NVIDIA GPU answers and torch can use it, else "quick". Raises BadInputError for any
    other name, and for "gpu" where there is none and no results of another machine's GPU are here.

    >>> resolve("quick")
    'quick'
    """
    if profile == "auto":
        profile = os.environ.get("CONVCOST_PROFILE") or "auto"
    if profile not in CHOICES:
        raise BadInputError(f"unknown profile {profile!r}: choose one of {', '.join(CHOICES)}")
    facts = machine.describe()
    # a torch built for the CPU alone, "2.13.0+cpu", cannot use the GPU that answers
    has_gpu = facts["gpu"] is not None and not str(facts["torch"]).endswith("+cpu")
    if profile == "auto":
        return "gpu" if has_gpu else "quick"
    if profile == "gpu" and not has_gpu and not hosts.measured_elsewhere("gpu"):
        raise BadInputError(
            "profile gpu needs an NVIDIA GPU and a torch built for CUDA; one of them is missing "
            "(`make doctor` says which), and no results of another machine are here (docs/gpu.md "
            "says how to bring some in): run with PROFILE=cpu (hours) or PROFILE=quick"
        )
    return profile
