"""The tuned training loop against the plain one, one change after the other."""

import numpy as np
import pandas as pd

from convcost.chapters.training_time.findings import paper, per_epoch

LOOPS = (
    "plain", "resident data", "resized on the device", "channels_last", "bf16", "compiled",
)  # fmt: skip
"""In order: each adds one thing to the one before."""

TUNED = LOOPS[-2:]  # the faster of these is the tuned loop
TOTAL = "(all)"
DONE = "done"


def ablation(
    training_steps: pd.DataFrame,
    loop_runs: pd.DataFrame,
    input_px: int | None = None,
    nets: tuple[str, ...] = paper.NETS,
) -> pd.DataFrame:
    """Seconds of an epoch under each training loop, net by net, and the five nets' total.

    `input_px` None takes the largest size at which the plain loop was timed for most nets. One row
    for each net and loop that was tried at that size, in the order of `LOOPS`, and one a loop with
    net "(all)". Columns: net, loop, input_px, status ("done", or why there is no time), reason
    (missing where done), in_channels, batch_asked, batch (as used), workers, threads (missing where
    there is no time, and in the total), epoch_s, epoch_low_s, epoch_high_s, speed_up (the plain
    loop's seconds over these), speed_up_before (the same against the last loop before it that has
    a time), stable (by `loop_runs`; of the total: all), tuned (true for the faster of the last two
    loops: by net, and by total). The total's seconds are those of the nets that `nets` names, and
    missing where one of them has none; its status then names them.
    """
    timed = per_epoch.epochs(training_steps)
    if input_px is None:
        plain = per_epoch.of_one_condition(timed, LOOPS[0], None, nets)
        input_px = int(plain["input_px"].iloc[0]) if len(plain) else 0
    runs = loop_runs[(loop_runs["input_px"] == input_px) & loop_runs["net"].isin(nets)]
    rows = []
    for loop in LOOPS:
        chosen = per_epoch.of_one_condition(timed, loop, input_px, nets).set_index("net")
        tried = runs[runs["loop"] == loop]
        for net in nets:
            mine = tried[tried["net"] == net]
            if net in chosen.index:
                rows.append(_timed(net, loop, chosen.loc[net], mine))
            elif len(mine):
                row = mine.iloc[0]
                known = {"net": net, "loop": loop, "input_px": input_px, "stable": False}
                rows.append(known | {"status": row["status"], "reason": row["reason"]})
    columns = ["net", "loop", "input_px", "status", "reason", *per_epoch.CONDITION[2:4], "batch"]
    columns += ["workers", "threads", "epoch_s", "epoch_low_s", "epoch_high_s", "stable"]
    table = pd.DataFrame(rows, columns=columns)
    table = pd.concat([table, *_totals(table, nets, input_px)], ignore_index=True)
    table = _with_speed_ups(table)
    whole = ["in_channels", "batch_asked", "batch", "workers", "threads"]
    order = {net: place for place, net in enumerate((*nets, TOTAL))}
    place = np.argsort(table["net"].map(order).to_numpy(), kind="stable")
    return table.astype(dict.fromkeys(whole, "Int64")).iloc[place].reset_index(drop=True)


def _timed(net: str, loop: str, row: pd.Series, runs: pd.DataFrame) -> dict:
    same = runs[(runs[per_epoch.CONDITION] == [loop, *row[per_epoch.CONDITION[1:]]]).all(axis=1)]
    names = [*per_epoch.CONDITION[1:], "batch", "epoch_s", "epoch_low_s", "epoch_high_s"]
    stable = bool(same["stable"].astype(bool).all()) if len(same) else False
    return {"net": net, "loop": loop, "status": DONE, "stable": stable} | row[names].to_dict()


def _totals(table: pd.DataFrame, nets: tuple[str, ...], input_px: int) -> list[pd.DataFrame]:
    rows = []
    for loop in dict.fromkeys(table["loop"]):
        mine = table[table["loop"] == loop]
        done = mine[mine["status"] == DONE].dropna(subset=["epoch_s"])
        missing = [net for net in nets if net not in set(done["net"])]
        row = {"net": TOTAL, "loop": loop, "input_px": input_px}
        row |= {"status": DONE, "stable": bool(done["stable"].all())}
        if missing:
            row |= {"status": "incomplete", "reason": f"no time of {', '.join(missing)}"}
            row["stable"] = False
        else:
            row |= done[["epoch_s", "epoch_low_s", "epoch_high_s"]].sum().to_dict()
        rows.append(row)
    return [pd.DataFrame(rows)] if rows else []


def _with_speed_ups(table: pd.DataFrame) -> pd.DataFrame:
    by_net = table["net"]
    seconds = table["epoch_s"].astype(float)
    plain = seconds.where(table["loop"] == LOOPS[0]).groupby(by_net).transform("max")
    before = seconds.groupby(by_net).ffill().groupby(by_net).shift()
    last = seconds.where(table["loop"].isin(TUNED))
    fastest = last == last.groupby(by_net).transform("min")
    return table.assign(
        epoch_s=seconds, speed_up=plain / seconds, speed_up_before=before / seconds, tuned=fastest
    )


def tuned(table: pd.DataFrame) -> pd.DataFrame:
    """The tuned loop beside the plain one: a row for each net of `ablation`, their total last.

    Columns: net, loop (the tuned one of this net; "each net's own" in the total), plain_s, tuned_s
    (epoch), speed_up. A net with no time under either loop has no row, and without a row for every
    net there is no total; nor is there one where `ablation` was asked for a net that it lacks.
    """
    rows = table[table["tuned"] & (table["net"] != TOTAL)].dropna(subset=["speed_up"])
    rows = rows.assign(tuned_s=rows["epoch_s"], plain_s=rows["speed_up"] * rows["epoch_s"])
    columns = ["net", "loop", "plain_s", "tuned_s", "speed_up"]
    every = table[(table["net"] == TOTAL) & (table["loop"] == LOOPS[0])]["epoch_s"].notna().any()
    if every and set(rows["net"]) == set(table["net"]) - {TOTAL} and len(rows):
        total = {"net": TOTAL, "loop": "each net's own"} | rows[
            ["plain_s", "tuned_s"]
        ].sum().to_dict()
        total["speed_up"] = total["plain_s"] / total["tuned_s"]
        rows = pd.concat([rows, pd.DataFrame([total])])
    return rows[columns].reset_index(drop=True)
