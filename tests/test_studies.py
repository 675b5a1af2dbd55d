"""The experiments of the notebooks, at the smallest scale, on the stand-in."""

import base64
import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from convcost import datasets, nets, records, sources
from convcost.chapters.relu_zero_rates.study import Study
from convcost.chapters.relu_zero_rates.study import measurements as relu_measurements
from convcost.chapters.relu_zero_rates.study import scales as relu_scales
from convcost.chapters.relu_zero_rates.study.measurements import pruned_nets_of_seed
from convcost.chapters.relu_zero_rates.study.scales import SCALES, WHOLE
from convcost.core import paths
from convcost.measuring import sparse
from convcost.sweep import planned
from convcost.training import Recipe

TINY = replace(
    SCALES["quick"],
    seeds=2,
    recipe=replace(relu_scales.TEXTBOOK, epochs=1),
    other=((Recipe(epochs=1), 1),),
    train_images=500,
    watched=(replace(relu_scales.TEXTBOOK, epochs=1),),
    watched_epochs=(1, 2),
    watched_seeds=1,
    original_recipe=Recipe(epochs=1),
    original_seeds=1,
    saving_sessions=2,
    saving_repetitions=2,
    pruned_seeds=1,
    removed={"conv1": (2,), "conv2": (6,)},
    tuned={"conv1": (2,)},
    from_scratch={"conv1": (2,)},
    tuning_images=200,
    repetitions=2,
    fashion_nets=("squeezenet1_1",),
    fashion_images=64,
    fashion_px=32,
    fashion_recipe=replace(relu_scales.FASHION_RECIPE, epochs=1),
    alexnet_seeds=1,
    tried_images=20,
    sparse_cases=("small",),
    zero_rates=(0.0, 0.9),
    sparse_repetitions=2,
)


def here(function, plan, *_, **__):
    """`sweep.run` in this process, as far as a study sees of it."""
    function = getattr(relu_measurements, function.partition(":")[2])
    rows = [unit | row for unit in plan for row in function(**unit)]
    return SimpleNamespace(rows=pd.DataFrame(rows))


def lenet(seed):
    """The net of the first recipe that the study trained from this seed."""
    told = {"recipe": asdict(TINY.recipe), "train_images": 500, "together": False, "device": "cpu"}
    (trained,) = relu_measurements.kept_lenets(seeds=[seed], **told)
    return trained


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study on scikit-learn's digits that keeps its nets in a folder of its own."""
    raw = tmp_path_factory.mktemp("raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CONVCOST_DATA", raising=False)
        patch.setattr(paths, "RAW", raw)
        patch.setattr(
            datasets, "load", lambda *a, of=datasets.load: of(*a, download=False, raw=raw)
        )
        # workers are other processes: they would not see this folder
        patch.setattr(planned, "run", here)
        relu_measurements.both_splits.cache_clear()
        relu_measurements.counted_images.cache_clear()
        yield Study("quick", TINY)
        relu_measurements.both_splits.cache_clear()
        relu_measurements.counted_images.cache_clear()


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Writes rows as a notebook does, into a folder of its own; they come out as written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "LOCAL_RESULTS", tmp_path_factory.mktemp("results"))
        yield records.start_run("03-relu-zero-rates", "quick", data=[], seeds=[0]).write


def test_every_scale_is_within_the_net():
    for scale in SCALES.values():
        for counts in (scale.removed, scale.tuned, scale.from_scratch):
            assert all(0 < n < 6 for n in counts.get("conv1", ()))
            assert all(0 < n < 16 for n in counts.get("conv2", ()))
        assert all(set(n) <= set(scale.removed[layer]) for layer, n in scale.tuned.items())
        assert scale.zero_rates[0] == 0 and list(scale.zero_rates) == sorted(scale.zero_rates)
    assert SCALES["cpu"].seeds >= 100 and SCALES["cpu"].pruned_seeds >= 20
    assert SCALES["quick"].seeds >= 8 and SCALES["cpu"].train_images is None
    # the paper's level has a meaning in this normalisation only
    assert {s.recipe.normalisation for s in SCALES.values()} == {"-1..1"}


