"""How well times are predicted: what follows from the tables of notebook 05, and its figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from convcost import figures, nets, predict, records
from convcost.chapters.accuracy_and_run_time.figures import prediction as drawn
from convcost.chapters.accuracy_and_run_time.findings import prediction as found
from convcost.chapters.accuracy_and_run_time.study import papers, prediction, scales
from convcost.chapters.accuracy_and_run_time.tables.prediction import TABLES
from convcost.figures import style
from convcost.predict import prices
from convcost.predict.operators import FEATURES

MODELS = ("flops", "activations", "linear", "ours")


def scores_rows(errors, *, split="design", nets="convolutional", device="rtx4090", **more):
    return [
        {"table": f"{device}.csv", "device": device, "what": "inference", "split": split,
         "nets": nets, "model": model, "begun_from": "", "rows": 10, "designs": 3, "mape": error,
         "median": error, "p90": error, "within_10": 0.5, "spearman": 0.9, "coverage_90": 0.8}
        | more
        for model, error in zip(MODELS, errors, strict=True)
    ]  # fmt: skip


@pytest.fixture
def table_scores():
    return pd.DataFrame(
        scores_rows((50, 25, 20, 7))
        + scores_rows((60, 30, 25, 9), split="lineage")
        + scores_rows((40, 20, 15, 4), split="random fold")
        + scores_rows((70, 22, 30, 13), nets="attention", rows=6)
        + scores_rows((43, 18, 15, 9), device="v100", begun_from="rtx3090")
    )


def test_a_row_a_table_has_the_errors_of_all_models_and_splits(table_scores):
    first, second = found.on_tables(table_scores).to_dict("records")
    assert [first[model] for model in MODELS] == [50, 25, 20, 7]
    assert (first["lineages"], first["random"], first["rows"]) == (9, 4, 10)
    assert (second["device"], second["ours"], second["begun_from"]) == ("v100", 9, "rtx3090")
    assert second["lineages"] is None or np.isnan(second["lineages"])
    (attending,) = found.attention(table_scores).to_dict("records")
    assert (attending["flops"], attending["ours"], attending["rows"]) == (70, 13, 6)


def test_the_worst_groups_come_first_and_small_ones_not_at_all():
    rows = [("design", "a", 9, 5.0, -1.0), ("design", "b", 9, 20.0, 20.0),
            ("design", "few", 2, 90.0, 9.0), ("work", "grouped", 9, 30.0, -30.0)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["by", "group", "nets", "mape", "bias"]).assign(
        table="t.csv", device="rtx4090", what="inference"
    )
    assert found.misses(table, "design")["group"].tolist() == ["b", "a"]
    assert found.misses(table, "work")["bias"].tolist() == [-30]


def transfer_rows():
    rows = [
        {"given": given, "draw": str(draw), "mape": error, "own_mape": 3 * error}
        for given, errors in ((1, (10, 20, 30)), (5, (8, 9, 10)))
        for draw, error in enumerate(errors)
    ] + [{"given": 5, "draw": "named", "mape": 7, "own_mape": 40}]
    return pd.DataFrame(rows).assign(
        table="t.csv", device="rtx4090", what="inference", begun_from="rtx3090", rows=9
    )


def test_transfer_has_quartiles_over_draws_and_the_named_nets_apart():
    one, five, named = found.transfer(transfer_rows()).to_dict("records")
    assert (one["median"], one["low"], one["high"], one["line"], one["draws"]) == (
        20,
        15,
        25,
        60,
        3,
    )
    assert (five["given"], five["median"]) == (5, 9)
    assert (named["given"], named["median"], named["line"], named["draws"]) == ("named", 7, 40, 1)


def own_rows():
    """Three nets of two designs, one timed in an unstable run; ours off by 0, 10 and 50 %."""
    truth = {"a1": (1.0, 1.0, True), "a2": (1.0, 1.1, True), "b1": (1.0, 1.5, False)}
    rows = []
    for model, fitted_to, factor in (
        ("ours", "made nets", 1), ("ours", "made nets and other designs", 1.05),
        ("flops", "made nets", 2), ("flops", "other designs", 1.6), ("linear", "made nets", 1.3),
    ):  # fmt: skip
        for net, (measured, predicted, stable) in truth.items():
            seconds = factor * predicted
            rows.append(
                {"net": net, "design": net[0], "input_px": 224, "what": "inference", "batch": 1,
                 "macs": 10, "model": model, "fitted_to": fitted_to, "image_s": measured,
                 "stable": stable, "predicted_s": seconds, "low_s": 0.95 * seconds,
                 "high_s": 1.05 * seconds}
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_a_loud_machine_gives_tables_without_rows():
    """Every net was timed while others kept the cores busy: it was a KeyError."""
    loud = own_rows().assign(stable=False)
    assert found.on_this_machine(loud).empty and found.here_in_short(loud).empty
    assert "what" in found.here_in_short(loud) and found.misses_here(loud).empty


def test_errors_here_leave_unstable_nets_out():
    table = found.on_this_machine(own_rows()).set_index(["model", "fitted_to"])
    ours = table.loc[("ours", "made nets")]
    assert (ours["nets"], ours["unstable"], ours["designs"]) == (2, 1, 1)
    assert ours["mape"] == pytest.approx((0 + 10) / 2)
    assert (ours["within_10"], ours["coverage_90"]) == (0.5, 0.5)  # 1.1 is a hair over 10 %
    (short,) = found.here_in_short(own_rows()).to_dict("records")
    assert short["flops"] == pytest.approx((60 + 76) / 2)  # the better of both fits
    assert short["calibrated"] == pytest.approx(5)
    assert short["more"] == pytest.approx((5 + 15.5) / 2)
    assert found.misses_here(own_rows())["bias"].tolist() == pytest.approx([5])


def test_the_noise_here_is_that_between_sessions():
    rows = pd.DataFrame(
        [
            {"net": net, "input_px": 224, "what": "inference", "batch": 1, "repetition": at,
             "calls": 2, "seconds": 2 * seconds, "stable": at != 0}
            for net, times in (("a", (1, 1, 1.1, 1.1, 1.2, 1.2)), ("b", (2, 2, 2, 2, 3, 3)))
            for at, seconds in enumerate(times)
        ]
    )  # fmt: skip
    told = found.noise_here(rows)
    assert "3 sessions one net differs by 35 %" in told.replace("35%", "35 %")  # 20 and 50 %
    assert "quiet in 83%" in told
    assert found.noise_here(rows[rows["repetition"] < 1]).startswith("One session only")


# --- the papers ----------------------------------------------------------------------------------


def cheng_rows(factors):
    from convcost.chapters.training_time.findings import paper

    seconds = paper.table_two().set_index("role")["seconds"]
    return pd.DataFrame(
        [
            {"paper": "cheng2025", "device": "rtx4090", "case": case, "item": role,
             "predicted_s": seconds[role] / 10 * (factor if role == "vgg16" else 1)}
            for case, factor in factors.items()
            for role in seconds.index
        ]
    )  # fmt: skip


def test_the_nearest_protocol_of_cheng_is_the_one_with_the_papers_ratios():
    table = papers.cheng(cheng_rows({"far": np.e**5, "near": 1}))
    assert table["case"].tolist() == ["near", "far"]
    assert table["distance"][0] == pytest.approx(0, abs=1e-9)
    assert table["distance"][1] == pytest.approx(5 * np.sqrt(4) / 5)  # one of five is off by e^5
    assert table["factor"][0] == pytest.approx(10) and table["kendall"][0] == pytest.approx(1)
    assert "1 of them are nearer" in papers.cheng_referee(table)


def test_layers_without_a_measurement_are_ranked_by_the_paper_alone():
    from convcost.chapters.relu_zero_rates.findings import paper

    published = paper.table_i()
    rows = pd.DataFrame(
        [{"paper": "atsumi2020", "device": "here", "case": "batch 1", "item": layer,
          "predicted_s": 2 * seconds} for layer, seconds in published.items()]
    )  # fmt: skip
    table = papers.atsumi(rows, None)
    assert table["published_rank"].tolist() == table["predicted_rank"].tolist()
    assert table["measured_s"].isna().all()
    (ranks,) = papers.ranks_of_layers(rows, None).to_dict("records")
    assert ranks["between"] == "published and predicted" and ranks["spearman"] == pytest.approx(1)


def test_kes_models_are_compared_on_the_same_nets():
    times, trainings = records.read("forward_times"), records.read("configuration_trainings")
    names = ["filters", "input_px", "kernel_px", "layers"]
    medians = times[times["session"] == "plan"].groupby(names)["seconds"].median()
    rows = pd.DataFrame(
        [{"paper": "ke", "device": "here", "case": "batch 100", "item": " ".join(map(str, net)),
          "predicted_s": seconds} for net, seconds in medians.items()]
    )  # fmt: skip
    table = papers.ke(rows, times, trainings).set_index(["set", "model"])
    prices_row = table.loc[("held out", "prices of work")]
    assert prices_row["nets"] == 50 and prices_row["median_percent"] < 10  # measured against itself
    assert (table.loc["held out"]["nets"] == 50).all()
    assert papers.ke(rows, None, None).empty


def test_epochs_and_layers_are_priced(monkeypatch):
    monkeypatch.setattr(papers, "SIZES", (64,))
    monkeypatch.setattr(papers, "BATCHES", (32,))
    rows = pd.DataFrame(papers.epochs()).set_index(["device", "item"])["predicted_s"]
    assert len(rows) == 2 * 5 and (rows > 0).all()
    assert rows["rtx3090", "vgg16"] > rows["rtx3090", "alexnet"]
    assert rows["rtx4090", "vgg16"] != rows["rtx3090", "vgg16"]  # validation alone differs
    here = prices.of("i7-12700h", "inference")
    layers = {row["item"]: row["predicted_s"] for row in papers.layers(here)}
    assert {"conv1", "conv2", "fc120", "fc84", "fc10"} <= set(layers)
    times = pd.DataFrame({"filters": [64, 2], "input_px": [64, 12], "kernel_px": [5, 3],
                          "layers": [3, 1], "batch": [100, 100]})  # fmt: skip
    large, small = (row["predicted_s"] for row in papers.configurations(here, times))
    assert large > 10 * small
    assert [*papers.configurations(here, None)] == []


# --- what is measured ----------------------------------------------------------------------------


def test_nets_are_chosen_by_their_published_cost_and_evenly():
    names = prediction.names_up_to(2, 150)
    assert "resnet18" in names and "resnet50" not in names and "alexnet" in names
    assert "alexnet" not in prediction.names_up_to(2, 50)  # 61 million parameters
    few = prediction.names_up_to(2, 150, 3)
    assert few == [names[0], names[round((len(names) - 1) / 2)], names[-1]]


def test_known_nets_take_their_quiet_repetitions():
    rows = pd.DataFrame(
        [
            {"net": net, "input_px": 224, "what": "inference", "batch": 2, "repetition": at,
             "calls": 1, "seconds": seconds, "stable": stable}
            for net, samples in (
                ("resnet18", ((9.0, False), (0.2, True), (0.4, True))), ("alexnet", ((0.6, False),))
            )
            for at, (seconds, stable) in enumerate(samples)
        ]
    )  # fmt: skip
    table = prediction.known_rows(rows).set_index("net")
    assert table.loc["resnet18", "seconds"] == pytest.approx(0.3 / 2)
    assert bool(table.loc["resnet18", "stable"]) and not table.loc["alexnet", "stable"]
    assert table.loc["alexnet", "seconds"] == pytest.approx(0.6 / 2)
    assert table.loc["alexnet", "macs"] == 714_188_480


def test_the_dearest_work_of_a_net_is_named():
    work = pd.DataFrame(0.0, index=range(30), columns=list(FEATURES))
    work["image"] = 1.0
    kinds = (["dense", "spatial"], ["dense", "pointwise"], ["depthwise"])
    for at in range(30):
        for name in kinds[at % 3]:
            work.loc[at, name] = 1.0 + at
    rows = work.assign(
        seconds=0.01 + work["spatial"] + work["pointwise"] + work["depthwise"], batch=1,
        design=[f"d{at // 3 % 22}" for at in range(30)], what="inference",
    )  # fmt: skip
    assert prediction.dearest(rows)[:3].tolist() == ["spatial", "pointwise", "depthwise"]


def test_every_scale_has_parts_that_can_be_planned():
    for scale in (*scales.SCALES.values(), scales.SMOKE):
        assert {what for what, *_ in scale.known_cases} == {"inference", "training"}
        assert {table for table, _ in scale.tables} <= set(prediction.DEVICES)
        assert {table for table, _ in scale.transfers} <= set(prediction.DEVICES)


# --- pictures ------------------------------------------------------------------------------------


def test_figures_are_drawn_of_tables_as_they_are_read(table_scores):
    for figure in (
        drawn.on_tables(table_scores), drawn.here(own_rows()), drawn.transfer(transfer_rows())
    ):  # fmt: skip
        figure.canvas.draw()
        plt.close(figure)
    with pytest.raises(style.NothingToDrawError):
        drawn.on_tables(table_scores[:0])
    with pytest.raises(style.NothingToDrawError):
        drawn.here(own_rows().query("what == 'training'"))


def test_where_the_time_goes_shows_the_dearest_parts():
    told = predict.time(nets.build("resnet18"), (3, 224, 224), batch=64, device="rtx4090")
    figure = drawn.where_the_time_goes(told)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == drawn.LAYERS_SHOWN and "conv1" in labels and "layer1.0" in labels
    assert "on rtx4090" in figure.axes[0].get_title(loc="left")
    plt.close(figure)
    before = plt.get_fignums()
    shown = figures.where_the_time_goes(told)
    assert "for inference of a batch of 64 on rtx4090" in shown.alt
    assert plt.get_fignums() == before  # or a notebook would show it twice


def test_every_column_that_a_finding_makes_up_is_in_its_table():
    assert set(own_rows()) == set(TABLES["own_predictions"].columns)
    assert set(transfer_rows()) == set(TABLES["transfer_scores"].columns)
