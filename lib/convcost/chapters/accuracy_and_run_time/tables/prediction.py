"""Nets on the clock here, and how well times are predicted: here, elsewhere, and in the papers."""

from convcost.records.schema import MACS, NET, Column, Table, count, text

MODELS = ("flops", "activations", "linear", "ours")
DESIGN, LINEAGE, FOLD = "design", "lineage", "random fold"
MADE, OTHERS, BOTH = "made nets", "other designs", "made nets and other designs"

_WHAT = text("inference or training (a step: forward, backward, optimiser)")
_PX = count("side of the square input")
_BATCH = count("images in a batch")
_STABLE = Column("bool", "whether load and drift stayed below their limits")
_MODEL = text("flops, activations, linear (a line over a few totals) or ours (a price per work)")


def _seconds(meaning: str) -> Column:
    return Column("float", meaning, 0)


def _score(meaning: str, *, optional: bool = False) -> Column:
    return Column("float", meaning, optional=optional)


_SCORES = {
    "rows": count("times that were predicted"),
    "designs": count("designs, module files, that they are of"),
    "mape": _score("mean of |predicted / measured - 1|, in percent"),
    "median": _score("its median, in percent"),
    "p90": _score("what 90 % of them are below, in percent"),
    "within_10": _score("share that is off by at most 10 %"),
    "spearman": _score("rank correlation of predicted and measured", optional=True),
    "coverage_90": _score("share inside of the interval that nominally holds 90 %", optional=True),
}

TABLES: dict[str, Table] = {
    "known_net_times": Table(
        "one repetition of one net of torchvision on this machine",
        ("net", "input_px", "what", "batch", "repetition"),
        {
            "net": NET,
            "input_px": _PX,
            "what": _WHAT,
            "batch": _BATCH,
            "repetition": count("number of the repetition, from 0"),
            "calls": count("passes or steps in one repetition"),
            "seconds": _seconds("wall-clock seconds of all these calls together"),
            "stable": _STABLE,
        },
    ),
    "calibration_times": Table(
        "one made net (`convcost.nets.made`) on this machine, to which prices are fitted",
        ("net", "what"),
        {
            "net": text("style and number of the net"),
            "design": text("its style"),
            "input_px": _PX,
            "what": _WHAT,
            "batch": _BATCH,
            "macs": MACS,
            "image_s": _seconds("seconds of one image: median of the repetitions over the batch"),
            "stable": _STABLE,
        },
    ),
    "own_predictions": Table(
        "what a model predicts for one of the nets that were timed here",
        ("net", "what", "batch", "model", "fitted_to"),
        {
            "net": NET,
            "design": text("module file that defines it"),
            "input_px": _PX,
            "what": _WHAT,
            "batch": _BATCH,
            "macs": MACS,
            "model": _MODEL,
            "fitted_to": text(
                "made nets; other designs of the nets timed here; or made nets and other designs"
            ),
            "image_s": _seconds("measured seconds of one image, median of the repetitions"),
            "stable": _STABLE,
            "predicted_s": _seconds("predicted seconds of one image"),
            "low_s": _seconds("below it, 5 % of nets of a new design are expected"),
            "high_s": _seconds("above it, as many"),
        },
    ),
    "table_scores": Table(
        "how well a model predicts nets of a published table that no fit has seen",
        ("table", "what", "split", "nets", "model"),
        {
            "table": text("the published table: collection and file"),
            "device": text("what was timed there"),
            "what": _WHAT,
            "split": text("what is left out together: a design, a lineage of them, a random fifth"),
            "nets": text("convolutional, or attention: nets that multiply results by results"),
            "model": _MODEL,
            "begun_from": text("devices from whose prices ours begins; empty: none", optional=True),
            **_SCORES,
        },
    ),
    "error_groups": Table(
        "errors of ours on unseen designs, by design or by the work that takes most of the time",
        ("table", "what", "by", "group"),
        {
            "table": text("the published table: collection and file"),
            "device": text("what was timed there"),
            "what": _WHAT,
            "by": text("design, or work: what is charged most for (`predict.operators.FEATURES`)"),
            "group": text("which"),
            "nets": count("nets of it"),
            "mape": _score("mean of |predicted / measured - 1|, in percent"),
            "bias": _score("mean of predicted / measured - 1, in percent: above 0 is too slow"),
        },
    ),
    "transfer_scores": Table(
        "errors on a device of which few nets are given, begun from the prices of another",
        ("table", "begun_from", "given", "draw"),
        {
            "table": text("file name of the table of the device with few nets"),
            "device": text("what was timed there"),
            "what": _WHAT,
            "begun_from": text("the device from whose prices it begins"),
            "given": count("nets that were given, each of another design"),
            "draw": text("number of the draw of these nets, or named: five well-known ones"),
            "rows": count("nets of other designs that were predicted"),
            "mape": _score("mean of |predicted / measured - 1|, in percent"),
            "own_mape": _score("the same of a line over totals, fitted to the nets given"),
        },
    ),
    "paper_predictions": Table(
        "what prices say of something that one of the papers timed",
        ("paper", "device", "case", "item"),
        {
            "paper": text("cheng2025, atsumi2020 or ke"),
            "device": text("whose prices"),
            "case": text("the protocol, or the settings"),
            "item": text("the net, layer or configuration"),
            "predicted_s": _seconds("predicted seconds: an epoch, a layer, a batch"),
        },
    ),
}
