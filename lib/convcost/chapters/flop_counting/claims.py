"""Checks of notebook 01: everything that can be counted."""

from dataclasses import replace

import pandas as pd

from convcost.chapters.flop_counting import findings as protocols
from convcost.claims import citations
from convcost.claims.lookup import one
from convcost.claims.verdicts import Check, Compute, Evidence, Finding, Published, Tolerance, holds
from convcost.core.units import SCALES
from convcost.records import Results

# --- Table 1 of Cheng & Liu ------------------------------------------------------------------


def _table1(results: Results, published: Published, name: str) -> Finding:
    """What the protocol that fits most rows of the table gives for this one."""
    totals = results.table("protocol_totals")
    common = protocols.agreement_of_one_protocol(totals).iloc[0]
    mine = protocols.with_printed(totals[totals["row"] == name])
    matches = mine[mine["matches"]]
    if matches.empty:
        near = mine.loc[(mine["gflops"] - published(name)).abs().idxmin()]
        return Finding(
            round(near["gflops"], 4),
            agrees=False,
            reason=f"none of {len(mine):,} candidate protocols prints {published.text(name)}; "
            f"the nearest is {protocols.in_words(near)}",
            evidence=Evidence(tried=len(mine)),
        )
    under_common = matches[(matches[protocols.PROTOCOL] == common[protocols.PROTOCOL]).all(axis=1)]
    best = protocols.plainest(matches if under_common.empty else under_common)
    return Finding(
        round(best["gflops"], 4),
        agrees=True,
        protocol=protocols.in_words(best),
        reason=f"prints {best['text']}; "
        + (
            "needs a protocol of its own"
            if under_common.empty
            else f"the same protocol gives {common['rows']} of {len(protocols.TABLE1_ROWS)} rows"
        ),
        evidence=_tried(totals),
    )


def _tried(totals: pd.DataFrame) -> Evidence:
    tried, by_chance = protocols.joint_protocols(totals)
    return Evidence(tried=tried, by_chance=by_chance, how="all five rows by one protocol")


# --- equations -------------------------------------------------------------------------------


def _equation(number: str) -> Compute:
    def compute(results: Results, published: Published, name: str) -> Finding:
        table = results.table("equation_checks")
        rows = table[table["equation"] == number]
        equal = int((rows["by_equation"] == rows["traced"]).sum())
        return Finding(
            f"equal in {equal} of {len(rows)} layers",
            agrees=equal == len(rows) > 0,
            protocol="as restored: its symbols are lost in the text",
            reason="the restored equation against the traced multiply-adds of real layers",
            evidence=Evidence(len(rows), "layers"),
        )

    return compute


def _atsumi_equation(layers: tuple[str, ...]) -> Compute:
    def compute(results: Results, published: Published, name: str) -> Finding:
        table = results.table("lenet_multiplications")
        values = table.pivot(index="layer", columns="reading", values="multiplications")
        off = [layer for layer in layers if values["equation"][layer] != values["exact"][layer]]
        reason = "; ".join(
            f"{layer}: equation {values['equation'][layer]:,}, exact {values['exact'][layer]:,} "
            f"({values['exact'][layer] / values['equation'][layer]:g} times)"
            for layer in off
        )
        return Finding(
            f"exact for {len(layers) - len(off)} of {len(layers)} layers",
            agrees=not off,
            reason=reason,
        )

    return compute


def _printed_multiplications(layer: str) -> Compute:
    def compute(results: Results, published: Published, name: str) -> Finding:
        table = results.table("lenet_multiplications")
        table = table[table["reading"] == "equation"]
        ours, theirs = int(one(table, layer=layer)["multiplications"]), published(name)
        if ours == theirs:
            return Finding(ours, reason="by the paper's own equation")
        twins = table.loc[table["multiplications"] == theirs, "layer"].tolist()
        swapped = f", which is what they give for {' and '.join(twins)}" if twins else ""
        return Finding(
            ours,
            contradiction=f"the paper's equations give {ours:,} for {layer}; it prints "
            f"{theirs:,}{swapped}",
        )

    return compute


def _lenet_shape(fact: str) -> Compute:
    return lambda results, published, name: Finding(_fact(results, fact))


def _ke_sum(results: Results, published: Published, name: str) -> Finding:
    table = results.table("ke_baseline_sums")
    equal = int((table["sum"] == table["traced"]).sum())
    return Finding(
        f"sum exact in {equal} of {len(table)} readings",
        agrees=equal == len(table) > 0,
        reason="the sum equals the traced multiply-adds of the convolutions of T0 in every "
        "architecture reading; whether run time is a line over it is for notebook 04",
    )


# --- the separable example -------------------------------------------------------------------


def _traced(results: Results, step: str) -> int:
    return int(one(results.table("separable_example"), step=step)["traced"])


