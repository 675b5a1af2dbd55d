"""Checks of what the sources say of distillation and low rank, and of all methods together."""

from dataclasses import replace

import pandas as pd

from convcost.chapters.acceleration import findings as found
from convcost.chapters.acceleration.claims.evidence import (
    DATA,
    NETS,
    TIMES,
    decided,
    faster,
    listed,
    losses,
    of_seeds,
    of_times,
    paired,
    points,
    setting,
)
from convcost.chapters.acceleration.findings import accuracy as kinds
from convcost.claims.lookup import lacking, made, one
from convcost.claims.verdicts import (
    SEEDS,
    Check,
    Evidence,
    Finding,
    Published,
    Tolerance,
    holds,
)
from convcost.records import Results

CHOSEN = "temperature 4, weight 0.9"  # before any was tried
LARGE = 0.1  # relative error, that is "large"
_ROUNDING = 1e-9


def _student(results: Results, published: Published, name: str) -> Finding:
    pair = paired(results, (kinds.DISTILLED, CHOSEN), (kinds.DISTILLED, kinds.ALONE))
    longer = paired(results, (kinds.DISTILLED, CHOSEN), (kinds.DISTILLED, kinds.LONGER))
    table = made(results, found.distillation, NETS)
    tried = table[table["setting"].str.startswith("temperature")]
    told = decided(pair)
    told["evidence"] = replace(told["evidence"], tried=len(tried))
    return Finding(
        points(pair),
        **told,
        protocol=f"{CHOSEN}, {setting(results)}" if told["agrees"] else None,
        reason=f"chosen beforehand among {len(tried)} settings "
        f"that were tried ({tried['points'].min():+.2f} to {tried['points'].max():+.2f}); less the "
        f"student alone for twice as long: {points(longer)}",
    )


def _teacher(results: Results, published: Published, name: str) -> Finding:
    pair = paired(results, (kinds.DISTILLED, CHOSEN), (kinds.DISTILLED, kinds.WEAK))
    told = decided(pair)
    return Finding(
        points(pair),
        **told,
        protocol=f"{CHOSEN}, two teachers" if told["agrees"] else None,
        reason="with the base as teacher less with one that has seen a twentieth of the images",
    )


def _student_faster(results: Results, published: Published, name: str) -> Finding:
    """The student beside the base that teaches it, in every case that was timed."""
    speeds = made(results, found.speed_ups, TIMES)
    mine = speeds[
        speeds["method"].eq(kinds.DISTILLED) & speeds["format"].eq("float32")
        & speeds["low"].notna()
    ]  # fmt: skip
    if mine.empty:
        raise lacking("timed student")
    told = ", ".join(
        f"{faster(row)} at batch {row['batch']} on {row['threads']} in {row['runtime']}"
        for _, row in mine.iterrows()
    )
    student = losses(results, kinds.DISTILLED, "train")
    student = student[student["setting"].eq(CHOSEN)].iloc[0]
    return Finding(
        f"{mine['times_faster'].min():.1f} to {mine['times_faster'].max():.1f} times as fast",
        agrees=bool((mine["low"] > 1).all()),
        protocol=f"a student that loses {student['lost']:.2f} points",
        reason=told,
        evidence=of_times(mine),
    )


def _both_models(results: Results, published: Published, name: str) -> Finding:
    """What a teacher costs where its answers are kept: a pass over the images, and the answers."""
    nets = results.table(NETS)
    base = nets[nets["method"].eq(kinds.NONE) & nets["word"].eq("base")]
    student = nets[nets["method"].eq(kinds.DISTILLED) & nets["word"].eq("train")]
    if base.empty or student.empty:
        raise lacking("student and teacher")
    base, student = base.iloc[0], student[student["setting"].eq(CHOSEN)].iloc[0]
    answers = base["train_images"] * 10 * 4
    # a step of training takes about three passes
    share = base["macs"] / (3 * student["epochs"] * student["macs"])
    return Finding(
        "not together in memory",
        agrees=False,
        reason=f"the images are not changed on the way, so the teacher is run once and its answers "
        f"are kept: {answers / 1e6:.1f} MB beside {base['file_bytes'] / 1e6:.1f} MB of weights; "
        f"that pass takes {share:.1f} times the multiply-adds of the student's whole training, "
        "so resources it does need. With images that are changed in every epoch both have to be "
        "there",
        evidence=Evidence(how="by construction: how this house distils"),
    )


