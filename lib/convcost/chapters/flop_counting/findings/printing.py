"""From an exact total to the digits in a table, in every way that people print one."""

from collections.abc import Callable
from decimal import Decimal

import pandas as pd

from convcost import sources
from convcost.core.units import FLOPS_PER_MAC, printed, scaled
from convcost.counting import conventions

FIVE = ("alexnet", "vgg16", "googlenet", "resnet18", "densenet121")
"""The nets of Cheng & Liu, in the order of their tables, DenseNet in its smallest variant."""

TABLE1_ROWS = {
    "table1_alexnet_gflops": "AlexNet",
    "table1_vgg16_gflops": "VGG16",
    "table1_googlenet_gflops": "GoogLeNet",
    "table1_resnet18_gflops": "ResNet18",
    "table1_densenet_gflops": "DenseNet",
}
"""Rows of Cheng & Liu's Table 1: name of the published value -> label."""

ATSUMI_PRINTED = {
    "conv1": "conv1_multiplications",
    "conv2": "conv2_multiplications",
    "fc120": "fc120_multiplications",
}
"""Layers whose multiplications Atsumi et al. print: layer -> name of the published value."""


def _double_after(mode: str) -> Callable[[int], Decimal]:
    """Print G multiply-adds with two decimals first, then double what was printed."""
    return lambda total: FLOPS_PER_MAC * Decimal(printed(total, "G", 2, mode))


def _double_before(mode: str, factor: int) -> Callable[[int], Decimal]:
    return lambda total: Decimal(printed(factor * total, "G", 2, mode))


PRINTINGS: dict[str, Callable[[int], Decimal]] = {
    "doubled, rounded": _double_before("round", FLOPS_PER_MAC),
    "doubled, truncated": _double_before("truncate", FLOPS_PER_MAC),
    "rounded, doubled": _double_after("round"),
    "truncated, doubled": _double_after("truncate"),
    "as counted, rounded": _double_before("round", 1),
    "as counted, truncated": _double_before("truncate", 1),
}
"""Ways to print a total in G with two decimals: name -> function of the exact total."""


def printings(total: int) -> dict[str, str]:
    """What each way of printing makes of a total of multiply-adds.

    Trailing zeros are dropped, as a spreadsheet does: 15.70 is printed as 15.7.

    >>> printings(714_188_480)["doubled, truncated"], printings(714_188_480)["doubled, rounded"]
    ('1.42', '1.43')
    """
    return {name: _bare(way(int(total))) for name, way in PRINTINGS.items()}


def _bare(value: Decimal) -> str:
    return f"{value.normalize():f}"


def with_printed(protocol_totals: pd.DataFrame) -> pd.DataFrame:
    """The candidates of `protocol_totals`, one row for each way of printing.

    Adds `printing`, `text` (what it prints), `gflops` (the exact value before rounding),
    `published` (the paper's text) and `matches` (the same digits).
    """
    frames = []
    for printing, way in PRINTINGS.items():
        factor = 1 if printing.startswith("as counted") else FLOPS_PER_MAC
        frames.append(
            protocol_totals.assign(
                printing=printing,
                text=[_bare(way(int(t))) for t in protocol_totals["total"]],
                gflops=[scaled(factor * int(t), "G") for t in protocol_totals["total"]],
            )
        )
    table = pd.concat(frames, ignore_index=True)
    published = {row: _bare(Decimal(sources.printed_text("cheng2025", row))) for row in TABLE1_ROWS}
    table["published"] = table["row"].map(published)
    table["matches"] = table["text"] == table["published"]
    return table


PROTOCOL = ["num_classes", "in_channels", "input_px", "aux_heads", "convention", "printing"]
"""What one protocol fixes for every net alike; the depth variant is chosen per row."""


