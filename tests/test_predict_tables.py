"""Prices of work, fitted to tables of nets and times, judged on designs that no fit has seen."""

import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from convcost import nets, predict
from convcost.application.cli import main
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError
from convcost.core.extras import MissingPackageError
from convcost.counting.count import count
from convcost.nets import made as made_nets
from convcost.predict import calibration, prices, pricing, tables, timm_nets, validation
from convcost.predict.operators import FEATURES, SPENT_ON, of_call, of_net

PRICES = {"spatial": 3e-3, "pointwise": 2e-3, "depthwise": 9e-2, "moved": 1e-3, "calls/batch": 2e-5}


def amounts(module, *shape, training=False):
    counted = count(module, shape, training=training)
    return of_call(counted.calls[-1], training=training)


# --- the work of a call --------------------------------------------------------------------------


def test_a_convolution_is_counted_under_its_kind_and_its_channels():
    found = amounts(nn.Conv2d(32, 96, 3, stride=2, padding=1), 32, 8, 8)
    macs = 32 * 96 * 3 * 3 * 4 * 4 / 1e9
    assert found["spatial"] == found["dense"] == found["spatial, strided"] == macs
    assert found["dense, 32 to 63 channels"] == macs  # 32 in, 96 out: the fewer count
    assert found["dense over channels in"] == pytest.approx(macs * 64 / 32)
    assert found["spatial written"] == 96 * 4 * 4 / 1e6
    assert found["moved"] == (32 * 8 * 8 + 96 * 4 * 4) / 1e6
    assert found["weights/batch"] == (32 * 96 * 3 * 3 + 96) / 1e6
    assert "spatial, odd shape" not in found and "unaligned" not in found


@pytest.mark.parametrize(
    ("module", "shape", "kind", "macs"),
    [
        (nn.Conv2d(3, 8, 7), (3, 9, 9), "stem", 3 * 8 * 7 * 7 * 3 * 3),
        (nn.Conv2d(16, 8, 1), (16, 5, 5), "pointwise", 16 * 8 * 5 * 5),
        (nn.Conv2d(16, 16, 3, groups=16), (16, 5, 5), "depthwise", 16 * 3 * 3 * 3 * 3),
        (nn.Conv2d(16, 16, 3, groups=4), (16, 5, 5), "grouped", 16 * 4 * 3 * 3 * 3 * 3),
        (nn.Conv2d(16, 16, (1, 3)), (16, 5, 5), "spatial, odd shape", 16 * 16 * 3 * 5 * 3),
        (nn.Conv2d(16, 16, 3, dilation=2), (16, 7, 7), "spatial, dilated", 16 * 16 * 9 * 3 * 3),
        (nn.Linear(16, 10), (16,), "vector products", 16 * 10),
        (nn.Linear(16, 10), (7, 16), "linear", 7 * 16 * 10),
    ],
)
def test_kinds_of_products(module, shape, kind, macs):
    assert amounts(module, *shape)[kind] == macs / 1e9


def test_training_counts_the_gradients_of_products():
    net = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
    macs = 8 * 8 * 9 * 6 * 6
    assert amounts(net, 8, 10, 10)["spatial"] == macs / 1e9
    assert amounts(net, 8, 10, 10, training=True)["spatial"] == 3 * macs / 1e9


@pytest.mark.parametrize(
    ("module", "kind", "moved"),
    [
        (nn.BatchNorm2d(8), "batch norm", 2 * 8 * 6 * 6),
        (nn.ReLU(), "relu", 2 * 8 * 6 * 6),
        (nn.GELU(), "gelu", 2 * 8 * 6 * 6),
        (nn.MaxPool2d(2), "pool", 8 * 6 * 6 + 8 * 3 * 3),
        (nn.MaxPool2d(2), "pool windows", 8 * 3 * 3 * 2 * 2),
        (nn.AdaptiveAvgPool2d(1), "reduction", 8 * 6 * 6 + 8),
        (nn.GroupNorm(2, 8), "other norm", 2 * 8 * 6 * 6),
    ],
)
def test_kinds_of_what_multiplies_nothing(module, kind, moved):
    assert amounts(module, 8, 6, 6)[kind] == moved / 1e6


