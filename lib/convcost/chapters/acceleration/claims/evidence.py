"""What the checks of notebook 06 share: rows that suffice, and how they are told."""

import pandas as pd

from convcost.chapters.acceleration import findings as found
from convcost.chapters.acceleration.findings import accuracy as kinds
from convcost.claims.lookup import lacking, made
from convcost.claims.verdicts import SEEDS, Evidence, above
from convcost.records import Results

POINTS = 1.0  # of accuracy: less is "kept", more is "lost"
NETS, TIMES = "accelerated_nets", "accelerated_times"
DATA = ((NETS, "fashionmnist"),)


def losses(results: Results, method: str, word: str | None = None) -> pd.DataFrame:
    """Steps of a method, in order, with losses over enough seeds.

    MissingTableError where there are none, or where their seeds are too few.
    """
    table = made(results, found.losses, NETS)
    mine = table[table["method"].eq(method)]
    if word is not None:
        mine = mine[mine["word"].eq(word)]
    if mine.empty:
        raise lacking(f"nets by {method}" + (f", step {word}" if word else ""))
    if mine["seeds"].min() < SEEDS:
        raise lacking(f"{SEEDS} seeds of {method} ({mine['seeds'].min()} were trained)")
    return mine.assign(number=mine["setting"].map(kinds.number))


def paired(results: Results, one: tuple[str, str], other: tuple[str, str], **words) -> pd.Series:
    """`findings.paired` over enough seeds."""
    nets = results.table(NETS)
    found_pair = made(results, _paired_of(one, other, **words), NETS)
    pair = found_pair.iloc[0]
    if pair["seeds"] < SEEDS:
        raise lacking(f"{SEEDS} seeds of both nets ({pair['seeds']:.0f} of {len(nets)} rows)")
    return pair


def _paired_of(one, other, **words):
    def of(nets: pd.DataFrame) -> pd.DataFrame:
        return found.paired(nets, one, other, **words).to_frame().T

    return of


def decided(pair: pd.Series, threshold: float = 0.0) -> dict[str, object]:
    """Whether a difference is above a threshold by its whole interval; for `Finding(**…)`."""
    return above(pair["low"], pair["high"], threshold) | {"evidence": pairs(pair)}


def pairs(pair: pd.Series) -> Evidence:
    low, high = float(pair["low"]), float(pair["high"])
    return Evidence(int(pair["seeds"]), "seeds in pairs", low, high, "points, 95 % by Student's t")


def of_seeds(table: pd.DataFrame) -> Evidence:
    """How many seeds each setting had; their intervals stand in the reason."""
    return Evidence(int(table["seeds"].min()), "seeds in pairs or more, each setting")


def of_times(table: pd.DataFrame) -> Evidence:
    """Ratios in turns, and whether the machine was quiet in all sessions."""
    return Evidence(
        int(table["repetitions"].min()), "repetitions in turns", float(table["low"].min()),
        float(table["high"].max()), "times as fast, 95 % over all cases",
        stable=bool(table["stable"].all()),
    )  # fmt: skip


def points(row: pd.Series, name: str = "points") -> str:
    return f"{row[name]:+.2f} points (95 % interval {row['low']:+.2f} to {row['high']:+.2f})"


def lost(row) -> str:
    """ "8 bits: -0.02 (-0.1 to 0.1)" of a row with setting, lost, low, high."""
    return f"{row['setting']}: {row['lost']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def listed(table: pd.DataFrame) -> str:
    return "points lost: " + "; ".join(lost(row) for _, row in table.iterrows())


def seeds_of(table: pd.DataFrame) -> str:
    low, high = int(table["seeds"].min()), int(table["seeds"].max())
    return f"{low} seeds" if low == high else f"{low} to {high} seeds"


def setting(results: Results) -> str:
    """What was trained, in a few words."""
    nets = results.table(NETS)
    base = nets[nets["method"].eq(kinds.NONE) & nets["word"].eq("base")].iloc[0]
    return (
        f"a residual net of {base['macs'] / 1e6:.0f} million multiply-adds, FashionMNIST at 28 px, "
        f"{base['train_images']:,} images"
    )


def faster(row) -> str:
    return f"{row['times_faster']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