def test_only_long_trainings_have_workers(study):
    """A worker's start costs seconds of a processor, which the trainings of a quick run do not."""
    for profile, expected in (("quick", [False, True, True]), ("cpu", [False] * 3)):
        of = Study(profile, SCALES[profile])
        plans = of._lenets, of._fashion_nets, of._pruned
        assert [planned.options["here"] for planned in plans] == expected


def test_what_counts_has_one_thread_in_any_process():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        count = relu_measurements._one_thread(
            lambda **_: ({"n": torch.get_num_threads()} for _ in "ab")
        )
        assert count(seed=0) == [{"n": 1}, {"n": 1}]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    counting = relu_measurements.zeros_of_net, relu_measurements.pruned_nets_of_seed
    assert all(hasattr(function, "__wrapped__") for function in counting)


def test_the_lenets_and_their_zeros(study, checked):
    trainings = checked("lenet_trainings", study.lenet_trainings())
    # two seeds of the first recipe, one of each other initialisation and normalisation, one other
    assert len(trainings) == 2 + (3 * 3 - 1) + 1
    assert (trainings["train_images"] == 500).all()
    layers = checked("layer_zero_rates", study.layer_zero_rates())
    assert len(layers) == 11 * 4 * 10  # nets, layers, digits
    assert set(layers["layer"]) == {"conv1", "conv2", "fc120", "fc84"}
    filters = checked("filter_zero_rates", study.filter_zero_rates())
    assert len(filters) == 2 * (6 + 16) * 10
    images = len(study.chosen) // 10
    assert (filters["total"][filters["layer"] == "conv1"] == images * 24 * 24).all()
    # both tables say the same of a layer
    names = ["training", "initialisation", "normalisation"]
    first = (layers[names] == layers.loc[0, names]).all(axis=1)
    for layer in ("conv1", "conv2"):
        of_layers = layers[first & (layers["layer"] == layer)].groupby("seed")["zeros"].sum()
        of_filters = filters[filters["layer"] == layer].groupby("seed")["zeros"].sum()
        assert of_layers.to_dict() == of_filters.to_dict()
    # and what a plain count says of one net
    trained = lenet(1)
    with torch.inference_mode():
        maps = trained.net()[:2](trained.scaling(study.chosen.images))
    mine = filters[(filters["seed"] == 1) & (filters["layer"] == "conv1")]
    assert mine["zeros"].sum() == int((maps == 0).sum())


def test_a_net_behind_its_first_epoch_is_the_net_of_one_epoch(study, checked):
    """At a constant rate; so one training gives the nets of several numbers of epochs."""
    table = checked("zero_rates_by_epoch", study.zero_rates_by_epoch()).set_index("epoch")
    assert table.index.tolist() == [1, 2]
    assert table["training"].str.endswith(("1 epoch", "2 epochs")).all()
    trained = lenet(0)  # of one epoch, by the trainings of the first recipe
    test = study.mnist[1]
    assert table.loc[1, "test_correct"] == round(trained.test_accuracy[-1] * len(test))
    with torch.inference_mode():
        maps = trained.net()[:2](trained.scaling(study.chosen.images))
    assert table.loc[1, "conv1_zeros"] == int((maps == 0).sum())
    assert table.loc[1, "conv1_total"] == maps.numel()
    of_filters = (maps == 0).double().mean((0, 2, 3)).tolist()
    assert json.loads(table.loc[1, "conv1_filters"]) == pytest.approx(of_filters, abs=1e-6)
    # filters are left out behind the last epoch only
    without = table[["without_high_zeros_correct", "without_random_correct"]]
    assert without.loc[1].isna().all() and without.loc[2].notna().all()


