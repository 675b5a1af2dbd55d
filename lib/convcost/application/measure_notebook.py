"""The measurements of a notebook without the notebook: on a node, over ssh, on a lent GPU.

What is measured is kept where the notebook's own run keeps it, unit by unit, so that a later
`make reproduce` finds it done. Nothing here needs Jupyter, papermill or pandera.
"""

import datetime
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from convcost import records, sweep
from convcost.application import archive, profiles
from convcost.core import machine, registry, tables
from convcost.core.errors import BadInputError
from convcost.records import hosts
from convcost.sweep.study import Part, Study


@dataclass(frozen=True)
class Line:
    """A part of a notebook's measurements: what is there, and what is left."""

    part: str
    what: str
    units: int
    done: int
    failed: int
    outdated: int  # done by other code than today's, which counts for nothing
    left_s: float
    known: bool  # whether this machine has shown how fast it is
    essential: bool  # whether the notebook cannot be drawn without it

    @property
    def left(self) -> int:
        return self.units - self.done


def named(notebook: str) -> str:
    """The full name of a notebook that measures, from "02", "2" or its name. BadInputError."""
    names = registry.measurable()
    for name in names:
        if registry.is_meant(notebook, name):
            return name
    raise BadInputError(f"no notebook {notebook!r} measures: choose one of {', '.join(names)}")


def study(notebook: str, profile: str, *, smoke: bool = False) -> Study:
    """The experiments of a notebook on this machine. BadInputError as `measure` says."""
    name = named(notebook)
    here = hosts.here()
    # a smoke run tries the code of any profile on any machine
    resolved = profile if smoke and profile in profiles.PROFILES else profiles.resolve(profile)
    if resolved == "gpu" and not here.has_gpu and not smoke:
        raise BadInputError(
            "profile gpu measures on an NVIDIA GPU, and none answers here (`make doctor` says "
            "what is missing): measure with --profile cpu, or try the code with --smoke"
        )
    return registry.measurable()[name].part("study").Study(resolved, host=here, smoke=smoke)


def chosen(experiments: Study, wanted: Iterable[str] = ()) -> dict[str, Part]:
    """The parts asked for, in the order of their value; all of them where none is named."""
    parts, wanted = experiments.parts(), list(wanted)
    if unknown := [name for name in wanted if name not in parts]:
        raise BadInputError(
            f"{experiments.notebook} in profile {experiments.profile} has no part "
            f"{unknown[0]!r}: choose from {', '.join(parts)}"
        )
    return {name: part for name, part in parts.items() if not wanted or name in wanted}


def outlook(parts: dict[str, Part]) -> list[Line]:
    """What there is of each part, and how long the rest will take; nothing is run."""
    lines = []
    for name, part in parts.items():
        looks = [planned.outlook() for planned in part.sweeps]
        start_s = sweep.START_S * sum(look.done < look.units for look in looks)
        lines.append(
            Line(
                name, part.what,
                *(
                    sum(getattr(look, key) for look in looks)
                    for key in ("units", "done", "failed", "outdated")
                ),
                left_s=sum(look.left_s for look in looks) + start_s,
                known=any(look.known for look in looks),
                essential=part.essential,
            )
        )  # fmt: skip
    return lines


def text(lines: Iterable[Line], notebook: str, profile: str) -> str:
    """The lines as a table for a terminal, with minutes."""
    lines = list(lines)
    rows = [
        (
            line.part,
            f"{line.done} of {line.units}"
            + (f", {line.failed} failed" if line.failed else "")
            + (f", {line.outdated} by other code" if line.outdated else ""),
            f"{line.left_s / 60:.1f}" + ("" if line.known else " (guess)") if line.left else "-",
            line.what,
        )
        for line in lines
    ]
    total = sum(line.left_s for line in lines if line.left) / 60
    return "\n".join(
        [
            f"{notebook}, profile {profile}, on {machine.slug()}",
            tables.text(("part", "units done", "minutes left", "what it tells"), rows),
            f"about {total:.1f} minutes to go" if total else "all done",
        ]
    )


