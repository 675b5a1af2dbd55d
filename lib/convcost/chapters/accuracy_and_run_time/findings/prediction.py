"""How well times are predicted: on published tables, and on this machine."""

import numpy as np
import pandas as pd
from scipy import stats

from convcost.chapters.accuracy_and_run_time.findings import known_nets as known
from convcost.chapters.accuracy_and_run_time.tables.prediction import (
    BOTH,
    DESIGN,
    FOLD,
    LINEAGE,
    MADE,
    MODELS,
    OTHERS,
)

WITHIN = 0.10
SESSIONS = 3  # of the reference scale: `study.scales.Scale.known_sessions`
OURS = MODELS[-1]


def answer(
    known_nets: pd.DataFrame, published_times: pd.DataFrame, table_scores: pd.DataFrame
) -> str:
    """The notebook's answer in three sentences, as Markdown, with its numbers."""
    pairs = known.bigger(known_nets)
    pairs = pairs[(pairs["among"] != known.ALL) & (pairs["size"] == "flops")].iloc[0]
    thick = known.thickness(known_nets, published_times)
    spread = thick.set_index(["quantity", "device"])["spread"]
    points = spread[known.TOP1_AT_FLOPS].iloc[0]
    slower = spread[known.TIME_AT_FLOPS, "rtx4090"]
    scores = on_tables(table_scores).iloc[0]
    return (
        "- **The larger net of two by one recipe is the more accurate one in "
        f"{pairs['in_order']:.0%} of {pairs['pairs']:,} pairs** (95 % interval "
        f"{pairs['low']:.0%} to {pairs['high']:.0%}).\n"
        f"- **Nets of equal FLOPs lie {points:.1f} points of accuracy apart, and a factor of "
        f"{slower:.1f} in time** on an RTX 4090 (5th to 95th percentile).\n"
        "- **FLOPs miss the time of a design that was not fitted by "
        f"{scores['flops']:.0f} % on average; a price for each kind of work misses it by "
        f"{scores['ours']:.0f} %** ({scores['rows']} nets, {scores['device']}, {scores['what']})."
    )


# --- published tables ------------------------------------------------------------------------


def on_tables(table_scores: pd.DataFrame) -> pd.DataFrame:
    """Mean errors on unseen designs of convolutional nets: a row a published table and use.

    Columns: device, what, rows, designs; flops, activations, linear and ours (percent); within_10
    and coverage_90 of ours (shares); lineages and random, errors of ours where related designs, or
    a random fifth of the nets, are left out together; begun_from.
    """
    rows = []
    for (table, what), mine in table_scores.groupby(["table", "what"], sort=False):
        conv = mine[mine["nets"] == "convolutional"].set_index(["split", "model"])
        ours = conv.loc[(DESIGN, OURS)]
        errors = {model: conv["mape"].get((DESIGN, model)) for model in MODELS}
        rows.append(
            {"table": table, "device": ours["device"], "what": what, "rows": ours["rows"],
             "designs": ours["designs"], **errors, "within_10": ours["within_10"],
             "coverage_90": ours["coverage_90"], "lineages": conv["mape"].get((LINEAGE, OURS)),
             "random": conv["mape"].get((FOLD, OURS)), "begun_from": ours["begun_from"]}
        )  # fmt: skip
    return pd.DataFrame(rows)


def attention(table_scores: pd.DataFrame) -> pd.DataFrame:
    """The same errors of nets with attention: device, what, rows, designs, one column a model."""
    mine = table_scores[table_scores["nets"] == "attention"]
    keys = ["device", "what", "rows", "designs"]
    wide = mine.pivot_table(index=keys, columns="model", values="mape", sort=False)
    return wide.reindex(columns=list(MODELS)).reset_index().rename_axis(columns=None)


def misses(error_groups: pd.DataFrame, by: str, least: int = 5) -> pd.DataFrame:
    """Groups of at least so many nets, the worst first: device, what, group, nets, mape, bias.

    `by`: "design" or "work". bias above 0: predicted too slow.
    """
    mine = error_groups[(error_groups["by"] == by) & (error_groups["nets"] >= least)]
    shown = ["device", "what", "group", "nets", "mape", "bias"]
    return mine.sort_values("mape", ascending=False)[shown].reset_index(drop=True)


def transfer(transfer_scores: pd.DataFrame) -> pd.DataFrame:
    """Errors by number of nets given: a row a device, begun_from, given.

    median, low and high (quartiles over the draws) of the mean error in percent; line: the median
    of a line over totals that is fitted to the same nets; draws. And in a row of its own, with
    given "named", the five well-known nets, of which there is one draw.
    """
    keys = ["device", "begun_from", "given"]
    drawn = transfer_scores[transfer_scores["draw"] != "named"]
    found = drawn.groupby(keys, sort=False).agg(
        median=("mape", "median"),
        low=("mape", lambda errors: errors.quantile(0.25)),
        high=("mape", lambda errors: errors.quantile(0.75)),
        line=("own_mape", "median"),
        draws=("mape", "size"),
    )
    named = transfer_scores[transfer_scores["draw"] == "named"]
    named = named.rename(columns={"mape": "median", "own_mape": "line"}).assign(
        draws=1, low=np.nan, high=np.nan, given="named"
    )
    columns = [*keys, *found.columns]
    return pd.concat([found.reset_index()[columns], named[columns]], ignore_index=True)