def test_views_and_dropout_in_evaluation_are_no_work():
    assert amounts(nn.Flatten(), 8, 6, 6) == {}
    assert amounts(nn.Dropout(0.5), 8, 6, 6) == {}


def test_a_net_is_the_sum_of_its_calls_and_every_amount_has_a_meaning():
    net = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    counted = count(net, (8, 10, 10))
    found = of_net(counted, training=True, tensors=4)
    assert found["spatial"] == pytest.approx(
        (8 * 8 * 9 * 8 * 8 * 2 + 8 * 8 * 9 * 6 * 6 * 3) / 1e9  # the first: no gradient of images
    )
    assert (found["image"], found["calls/batch"], found["tensors/batch"]) == (1, 3, 4 / 100)
    assert found["parameters/batch"] == 2 * (8 * 8 * 9 + 8) / 1e6
    assert set(found) <= set(FEATURES)


# --- prices --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made():
    """Nets of timm whose times are made of known prices, and nothing else."""
    there = timm_nets.stored().query("what == 'inference' and input_px == 224")
    there = there[pricing.is_plain(there[list(FEATURES)])]
    some = [there.groupby("design").head(4), there[there["net"] == "resnet18"]]
    rows = pd.concat(some).assign(batch=8, params_millions=np.nan).reset_index(drop=True)
    work = pricing.per_image(rows[list(PRICES)], rows["batch"])
    return rows.assign(seconds=work @ np.array(list(PRICES.values())))


def test_times_made_of_prices_are_found_again_for_unseen_designs(made):
    predicted = validation.leave_one_design_out(made)
    ours = validation.scores(made, predicted["ours"])
    flops = validation.scores(made, predicted["flops"])
    assert made["design"].nunique() > 20
    assert ours["mape"] < 5 and ours["within_10"] > 0.9 and ours["spearman"] > 0.995
    assert flops["mape"] > 20
    assert 0.85 <= ours["coverage_90"] <= 1


def test_a_designs_own_times_have_no_say_in_its_prediction(made):
    strange = made["design"] == "resnet"
    assert 0 < strange.sum() < len(made)
    before = validation.leave_one_design_out(made)
    after = validation.leave_one_design_out(
        made.assign(seconds=made["seconds"].where(~strange, 100 * made["seconds"]))
    )
    pd.testing.assert_frame_equal(after[strange], before[strange])
    assert (after["ours"][~strange] != before["ours"][~strange]).any()


def test_work_of_few_designs_gets_no_price(made):
    rare = made.assign(roll=made["design"].isin(["resnet", "vgg", "dla"]).astype(float))
    fitted = pricing.fit(rare[list(FEATURES)], rare["seconds"], rare["batch"], rare["design"])
    assert "roll" not in fitted.everything.seconds
    assert (fitted.everything.seconds >= 0).all()


def test_what_is_done_once_a_batch_is_shared_by_its_images():
    work = pd.DataFrame({"moved": [6.0, 6.0], "calls/batch": [12.0, 12.0]})
    assert pricing.per_image(work, [1, 4]).tolist() == [[6, 12], [6, 12 / 4]]
    with pytest.raises(BadInputError, match="a batch of 0"):
        pricing.per_image(work, [0, 1])


def test_nets_with_products_of_results_are_priced_by_one_list_others_by_two(made):
    mixed = pd.concat([made, made.assign(attention=1.0)], ignore_index=True)
    fitted = pricing.fit(mixed[list(FEATURES)], mixed["seconds"], mixed["batch"], mixed["design"])
    attending = mixed[len(made) :]
    one = fitted.everything.of(mixed[list(FEATURES)], mixed["batch"])
    both = fitted.of(mixed[list(FEATURES)], mixed["batch"])
    two = fitted.plain.of(made[list(FEATURES)], made["batch"])
    assert fitted.plain.rows == len(made) and fitted.everything.rows == 2 * len(made)
    assert both[len(made) :] == pytest.approx(one[len(made) :])
    assert both[: len(made)] == pytest.approx(np.sqrt(one[: len(made)] * two))
    assert not pricing.is_plain(attending[list(FEATURES)]).any()


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_times_that_are_none_are_refused(made, bad):
    with pytest.raises(BadInputError, match="not above 0"):
        pricing.fit(
            made[list(FEATURES)], [bad, *made["seconds"][1:]], made["batch"], made["design"]
        )