def test_the_net_of_1998_is_trained_on_images_of_its_size(study, checked):
    (row,) = checked("original_trainings", study.original_trainings()).to_dict("records")
    assert (row["input_px"], row["epochs"], row["train_images"]) == (32, 1, 500)


def test_the_whole_net_and_the_smaller_one_take_turns_in_sessions(study, checked):
    table = checked("saving_times", study.saving_times())
    assert len(table) == 2 * 2 * 2  # sessions, batches, repetitions
    assert (table[["whole_s", "smaller_s"]] > 0).all(axis=None) and set(table["batch"]) == {1, 64}


def test_activation_maps_are_the_nets_own(study, checked):
    table = checked("activation_maps", study.activation_maps())
    assert len(table) == 10 * (1 + 6 + 16)
    row = table[(table["digit"] == 3) & (table["layer"] == "conv1") & (table["filter"] == 4)]
    levels = np.frombuffer(base64.b64decode(row["levels"].item()), np.uint8).reshape(24, 24)
    image = study.chosen.images[np.flatnonzero(study.chosen.labels == 3)[0]][None]
    trained = lenet(0)
    with torch.inference_mode():
        map_ = trained.net()[:2](trained.scaling(image))[0, 4].numpy()
    assert np.array_equal(levels == 0, map_ == 0) and row["zeros"].item() == (map_ == 0).sum()
    assert np.corrcoef(levels.ravel(), map_.ravel())[0, 1] > 0.99


def test_dark_pixels_by_hand(study, checked):
    table = checked("dark_pixels", study.dark_pixels())
    test = study.mnist[1]
    row = table[(table["preparation"] == "as it is") & (table["chosen"] == "all")]
    row = row[row["digit"] == 1]
    # v / 127.5 - 1 <= -0.9 for grey levels up to 127.5 * 0.1 = 12.75
    assert row["dark"].item() == int((test.images[test.labels == 1] <= 12).sum())
    padded = table[table["preparation"].str.startswith("padded") & (table["chosen"] == "all")]
    assert padded["total"].sum() == len(test) * 32 * 32


def test_times(study, checked):
    layers = checked("layer_times", study.layer_times())
    images = layers.groupby("batch")["images"].unique()
    printed = sources.value("atsumi2020", "timing_images")
    assert images[1].tolist() == [printed] and images[64].tolist() == [1024]
    pruned = checked("pruned_times", study.pruned_times())
    macs = pruned.drop_duplicates(["layer", "removed"]).set_index(["layer", "removed"])["macs"]
    rest = 24 * 24 * 5 * 5 * 6, 8 * 8 * 5 * 5 * 6 * 16, 256 * 120, 120 * 84 + 84 * 10
    assert macs[WHOLE, 0] == sum(rest)
    assert macs["conv1", 2] == rest[0] * 4 // 6 + rest[1] * 4 // 6 + rest[2] + rest[3]
    assert macs["conv2", 6] == rest[0] + rest[1] * 10 // 16 + rest[2] * 10 // 16 + rest[3]


def test_smaller_nets_of_one_seed(study, checked):
    config = {
        "seed": 1,
        "recipe": asdict(TINY.recipe),
        "train_images": 500,
        "together": False,
        "tuning_images": 200,
        "removals": {"conv1": [2], "conv2": [6]},
        "tunings": {"conv1": [2]},
        "from_scratch": {"conv1": [2]},
        "device": "cpu",
    }
    rows = checked("pruned_nets", [row | {"seed": 1} for row in pruned_nets_of_seed(**config)])
    # whole and whole tuned; 3 criteria of conv1, tuned too; 3 of conv2; one from scratch
    assert len(rows) == 2 + 3 * 2 + 3 + 1
    whole = rows[(rows["criterion"] == WHOLE) & ~rows["fine_tuned"]]
    trained = lenet(1)
    test = study.mnist[1]
    assert whole["test_correct"].item() == round(trained.test_accuracy[-1] * len(test))
    # the filters that went are those with the most zeros
    with torch.inference_mode():
        maps = trained.net()[:2](trained.scaling(study.chosen.images))
    rates = (maps == 0).double().mean((0, 2, 3)).sort(descending=True).values
    highest = rows[(rows["criterion"] == "highest zero rate") & (rows["layer"] == "conv1")]
    assert highest["removed_zero_fraction"].iloc[0] == pytest.approx(float(rates[:2].mean()), 1e-12)
    assert (highest["layer_macs"] == 24 * 24 * 5 * 5 * 4).all()


