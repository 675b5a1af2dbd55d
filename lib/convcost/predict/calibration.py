"""How a device gets its prices: from a published table, or from nets that are timed on it.

The nets that are timed (`nets.made`) are no published ones, so that every published net stays
unseen. What was timed is kept beside the prices.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from convcost.core import files, machine
from convcost.core.errors import BadInputError, ConvcostError
from convcost.predict import prices, pricing, tables, timm_nets, validation
from convcost.predict.operators import FEATURES, TRAINED, USED, WHATS

MINUTES = {prices.CPU: 3.0, prices.GPU: 1.0}  # of a calibration, in all
BATCHES = {
    (prices.CPU, USED): (1, 1, 1, 4, 1, 1, 8),
    (prices.CPU, TRAINED): (2, 1, 4, 1),
    (prices.GPU, USED): (64, 32, 1, 128),
    (prices.GPU, TRAINED): (32, 64, 16),
}
"""Images in a batch, of one round after the other."""
LEAST_ROUNDS = 2
REPETITIONS = 5
_SHARE = {USED: 0.45, TRAINED: 0.55}  # of the time


def store(
    table: Path | str, device: str, title: str, kind: str = prices.GPU, what: str | None = None
) -> Path:
    """Fit the prices of a device to a published table of nets and times; the committed file.

    `title` says what `device` stands for: the card, the arithmetic, the versions. Raises
    BadInputError for what `tables.read` refuses and a table of both uses.
    """
    rows, _ = tables.joined(tables.read(table, what))
    uses = rows["what"].unique()
    if len(uses) != 1:
        raise BadInputError(f"{table} has {' and '.join(uses)}: choose one with what=")
    known = known_from(rows, device, title, kind)
    known = replace(known, source=Path(table).name, source_sha256=files.sha256(Path(table)))
    return prices.write(known, prices.FOLDER)


def known_from(rows: pd.DataFrame, device: str, title: str, kind: str) -> prices.Known:
    """Prices fitted to rows of one use (`tables.joined`), and how well they say unseen designs."""
    predicted = validation.leave_one_design_out(rows)[validation.OURS]
    plain = pricing.is_plain(rows[list(FEATURES)])
    low, high = pricing.interval((rows["seconds"] / predicted).to_numpy(), rows["design"])
    model = validation.fit(rows)
    return prices.Known(
        device, str(rows["what"].iloc[0]), kind, title, "calibrated", "",
        (float(rows["batch"].min()), float(rows["batch"].max())),
        validation.scores(rows[plain], predicted[plain]), replace(model, low=low, high=high),
    )  # fmt: skip


# --- a machine of one's own --------------------------------------------------------------------


def round_of(
    number: int, what: str, batch: int, *, device: str = "cpu", threads: int | None = None,
    repetitions: int = REPETITIONS,
) -> list[dict]:  # fmt: skip
    """One made net of each style, timed in turns: a row a net, as of `tables.joined`.

    Besides: stable, whether the machine was quiet. seconds are per image, the median of the
    repetitions. A net to which memory is refused has no row.
    """
    import torch

    from convcost.counting.count import count
    from convcost.measuring import timing
    from convcost.nets import made

    cases, counted = {}, {}
    training = what == TRAINED
    with torch.random.fork_rng():
        torch.manual_seed(number)
        for style in made.STYLES:
            model, shape = made.made(style, number)
            counted[style] = (count(model, shape, training=training), len([*model.parameters()]))
            step = "training_step" if training else "inference"
            cases[style] = timing.Case(model.to(device), shape, batch, step)
    measured = timing.measure_many(
        cases, repetitions=repetitions, warmup=1, min_s=0.05, threads=threads, device=device,
        skip_out_of_memory=True,
    )  # fmt: skip
    rows = []
    for style, found in measured.items():
        total, tensors = counted[style]
        px = cases[style].input_shape[-1]
        row = timm_nets.row(f"{style} {number}", px, what, style, total, tensors)
        row |= {
            "design": f"{validation.MADE}{style}",
            "batch": batch,
            "seconds": found.seconds / batch,
            "stable": found.stable,
        }
        rows.append(row)
    return rows


def rounds(
    what: str, kind: str, seconds: float, measure: Callable[..., list[dict]], **options
) -> Iterator[list[dict]]:
    """Rounds until the time is used, at least two; none is begun that would end late by its half.

    Each is of another batch size (`BATCHES`) and other nets.
    """
    begin = time.perf_counter()
    last = 0.0
    for number, batch in enumerate(itertools.cycle(BATCHES[kind, what])):
        used = time.perf_counter() - begin
        if number >= LEAST_ROUNDS and used + last / 2 > seconds:
            return
        yield measure(number, what, batch, **options)
        last = time.perf_counter() - begin - used


def quiet(rows: Sequence[dict] | pd.DataFrame) -> pd.DataFrame:
    """The rows of `round_of` that a fit may use, with a column for every feature.

    Those that were timed while the machine was quiet; all of them where these are fewer than two
    rounds.
    """
    table = pd.DataFrame(rows)
    table = table.reindex(columns=[*dict.fromkeys([*table.columns, *FEATURES])])
    table[list(FEATURES)] = table[list(FEATURES)].fillna(0.0)
    stable = table["stable"].astype(bool)
    enough = stable.sum() >= LEAST_ROUNDS * table["design"].nunique()
    return (table[stable] if enough else table).reset_index(drop=True)


def fitted(rows: Sequence[dict] | pd.DataFrame, name: str, title: str, kind: str) -> prices.Known:
    """Prices of a machine from rows of `round_of` of one use, those of `quiet`."""
    return known_from(quiet(rows), name, title, kind)


def calibrate(
    whats: Sequence[str] = WHATS,
    *,
    device: str = "cpu",
    threads: int | None = None,
    minutes: float | None = None,
    told: Callable[[str], None] = lambda words: None,
) -> list[Path]:
    """Time made nets on this machine, fit its prices, keep both under its name; the files.

    minutes: of all of it; None: 3 on a processor, 1 on a GPU. threads: of torch's arithmetic; None:
    as many as cores may be used. `told` is given a line a round. Then `predict.time` needs no
    device. Raises BadInputError for another device and use, and ConvcostError where the prices
    could not be fitted.
    """
    import torch

    if device not in ("cpu", "cuda"):
        raise BadInputError(f"device is {device!r}: choose cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise BadInputError("torch finds no GPU here: calibrate the processor with device='cpu'")
    if others := [what for what in whats if what not in WHATS]:
        raise BadInputError(f"what is {others[0]!r}: choose from {', '.join(WHATS)}")
    if minutes is not None and not minutes > 0:
        raise BadInputError(f"{minutes} minutes: more than 0 are expected")
    kind = prices.GPU if device == "cuda" else prices.CPU
    facts = machine.describe()
    aside = kind == prices.CPU and facts["gpu"]  # a GPU that is there, and not calibrated
    name = machine.slug(facts | {"gpu": None}) if aside else machine.slug()
    threads = threads or facts["cores_usable"]
    title = f"{facts['gpu'] if kind == prices.GPU else facts['cpu']}, float32, PyTorch " + (
        f"{torch.__version__}" + ("" if kind == prices.GPU else f", {threads} threads")
    )
    whole = (minutes or MINUTES[kind]) * 60
    shares = {what: _SHARE[what] / sum(_SHARE[one] for one in whats) for what in whats}
    done = []
    for what in whats:
        rows: list[dict] = []
        measured = rounds(
            what, kind, whole * shares[what], round_of, device=device, threads=threads
        )
        for number, more in enumerate(measured):
            rows += more
            shaky = "" if all(row["stable"] for row in more) else " (the machine was not quiet)"
            told(f"{what}: round {number + 1}, {len(rows)} nets{shaky}")
        if rows and not quiet(rows)["stable"].all():
            told(f"{what}: the machine was hardly ever quiet, so unsteady rounds are used, too")
        try:
            known = fitted(rows, name, title, kind)
        except BadInputError as error:
            raise ConvcostError(f"prices for {what} cannot be fitted: {error}") from None
        path = prices.write(known, prices.OWN)
        table = pd.DataFrame(rows).reindex(columns=[*tables.COLUMNS[:5], "stable", "macs"])
        files.write_atomically(path.with_suffix(".csv"), table.to_csv(index=False).encode())
        done.append(path)
    return done
