"""Checks of what the sources say of fewer bits."""

import math

import pandas as pd

from convcost.chapters.acceleration import findings as found
from convcost.chapters.acceleration.claims.evidence import (
    DATA,
    NETS,
    POINTS,
    TIMES,
    decided,
    faster,
    listed,
    losses,
    of_seeds,
    of_times,
    paired,
    points,
    seeds_of,
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
    above,
    holds,
)
from convcost.fits.comparison import mean_interval
from convcost.records import MissingTableError, Results

MUCH = 3.0  # points, that is "much"


def _formula(results: Results, published: Published, name: str) -> Finding:
    """Bits of the weights that nets were rounded to here, from the levels that they leave."""
    nets = results.table(NETS)
    bits = nets.loc[nets["method"].eq(kinds.QUANTISED), "setting"].map(kinds.number)
    levels = {int(number): 2 ** int(number) for number in sorted(bits.unique(), reverse=True)}
    if not levels:
        raise lacking("nets of few bits")
    agrees = all(math.log2(number) == width for width, number in levels.items())
    told = ", ".join(f"log2({number}) = {width}" for width, number in levels.items())
    return Finding(told, agrees=agrees, reason="with base 2, which the text does not print")


def _width(format_name: str):
    """Bits of a weight in a format, from the bytes that all of them take."""

    def check(results: Results, published: Published, name: str) -> Finding:
        row = one(results.table("format_accuracies"), format=format_name)
        base = one(results.table(NETS), method=kinds.NONE, word="base")
        return Finding(
            8 * row["file_bytes"] / base["params"],
            reason=f"{row['file_bytes']:,} bytes of {base['params']:,} weights in {format_name}",
        )

    return check


def _sizes(results: Results) -> pd.DataFrame:
    """The control's files in float32 and with 8 bits, seed by seed."""
    nets = results.table(NETS)
    mine = nets[nets["method"].eq(kinds.NONE) & nets["word"].isin([kinds.FLOAT, kinds.INT8])]
    wide = mine.pivot_table(index="seed", columns="word", values="file_bytes")
    if not {kinds.FLOAT, kinds.INT8} <= set(wide.columns):
        raise lacking("net exported in float32 and with 8 bits")
    return wide


def _memory(results: Results, published: Published, name: str) -> Finding:
    sizes = _sizes(results)
    smaller = sizes[kinds.FLOAT] / sizes[kinds.INT8]
    return Finding(
        f"{smaller.mean():.2f} times smaller", agrees=bool((smaller > 1).all()),
        reason=f"ONNX files of {len(sizes)} nets, {sizes[kinds.FLOAT].mean() / 1e6:.2f} and "
        f"{sizes[kinds.INT8].mean() / 1e6:.2f} MB",
        evidence=Evidence(len(sizes), "nets"),
    )  # fmt: skip


def _quarter(results: Results, published: Published, name: str) -> Finding:
    sizes = _sizes(results)
    share = (sizes[kinds.INT8] / sizes[kinds.FLOAT]).mean()
    return Finding(
        round(float(share), 4),
        reason="the weights alone shrink to 8/32 = 0.25; scales, biases and the graph are in the "
        "file, too",
        evidence=Evidence(len(sizes), "nets"),
    )


_QUARTER = Tolerance(
    "a file holds more than weights: scales for each channel, biases, the graph; a tenth of the "
    "weights' quarter is allowed for them",
    relative=0.1,
)


def _int8(results: Results) -> pd.DataFrame:
    """The net that nothing was done to, with 8 bits against float32, by ONNX Runtime."""
    table = made(results, found.speed_ups, TIMES)
    mine = table[
        table["method"].eq(kinds.NONE) & table["runtime"].eq("onnx") & table["format"].eq("int8")
    ]
    if mine.empty or mine["low"].isna().all():
        raise lacking("int8 timed beside float32")
    return mine


def _cases(table: pd.DataFrame) -> str:
    return ", ".join(
        f"{faster(row)} at batch {row['batch']} on {row['threads']} "
        f"core{'s' if row['threads'] > 1 else ''}{'' if row['stable'] else ' (not stable)'}"
        for _, row in table.iterrows()
    )


def _kept_by_int8(results: Results) -> str:
    try:
        table = losses(results, kinds.NONE, kinds.INT8)
    except MissingTableError:
        return "accuracy: too few seeds"
    return f"{listed(table)}, {seeds_of(table)}"


