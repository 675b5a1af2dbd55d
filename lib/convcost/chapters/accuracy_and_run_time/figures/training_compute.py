"""Figure 1 again: how much arithmetic the training of known systems took, by year."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from convcost import sources
from convcost.chapters.accuracy_and_run_time.findings import training_compute as found
from convcost.core.units import readable
from convcost.figures import style

OPENAI, LATER = style.PALETTE[0], style.PALETTE[3]
_SECONDS = 86_400
_NAMED = {
    "AlexNet": (-9, 9, "left"), "VGG": (-6, 5, "right"), "VAE": (7, -3, "left"),
    "Word2vec": (-7, -3, "right"), "ResNets": (2, -14, "left"),
    "Neural Machine Translation": (-7, 3, "right"), "AlphaGo Zero": (-7, 4, "right"),
    "AlphaZero": (7, -9, "left"), "Transformer": (7, 3, "left"), "GPT-3": (4, -14, "left"),
    "BERT-Large": (7, -3, "left"), "PaLM 540B": (-6, 7, "right"), "Gopher": (7, -8, "left"),
    "Llama 3 405B": (-8, 2, "right"), "T5-11B": (7, -3, "left"),
}  # fmt: skip


def by_year() -> plt.Figure:
    """Petaflop/s-days of the training of known systems, from the cited files; nothing measured.

    Large marks set a record when they came out. Solid lines are least squares through the records,
    up to AlphaGo Zero and from it on; the dashed one doubles as slowly as Moore's law at its
    slowest, from AlexNet on.
    """
    table = found.systems()
    past = table[table["date"] < found.UNTIL]
    records = found.records_of(table)
    last = found.records_of(past).iloc[-1]
    early, late = (
        records[records["year"] <= last["year"]], records[records["year"] >= last["year"]],
    )  # fmt: skip
    style.apply()
    figure, axis = plt.subplots(figsize=(7, 5.6))
    for rows, colour in ((past, OPENAI), (table.drop(past.index), LATER)):
        is_record = rows["system"].isin(records["system"])
        for chosen, size, face in ((rows[is_record], 9, colour), (rows[~is_record], 6, "white")):
            axis.plot(
                chosen["year"], chosen["petaflop_s_days"], "o", color=colour, markersize=size,
                markerfacecolor=face, markeredgewidth=1.5, zorder=3,
            )  # fmt: skip
    months = []
    for rows, colour in ((early, OPENAI), (late, LATER)):
        doubling = found.doubling_time(rows["year"], rows["petaflop_s_days"])[0]
        months.append(doubling)
        middle = rows["year"].mean(), np.log2(rows["petaflop_s_days"]).mean()
        across = np.array([rows["year"].min(), rows["year"].max()])
        up = 2 ** (middle[1] + (across - middle[0]) * 12 / doubling)
        axis.plot(across, up, color=colour, linewidth=2.2, zorder=2)
    moore = sources.value("geifman", "moore_doubling_years_max")
    start = table.iloc[0]
    across = np.array([start["year"], table["year"].max()])
    up = start["petaflop_s_days"] * 2 ** ((across - start["year"]) / moore)
    axis.plot(across, up, "--", color="0.4", linewidth=1.5, zorder=1)
    axis.annotate(
        f"Moore's law:\ndoubling in {moore:g} years", (across[1], up[1]), (0, -14),
        textcoords="offset points", ha="right", va="top", fontsize=9.5, color="0.3",
    )  # fmt: skip
    for row in table.itertuples():
        if row.system in _NAMED:
            right, above, side = _NAMED[row.system]
            axis.annotate(
                row.system, (row.year, row.petaflop_s_days), (right, above), ha=side,
                textcoords="offset points", fontsize=9, color="0.2",
            )  # fmt: skip
    axis.set(yscale="log", ylabel="training, petaflop/s-days", xlabel="year of publication")
    axis.set_ylim(2e-6, 3e6)
    axis.set_xlim(2011.4, table["year"].max() + 0.6)
    style.decades(axis.yaxis, (1,), _plain)
    axis.yaxis.get_major_locator().set_params(subs=(1.0,), numticks=8)
    until = int(past["year"].max())
    axis.set_title(
        f"Record trainings doubled about every {months[0]:.1f} months\n"
        f"until {until}, and about every {months[1]:.0f} since"
    )
    handles = [
        Line2D([], [], marker="o", linestyle="none", color=OPENAI, label="OpenAI's twenty"),
        Line2D([], [], marker="o", linestyle="none", color=LATER, label="later, cited"),
        Line2D([], [], marker="o", linestyle="none", color="0.4", markerfacecolor="white",
               label="no record"),
    ]  # fmt: skip
    axis.legend(handles=handles, loc="upper left", fontsize=9.5, frameon=True)
    day = readable(1e15 * _SECONDS, 0)
    axis.text(
        0.99, 0.02, f"1 petaflop/s-day = {day} operations".replace("86400 P", "8.64 × 10¹⁹"),
        transform=axis.transAxes, ha="right", fontsize=8.5, color="0.35",
    )  # fmt: skip
    return figure


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
