"""Which protocol would give the paper's five times: how far the best hypotheses are from it.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; statistics
come from `convcost.chapters.training_time.findings`.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from convcost.chapters.training_time import findings
from convcost.chapters.training_time.findings import hypotheses, paper
from convcost.figures import style

_KINDS = {  # basis -> words, colour, marker
    hypotheses.MEASURED: ("measured on this machine", style.PALETTE[0], "o"),
    hypotheses.COMPOSED: ("this machine, loader workers added", style.PALETTE[2], "^"),
    hypotheses.PREDICTED: ("predicted for the paper's GPU", style.PALETTE[1], "s"),
}
_RULES = {"all take the same time": "--", "a + b * FLOPs": "-.", "proportional to FLOPs": ":"}
_LINEUPS = {
    ("torchvision", "densenet161"): "torchvision, DenseNet161",
    ("torchvision", "densenet121"): "torchvision, DenseNet121",
    ("textbook", "densenet_textbook"): "textbook nets",
}


def protocol_distance(
    training_steps: pd.DataFrame,
    pipeline_times: pd.DataFrame,
    predicted_steps: pd.DataFrame,
    net_costs: pd.DataFrame,
) -> plt.Figure:
    """Distance of hypotheses to the paper's five times (left); ratios of the nearest (right).

    Left: a row a set of nets and an input size, nearest first; of each kind the nearest hypothesis,
    and a thin line to the median of all of its kind. Lines: rules that know nothing of a protocol.
    Right: times relative to AlexNet, the paper's and those of the nearest of each kind.
    """
    table = findings.forensics(training_steps, pipeline_times, predicted_steps, net_costs)
    if table.empty:
        raise style.NothingToDrawError("no protocol has times of all five nets")
    style.apply()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.8), width_ratios=[1.15, 1])
    _distances(left, table)
    _ratios(right, findings.best_of(table, ["basis"]))
    return figure


def _distances(axis: plt.Axes, table: pd.DataFrame) -> None:
    by = ["family", "densenet", "input_px"]
    rows = findings.best_of(table, by)[by]
    best = findings.best_of(table, ["basis", *by])
    medians = table.groupby(["basis", *by])["distance"].median()
    shifts = dict(zip(_KINDS, (-0.22, 0, 0.22), strict=True))
    for basis, (words, colour, marker) in _KINDS.items():
        mine = best[best["basis"] == basis].merge(rows.reset_index(names="row"), on=by)
        if mine.empty:
            continue
        height = mine["row"] + shifts[basis]
        middle = medians.loc[list(mine[["basis", *by]].itertuples(index=False, name=None))]
        axis.hlines(height, mine["distance"], middle, color=colour, linewidth=1.2, alpha=0.7)
        axis.plot(mine["distance"], height, linestyle="none", marker=marker, markersize=7,
                  color=colour, label=words)  # fmt: skip
    rules = findings.baselines().set_index("rule")["distance"]
    for rule, line in _RULES.items():
        axis.axvline(rules[rule], color="0.25", linestyle=line, linewidth=1.6, label=rule)
    names = [
        f"{_LINEUPS[family, densenet]}, {px} px"
        for family, densenet, px in rows.itertuples(index=False)
    ]
    axis.set_yticks(range(len(names)), names, fontsize=10)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(0, 1.05 * axis.get_xlim()[1])
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(
        "distance to the paper's times: RMS of ln(ratio), common factor free\n"
        "mark: the nearest hypothesis; line: to the median of its kind",
        fontsize=10, x=1, ha="right",
    )  # fmt: skip
    axis.legend(
        loc="lower left", bbox_to_anchor=(-0.45, 1), ncols=2, fontsize=9, frameon=False,
        columnspacing=1.2,
    )  # fmt: skip


def _ratios(axis: plt.Axes, best: pd.DataFrame) -> None:
    published = paper.table_two()
    place = np.arange(len(published))
    for row in best.itertuples():
        _, colour, marker = _KINDS[row.basis]
        ratios = [getattr(row, f"{role}_ratio") for role in paper.ROLES]
        axis.plot(place, ratios, marker=marker, markersize=6, color=colour, linewidth=1.6,
                  label=f"{row.basis}: {_assumed(row)}")  # fmt: skip
    axis.plot(place, published["flops"] / published["flops"].iloc[0], ":", color="0.25",
              linewidth=1.6, label="proportional to FLOPs")  # fmt: skip
    axis.plot(place, published["seconds"] / published["seconds"].iloc[0], marker="D", markersize=8,
              color=style.PAPER_COLOUR, linewidth=2.6, label="the paper")  # fmt: skip
    axis.set_yscale("log")
    style.decades(axis.yaxis, (1, 2, 3, 5), "{x:g} ×")
    names = [style.net_name(net) for net in paper.NETS[:-1]]
    axis.set_xticks(place, [*names, "DenseNet"], fontsize=9.5)
    axis.set_ylabel("time relative to AlexNet")
    axis.grid(axis="x", visible=False)
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(
        handles[::-1], labels[::-1], loc="lower left", bbox_to_anchor=(-0.1, 1), fontsize=9,
        frameon=False,
    )  # fmt: skip


def _assumed(row) -> str:
    """The choices of a hypothesis in two lines."""
    nets = _LINEUPS[row.family, row.densenet]
    colour = "grey" if row.in_channels == 1 else "colour"
    loading = "no pipeline"
    if row.pipeline:
        loading = "1 worker" if row.workers == 1 else f"{row.workers:.0f} workers"
    return f"{nets},\n{row.input_px} px, {colour}, batch {row.batch}, {loading}"