def agreement_of_one_protocol(protocol_totals: pd.DataFrame) -> pd.DataFrame:
    """How many of the five rows each single protocol reproduces, the best first.

    One line for each combination of `PROTOCOL`: `rows` (how many of the five), one column a row
    with the net variant that prints the digits ("" where none does), and `worst_percent`, the
    largest distance of the closest variant from the printed value over the five rows.
    """
    table = _of_joint_protocols(protocol_totals)
    table["off_percent"] = 100 * (table["gflops"] / table["published"].astype(float) - 1).abs()
    matched = table[table["matches"]]
    variants = matched.pivot_table(
        index=PROTOCOL, columns="row", values="net", aggfunc=lambda nets: ", ".join(sorted(nets))
    ).reindex(columns=list(TABLE1_ROWS))
    worst = table.groupby([*PROTOCOL, "row"])["off_percent"].min().groupby(level=PROTOCOL).max()
    result = (
        variants.astype(object)
        .where(variants.notna(), "")
        .assign(rows=variants.notna().sum(axis=1), worst_percent=worst.reindex(variants.index))
    )
    return result.sort_values(["rows", "worst_percent"], ascending=[False, True]).reset_index()


def _of_joint_protocols(protocol_totals: pd.DataFrame) -> pd.DataFrame:
    """`with_printed`, so that every row has every protocol: GoogLeNet alone has auxiliary heads,
    elsewhere the two readings are the same net."""
    table = with_printed(protocol_totals)
    single = table[~table["aux_heads"]]
    with_heads = table[table["aux_heads"]]
    others = single[~single["row"].isin(with_heads["row"])].assign(aux_heads=True)
    return pd.concat([single, with_heads, others], ignore_index=True)


def joint_protocols(protocol_totals: pd.DataFrame) -> tuple[int, float]:
    """How many protocols were tried on all five rows at once, and how many would fit by chance.

    By chance: were the rows independent of each other, each printed by as many of the protocols as
    print it here, in any variant of the net.
    """
    table = _of_joint_protocols(protocol_totals)
    prints = table.groupby([*PROTOCOL, "row"])["matches"].any().unstack("row")
    return len(prints), float(len(prints) * prints.mean().prod())


_PLAIN = {"num_classes": 1000, "in_channels": 3, "input_px": 224}
_SIMPLE_FIRST = ("macs-only", "torch-flopcounter", "thop", "fvcore")


def plainest(candidates: pd.DataFrame) -> pd.Series:
    """Of several candidates the one that assumes least.

    That is the one that departs least from 1000 classes, 3 channels and 224 px without auxiliary
    heads, then the best-known counter, then the simplest way of printing.
    """
    order = candidates.assign(
        _departures=sum((candidates[key] != value).astype(int) for key, value in _PLAIN.items())
        + candidates["aux_heads"].astype(int),
        _counter=[
            _SIMPLE_FIRST.index(key) if key in _SIMPLE_FIRST else len(_SIMPLE_FIRST)
            for key in candidates["convention"]
        ],
        _manner=[list(PRINTINGS).index(key) for key in candidates["printing"]],
    )
    return order.sort_values(["_departures", "_counter", "_manner", "net", "convention"]).iloc[0]


def in_words(candidate: pd.Series) -> str:
    """One candidate protocol as a phrase."""
    heads = ", auxiliary heads counted" if candidate["aux_heads"] else ""
    return (
        f"{candidate['convention']} on {candidate['net']} at {candidate['input_px']} px, "
        f"{candidate['in_channels']} channels, {candidate['num_classes']} classes{heads}, "
        f"{candidate['printing']}"
    )


def plain_counts(net_counts: pd.DataFrame) -> pd.DataFrame:
    """The rows of nets for 1000 classes, 3 channels and 224 px, in evaluation mode."""
    plain = (net_counts[list(_PLAIN)] == list(_PLAIN.values())).all(axis=1)
    return net_counts[plain & ~net_counts["training"]]


def plain_against_printed(net_counts: pd.DataFrame) -> pd.DataFrame:
    """Table 1 beside the plain count of each net its rows may mean.

    The plain count is two operations per multiply-add of convolutions and linear layers, by
    `plain_counts`. One row per net: label, net, printed, gflops, ratio (ours over printed).
    """
    plain = plain_counts(net_counts).set_index("net")["flops"]
    rows = []
    for row, label in TABLE1_ROWS.items():
        for net in [n for n in plain.index if n.startswith(label.lower())]:
            gflops = scaled(int(plain[net]), "G")
            text = sources.printed_text("cheng2025", row)
            ratio = gflops / float(text)
            rows.append(
                {"row": label, "net": net, "printed": text, "gflops": gflops, "ratio": ratio}
            )
    return pd.DataFrame(rows)