# --- this machine ----------------------------------------------------------------------------


def on_this_machine(own_predictions: pd.DataFrame) -> pd.DataFrame:
    """How well each model tells the nets timed here: a row a use, batch, model, fitted_to.

    nets and designs (stable timings only), unstable (left out), mape, median, p90 (percent),
    within_10, coverage_90 (shares), spearman.
    """
    rows = []
    keys = ["what", "batch", "model", "fitted_to"]
    for names, mine in own_predictions.groupby(keys, sort=False):
        fair = mine[mine["stable"].astype(bool)]
        if fair.empty:
            continue
        off = (fair["predicted_s"] / fair["image_s"] - 1).abs()
        inside = fair["image_s"].between(fair["low_s"], fair["high_s"])
        rank = stats.spearmanr(fair["predicted_s"], fair["image_s"]).statistic
        rows.append(
            dict(zip(keys, names, strict=True))
            | {"nets": len(fair), "designs": fair["design"].nunique(),
               "unstable": len(mine) - len(fair), "mape": 100 * off.mean(),
               "median": 100 * off.median(), "p90": 100 * off.quantile(0.9),
               "within_10": (off <= WITHIN).mean(), "coverage_90": inside.mean(),
               "spearman": rank}
        )  # fmt: skip
    told = ["nets", "designs", "unstable", "mape", "median", "p90", "within_10", "coverage_90"]
    return pd.DataFrame(rows, columns=[*keys, *told, "spearman"])  # of a loud machine, without rows


def here_in_short(own_predictions: pd.DataFrame) -> pd.DataFrame:
    """Mean errors in percent: a row a use and batch; FLOPs and the line at their better fit.

    Columns: what, batch, nets, flops, linear (each the lower of both fits), ours from the made
    nets (`calibrated`), and from made nets and other designs (`more`), coverage_90 and within_10 of
    the calibrated.
    """
    table = on_this_machine(own_predictions)
    rows = []
    for (what, batch), mine in table.groupby(["what", "batch"], sort=False):
        errors = mine.set_index(["model", "fitted_to"])["mape"]
        ours = mine[(mine["model"] == OURS) & (mine["fitted_to"] == MADE)].iloc[0]
        rows.append(
            {"what": what, "batch": batch, "nets": ours["nets"],
             "flops": min(errors.get(("flops", fit), np.inf) for fit in (MADE, OTHERS)),
             "linear": min(errors.get(("linear", fit), np.inf) for fit in (MADE, OTHERS)),
             "calibrated": ours["mape"], "more": errors.get((OURS, BOTH)),
             "within_10": ours["within_10"], "coverage_90": ours["coverage_90"]}
        )  # fmt: skip
    columns = ["what", "batch", "nets", "flops", "linear", "calibrated", "more", "within_10"]
    return pd.DataFrame(rows, columns=[*columns, "coverage_90"])


def misses_here(own_predictions: pd.DataFrame, what: str = "inference") -> pd.DataFrame:
    """Designs by the error of ours, calibrated, at the smallest batch: design, nets, bias, mape."""
    mine = own_predictions.query("model == @OURS and fitted_to == @MADE and what == @what")
    mine = mine[(mine["batch"] == mine["batch"].min()) & mine["stable"].astype(bool)]
    off = 100 * (mine["predicted_s"] / mine["image_s"] - 1)
    found = off.groupby(mine["design"]).agg(
        nets="size", bias="mean", mape=lambda one: one.abs().mean()
    )
    return found.sort_values("mape", ascending=False).reset_index()


def noise_here(known_net_times: pd.DataFrame) -> str:
    """How much the time of one net differs from session to session, in a sentence.

    A session is a run of repetitions under one mark of stable; the middle over nets of the largest
    over the smallest of the sessions' medians, in inference of one image.
    """
    mine = known_net_times[known_net_times["what"] == "inference"]
    mine = mine[mine["batch"] == mine["batch"].min()]
    each = mine["repetition"].groupby(mine["net"]).transform("nunique")
    session = mine["repetition"] // max(1, int(each.max()) // SESSIONS)
    medians = (mine["seconds"] / mine["calls"]).groupby([mine["net"], session]).median()
    ratio = medians.groupby("net").max() / medians.groupby("net").min() - 1
    quiet = mine["stable"].astype(bool).mean()
    if session.nunique() < 2:
        return f"One session only; the machine was quiet in {quiet:.0%} of the repetitions."
    return (
        f"From the fastest to the slowest of {session.nunique()} sessions one net differs by "
        f"{ratio.median():.0%} (the middle of {len(ratio)} nets; nine in ten by less than "
        f"{ratio.quantile(0.9):.0%}); the machine was quiet in {quiet:.0%} of the repetitions."
    )
