"""The main job: plan all notebooks, run those that are not done, say what came out.

`plan` says what would be done and touches nothing; `run` does it; `main_job` is both, with nobody
else at work in between. With `reference`, results are written as the committed reference and the
executed notebooks are published into notebooks/. With `redraw`, they are published as well, drawn
again from the committed tables of a machine: the code of figures or verdicts has changed, and what
was measured has not.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from convcost import records
from convcost.application import notebooks, profiles, runner
from convcost.application.progress import Reporter, clock
from convcost.application.publish import publish
from convcost.core import machine, paths, registry, tables
from convcost.core.errors import BadInputError, ConvcostError
from convcost.core.extras import optional
from convcost.records import hosts

with optional():
    import nbformat

EVERY_S = 10.0  # between two lines of progress where there is no terminal
DRAWN_S = 60.0  # of a notebook for which nothing is left to measure
_LEAST_TIMEOUT_S = 1800.0  # a slow machine must not be taken for a hanging one
_TIMEOUT_FACTOR = 10.0  # times the expected time


@dataclass(frozen=True)
class Planned:
    """One notebook of a plan."""

    name: str
    source: Path
    output: Path
    state: str  # "done", "to run" or "broken"
    reason: str  # why it is broken, or to run though an output is there
    expected_s: float
    ram_gb: float
    data: Mapping[str, str]  # data set -> where it comes from
    last: bool = False  # shows what the others wrote, so it runs after them
    measured: str = ""  # by which other machine, and which of its parts


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook."""

    name: str
    state: str  # "done", "already done", "failed" or "not run"
    seconds: float
    path: Path | None
    error: str | None = None


@dataclass(frozen=True)
class Plan:
    """What `run` will do."""

    asked: str
    profile: str
    machine: str
    notebooks: tuple[Planned, ...]
    folder: Path
    reference: bool
    force: bool
    redraw: str | None = None  # the machine whose tables the notebooks are drawn again from

    def text(self) -> str:
        """The plan as a table: notebook, state, minutes, RAM, data."""
        chosen = self.profile if self.asked == self.profile else f"{self.profile} ({self.asked})"
        rows = [
            (
                planned.name,
                planned.state,
                f"{planned.expected_s / 60:.1f}" if planned.state == "to run" else "-",
                f"{planned.ram_gb:g} GB" if planned.ram_gb else "-",
                ", ".join(planned.data) or "none needed",
            )
            for planned in self.notebooks
        ]
        data = {name: origin for p in self.notebooks for name, origin in p.data.items()}
        left = sum(p.expected_s for p in self.notebooks if p.state == "to run")
        lines = [
            f"machine  {self.machine}",
            f"profile  {chosen}: {profiles.PROFILES[self.profile]}",
            f"results  {self._results}",
            "",
            tables.text(("notebook", "state", "minutes", "RAM", "data"), rows),
            "",
            *(f"data     {name}: {origin}" for name, origin in data.items()),
            f"about {clock(left)} (h:mm:ss) to go" if left else "nothing to run",
        ]
        lines += [_named(p.name, p.measured) for p in self.notebooks if p.measured]
        lines += [_named(p.name, p.reason) for p in self.notebooks if p.reason]
        return "\n".join(lines)

    @property
    def _results(self) -> str:
        if self.redraw:
            return f"the committed ones of {self.redraw}, drawn again: nothing is measured"
        return "the committed reference" if self.reference else "your own, git-ignored"


def _named(name: str, text: str) -> str:
    """A text about a notebook, which names it once.

    >>> _named("01-x", "it failed before"), _named("01-x", "01-x failed in cell 2 of 3")
    ('01-x: it failed before', '01-x failed in cell 2 of 3')
    """
    return text if text.startswith(name) else f"{name}: {text}"


# --- plan --------------------------------------------------------------------------------------


def select(wanted: str | None = None, folder: Path | None = None) -> list[Path]:
    """The notebook files that a text asks for: "01", "1", a name, or several with commas.

    None, "" and "all" ask for every notebook of the folder, in order. Raises BadInputError that
    lists the notebooks there are.
    """
    folder = folder or paths.NOTEBOOKS
    there = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    if not there:
        raise BadInputError(f"there is no notebook in {folder}")
    words = [word.strip() for word in (wanted or "all").split(",") if word.strip()]
    if not words:
        raise BadInputError(f"{wanted!r} names no notebook: choose from {', '.join(there)}, or all")
    chosen: dict[str, Path] = {}
    for word in words:
        stem = word.removesuffix(".ipynb")
        found = [name for name in there if word == "all" or registry.is_meant(stem, name)]
        if not found:
            raise BadInputError(f"no notebook {word!r}: choose from {', '.join(there)}, or all")
        chosen |= {name: there[name] for name in found}
    return sorted(chosen.values())