def best_candidates(protocol_totals: pd.DataFrame) -> pd.DataFrame:
    """For each row of Table 1: how many candidates print its digits, and the plainest of them."""
    every = with_printed(protocol_totals)
    rows = []
    for row, label in TABLE1_ROWS.items():
        mine = every[every["row"] == row]
        matches = mine[mine["matches"]]
        chosen = plainest(matches) if len(matches) else None
        rows.append(
            {
                "row": label,
                "printed": sources.printed_text("cheng2025", row),
                "candidates": len(mine),
                "print these digits": len(matches),
                "plainest of them": "none" if chosen is None else in_words(chosen),
                "exact G": None if chosen is None else chosen["gflops"],
            }
        )
    return pd.DataFrame(rows)


def atsumi_printed() -> pd.Series:
    """The multiplications that Atsumi et al. print: layer -> number."""
    return pd.Series(
        {layer: sources.value("atsumi2020", name) for layer, name in ATSUMI_PRINTED.items()},
        dtype="Int64",
    )


def separable_sums(separable_example: pd.DataFrame) -> pd.DataFrame:
    """The post's four numbers beside formula and trace, and its sum and ratio worked out.

    Columns: step, printed, by formula, traced, equal.
    """
    by_step = separable_example.set_index("step")
    names = {
        "depthwise": "dsc_depthwise_macs",
        "pointwise": "dsc_pointwise_macs",
        "separable": "dsc_total_macs",
        "regular": "dsc_regular_macs",
    }
    rows = []
    for step, name in names.items():
        printed_value = sources.value("geifman", name)
        formula, traced = (int(by_step.loc[step, c]) for c in ("by_formula", "traced"))
        rows.append(
            {
                "step": step,
                "printed": printed_value,
                "by formula": formula,
                "traced": traced,
                "equal": printed_value == formula == traced,
            }
        )
    return pd.DataFrame(rows)


def ke_baseline(ke_baseline_sums: pd.DataFrame) -> pd.DataFrame:
    """Ke's C(T0) in each architecture reading, for two readings of the exponent of alpha_1.

    The paper prints alpha_1 = 0.626 x 10^7 (the sign of the exponent is lost) and sets C(T0) to 1.
    `needed alpha_1` is what would make it so with the printed alpha_0.
    """
    alpha_0 = sources.value("ke", "alpha_0")
    mantissa = Decimal(sources.printed_text("ke", "alpha_1")).scaleb(-7).normalize()
    table = ke_baseline_sums.drop(columns="run_id", errors="ignore").copy()
    for exponent in (-7, -8):
        alpha_1 = float(mantissa.scaleb(exponent))
        table[f"C(T0), alpha_1 = {mantissa}e{exponent}"] = alpha_1 * table["sum"] + alpha_0
    table["needed alpha_1"] = (1 - alpha_0) / table["sum"]
    return table


def halves() -> pd.DataFrame:
    """Table 1 as twice a number of G multiply-adds with two decimals: row, printed, half."""
    rows = []
    for row, label in TABLE1_ROWS.items():
        text = sources.printed_text("cheng2025", row)
        half = Decimal(text) / FLOPS_PER_MAC
        rows.append(
            {
                "row": label,
                "printed, GFLOPs": text,
                "half of it, GMACs": f"{half:.3f}",
                "has two decimals": half == half.quantize(Decimal("0.01")),
            }
        )
    return pd.DataFrame(rows)


def conventions_compared(convention_totals: pd.DataFrame, net: str) -> pd.DataFrame:
    """One net in every convention, and what each does with what is no multiply-add."""
    rows = []
    mine = convention_totals[convention_totals["net"] == net].sort_values("total")
    for row in mine.itertuples():
        convention = conventions.get(row.convention)
        rows.append(
            {
                "convention": row.convention,
                "unit": row.unit,
                "total": row.total,
                **{a: convention.describe.get(a, "not counted") for a in _COMPARED},
                "calls counted as zero": row.silent_zero_calls,
            }
        )
    return pd.DataFrame(rows)


_COMPARED = ("bias", "batch norm", "activation", "pooling", "unknown operator")