def test_too_few_designs_are_refused(made):
    three = made[made["design"].isin(["resnet", "vgg", "dla"])]
    with pytest.raises(BadInputError, match=r"3 design\(s\) are too few"):
        pricing.fit(three[list(FEATURES)], three["seconds"], three["batch"], three["design"])


def test_the_interval_counts_designs_and_not_nets():
    ratios = np.array([1.0] * 98 + [2.0, 0.5])  # one family of 98, and two others
    low, high = pricing.interval(ratios, ["a"] * 98 + ["b", "c"])
    assert low < 0.6 and high > 1.8  # a third of the designs is at either end
    assert pricing.interval(ratios, range(100)) == pytest.approx((1, 1))
    # "b" and "c" lie outside of what the others say
    assert pricing.covered(ratios, ["a"] * 98 + ["b", "c"]).tolist() == [True] * 98 + [False] * 2


# --- tables --------------------------------------------------------------------------------------


def csv(tmp_path, text):
    path = tmp_path / "times.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("head", "cells"),
    [
        ("net,batch,seconds", "resnet18,4,0.02"),
        ("model,batch_size,ms", "resnet18,4,20"),
        ("name,seconds_per_image,batch", "resnet18,0.005,4"),
        ("net,ms_per_image,batch", "resnet18,5,4"),
        ("net,images_per_s,batch", "resnet18,200,4"),
        ("model,infer_samples_per_sec,infer_batch_size,infer_img_size", "resnet18.a1,200,4,224"),
        ("model,train_samples_per_sec,train_batch_size,train_img_size", "resnet18.a1,200,4,224"),
    ],
)
def test_units_of_times(tmp_path, head, cells):
    (row,) = tables.read(csv(tmp_path, f"{head}\n{cells}\n")).to_dict("records")
    assert row["seconds"] == pytest.approx(0.02 / 4)
    assert (row["net"], row["input_px"], row["batch"]) == ("resnet18", 224, 4)
    assert row["what"] == ("training" if "train" in head else "inference")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net,top1\nresnet18,69.8\n", r"no column of times \(it has net, top1\): name one of"),
        ("speed,seconds\n1,2\n", "no column of names of nets"),
        ("net,seconds\nvgg11,1\nresnet18,0\n", r"line 3: seconds is 0.* a number above 0"),
        ("net,seconds\nvgg11,fast\n", r"line 2: seconds is fast"),
        ("net,seconds,batch\nvgg11,1,-4\n", "line 2: batch is -4"),
        ("net,seconds,what\nvgg11,1,guessing\n", "what is 'guessing': choose from"),
        ("", "cannot be read as a CSV"),
    ],
)
def test_what_is_no_table_of_times_is_refused(tmp_path, text, message):
    with pytest.raises(BadInputError, match=message):
        tables.read(csv(tmp_path, text))


def test_rows_that_cannot_be_used_are_named_with_the_reason(tmp_path):
    path = csv(
        tmp_path,
        "net,seconds,param_count\nresnet18,0.01,11.69\nresnet50,0.02,99\nnobody_net,0.1,1\n",
    )
    rows, dropped = tables.joined(tables.read(path))
    assert rows["net"].tolist() == ["resnet18"]
    assert rows["macs"].tolist() == [1_814_073_344] and rows["design"].tolist() == ["resnet"]
    assert dropped["net"].tolist() == ["resnet50", "nobody_net"]
    assert "25.56 million parameters today, in the table 99.00" in dropped["reason"][0]
    assert "no stored net of timm" in dropped["reason"][1]


def test_a_net_of_torchvision_is_counted(tmp_path):
    rows, _ = tables.joined(tables.read(csv(tmp_path, "net,seconds\nalexnet,0.01\n")))
    assert rows["macs"].tolist() == [714_188_480]
    assert rows["design"].tolist() == ["alexnet"]
    assert rows["pool windows"][0] == pytest.approx(
        (64 * 27 * 27 + 192 * 13 * 13 + 256 * 6 * 6) * 3 * 3 / 1e6
    )