def measure(
    notebook: str,
    profile: str = "auto",
    *,
    minutes: float | None = None,
    parts: Iterable[str] = (),
    smoke: bool = False,
    into: Path | None = None,
    checkpoints: bool = False,
    say: Callable[[str], None] = print,
) -> list[Line]:
    """Measure what is left of a notebook's parts; how far each is, comes out.

    The parts come in the order of their value, and in each the units of its plan. With `minutes`
    what would not be done in time is left, and a unit that is in hand at the end is stopped. The
    next call goes on with what is left, as it does after a kill. `into`: an archive
    (`application.archive`) that is written anew after every sweep, so that what a lent machine has
    measured is never lost; `checkpoints`: with the trained nets. `smoke`: one step of everything,
    kept apart and counted for nothing.

    Raises BadInputError for an unknown notebook, profile or part, for "gpu" without a GPU, for
    minutes that are no number above 0, and for an archive that cannot be written.
    """
    budget = None if minutes is None else sweep.Budget(60 * _number(minutes))
    if into is not None:
        archive.check_target(into)
        if smoke:
            raise BadInputError("a smoke run counts for nothing, and gives no archive: leave one")
    experiments = study(notebook, profile, smoke=smoke)
    wanted, begun = list(parts), set()
    say(text(outlook(chosen(experiments, wanted)), experiments.notebook, experiments.profile))
    # asked again after each part: what is to be measured may follow from what was
    while left := {n: part for n, part in chosen(experiments, wanted).items() if n not in begun}:
        name, part = next(iter(left.items()))
        begun.add(name)
        for planned in part.sweeps:
            if planned.configurations:
                _swept(name, planned, budget, say)
                host = experiments.host if smoke else _noted(experiments)
                if into is not None:
                    archive.write(into, host, experiments, checkpoints=checkpoints)
    lines = outlook(chosen(experiments, wanted))
    say(text(lines, experiments.notebook, experiments.profile))
    return lines


def _swept(part: str, planned: sweep.Planned, budget: sweep.Budget | None, say) -> None:
    """Do what is left of a sweep, and say what did not go well, or did not fit."""
    say(f"{part}: {planned.function.partition(':')[2]}")
    done = planned.run(budget=budget, progress=say)
    for trouble in _troubles(done):
        say(f"{part}: {trouble}")
    if left := int((done.units["status"] == "left").sum()):
        seconds = max(0.0, budget.left_s)
        say(f"{part}: {left} left, {seconds:.0f} s of the budget are too few for one")


_WELL = ("done", "trained", "left")


def _troubles(done: sweep.Sweep) -> list[str]:
    """What did not go well, in words: units, and what units say of their rows."""
    found = []
    for frame, marks in ((done.units, ()), (done.rows, ("net", "loop", "input_px", "batch_asked"))):
        if "status" in frame:
            for row in frame[~frame["status"].isin(_WELL) & frame["status"].notna()].to_dict(
                "records"
            ):
                which = " ".join(f"{key}={row[key]}" for key in marks or row if key in row)
                found.append(f"{row['status']}: {row.get('reason')} ({which[:120]})")
    return found


def _number(minutes: object) -> float:
    if isinstance(minutes, bool) or not isinstance(minutes, int | float):
        raise BadInputError(f"minutes is {minutes!r}: a number above 0 is wanted")
    return minutes


def _noted(experiments: Study) -> hosts.Host:
    """This machine with what has been measured of the notebook, written into its file."""
    now = datetime.datetime.now(datetime.UTC)
    told = {
        "profile": experiments.profile,
        "date": now.isoformat(timespec="seconds"),
        "commit": records.commit(),
        # not as it was typed: the path of an archive is nobody's business
        "command": f"python -m convcost measure {experiments.notebook[:2]} "
        f"--profile {experiments.profile}",
        "data": [part.describe() for part in experiments.used],
        "arithmetic": machine.arithmetic(),
        "code": archive.code(),
        "parts": {line.part: asdict(line) for line in outlook(experiments.parts())},
    }
    here = hosts.here()
    host = replace(here, measured={**here.measured, experiments.notebook: told})
    hosts.note(host)
    return host