def plan(
    profile: str = "auto",
    notebook: str | None = None,
    *,
    force: bool = False,
    reference: bool = False,
    redraw: str | None = None,
    folder: Path | None = None,
    executed: Path | None = None,
) -> Plan:
    """What is to be run, and what is done already; nothing is run, fetched or written.

    `profile` "auto" becomes "gpu" where a GPU answers, else "quick". Raises BadInputError for an
    unknown profile or notebook. A notebook that cannot be read is in the plan, as broken.
    """
    asked, sources = profile or "auto", select(notebook, folder)
    if redraw:
        executed, reference, force = paths.BUILD / "redrawn", True, True
        if asked == "auto":
            asked = records.record_of(sources[0].stem, redraw)["profile"]
        for source in sources:
            if (of := records.record_of(source.stem, redraw)["profile"]) != asked:
                raise BadInputError(
                    f"{source.stem}: its run on {redraw} had the profile {of}, not {asked}; "
                    f"draw it again by itself (--notebook {source.stem})"
                )
    executed = executed or paths.EXECUTED_NOTEBOOKS
    profile = asked if redraw else profiles.resolve(asked)
    entries = [_planned(source, executed, profile, force, reference, redraw) for source in sources]
    entries.sort(key=lambda planned: planned.last)  # stable: otherwise in the order of names
    return Plan(asked, profile, machine.slug(), tuple(entries), executed, reference, force, redraw)


def _key(content: nbformat.NotebookNode, profile: str, reference: bool) -> str:
    """The key that a run of this notebook with its defaults will get."""
    given = {"profile": profile} if "profile" in notebooks.parameters(content) else {}
    return notebooks.inputs(content, given, profile, reference=reference)["key"]


def _planned(
    source: Path, folder: Path, profile: str, force: bool, reference: bool, redraw: str | None
) -> Planned:
    output = folder / source.name
    try:
        content = notebooks.read(source)
        card = notebooks.card(content, source.stem)
        key = _key(content, profile, reference)
        host = None if redraw else hosts.measuring(profile, source.stem)
        measured = "" if redraw or host.here else _measured(host, source.stem)
    except ConvcostError as error:
        return Planned(source.stem, source, output, "broken", str(error), 0, 0, {})
    state, reason = "to run", ""
    undone = notebooks.why_not_done(output, key)
    if undone is None:
        state, reason = ("to run", "done, but asked for again") if force else ("done", "")
    elif undone:
        reason = f"it was run, but its tables are not as it wrote them: {undone}"
    elif runner.is_locked(runner.lock_of(output)):
        reason = "another process is running it now"
    elif output.exists():
        reason = "the output there was made from other inputs"
    elif runner.beside(output, "failed").exists():
        reason = "it failed before"
    elif runner.beside(output, "part").exists():
        reason = "a run of it was cut off"
    return Planned(
        source.stem,
        source,
        output,
        state,
        reason,
        DRAWN_S if measured or redraw else card.minutes[profile] * 60,
        card.ram_gb,
        notebooks.data_origins(card.datasets),
        card.reads_runs,
        measured,
    )


def _measured(host: hosts.Host, notebook: str) -> str:
    """What another machine has measured of a notebook, and what it has not, in words.

    Raises BadInputError where it has not what the notebook cannot do without.
    """
    told = host.measured[notebook]
    text = f"measured on {host.name} on {told['date'][:10]}, nothing is measured here"
    parts = told["parts"].values()
    left = [part for part in parts if part["done"] < part["units"]]
    if not left:
        return text
    whole = [part["part"] for part in parts if part not in left]
    text += (
        f"; whole: {', '.join(whole) or 'no part'}; not whole: "
        f"{', '.join(part['part'] for part in left)} (to go on there: python -m convcost measure "
        f"{notebook[:2]} --profile {told['profile']})"
    )
    if any(part["essential"] for part in left):
        raise BadInputError(f"{text}: it cannot be drawn without what is missing")
    return text


# --- run ---------------------------------------------------------------------------------------


def run(plan: Plan, *, out: TextIO | None = None, every_s: float = EVERY_S) -> list[Outcome]:
    """Do what the plan says; print progress, and at the end a table of what became of each.

    A notebook that fails does not stop the later ones. What another run has done in the meantime
    is not done again. Raises BadInputError where another process reproduces into the same folder;
    KeyboardInterrupt goes on once everything is tidy, and the table says what was not run.
    """
    with _alone(plan.folder):
        return _run(plan, out or sys.stdout, every_s)


def main_job(
    profile: str = "auto",
    notebook: str | None = None,
    *,
    force: bool = False,
    reference: bool = False,
    redraw: str | None = None,
    out: TextIO | None = None,
) -> list[Outcome]:
    """Plan, print the plan, run it. Refused as `plan` and `run` do, before anything is planned."""
    out = out or sys.stdout
    with _alone(paths.EXECUTED_NOTEBOOKS):
        made = plan(profile, notebook, force=force, reference=reference, redraw=redraw)
        print(made.text(), file=out, flush=True)
        return _run(made, out, EVERY_S)