def _separable(step: str) -> Compute:
    def compute(results: Results, published: Published, name: str) -> Finding:
        row = one(results.table("separable_example"), step=step)
        if row["by_formula"] != row["traced"]:
            return Finding(int(row["traced"]), agrees=False, reason="formula and trace differ")
        return Finding(int(row["traced"]), reason="by formula and traced in a real layer")

    return compute


def _separable_formula(step: str) -> Compute:
    def compute(results: Results, published: Published, name: str) -> Finding:
        traced = _traced(results, step)
        value = 1
        for factor in published.text(name).split("*"):
            value *= int(factor)
        return Finding(f"{value:,}", agrees=value == traced, reason=f"traced: {traced:,}")

    return compute


def _separable_ratio(results: Results, published: Published, name: str) -> Finding:
    regular, separable = (_traced(results, step) for step in ("regular", "separable"))
    return Finding(
        round(regular / separable, 4),
        reason=f"{regular:,} / {separable:,}; 9 is the limit for endless output "
        "channels, never reached",
    )


def _separable_description(results: Results, published: Published, name: str) -> Finding:
    traced = _traced(results, "depthwise")
    depthwise = published("dsc_depthwise_macs")
    mixing = depthwise * published("dsc_input_channels")
    if depthwise != traced:
        return Finding("not decided", agrees=False, reason="its depthwise product is not traced")
    return Finding(
        f"depthwise {traced:,}",
        contradiction="the post's own product for the depthwise step, "
        f"{published.text('dsc_depthwise_formula')} = {depthwise:,}, has no sum over channels; a "
        f"kernel that mixes them would need {mixing:,}. The two descriptions are exchanged",
    )


# --- small facts about nets ------------------------------------------------------------------


def _fact(results: Results, fact: str) -> float:
    value = float(one(results.table("net_facts"), fact=fact)["value"])
    return int(value) if value.is_integer() else value


def _detail(results: Results, fact: str) -> str:
    return str(one(results.table("net_facts"), fact=fact)["detail"])


def _number(fact: str) -> Compute:
    return lambda results, published, name: Finding(
        _fact(results, fact), reason=_detail(results, fact)
    )


def _holds(fact: str) -> Compute:
    """For statements: the fact's value is 1 where it holds, 0 where it does not."""

    def compute(results: Results, published: Published, name: str) -> Finding:
        holds = _fact(results, fact) == 1
        return Finding(
            "holds" if holds else "does not hold", agrees=holds, reason=_detail(results, fact)
        )

    return compute


def _parameters(net: str, unit: str = "") -> Compute:
    def compute(results: Results, published: Published, name: str) -> Finding:
        params = int(one(results.table("parameter_counts"), net=net)["params"])
        return Finding(params / SCALES[unit], reason=f"{params:,} parameters")

    return compute


def _additions_ignored(results: Results, published: Published, name: str) -> Finding:
    """Equations (1) and (2) against the multiplications, and Table 1 against twice as many."""
    layers = results.table("equation_checks")
    exact = (layers["by_equation"] == layers["traced"]).all()
    once = _fact(results, "multiplications_per_mac") == 1
    return Finding(
        "multiplications",
        agrees=bool(exact and once),
        reason="equations (1) to (4) give one per multiply-add on every layer tried; Table 1 is "
        "headed FLOPs and holds twice as many",
    )


def _between_8_and_9(results: Results, published: Published, name: str) -> Finding:
    finding = _separable_ratio(results, published, name)
    limit = published(name)
    return replace(finding, agrees=limit - 0.5 < finding.value < limit)


_SAME_DIGITS = Tolerance(
    "one protocol for the whole table is looked for first; a row that only a protocol of its own "
    "prints says so",
    words="the same digits, under a protocol of counting",
)
_ABOUT = Tolerance("printed with 'about' and one or two leading digits", relative=0.05)
_WHOLE_MILLIONS = Tolerance("printed in whole millions", absolute=0.5)
_APPROXIMATE = Tolerance("called an approximation: the first addition is to nothing", relative=0.01)
_ALMOST = Tolerance("printed as 'almost 9': above 8.5, from where it rounds to it, and below 9",
                    words="8.5 to 9")  # fmt: skip
_TENS_OF_MILLIONS = Tolerance("110 is read as two digits: tens of millions", absolute=5.0)
_EVERY_LAYER = holds("it gives the traced multiply-adds of every layer")
_TRIED = holds("it does in the layer or net that was traced or run")

_TABLE1 = "Table 1: which protocol prints these digits?"
_EQUATIONS = "Equations (1) to (4): formula, code, traced layer"
_LENET = "LeNet's multiplications"
_DSC = "The depthwise-separable example, digit by digit"
_KE = "The sum of Ke, Cao and Lv"
_PARAMS = "Parameters that the texts name"
_FACTS = "Small statements, tried out"