def test_times_in_another_unit_are_noticed(tmp_path):
    with pytest.raises(BadInputError, match=r"resnet18 would do .* is the column .* another unit"):
        tables.joined(tables.read(csv(tmp_path, "net,seconds\nresnet18,1e-9\n")))


def test_every_stored_net_stands_once_and_its_work_adds_up():
    table = timm_nets.stored()
    assert not table.duplicated(list(timm_nets.KEY)).any()
    assert (table[list(FEATURES)] >= 0).all(axis=None)
    inference = table[table["what"] == "inference"]
    products = ["vector products", "stem", "dense", "grouped", "depthwise", "attention", "matmul",
                "recurrent"]  # fmt: skip
    parts = inference[products].sum(axis=1) * 1e9 / inference["macs"]
    # relative positions are multiplied once a batch, from weights alone: they are in no image
    positions = inference["design"].str.contains("maxxvit|swin_transformer_v2|vision_transformer")
    assert parts[~positions].between(1 - 1e-4, 1 + 1e-4).all()
    assert parts[positions].between(0.9, 1 + 1e-4).all()


# --- few nets: from the prices of others ---------------------------------------------------------


def of_others(made, kinds=("gpu",), times=None):
    """A table of few nets of a device that multiplies twice, and moves three times as fast."""
    like = prices.begin_from("inference", kinds)["rtx4090"]
    scale = {"compute": 1 / 2, "memory": 1 / 3, "launch": 1} if times is None else times
    lists = like.everything.seconds * [scale[SPENT_ON[n]] for n in like.everything.seconds.index]
    device = pricing.Model(pricing.Prices(lists, 9, 9), None)
    return made.assign(seconds=device.of(made[list(FEATURES)], made["batch"])), like


def test_few_nets_scale_the_prices_of_another_device(made):
    timed, like = of_others(made)
    one_list = dataclasses.replace(like, plain=None)
    few = timed.groupby("design").head(1).head(5)
    fitted = pricing.transferred(few[list(FEATURES)], few["seconds"], few["batch"], [one_list])
    found = fitted.of(timed[list(FEATURES)], timed["batch"])
    off = np.abs(found / timed["seconds"] - 1)
    assert off.mean() < 0.06
    alone = pricing.transferred(few[list(FEATURES)][:1], few["seconds"][:1], few["batch"][:1],
                                [one_list])  # fmt: skip
    one = alone.of(few[list(FEATURES)][:1], few["batch"][:1])
    assert one[0] == pytest.approx(few["seconds"].iloc[0], rel=0.02)
    with pytest.raises(BadInputError, match="one net or more"):
        pricing.transferred(few[list(FEATURES)][:0], [], [], [one_list])


def test_the_same_prices_stay_as_they_are(made):
    timed, like = of_others(made, times=dict.fromkeys(("compute", "memory", "launch"), 1))
    one_list = dataclasses.replace(like, plain=None)
    fitted = pricing.transferred(
        timed[list(FEATURES)], timed["seconds"], timed["batch"], [one_list]
    )
    there = fitted.everything.seconds.reindex(like.everything.seconds.index)
    assert there.to_numpy() == pytest.approx(like.everything.seconds.to_numpy(), rel=1e-6)


def test_training_begins_from_three_times_what_moving_costs():
    used = prices.begin_from("inference", ["gpu"])["rtx4090"].everything.seconds
    trained = prices.begin_from("training", ["gpu"])["rtx4090"].everything.seconds
    assert trained["dense"] == used["dense"] > 0
    assert trained["moved"] == 3 * used["moved"] > 0
    assert trained["calls/batch"] == 3 * used["calls/batch"]
    assert set(prices.begin_from("inference", ["cpu"])) == {"i7-12700h"}