def _fewer_parameters(results: Results, published: Published, name: str) -> Finding:
    table = losses(results, kinds.FACTORISED, "factorise")
    base = one(losses(results, kinds.NONE), word="base")
    ratios = base["params"] / table["params"]
    return Finding(
        f"{ratios.min():.1f} to {ratios.max():.1f} times fewer",
        agrees=bool((ratios > 1).all()),
        evidence=Evidence(len(table), "methods and shares, counted"),
        reason=", ".join(
            f"{row['setting']}: {row['params']:,} of {base['params']:,}"
            for _, row in table.iterrows()
        ),
    )


def _relu(results: Results, published: Published, name: str) -> Finding:
    """Errors behind ReLU against those right before it, and where all layers are factorised."""
    table = made(results, found.reconstruction, "reconstruction_errors")
    if table["seeds"].min() < SEEDS:
        raise lacking(f"{SEEDS} seeds of factors ({table['seeds'].min()} were measured)")
    worse, large = (table["low"] > 1).all(), (table["network_error"] > LARGE).all()
    agrees = bool(worse and large)
    better = (table["high"] < 1).any()
    after = losses(results, kinds.FACTORISED, "train")
    return Finding(
        f"errors behind ReLU are {table['relu_ratio'].min():.2f} to "
        f"{table['relu_ratio'].max():.2f} times those right before it",
        agrees=agrees,
        undecided=None
        if agrees or better or not large
        else "some ratios' intervals hold 1; more seeds would narrow them",
        protocol=f"not trained on, {setting(results)}" if agrees else None,
        evidence=Evidence(
            int(table["seeds"].min()),
            "seeds",
            float(table["low"].min()),
            float(table["high"].max()),
            "ratio behind and before ReLU, all intervals together",
        ),
        reason="; ".join(
            f"{row['factors']}, {row['share']:.0%} kept: {row['weight_error']:.0%} of the filters, "
            f"{row['output_error_before']:.0%} of outputs, {row['output_error_normalised']:.0%} "
            f"behind the normalisation, {row['output_error_after_relu']:.0%} behind ReLU, too, "
            f"{row['network_error']:.0%} in the whole net"
            for _, row in table.iterrows()
        )
        + f"; an epoch of training repairs most: {listed(after)}",
    )


def _costs(results: Results, published: Published, name: str) -> Finding:
    """Of every method: whether some net of it loses accuracy, or needs training, or gains no
    time."""
    drawbacks, every = {}, []
    for method, word in (
        (kinds.QUANTISED, "quantise"), (kinds.MASKED, "mask"), (kinds.NARROWED, "narrow"),
        (kinds.FACTORISED, "factorise"), (kinds.DROPPED, "drop"), (kinds.COMPACT, "train"),
        (kinds.DISTILLED, "train"),
    ):  # fmt: skip
        table = losses(results, method, word)
        every.append(table)
        drawbacks[method] = (table["low"] > 0).sum(), len(table), table["lost"].max()
    agrees = all(worse for worse, _, _ in drawbacks.values())
    return Finding(
        f"{sum(worse > 0 for worse, _, _ in drawbacks.values())} of {len(drawbacks)} methods lose "
        "accuracy",
        agrees=agrees,
        protocol=setting(results) if agrees else None,
        evidence=of_seeds(pd.concat(every)),
        reason="settings that lose accuracy, not trained on: "
        + "; ".join(
            f"{method} {worse} of {many}, {most:.1f} points at most"
            for method, (worse, many, most) in drawbacks.items()
        ),
    )


_PAIRS = Tolerance(
    f"the whole 95 % interval of at least {SEEDS} paired seeds on one side of 0",
    words="above 0 by the whole interval",
)