CHECKS = {
    **{f"cheng2025/{row}": Check(_table1, _TABLE1, _SAME_DIGITS) for row in protocols.TABLE1_ROWS},
    "cheng2025/eq1_fully_connected_macs": Check(_equation("(1)"), _EQUATIONS, _EVERY_LAYER),
    "cheng2025/eq2_convolution_macs": Check(_equation("(2)"), _EQUATIONS, _EVERY_LAYER),
    "cheng2025/eq3_group_convolution_macs": Check(_equation("(3)"), _EQUATIONS, _EVERY_LAYER),
    "cheng2025/eq4_depthwise_separable_macs": Check(_equation("(4)"), _EQUATIONS, _EVERY_LAYER),
    "cheng2025/mac_multiplications": Check(_number("multiplications_per_mac"), _FACTS),
    "cheng2025/mac_additions": Check(_number("additions_per_mac"), _FACTS),
    "cheng2025/additions_ignored": Check(_additions_ignored, _EQUATIONS, _EVERY_LAYER),
    "cheng2025/flops_from_macs": Check(_holds("flops_about_twice_macs"), _FACTS, _TRIED),
    "cheng2025/flops_per_mac": Check(_number("flops_per_mac"), _FACTS, _APPROXIMATE),
    "cheng2025/lenet5_parameters": Check(_parameters("lenet5_1998"), _PARAMS, _ABOUT),
    "cheng2025/vgg16_parameters": Check(_parameters("vgg16", "M"), _PARAMS, _WHOLE_MILLIONS),
    "cheng2025/bert_parameters": Check(_parameters("bert_base", "M"), _PARAMS, _TENS_OF_MILLIONS),
    "cheng2025/tinybert_parameters": Check(_parameters("tinybert4", "M"), _PARAMS, _WHOLE_MILLIONS),
    "cheng2025/lenet5_layer_types": Check(_holds("lenet5_layer_types"), _FACTS, _TRIED),
    "cheng2025/feature_maps_equal_kernels": Check(_holds("maps_equal_kernels"), _FACTS, _TRIED),
    "cheng2025/pooling_keeps_maximum": Check(citations.compare, _FACTS, citations.RULE),
    "cheng2025/pooling_some_invariance": Check(_holds("max_pool_some_invariance"), _FACTS, _TRIED),
    "cheng2025/vgg_layers_min": Check(_number("vgg16_weighted_layers"), _FACTS),
    "cheng2025/vgg_layers_max": Check(_number("vgg19_weighted_layers"), _FACTS),
    "cheng2025/vgg_kernel_px": Check(_number("vgg_kernel_px"), _FACTS),
    "cheng2025/inception_reduction_kernel_px": Check(_number("inception_kernel_px"), _FACTS),
    "cheng2025/inception_reduces_parameters": Check(
        _holds("inception_saves_parameters"), _FACTS, _TRIED
    ),
    "cheng2025/pointwise_kernel_px": Check(_number("pointwise_kernel_px"), _FACTS),
    "cheng2025/dsc_reduces_computation": Check(_holds("separable_is_cheaper"), _DSC, _TRIED),
    "atsumi2020/conv1_multiplications": Check(_printed_multiplications("conv1"), _LENET),
    "atsumi2020/conv2_multiplications": Check(_printed_multiplications("conv2"), _LENET),
    "atsumi2020/fc120_multiplications": Check(_printed_multiplications("fc120"), _LENET),
    "atsumi2020/eq1_convolution_multiplications": Check(
        _atsumi_equation(("conv1", "conv2")), _LENET, _EVERY_LAYER
    ),
    "atsumi2020/eq2_fully_connected_multiplications": Check(
        _atsumi_equation(("fc120", "fc84", "fc10")), _LENET, _EVERY_LAYER
    ),
    **{
        f"atsumi2020/{name}": Check(_lenet_shape(f"lenet_{name}"), _LENET)
        for name in ("input_px", "kernel_px", "conv1_output_px", "conv2_output_px", "fc120_inputs")
    },
    "geifman/dsc_split_description": Check(
        _separable_description, _DSC, holds("its words fit its own product, which is traced")
    ),
    "geifman/dsc_depthwise_formula": Check(_separable_formula("depthwise"), _DSC),
    "geifman/dsc_pointwise_formula": Check(_separable_formula("pointwise"), _DSC),
    "geifman/dsc_depthwise_macs": Check(_separable("depthwise"), _DSC),
    "geifman/dsc_pointwise_macs": Check(_separable("pointwise"), _DSC),
    "geifman/dsc_total_macs": Check(_separable("separable"), _DSC),
    "geifman/dsc_regular_macs": Check(_separable("regular"), _DSC),
    "geifman/dsc_ratio": Check(_between_8_and_9, _DSC, _ALMOST),
    "geifman/dsc_expressivity_differs": Check(_holds("separable_less_expressive"), _DSC, _TRIED),
    "ke/multiplications_per_point": Check(_holds("kernel_area_per_point"), _KE, _TRIED),
    "ke/eq1_complexity": Check(
        _ke_sum, _KE, holds("the sum is the traced multiply-adds in every reading of T0")
    ),
}