def test_a_table_of_five_nets_is_judged_by_what_others_charge(made, tmp_path, capsys):
    timed, _ = of_others(made)
    designs = ["resnet", "vgg", "densenet", "regnet", "mobilenetv3"]
    few = timed[timed["design"].isin(designs)].groupby("design").head(1)
    few = few.assign(ms=few["seconds"] * few["batch"] * 1e3)
    path = tmp_path / "few.csv"
    few[["net", "input_px", "batch", "ms"]].to_csv(path, index=False)
    found = predict.report(path)
    assert found["begun_from"] == ["rtx3090", "rtx4090"] and found["left_out"] == "design"
    ours, line = (found["models"][name] for name in ("ours", "linear"))
    assert ours["mape"] < 0.7 * line["mape"] and ours["coverage_90"] == 0.8
    assert {"lineages", "random_folds"} <= set(found)
    fitted = predict.fit(path)
    rest = timed[~timed["design"].isin(designs)]
    off = np.abs(fitted.of(rest[list(FEATURES)], rest["batch"]) / rest["seconds"] - 1)
    assert off.mean() < 0.15
    assert main(["predict", "--fit", str(path)]) == 0
    assert "ours begins from the prices of rtx3090 and rtx4090" in capsys.readouterr().out


def test_nets_of_one_design_are_left_out_one_by_one(tmp_path):
    path = csv(tmp_path, "net,ms\nresnet18,10\nresnet34,18\nresnet50,21\n")
    found = predict.report(path)
    assert (found["rows"], found["designs"], found["left_out"]) == (3, 1, "net")
    assert found["models"]["ours"]["mape"] < 30
    path = csv(tmp_path, "net,ms\nresnet18,10\n")
    with pytest.raises(BadInputError, match="1 rows can be used; two or more are needed"):
        predict.report(path)
    assert predict.fit(path).everything.rows == 1
    with pytest.raises(BadInputError, match="no row can be used"):
        predict.fit(csv(tmp_path, "net,ms\nnobody_net,10\n"))


def test_related_designs_are_one_lineage():
    rows = pd.DataFrame({"design": ["resnet", "regnet", "efficientnet", "vgg", "nobody"]})
    assert validation.lineages(rows).tolist() == ["residual", "residual", "mobile", "vgg", "nobody"]
    stored = set(timm_nets.stored()["design"])
    alone = stored - set(validation.LINEAGE_OF)
    assert alone == {"vgg"}  # every other module of timm was looked at


def test_random_folds_hold_each_row_once():
    found = validation.folds(pd.DataFrame({"net": range(12)}))
    assert sorted(found.value_counts()) == [2, 2, 2, 3, 3]


def test_a_table_may_bring_the_work_of_its_nets(tmp_path):
    head = "net,seconds,batch,design,params,macs,acts,moved,spatial"
    rows, dropped = tables.joined(
        tables.read(csv(tmp_path, f"{head}\nmine,0.5,2,own,10,1e9,20,3,1\nother,1,2,b,1,1e9,2,,1"))
    )
    assert dropped.empty and rows["design"].tolist() == ["own", "b"]
    assert rows["seconds"].tolist() == [0.25, 0.5] and rows["moved"].tolist() == [3, 0]
    assert rows["spatial"].tolist() == [1, 1] and rows["dense"].tolist() == [0, 0]
    with pytest.raises(BadInputError, match="but no column macs"):
        tables.read(csv(tmp_path, "net,seconds,design,params,moved\nmine,1,own,1,2\n"))
    with pytest.raises(BadInputError, match="line 2: an amount of work is no number"):
        tables.read(csv(tmp_path, f"{head}\nmine,0.5,2,own,10,1e9,20,-3,1\n"))


def test_a_table_of_both_uses_gives_the_one_that_is_asked_for(tmp_path):
    lines = ("net,ms,what", "resnet18,10,inference", "resnet18,40,training", "vgg11,9,inference")
    path = csv(tmp_path, "\n".join(lines))
    assert tables.read(path, "training")["seconds"].tolist() == [0.04]
    assert len(tables.read(path)) == 3
    with pytest.raises(BadInputError, match="times of inference and training: choose one"):
        predict.report(path)


