"""The experiments of notebook 04 at a scale of seconds."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch

from convcost import datasets, nets, records, sweep, training
from convcost.chapters.complexity_precision import study as study_module
from convcost.chapters.complexity_precision.findings.configurations import (
    BASELINE,
    NAMES,
    Configuration,
    candidates,
    costs,
    frame,
)
from convcost.chapters.complexity_precision.study import Study, units
from convcost.chapters.complexity_precision.study.scales import CHOSEN, RECIPES, SCALES
from convcost.chapters.complexity_precision.study.units import cost, letters, timed, trained
from convcost.core import paths
from convcost.core.errors import BadInputError
from convcost.sweep import planned
from convcost.sweep.unit import perform
from convcost.training import Recipe

ONE_EPOCH = Recipe(lr=1e-3, batch_size=8, epochs=1)
TINY = replace(
    SCALES["quick"],
    filters=(64, 2),
    input_px=(64, 12),
    kernel_px=(5, 3),
    layers=(3, 1),
    held_out=2,
    recipes=(CHOSEN,),
    recipe=ONE_EPOCH,
    images=24,
    timed_batch=2,
    repetitions=2,
    min_s=0.0001,
    drops=(0.5, 45),
)


@pytest.fixture(scope="module", autouse=True)
def stand_in(tmp_path_factory):
    """scikit-learn's digits in the place of the faces, and kept results in a folder of its own."""
    raw = tmp_path_factory.mktemp("raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CONVCOST_DATA", raising=False)
        patch.setattr(paths, "RAW", raw)
        patch.setattr(
            datasets, "load", lambda *a, of=datasets.load: of(*a, download=False, raw=raw)
        )
        units._faces.cache_clear()
        yield
    units._faces.cache_clear()


def here(function, plan, folder, **_):
    """`sweep.run` in this process, as far as a study sees of it."""
    function = getattr(study_module, function.partition(":")[2])
    done = [perform(function, unit) for unit in plan]
    assert [outcome["reason"] for outcome in done] == [None] * len(plan)
    rows = [unit | row for unit, outcome in zip(plan, done, strict=True) for row in outcome["rows"]]
    units = pd.DataFrame(plan).assign(status="done", reason=None)
    return sweep.Sweep(folder, pd.DataFrame(rows), units)