def _less_time(results: Results, published: Published, name: str) -> Finding:
    table = _int8(results)
    least = table.loc[table["times_faster"].idxmin()]
    return Finding(
        f"{least['times_faster']:.2f} times as fast at the least",
        agrees=bool((table["low"] > 1).all()),
        protocol="8 bits, ONNX Runtime on this CPU" if (table["low"] > 1).all() else None,
        evidence=of_times(table),
        reason=f"{_cases(table)} times as fast as float32 in the same runtime; "
        f"{_kept_by_int8(results)}",
    )


def _memory_and_time(results: Results, published: Published, name: str) -> Finding:
    """Both, by 8 bits: files smaller in every net, and less time in every case."""
    size, time = (make(results, published, name) for make in (_memory, _less_time))
    agrees = bool(size.agrees and time.agrees)
    return Finding(
        f"{size.value}, {time.value}",
        agrees=agrees,
        protocol=time.protocol if agrees else None,
        reason=f"{size.reason}; {time.reason}",
        evidence=time.evidence,
    )


def _three_times(results: Results, published: Published, name: str) -> Finding:
    """At the largest batch on all cores, where the arithmetic is most of the time."""
    table = _int8(results)
    most = table.sort_values(["batch", "threads"]).iloc[-1]
    return Finding(
        round(float(most["times_faster"]), 2),
        protocol=f"the CPU's 8-bit kernels in place of an FPGA, batch {most['batch']} on all cores",
        remark="the reference given for it measures on the processors of phones, no FPGA",
        evidence=of_times(table[table.index == most.name]),
        reason=f"{_cases(table)} times as fast as float32 in the same runtime",
    )


_THREE = Tolerance(
    "the source rounds to one digit, and means other hardware: a fifth either way", relative=0.2
)


def _varies(results: Results, published: Published, name: str) -> Finding:
    """Gains of 8 bits that no common value explains: intervals that do not meet."""
    table = _int8(results)
    least, most = (
        table.loc[table["times_faster"].idxmin()],
        table.loc[table["times_faster"].idxmax()],
    )
    agrees = bool(most["low"] > least["high"])
    return Finding(
        f"{least['times_faster']:.2f} to {most['times_faster']:.2f} times",
        agrees=agrees,
        protocol="of batch and cores, on one machine and one set of images" if agrees else None,
        evidence=of_times(table),
        reason=f"{_cases(table)}; other hardware and data were not tried",
    )  # fmt: skip