def test_pyclss_timing_file_is_read_as_it_is(tmp_path):
    path = tmp_path / "model_timing.json"
    times = {"test_fw_time": 0.05, "train_fw_bw_time": 0.32, "train_fw_time": 0.1}
    path.write_text(json.dumps({"ResNet-50": times, "date-created": "2020", "Nobody": times}))
    (used,) = tables.read(path, "inference").to_dict("records")
    assert (used["net"], used["batch"], used["seconds"]) == ("resnet50", 25, 0.05 / 25)
    (trained,) = tables.read(path, "training").to_dict("records")
    assert (trained["batch"], trained["seconds"]) == (32, 0.32 / 32)
    assert len(tables.read(path)) == 2
    for text, words in (
        ("{}", "no times of pycls's nets"),
        ('{"ResNet-50": {}}', "is None, no time"),
        ('{"ResNet-50"', "model_timing.json"),
    ):
        path.write_text(text)
        with pytest.raises(ConvcostError, match=words):
            tables.read(path, "inference")
    for net in tables._pycls_settings():
        for what in ("inference", "training"):
            work, reason = tables._work(net["net"], int(net["input_px"]), what)
            assert work is not None, reason


# --- a machine's own prices ----------------------------------------------------------------------


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(prices, "OWN", tmp_path)
    monkeypatch.setenv("CONVCOST_MACHINE", "here")
    return tmp_path


def test_this_machine_has_no_prices_before_it_is_calibrated(own_folder):
    with pytest.raises(BadInputError, match=r"This machine \(here\) gets its own by .* calibrate"):
        predict.time(nn.Linear(2, 2), (2,))


def pretended(slowness):
    """Rounds that take no time: what a device of known prices would take for the made nets."""

    def measure(number, what, batch, **options):
        like = prices.begin_from(what, ["cpu"])["i7-12700h"]
        rows = []
        for style in styles:
            model, shape = made_nets.made(style, number)
            counted = count(model, shape, training=what == "training")
            row = timm_nets.row(f"{style} {number}", shape[1], what, style, counted, 9)
            row["design"] = f"made {style}"
            work = pd.DataFrame([row]).reindex(columns=list(FEATURES)).fillna(0.0)
            seconds = slowness * float(like.of(work, [batch])[0])
            rows.append(row | {"batch": batch, "seconds": seconds, "stable": True})
        return rows

    styles = list(made_nets.STYLES)
    return measure


def test_a_calibrated_machine_predicts_without_a_name(own_folder, monkeypatch, capsys):
    monkeypatch.setattr(calibration, "round_of", pretended(slowness=5))
    assert main(["calibrate", "--cpu", "--minutes", "0.001", "--threads", "1"]) == 0
    shown = capsys.readouterr().out
    assert "inference: round 2, 24 nets" in shown
    assert re.search(r"here +training +24", shown)
    assert {path.name for path in own_folder.iterdir()} == {
        "here-inference.json", "here-inference.csv", "here-training.json", "here-training.csv"
    }  # fmt: skip
    here = predict.time(nets.build("resnet18"), (3, 224, 224))
    there = predict.time(nets.build("resnet18"), (3, 224, 224), device="i7-12700h")
    assert here.device == "here" and here.low < here.seconds < here.high
    assert here.seconds == pytest.approx(5 * there.seconds, rel=0.15)
    assert (predict.devices()["source"] == "calibrated").sum() >= 2
    table = pd.read_csv(own_folder / "here-inference.csv")
    assert len(table) == 24 and table["stable"].all() and (table["seconds"] > 0).all()
    assert main(["predict", "resnet18"]) == 0
    assert "of a batch of 1 on here, predicted" in capsys.readouterr().out


def test_a_round_times_one_made_net_of_each_style():
    rows = calibration.round_of(0, "training", 1, threads=1, repetitions=1)
    assert [row["design"] for row in rows] == [f"made {style}" for style in made_nets.STYLES]
    assert all(row["seconds"] > 0 and row["batch"] == 1 and row["macs"] > 0 for row in rows)
    assert all(row["tensors/batch"] > 0 for row in rows)