@pytest.fixture(scope="module")
def study(stand_in):
    """A whole study, whose trials are of one epoch too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planned, "run", here)
        patch.setitem(RECIPES, CHOSEN, ONE_EPOCH)
        yield Study("quick", TINY)


def test_the_reference_plan_is_the_papers():
    plan = Study("cpu")
    assert {name: getattr(plan.scale, name) for name in NAMES} == candidates()
    by_role = pd.Series(list(plan.roles.values())).value_counts().to_dict()
    lines = (10 - 1) + (8 - 1) + (3 - 1) + (3 - 1) + 1
    grids = 9 * 7 + 9 * 2 + 9 * 2  # what is in no line
    assert by_role == {"1-D": lines, "2-D": grids, "held out": 50}
    assert len(plan.plan()) == 3 * lines + grids + 50
    for configuration, role in plan.roles.items():
        off = {n for n in NAMES if getattr(configuration, n) != getattr(BASELINE, n)}
        assert role == ("1-D" if len(off) <= 1 else "2-D" if len(off - {"filters"}) == 1 and
                        "filters" in off else "held out")  # fmt: skip
    assert Study("cpu").roles == plan.roles, "drawn from a seed, the same each time"


def test_the_profiles_differ_in_scale_alone():
    for scale in SCALES.values():
        assert scale.filters[0] == 64 and scale.input_px[0] == 64
        assert scale.kernel_px[0] == 5 and scale.layers[0] == 3
    assert SCALES["cpu"].recipe == SCALES["gpu"].recipe == RECIPES[CHOSEN]


def test_sizes_that_shrink_to_nothing_are_left_out():
    plan = Study("quick", replace(TINY, input_px=(64, 12, 4), held_out=1))
    assert Configuration(64, 12, 5, 3) in plan.roles
    assert not any(c.input_px == 4 and c.layers == 3 for c in plan.roles)


def test_one_unit_is_what_training_and_counting_by_hand_give():
    plan = Study("quick", TINY)
    unit = plan._unit(Configuration(2, 12, 3, 1), 3, ONE_EPOCH) | {"bf16": False}
    (row,) = trained(**unit)
    faces = {
        split: datasets.load("lfw_gender", split).spread(24).resized(12)
        for split in ("train", "validation", "test")
    }
    net = training.train(
        "ke_cnn", (faces["train"], faces["test"]), ONE_EPOCH, 3,
        options={"f": 2, "s": 12, "k": 3, "l": 1},
    )  # fmt: skip
    for split in ("validation", "test"):
        with torch.inference_mode():
            said = net.net()(net.scaling(faces[split].images)).argmax(1).numpy()
        for number in (0, 1):
            mine = faces[split].labels == number
            assert row[f"{split}_class{number}_images"] == mine.sum()
            assert row[f"{split}_class{number}_correct"] == (said[mine] == number).sum()
    assert row["train_images"] == 24 and row["epochs"] == 1 and row["train_s"] > 0


def test_a_training_that_runs_away_says_so():
    plan = Study("quick", TINY)
    wild = replace(ONE_EPOCH, optimiser="sgd", lr=1e30)
    with pytest.raises(sweep.Diverged):
        trained(**plan._unit(Configuration(2, 12, 3, 1), 0, wild) | {"bf16": False})


def test_cost_is_macs_moved_elements_pixels_and_images_times_epochs():
    unit = asdict(Configuration(2, 12, 3, 1)) | {"recipe": {"epochs": 5}}
    macs = 3 * 3 * 3 * 2 * 12 * 12 + 2 * 2 * 6 * 6
    acts = 2 * 12 * 12 + 2
    assert cost(unit) == (macs + 110 * acts + 1_800 * 12 * 12 + 1_400_000) * 5


def test_times_are_rows_of_each_net_in_turns():
    rows = timed("plan", [[2, 12, 3, 1], [2, 12, 5, 2]], 4, 1, 3, 0.0001, "cpu")
    assert len(rows) == 2 * 3
    assert {(row["kernel_px"], row["layers"], row["repetition"]) for row in rows} == {
        (kernel, layers, n) for kernel, layers in ((3, 1), (5, 2)) for n in range(3)
    }
    assert all(row["seconds"] > 0 for row in rows)
    with pytest.raises(BadInputError, match="shrink to nothing"):
        timed("plan", [[2, 4, 3, 3]], 4, 1, 3, 0.0001, "cpu")


def test_every_table_of_a_study_fits_its_schema(study, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVCOST_RESULTS", str(tmp_path))
    run = records.start_run(
        "04-complexity-precision", "quick", data=[part.describe() for part in study.used]
    )
    written = {}
    for table in (
        "face_splits",
        "recipe_trials",
        "configuration_trainings",
        "forward_times",
        "configuration_costs",
        "chosen_optima",
    ):
        written[table] = run.write(table, getattr(study, table)())
    trainings = written["configuration_trainings"]
    planned = trainings[trainings["role"] != "optimum"]
    assert len(planned) == len(study.plan()) and (planned["status"] == "done").all()
    assert written["recipe_trials"]["chosen"].all()
    optima = written["chosen_optima"]
    assert len(optima) == 2 * 2 * 2, "two models on two grids for two drops"
    found = optima[optima["drop_points"].eq(45)]
    assert (found["status"] == "found").all(), "anything is precise enough"
    # the cheapest of all that can be built from these values
    one = found[found["grid"].eq("integers")][list(NAMES)].astype(int)
    assert (one["layers"] == 1).all() or (one["filters"] == 2).all()
    chosen = {tuple(row) for row in one.to_numpy()}
    assert chosen <= {tuple(row) for row in trainings[list(NAMES)].to_numpy()}
    assert chosen <= {tuple(row) for row in written["forward_times"][list(NAMES)].to_numpy()}
    counted = written["configuration_costs"].set_index(list(NAMES))
    for key, row in counted.iterrows():
        own = costs(frame([Configuration(*key)])).iloc[0]
        assert row[list(own.index)].to_dict() == own.to_dict()
    times = written["forward_times"]
    assert set(times["session"]) == {"plan", "optima"}
    base = times[(times[list(NAMES)] == list(asdict(BASELINE).values())).all(axis=1)]
    assert set(base["session"]) == {"plan", "optima"}, "each session has its own baseline"


def test_a_failed_unit_is_a_row_without_counts(study):
    done = study.train()
    broken = replace_status(done)
    rows = study_module._with_failures(broken)
    assert len(rows) == len(done.units)
    assert rows["status"].tolist() == ["failed", *["done"] * (len(rows) - 1)]
    assert np.isnan(rows["test_class0_images"].iloc[0])


def replace_status(done: sweep.Sweep) -> sweep.Sweep:
    """The same sweep, its first unit failed."""
    units = done.units.copy()
    units.loc[0, ["status", "reason"]] = "failed", "no memory"
    return sweep.Sweep(done.folder, done.rows.iloc[1:], units)


def test_letters_are_the_arguments_of_the_net():
    net = nets.build("ke_cnn", device="meta", **letters(BASELINE))
    assert sum(p.numel() for p in net.parameters()) == costs(frame([BASELINE]))["params"][0]