def _combined(results: Results, published: Published, name: str) -> Finding:
    """Low rank and 8 bits together, beside each alone: file and speed, at no more loss than the two
    have by themselves."""
    speeds = made(results, found.speed_ups, TIMES)
    one_core = speeds[speeds["batch"].eq(1) & speeds["runtime"].eq("onnx")]
    one_core = one_core[one_core["threads"].eq(one_core["threads"].min())]

    def speed(method, setting_, form):
        mine = one_core[one_core["method"].eq(method) & one_core["format"].eq(form)]
        return one(mine, setting=setting_)

    floats, ints = (losses(results, kinds.FACTORISED, word) for word in (kinds.FLOAT, kinds.INT8))
    alone = losses(results, kinds.NONE, kinds.INT8).iloc[0]
    told, better, rows = [], [], []
    for _, both in ints.iterrows():
        low_rank = one(floats, setting=both["setting"])
        fast, of_rank = (
            speed(kinds.FACTORISED, both["setting"], form) for form in ("int8", "float32")
        )
        of_bits = speed(kinds.NONE, kinds.CONTROL, "int8")
        smaller = both["file_bytes"] < min(low_rank["file_bytes"], alone["file_bytes"])
        faster_ = fast["low"] > max(of_rank["high"], of_bits["high"])
        kept = both["low"] <= low_rank["high"] + max(alone["high"], 0) + _ROUNDING
        better.append(bool(smaller and faster_ and kept))
        rows.append(fast)
        told.append(
            f"{both['setting']}: {fast['times_faster']:.2f} times as fast together, "
            f"{of_rank['times_faster']:.2f} by low rank, {of_bits['times_faster']:.2f} by 8 bits; "
            f"{both['file_bytes'] / 1e6:.2f} MB, {low_rank['file_bytes'] / 1e6:.2f}, "
            f"{alone['file_bytes'] / 1e6:.2f}; {both['lost']:.2f} points lost, "
            f"{low_rank['lost']:.2f}, {alone['lost']:.2f}"
        )
    return Finding(
        f"{sum(better)} of {len(better)} combinations are better than each alone",
        agrees=any(better),
        protocol="for some factors, one image on one core, at the losses of both together",
        reason="; ".join(told),
        evidence=of_times(pd.DataFrame(rows)),
    )


_DISTILLATION, _LOW_RANK, _FRONT = "Distillation", "Low rank", "What should I try first?"
CHECKS: dict[str, Check] = {
    "geifman/distilled_student_better": Check(_student, _DISTILLATION, _PAIRS, DATA),
    "geifman/student_runs_faster": Check(
        _student_faster, _DISTILLATION,
        holds("it is faster by the whole 95 % interval in every case timed"), DATA,
    ),
    "cheng2025/low_rank_combined_compensates": Check(
        _combined, _LOW_RANK,
        holds("both together are smaller and, by whole intervals, faster than each alone, and lose "
              "no more than the two by themselves, for one share at least"), DATA,
    ),
    "cheng2025/distillation_depends_on_teacher": Check(_teacher, _DISTILLATION, _PAIRS, DATA),
    "cheng2025/distillation_needs_both_models": Check(
        _both_models, _DISTILLATION,
        Tolerance("together is together: both models in memory at one time",
                  words="both in memory at one time"),
    ),
    "cheng2025/low_rank_reduces_parameters": Check(
        _fewer_parameters, _LOW_RANK, holds("every rank tried has fewer parameters"), DATA
    ),
    "cheng2025/low_rank_poor_with_relu": Check(
        _relu, _LOW_RANK,
        Tolerance(f"worse behind ReLU by the whole interval, and errors of more than {LARGE:.0%} "
                  "in the whole net, at every share that is kept",
                  words=f"above 1 by the whole interval, and above {LARGE:.0%} in the net"),
        (("reconstruction_errors", "fashionmnist"),),
    ),
    "geifman/all_methods_have_costs": Check(
        _costs, _FRONT,
        Tolerance("some setting of every method loses accuracy by its whole interval",
                  words="every method loses somewhere"), DATA,
    ),
}  # fmt: skip