def test_rounds_end_when_the_time_is_used():
    begun = []
    measure = lambda number, what, batch: begun.append((number, batch)) or []  # noqa: E731
    assert len([*calibration.rounds("inference", "cpu", 1e-9, measure)]) == 2
    assert begun == [(0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "abacus"}, "choose cpu or cuda"),
        ({"device": "cuda"}, "torch finds no GPU here"),
        ({"whats": ["thinking"]}, "what is 'thinking'"),
        ({"minutes": 0}, "0 minutes: more than 0"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(options, message):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(BadInputError, match=message):
        calibration.calibrate(**options)


@pytest.mark.parametrize("style", made_nets.STYLES)
def test_made_nets_run_forward_and_back_and_are_the_same_again(style):
    for seed in range(3):
        model, shape = made_nets.made(style, seed)
        out = model(torch.randn(2, *shape))
        assert out.shape == (2, made_nets.CLASSES)
        out.sum().backward()
        again, same = made_nets.made(style, seed)
        assert same == shape and str(again) == str(model)


def test_made_nets_are_of_many_sizes():
    macs = [count(*made_nets.made(style, seed)).macs for style in made_nets.STYLES
            for seed in range(4)]  # fmt: skip
    assert max(macs) > 20 * min(macs) and len(set(macs)) == len(macs)
    with pytest.raises(BadInputError, match="no style is called 'odd'"):
        made_nets.made("odd", 0)


# --- a net on a device ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(made, tmp_path_factory):
    """Prices of a device, as those of a table that is made of them."""
    folder = tmp_path_factory.mktemp("prices")
    path = folder / "made.csv"
    made[["net", "input_px", "batch"]].assign(seconds_per_image=made["seconds"]).to_csv(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prices, "FOLDER", folder)
        return calibration.store(path, "made", "a device of five prices")


@pytest.fixture
def other_device(stored, tmp_path, monkeypatch):
    """These prices are all that are known."""
    monkeypatch.setattr(prices, "FOLDER", tmp_path)
    monkeypatch.setattr(prices, "OWN", tmp_path / "own")
    return Path(shutil.copy(stored, tmp_path))


def test_a_stored_device_predicts_a_net_and_each_of_its_calls(other_device, made):
    found = predict.time(nets.build("resnet18"), (3, 224, 224), batch=8, device="made")
    (wanted,) = made.query("net == 'resnet18'")["seconds"] * 8
    assert found.seconds == pytest.approx(wanted, rel=0.06)
    assert found.low < found.seconds < found.high
    parts = found.table[["compute", "memory", "launch"]]
    assert found.table["seconds"].sum() == pytest.approx(found.seconds)
    assert parts.sum(axis=1).to_numpy() == pytest.approx(found.table["seconds"].to_numpy())
    assert len(found.table) == len(count(nets.build("resnet18"), (3, 224, 224)).calls) + 1
    conv = found.table.query("path == 'layer3.1.conv2'").iloc[0]
    assert (conv["op"], conv["spent_on"]) == ("conv", "compute")
    assert found.extrapolated == "" and "By operator: conv" in found.why()
    larger = predict.time(nets.build("resnet18"), (3, 224, 224), batch=16, device="made")
    assert "No batch of 16 was timed there: 8 to 8." in larger.why()


def test_the_table_of_known_devices_tells_their_errors(other_device):
    (row,) = predict.devices().to_dict("records")
    assert (row["device"], row["what"], row["source"]) == ("made", "inference", "made.csv")
    assert row["mape"] < 5 and row["designs"] > 20


def test_work_that_no_price_is_known_of_is_named(other_device):
    class Unusual(nn.Module):
        def forward(self, x):
            return torch.sort(x, 1)[0]

    found = predict.time(nn.Sequential(nn.Linear(64, 64), Unusual()), (64,), device="made")
    assert "other" in found.unpriced and "taken as free: " in found.why()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "abacus"}, r"no prices of 'abacus' for inference .* made \(inference\)"),
        ({"device": "made", "what": "training"}, "no prices of 'made' for training"),
        ({"device": "made", "what": "thinking"}, "what is 'thinking'"),
        ({"device": "made", "batch": 0}, "a batch of 0"),
        ({"device": "made", "batch": 1.5}, "a batch of 1.5"),
    ],
)
def test_what_cannot_be_predicted_is_refused(other_device, options, message):
    with pytest.raises(BadInputError, match=message):
        predict.time(nn.Linear(2, 2), (2,), **options)


def test_a_damaged_file_of_prices_is_named(other_device):
    text = other_device.read_text()
    for damaged in (text.replace('"everything"', '"nothing"'), "[]", text[:-20]):
        other_device.write_text(damaged)
        with pytest.raises(DamagedFileError, match=r"made-inference\.json"):
            predict.devices()