def add_tables(profile: str, notebook: str, names: tuple[str, ...]) -> str:
    """Measure some tables of a notebook for the committed reference; what was done, in words.

    They lie beside those of earlier runs of this machine, under a run of their own; what they need
    of other tables is taken from the committed ones. Refused with BadInputError: a notebook that is
    not one with a study, a name that is no table of it, and a profile without a reference.
    """
    (name,) = [one for one in registry.measurable() if registry.is_meant(notebook, one)] or [None]
    if name is None:
        known = ", ".join(registry.measurable())
        raise BadInputError(f"--table needs one notebook that measures, not {notebook!r}: {known}")
    kind = registry.measurable()[name].part("study").Study
    own = [table for table in records.TABLES if callable(getattr(kind, table, None))]
    if astray := sorted(set(names) - set(own)):
        raise BadInputError(f"{', '.join(astray)}: no table of {name}; its own: {', '.join(own)}")
    study = kind(profiles.resolve(profile), only=names)
    os.environ["CONVCOST_COMMAND"] = (
        f"python -m convcost reproduce --profile {study.profile} --notebook {name} --reference "
        + " ".join(f"--table {table}" for table in names)
    )
    run = records.start_run(
        name, study.profile, data=[part.describe() for part in study.used], seeds=study.seeds,
        where=records.REFERENCE,
    )  # fmt: skip
    told = [f"{table}: {len(run.write(table, getattr(study, table)()))} rows" for table in names]
    return f"{run.run_id}: {', '.join(told)}; draw the notebook: --redraw {run.machine}"


def _alone(folder: Path):
    return runner.locked(folder / ".reproduce.lock", f"reproduces into {folder}")


def _run(plan: Plan, out: TextIO, every_s: float) -> list[Outcome]:
    outcomes: list[Outcome] = []
    left = {p.name: p.expected_s for p in plan.notebooks if p.state == "to run"}
    try:
        with Reporter(left, out, every_s) as reporter:
            for planned in plan.notebooks:
                outcome = _run_one(planned, plan, reporter)
                outcomes.append(outcome)
                if outcome.error:
                    reporter.say(outcome.error)
    finally:
        for planned in plan.notebooks[len(outcomes) :]:
            outcomes.append(Outcome(planned.name, "not run", 0.0, None))
        print(_summary(outcomes, plan), file=out, flush=True)
    return outcomes


def _run_one(planned: Planned, plan: Plan, reporter: Reporter) -> Outcome:
    try:
        content = notebooks.read(planned.source)
        notebooks.card(content, planned.name)
        key = _key(content, plan.profile, plan.reference)
        if notebooks.is_done(planned.output, key) and not plan.force:
            outcome = Outcome(planned.name, "already done", 0.0, planned.output)
        else:
            reporter.begin(planned.name)
            outcome = _executed(planned, plan, reporter)
        if plan.reference and outcome.path and outcome.state != "failed":
            publish(outcome.path, planned.source, plan.profile)
            outcome = Outcome(planned.name, outcome.state, outcome.seconds, planned.source)
        return outcome
    except (ConvcostError, OSError) as error:
        said = str(error).removeprefix(f"{planned.name}: ")
        return Outcome(planned.name, "failed", 0.0, None, f"{planned.name} failed: {said}")
    finally:
        reporter.end()


def _executed(planned: Planned, plan: Plan, reporter: Reporter) -> Outcome:
    command = f"python -m convcost reproduce --profile {plan.profile} --notebook {planned.name}"
    env = {"CONVCOST_COMMAND": command + (" --reference" if plan.reference else "")}
    env["CONVCOST_REFERENCE"] = "1" if plan.reference else "0"
    env[records.REDRAW] = plan.redraw or ""
    result = runner.run_notebook(
        planned.source,
        planned.output,
        profile=plan.profile,
        timeout_s=max(_LEAST_TIMEOUT_S, _TIMEOUT_FACTOR * planned.expected_s),
        progress=reporter,
        env=env,
    )
    for note in result.notes:
        reporter.say(f"{planned.name}: {note}")
    if result.ok:
        reporter.say(f"{planned.name}: done in {clock(result.seconds)}")
    return Outcome(planned.name, result.state, result.seconds, result.path, result.error)


def _summary(outcomes: list[Outcome], plan: Plan) -> str:
    rows = [
        (o.name, o.state, f"{o.seconds:.1f}", paths.shown(o.path) if o.path else "-")
        for o in outcomes
    ]
    lines = ["", tables.text(("notebook", "state", "seconds", "file"), rows), ""]
    missing = [o.name for o in outcomes if o.state in ("failed", "not run")]
    if missing:
        lines += [_named(o.name, o.error) for o in outcomes if o.error]
        lines.append(f"not done: {', '.join(missing)}; start again to run only these")
    else:
        lines.append("all done")
        if not plan.reference:
            lines.append(f"look at them in {paths.shown(plan.folder)}/: make lab")
            lines.append("the verdicts: python -m convcost claims")
    return "\n".join(lines)
