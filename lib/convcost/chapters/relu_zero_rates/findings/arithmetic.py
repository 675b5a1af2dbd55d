"""What the paper's own numbers say of each other, worked out from what it prints."""

import pandas as pd

from convcost.chapters.relu_zero_rates.findings import paper
from convcost.chapters.relu_zero_rates.findings.times import multiplications


def arithmetic() -> pd.DataFrame:
    """Every number of sections III and IV that follows from others, beside what is printed.

    Columns: what, formula (with the numbers in it), value, printed (missing where the paper prints
    no such number), agrees (with the printed digits; "over 50" agrees with everything above;
    without a printed number: whether it is possible, or missing). Percents are percents here, as
    in the paper.
    """
    rows = [*_counts(), *_times(), *_savings(), *_rates()]
    table = pd.DataFrame(rows, columns=["what", "formula", "value", "printed", "agrees"])
    return table.astype({"value": float, "printed": "Float64", "agrees": "boolean"})


def _same(what: str, formula: str, value: float, printed: float, step: float = 1) -> tuple:
    """A row that agrees where the value, rounded to the printed step, is what is printed."""
    return what, formula, value, printed, abs(value - printed) <= step / 2


def _open(what: str, formula: str, value: float) -> tuple:
    return what, formula, value, None, None


def _counts() -> list[tuple]:
    kernel, filters = paper.value("kernel_px"), paper.value("conv2_filters")
    one, two = paper.value("conv1_output_px"), paper.value("conv2_output_px")
    maps, inputs = paper.value("conv1_filters"), paper.value("fc120_inputs")
    printed = {layer: paper.value(f"{layer}_multiplications") for layer in paper.NAMED}
    table = multiplications().set_index(["reading", "layer"])["multiplications"]
    conv1, conv2, fc120 = table["equation"][list(paper.NAMED)]
    by_1 = f"{two} × {two} × {kernel} × {kernel} × {filters}"
    by_2 = f"{inputs} × {paper.value('fc120_connections')}"
    digits = paper.value("digit_last") - paper.value("digit_first") + 1
    each = paper.value("images_per_digit")
    return [
        _same(
            "images: digits times images of each",
            f"{digits} × {each}",
            digits * each,
            paper.value("timing_images"),
        ),
        _same(
            "conv1's multiplications by (1)",
            f"{one} × {one} × {kernel} × {kernel} × {maps}",
            conv1,
            printed["conv1"],
        ),
        _same("conv2's multiplications by (1)", by_1, conv2, printed["conv2"]),
        _same("fc120's multiplications by (2)", by_2, fc120, printed["fc120"]),
        _same("conv2's by (1), against fc120's printed", by_1, conv2, printed["fc120"]),
        _same("fc120's by (2), against conv2's printed", by_2, fc120, printed["conv2"]),
        _same(
            "conv2's with its input maps, which (1) leaves out",
            f"{by_1} × {maps}",
            table["exact"]["conv2"],
            printed["conv2"],
        ),
    ]


def _times() -> list[tuple]:
    seconds = paper.table_i()
    ordered = seconds.sort_values(ascending=False)
    total, ratio = seconds.sum(), paper.value("conv1_time_over_second")
    first, second = ordered.index[:2]
    by_2 = multiplications().set_index(["reading", "layer"])["multiplications"]["equation"]
    printed = {layer: paper.value(f"{layer}_multiplications") for layer in paper.NAMED}
    return [
        _open("sum of Table I, s", " + ".join(f"{s:g}" for s in seconds), total),
        _open(
            f"{first}'s share of the sum, percent",
            f"100 × {ordered.iloc[0]:g} / {total:g}",
            100 * ordered.iloc[0] / total,
        ),
        _same(
            f"{first}'s time over {second}'s, the second slowest",
            f"{ordered.iloc[0]:g} / {ordered.iloc[1]:g}",
            ordered.iloc[0] / ordered.iloc[1],
            ratio,
        ),
        _same(
            f"{first}'s multiplications over {second}'s, both by the equations",
            f"{by_2[first]:,} / {by_2[second]:,}",
            by_2[first] / by_2[second],
            ratio,
        ),
        _same(
            f"{first}'s multiplications over {second}'s, both as printed",
            f"{printed[first]:,} / {printed[second]:,}",
            printed[first] / printed[second],
            ratio,
        ),
    ]


def _savings() -> list[tuple]:
    high, filters = paper.high_filters(), paper.value("conv1_filters")
    removed, saved = (
        paper.value("removed_multiplications_percent"),
        paper.value("run_time_saving_percent"),
    )
    level = paper.value("zero_rate_conv1_high_filters")
    seconds = paper.table_i()
    conv1, total = seconds["conv1"], seconds.sum()
    third, of_conv1 = 100 * high / filters, saved / (conv1 / total)
    return [
        _same(
            "conv1's multiplications in the two filters, percent",
            f"100 × {high} / {filters}",
            third,
            removed,
        ),
        _over(
            f"zero rate at which the two filters' zeros are {removed} percent of conv1's outputs",
            f"{removed} / ({high} / {filters})",
            removed * filters / high,
            level,
        ),
        _same(
            f"run time saved if {removed} percent of conv1's time goes, percent",
            f"{removed} × {conv1:g} / {total:g}",
            removed * conv1 / total,
            saved,
            step=0.1,
        ),
        _same(
            "run time saved if both filters' part of conv1's time goes, percent",
            f"100 × {high} / {filters} × {conv1:g} / {total:g}",
            third * conv1 / total,
            saved,
            step=0.1,
        ),
        _same(
            f"share of conv1's time that {saved} percent of the sum is, percent",
            f"{saved} / ({conv1:g} / {total:g})",
            of_conv1,
            removed,
        ),
        _over(
            f"zero rate of the two filters that {saved} percent would need",
            f"{saved} / ({conv1:g} / {total:g}) / ({high} / {filters})",
            of_conv1 * filters / high,
            level,
        ),
    ]


def _over(what: str, formula: str, value: float, bound: float) -> tuple:
    """A row whose printed value is a lower bound."""
    return what, formula, value, bound, value > bound


def _rates() -> list[tuple]:
    high, filters = paper.high_filters(), paper.value("conv1_filters")
    mean, level = paper.value("zero_rate_conv1"), paper.value("zero_rate_conv1_high_filters")
    removed = paper.value("removed_multiplications_percent")
    rows = []
    for what, rate in ((f"over {level}", level), (f"at what {removed} percent needs", None)):
        rate = removed * filters / high if rate is None else rate
        left = (filters * mean - high * rate) / (filters - high)
        rows.append(
            (
                f"mean {mean} with two filters {what}: left for each of the others, percent",
                f"({filters} × {mean} − {high} × {rate:g}) / ({filters} − {high})",
                left,
                None,
                0 <= left <= level,
            )
        )
    return rows