def test_the_committed_devices_are_those_of_their_tables():
    known = predict.devices()
    known = known[known["source"] != "calibrated"]
    assert known["device"].tolist() == ["i7-12700h", "rtx3090", "rtx3090", "rtx4090"]
    assert (known["mape"] < 14).all() and (known["designs"] > 50).all()
    told = (Path(__file__).parents[1] / "README.md").read_text()
    assert f"RTX 4090, times are off by {known['mape'].iloc[3]:.1f} % on average" in told
    found = predict.time(nets.build("resnet50"), (3, 224, 224), batch=256, device="rtx4090")
    # timm's table: 4302.84 images a second in batches of 1024 (this net was fitted to)
    assert found.seconds == pytest.approx(256 / 4302.84, rel=0.05)


def test_counting_nets_of_timm_anew_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackageError, match=r'pip install "convcost\[timm\]"'):
        next(timm_nets.collect([("resnet18", 224, "inference")]))


# --- the command ---------------------------------------------------------------------------------


def test_the_command_says_the_errors_beside_those_of_simpler_models(made, tmp_path, capsys):
    path = tmp_path / "made.csv"
    made[["net", "input_px", "batch"]].assign(
        ms=made["seconds"] * made["batch"] * 1e3
    ).to_csv(path, index=False)  # fmt: skip
    with path.open("a") as file:
        file.write("nobody_net,224,8,5\n")
    assert main(["predict", "--fit", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["designs"]) == (len(made), made["design"].nunique())
    assert [one["net"] for one in found["dropped"]] == ["nobody_net"]
    assert list(found["models"]) == ["flops", "activations", "linear", "ours"]
    assert set(found["models"]["ours"]) == {
        "mape", "median", "p90", "within_10", "spearman", "coverage_90"
    }  # fmt: skip
    assert found["models"]["ours"]["mape"] < 5 < found["models"]["linear"]["mape"]

    other = tmp_path / "other.csv"
    made.head(9)[["net"]].assign(batch=8, seconds=made["seconds"] * 8 * 2).to_csv(other)
    assert main(["predict", "--fit", str(path), "--test", str(other)]) == 0
    shown = capsys.readouterr().out
    assert "convolutional networks: 9 rows" in shown and "1 rows were left out" in shown
    assert main(["predict", "--fit", str(path), "--test", str(other), "--json"]) == 0
    ours = json.loads(capsys.readouterr().out)["models"]["ours"]
    assert ours["median"] == pytest.approx(50, abs=5)  # that machine takes twice as long
    assert ours["coverage_90"] == 0


def test_the_command_predicts_a_net(capsys):
    assert main(["predict", "resnet18", "--device", "rtx4090", "--batch", "64"]) == 0
    shown = capsys.readouterr().out
    assert "for inference of a batch of 64 on rtx4090, predicted" in shown
    assert "layer" in shown and "conv1" in shown
    assert main(["predict", "resnet18", "--device", "rtx4090", "--batch", "64", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["low"] < told["seconds"] < told["high"]
    assert sum(call["seconds"] for call in told["calls"]) == pytest.approx(told["seconds"])
    assert main(["predict"]) == 0
    assert re.search(r"rtx3090 +training", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resnet18", "--device", "abacus"], "no prices of 'abacus'"),
        (["nobody_net", "--device", "rtx4090"], "nobody_net"),
        (["resnet18", "--fit", "x.csv"], "leave the net and --device out"),
        (["--test", "x.csv"], "add --fit TABLE.csv"),
        (["--fit", "there_is_none.csv"], "there_is_none.csv cannot be read as a CSV"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(words, message, capsys):
    assert main(["predict", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_command_refuses_what_it_cannot_fit(tmp_path, capsys):
    path = csv(tmp_path, "net,seconds\nresnet18,0.01\nnobody_net,1\n")
    assert main(["predict", "--fit", str(path)]) == 2
    said = capsys.readouterr().err
    assert "1 rows can be used; two or more are needed" in said
    assert "nobody_net: no stored net of timm" in said
