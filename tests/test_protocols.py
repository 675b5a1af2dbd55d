"""Table 1's search and the confrontations of notebook 01, against products worked out by hand."""

import doctest

import pandas as pd
import pytest

from convcost import records
from convcost.chapters.flop_counting import findings as protocols
from convcost.chapters.flop_counting import study as confront
from convcost.chapters.flop_counting.findings import printing
from convcost.sources import equations

PLAIN = {"num_classes": 1000, "in_channels": 3, "input_px": 224, "aux_heads": False}


def candidate(row, net, total, convention="macs-only", **changes):
    return PLAIN | {"row": row, "net": net, "convention": convention, "total": total} | changes


def test_examples_in_docstrings_hold():
    assert doctest.testmod(printing).attempted >= 1
    assert doctest.testmod(printing).failed == 0


def test_six_ways_to_print_one_total():
    assert protocols.printings(7_845_841_056) == {
        "doubled, rounded": "15.69",  # 15.691682112
        "doubled, truncated": "15.69",
        "rounded, doubled": "15.7",  # 2 * 7.85
        "truncated, doubled": "15.68",  # 2 * 7.84
        "as counted, rounded": "7.85",
        "as counted, truncated": "7.84",
    }


def test_matches_need_the_same_digits():
    table = pd.DataFrame(
        [
            candidate("table1_vgg16_gflops", "vgg16", 15_470_264_320),
            candidate("table1_vgg16_gflops", "vgg16", 15_466_209_280, num_classes=10),
        ]
    )
    matches = protocols.with_printed(table)
    matches = matches[matches["matches"]]
    plain = matches[matches["num_classes"] == 1000]["printing"].tolist()
    assert set(plain) == {
        "doubled, rounded",
        "doubled, truncated",
        "rounded, doubled",
        "truncated, doubled",
    }
    ten = matches[matches["num_classes"] == 10]["printing"].tolist()
    assert ten == ["rounded, doubled"]  # 2 * 15.466 = 30.932, but 15.47 doubled is 30.94


def test_one_protocol_must_hold_for_all_rows_at_once():
    rows = [
        candidate("table1_vgg16_gflops", "vgg16", 15_470_264_320),
        candidate("table1_alexnet_gflops", "alexnet", 714_188_480),
        candidate("table1_resnet18_gflops", "resnet18", 1_814_073_344),
        candidate("table1_resnet18_gflops", "resnet18", 1_824_033_792, convention="thop"),
    ]
    one = protocols.agreement_of_one_protocol(pd.DataFrame(rows))
    best = one.iloc[0]
    assert (best["convention"], best["rows"]) == ("macs-only", 2)
    assert one[one["convention"] == "thop"]["rows"].max() == 1


def test_googlenets_heads_do_not_split_the_other_rows():
    rows = [
        candidate("table1_vgg16_gflops", "vgg16", 15_470_264_320),
        candidate("table1_googlenet_gflops", "googlenet", 1_510_000_000, aux_heads=True),
    ]
    best = protocols.agreement_of_one_protocol(pd.DataFrame(rows)).iloc[0]
    assert best["aux_heads"] and best["rows"] == 2


def test_plainest_departs_least():
    rows = pd.DataFrame(
        [
            candidate("table1_vgg16_gflops", "vgg16", 1, input_px=227, printing="doubled, rounded"),
            candidate("table1_vgg16_gflops", "vgg16", 2, "thop", printing="doubled, rounded"),
            candidate("table1_vgg16_gflops", "vgg16", 3, printing="doubled, truncated"),
        ]
    )
    assert protocols.plainest(rows)["total"] == 3


@pytest.fixture(scope="module")
def table1():
    return pd.DataFrame(confront.table1_totals(sizes=(224,)))


def test_one_protocol_gives_all_of_table_1(table1):
    """thop at 224 px, 3 channels, 1000 classes, DenseNet161, G with two decimals, then doubled."""
    best = protocols.agreement_of_one_protocol(table1).iloc[0]
    assert best["rows"] == 5
    found = {key: best[key] for key in (*PLAIN, "convention", "printing")}
    assert found == PLAIN | {"convention": "thop", "printing": "rounded, doubled"}
    assert best["table1_densenet_gflops"] == "densenet161"


def test_table_1_candidates_are_exact(table1):
    def total(net, convention="macs-only", **options):
        mine = table1[(table1["net"] == net) & (table1["convention"] == convention)]
        for key, value in (PLAIN | options).items():
            mine = mine[mine[key] == value]
        return mine["total"].item()

    assert total("vgg16") == 15_470_264_320
    # one class fewer saves 4096 products, one channel fewer the first kernel's third
    assert total("vgg16") - total("vgg16", num_classes=10) == 4096 * 990
    assert total("vgg16") - total("vgg16", in_channels=1) == 2 * 3 * 3 * 64 * 224 * 224
    heads = total("googlenet", aux_heads=True) - total("googlenet")
    assert heads == (512 + 528) * 128 * 4 * 4 + 2 * (128 * 4 * 4 * 1024 + 1024 * 1000)