def _few_bits(results: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rounded after training, trained on), uniform widths."""
    rounded = losses(results, kinds.QUANTISED, "quantise")
    trained = losses(results, kinds.QUANTISED, "train")
    return rounded, trained


def _qat(results: Results, published: Published, name: str) -> Finding:
    """At every number of bits at which rounding loses something: the loss of rounding less that of
    training on, seed by seed."""
    rounded, trained = _few_bits(results)
    few = rounded.loc[rounded["low"] > 0, "setting"].tolist()
    if not few:
        raise lacking("nets of so few bits that rounding loses accuracy")
    gains = {
        one: made(results, _gain_of(one), NETS).iloc[0] for one in few
    }  # what training on gives back beyond what it gives the net itself
    agrees = all(row["low"] > 0 for row in gains.values())
    told = "; ".join(f"{one}: {points(row)}" for one, row in gains.items())
    return Finding(
        told, agrees=agrees,
        undecided=None if agrees or any(row["high"] <= 0 for row in gains.values()) else
        "the interval of some width holds 0; more seeds would narrow it",
        evidence=of_seeds(trained),
        protocol=f"{' and '.join(few)}, simulated, {setting(results)}" if agrees else None,
        reason=f"less lost by training on, in pairs of {SEEDS} seeds and more; rounded: "
        f"{listed(rounded)}; trained on: {listed(trained)}",
    )  # fmt: skip


def _gain_of(one: str):
    def gain(nets: pd.DataFrame) -> pd.DataFrame:
        def accuracy(method, setting_, word):
            mine = nets[nets["method"].eq(method) & nets["setting"].eq(setting_)]
            mine = mine[mine["word"].eq(word)].set_index("seed")
            return mine["test_correct"] / mine["test_images"]

        itself = accuracy(kinds.NONE, kinds.CONTROL, "train") - accuracy(
            kinds.NONE, kinds.BASE, "base"
        )
        by_method = accuracy(kinds.QUANTISED, one, "train") - accuracy(
            kinds.QUANTISED, one, "quantise"
        )
        mean, low, high = mean_interval(100 * (by_method - itself).dropna())
        return pd.DataFrame([{"points": mean, "low": low, "high": high}])

    return gain


def _sensitive(results: Results, published: Published, name: str) -> Finding:
    rounded, _ = _few_bits(results)
    loses = rounded[rounded["low"] > POINTS]
    agrees = not loses.empty
    most = loses["number"].max() if agrees else None
    return Finding(
        listed(rounded), agrees=agrees,
        protocol=f"from {most:g} bits down, simulated" if agrees else None,
        evidence=of_seeds(rounded),
        reason=f"rounding needs a few hundred images and no training; {seeds_of(rounded)}",
    )  # fmt: skip


def _one_bit(results: Results, published: Published, name: str) -> Finding:
    _, trained = _few_bits(results)
    rounded, _ = _few_bits(results)
    if not (one := trained[trained["number"].eq(1)]).size:
        raise lacking("nets of one bit")
    row = one.iloc[0]
    told = above(row["low"], row["high"], MUCH)
    smaller = row["file_bytes"] / rounded[rounded["number"].eq(1)].iloc[0]["packed_bytes"]
    return Finding(
        f"{row['lost']:.2f} points lost", **told,
        protocol=f"weights alone have one bit, simulated, {setting(results)}"
        if told["agrees"] else None,
        evidence=Evidence(
            int(row["seeds"]), "seeds in pairs", row["low"], row["high"],
            "points lost, 95 % by Student's t",
        ),
        reason=f"trained on: {listed(trained)}; weights of one bit, inputs and both ends of the "
        f"net 8: {smaller:.1f} times smaller",
    )  # fmt: skip


_MUCH = Tolerance(
    f"how much is not said: more than {MUCH:g} points by the whole interval, after training",
    words=f"more than {MUCH:g} points lost",
)


def _mixed(results: Results, published: Published, name: str) -> Finding:
    """Mixed widths against one width of the same average, both trained on."""
    mixed = losses(results, kinds.MIXED, "train").sort_values("number").iloc[0]
    uniform = losses(results, kinds.QUANTISED, "train")
    same = uniform[uniform["number"].eq(mixed["number"])]
    if same.empty:
        raise lacking(f"nets of {mixed['number']:g} bits in all layers")
    pair = paired(
        results, (kinds.MIXED, mixed["setting"]), (kinds.QUANTISED, same.iloc[0]["setting"])
    )
    told = decided(pair)
    return Finding(
        points(pair), **told,
        protocol=f"{mixed['setting']}, simulated" if told["agrees"] else None,
        reason="mixed widths less one width of the same average, "
        "both trained on; no kernel here runs them, so their speed was not tested",
    )  # fmt: skip


_BITS = "Quantisation"
_PAIRS = Tolerance(
    f"the whole 95 % interval of at least {SEEDS} paired seeds on one side of 0",
    words="above 0 by the whole interval",
)
CHECKS: dict[str, Check] = {
    "geifman/quantisation_bits_formula": Check(
        _formula, _BITS, holds("2 to the power of every width is its number of levels")
    ),
    "geifman/double_precision_bits": Check(_width("float64"), _BITS),
    "geifman/half_precision_bits": Check(_width("float16"), _BITS),
    "geifman/quantisation_saves_memory": Check(
        _memory, _BITS, holds("the file of every net is smaller with 8 bits")
    ),
    "geifman/quantisation_reduces_inference_time": Check(
        _less_time, _BITS, Tolerance("faster by the whole interval in every case timed",
                                     words="above 1 by the whole interval"),
    ),
    "cheng2025/quantisation_saves_memory_and_time": Check(
        _memory_and_time, _BITS,
        holds("every file is smaller and every case timed faster, by the whole 95 % interval"),
    ),
    "geifman/quantisation_gain_varies": Check(
        _varies, _BITS, Tolerance("two gains differ where their intervals do not meet",
                                  words="two intervals that do not meet"),
    ),
    "cheng2025/int8_size_fraction": Check(_quarter, _BITS, _QUARTER),
    "cheng2025/int8_speedup": Check(_three_times, _BITS, _THREE),
    "cheng2025/qat_better_than_ptq": Check(
        _qat,
        _BITS,
        Tolerance(
            "few bits are those at which rounding after training loses accuracy by its whole "
            f"interval; there training on has to lose less, by the whole 95 % interval of at least "
            f"{SEEDS} paired seeds",
            words="above 0 by the whole interval, wherever rounding loses",
        ),
        DATA,
    ),
    "cheng2025/ptq_quick_but_sensitive": Check(
        _sensitive, _BITS,
        Tolerance(f"more than {POINTS:g} point lost by the whole interval, at any number of bits",
                  words=f"more than {POINTS:g} point lost somewhere"), DATA,
    ),
    "cheng2025/binary_networks_lose_precision": Check(_one_bit, _BITS, _MUCH, DATA),
    "cheng2025/mixed_precision_balances": Check(_mixed, _BITS, _PAIRS, DATA),
}  # fmt: skip