def test_alexnet_of_a_further_seed(study, checked):
    told = {"recipe": asdict(TINY.fashion_recipe), "train_images": 32, "test_images": 10}
    told |= {"input_px": 64, "device": "cpu"}
    rows = [row | {"seed": 3} for row in relu_measurements.zeros_of_alexnet(seed=3, **told)]
    table = checked("alexnet_zero_rates", rows)
    assert len(table) == 5 + 2  # ReLUs behind convolutions and linear layers
    assert set(table["net"]) == {"alexnet"} and (table["images"] == 10).all()
    assert study._alexnets.configurations == ()  # one seed in all: that of the other nets


def test_other_nets_and_sparse_execution(study, checked, monkeypatch):
    monkeypatch.setitem(relu_scales.SPARSE_CASES, "small", (4, 20, 6))
    (training,) = checked("net_trainings", study.net_trainings()).to_dict("records")
    seen = training["net"], training["input_px"], training["train_images"]
    assert seen == ("squeezenet1_1", 32, 64)
    rates = checked("net_zero_rates", study.net_zero_rates())
    # SqueezeNet: ReLU after each of 26 convolutions
    assert len(rates) == 26 and rates["after"].tolist()[0] == "features.0"
    skippable = checked("skippable_macs", study.skippable_macs())
    assert skippable.groupby("net").size().to_dict() == {"squeezenet1_1": 26, relu_scales.NET: 5}
    timed = checked("sparse_layers", study.sparse_layers())
    assert {"dense"} < set(timed["method"])
    assert set(timed["batch"][timed["net"] == relu_scales.NET]) == {1, 64}
    both = timed.merge(skippable, on=["net", "layer", "position"])
    assert len(both) == len(timed)
    needless = both["zero_input_macs"] + both["padding_macs"]
    assert (both["zero_input_share"] == needless / both["macs"]).all()
    swept = checked("sparse_sweep", study.sparse_sweep())
    # a bare product has no kernel with packed weights
    assert set(swept["case"]) == {"small"}
    assert set(swept["method"]) == set(sparse.METHODS) - {"dense, packed"}
    assert set(swept["zero_rate"]) == set(TINY.zero_rates)


def test_the_cases_of_the_sweep_are_the_layers_they_are_named_after():
    lenet, alexnet = (nets.build(name, device="meta") for name in ("lenet_atsumi", "alexnet"))
    for case, layer, positions in (
        ("LeNet fc120, batch 1", lenet.fc120, 1),
        ("LeNet fc120, batch 64", lenet.fc120, 64),
        ("LeNet conv2, batch 1", lenet.conv2, 8 * 8),
        ("AlexNet fc6, batch 1", alexnet.classifier[1], 1),
        ("AlexNet fc6, batch 8", alexnet.classifier[1], 8),
        ("AlexNet conv3, batch 1", alexnet.features[6], 13 * 13),
    ):
        weight = layer.weight
        shape = positions, weight[0].numel(), weight.shape[0]
        assert relu_scales.SPARSE_CASES[case] == shape


def test_levels_keep_zeros_apart():
    maps = torch.tensor([[[[0.0, 1e-9], [0.5, 1.0]]]])
    assert relu_measurements._levels(maps).tolist() == [[[[0, 1], [128, 255]]]]
    assert relu_measurements._levels(torch.zeros(1, 1, 2, 2)).sum() == 0