def test_equations_hold_on_every_layer():
    rows = pd.DataFrame(confront.equation_checks())
    assert set(rows["equation"]) == {"(1)", "(2)", "(3)", "(4)"}
    assert (rows["by_equation"] == rows["traced"]).all()
    layers = rows.groupby("equation").size()
    assert layers["(1)"] == 3 + 3 + 1 + 1 + 1 + 1 + 1  # the last two: ResNeXt, MobileNet
    assert layers["(3)"] == (3 + 4 + 6 + 3) + 17  # ResNeXt's blocks, MobileNet's depthwise ones
    assert layers["(4)"] == 17  # inverted residual blocks


def test_lenet_by_three_readings():
    rows = pd.DataFrame(confront.lenet_multiplications())
    found = rows.pivot(index="layer", columns="reading", values="multiplications")
    assert found.loc["conv1"].to_dict() == dict.fromkeys(
        ("equation", "exact", "sparse-1998"), 24 * 24 * 5 * 5 * 6
    )
    assert found.loc["conv2", "equation"] == 8 * 8 * 5 * 5 * 16
    assert found.loc["conv2", "exact"] == 8 * 8 * 5 * 5 * 6 * 16
    assert found.loc["conv2", "sparse-1998"] == 8 * 8 * 5 * 5 * 60
    assert found.loc["fc120", "exact"] == 16 * 4 * 4 * 120


def test_separable_example_and_sweep():
    rows = pd.DataFrame(confront.separable_example()).set_index("step")
    assert (rows["by_formula"] == rows["traced"]).all()
    assert rows.loc["separable", "traced"] == 3 * 3 * 64 * 112 * 112 + 64 * 112 * 112 * 128
    sweep = pd.DataFrame(confront.separable_sweep())
    assert (sweep["regular_macs"] < sweep["separable_macs"] * sweep["kernel"] ** 2).all()


def test_ke_baseline_in_each_reading():
    rows = pd.DataFrame(confront.ke_baseline_sums())
    assert (rows["sum"] == rows["traced"]).all()
    rgb = rows[
        (rows["in_channels"] == 3)
        & (rows["padding"] == "same")
        & (rows["pool"].str.startswith("2 x 2"))
    ]
    assert rgb["sum"].item() == equations.ke_sum([(3, 5, 64, 64), (64, 5, 64, 32), (64, 5, 64, 16)])
    shown = protocols.ke_baseline(rows).set_index(["in_channels", "padding", "pool"])
    value = shown.loc[(3, "same", "2 x 2, stride 2"), "C(T0), alpha_1 = 0.626e-8"]
    assert value == pytest.approx(0.626e-8 * 150_732_800 + 0.014)


def test_parameters_that_texts_name():
    found = {r["net"]: r["params"] for r in confront.parameter_counts()}
    assert found["lenet5_1998"] == 156 + 12 + 1516 + 32 + 48_120 + 10_164
    assert found["vgg16"] == 138_357_544
    assert found["bert_base"] == 109_482_240
    assert found["tinybert4"] == 14_350_248


def test_facts_are_found_by_trying():
    facts = {r["fact"]: r["value"] for r in confront.net_facts()}
    assert facts["vgg16_weighted_layers"] == 13 + 3
    assert facts["vgg19_weighted_layers"] == 16 + 3
    assert facts["lenet_fc120_inputs"] == 16 * 4 * 4
    for fact in ("maps_equal_kernels", "max_pool_keeps_maximum", "separable_less_expressive"):
        assert facts[fact] == 1, fact


def test_literal_loops_do_what_the_formula_says():
    multiplications, additions = confront._literal_convolution(2, 3, 3, 4)
    assert multiplications == additions == 3 * 3 * 2 * 3 * 4 * 4


@pytest.mark.parametrize("name", ["layer_counts", "net_counts", "convention_totals", "input_sweep"])
def test_rows_fit_their_tables(name):
    options = {"layer_counts": {"names": ("alexnet",)}, "input_sweep": {"names": ("alexnet",)}}
    options["convention_totals"] = {"names": ("alexnet",)}
    rows = pd.DataFrame(getattr(confront, name)(**options.get(name, {}))).assign(run_id="test")
    frame = rows[[*records.TABLES[name].columns, "run_id"]]
    assert len(records._validate(name, frame, "rows")) > 0
