"""Figures of notebook 02: what stands where, from whole tables and from thin ones."""

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import figure_checks
import training_time_tables
from convcost import figures, records, sources
from convcost.chapters.training_time import figures as training_time
from convcost.chapters.training_time import findings
from convcost.chapters.training_time.figures import hypotheses, loops, roofline
from convcost.chapters.training_time.findings import paper
from convcost.core import paths
from convcost.figures import style
from figure_checks import closed  # noqa: F401 - pytest finds it by its name

NAMES = list(training_time.SPECS)
NETS = [style.net_name(net) for net in paper.NETS]


@pytest.fixture(scope="module")
def whole():
    return training_time_tables.tables()


def figure_of(name, tables):
    spec = training_time.SPECS[name]
    return spec.draw(*(tables[table] for table in spec.tables))


def lines_at_data(axis) -> list:
    return [line for line in axis.lines if len(line.get_xdata())]


# --- looks ---------------------------------------------------------------------------------------


def test_families_look_like_their_members_and_differ_from_one_another():
    assert style.FAMILY_COLOURS["vgg"] == style.NET_COLOURS["vgg16"]
    assert style.FAMILY_MARKERS["densenet"] == style.NET_MARKERS["densenet161"]
    assert len(set(style.FAMILY_COLOURS.values())) == len(style.FAMILIES)
    assert len(set(style.FAMILY_MARKERS.values())) == len(style.FAMILIES)


def test_every_net_of_the_forensics_has_a_name():
    for nets in paper.LINEUPS.values():
        for net in nets:
            assert style.net_name(net) != net


# --- a run that has not measured everything yet ---------------------------------------------------

EPOCHS_ONLY = {"02-table2-figure1", "02-protocol-distance"}
STATES = {  # what is there -> figures that show something
    (): {"02-protocol-distance"},  # of predictions
    ("table-2",): EPOCHS_ONLY,
    ("table-2", "step"): set(NAMES) - {"02-batch-and-family"},
    ("table-2", "step", "protocols"): set(NAMES),
}


def of_a_gpu(parts=(), lost=()):
    made = training_time_tables.tables(full=paper.NETS, full_workers=(8,), steps=2, repetitions=2)
    made["predicted_steps"] = made["predicted_steps"].query("batch == 32")
    made = training_time_tables.without(made, *lost)
    return training_time_tables.only(made, *parts) if parts is not None else made


@pytest.fixture(scope="module", params=STATES, ids="+".join)
def in_parts(request, tmp_path_factory):
    """(figures that have something to show, every figure) of a GPU that measured some parts."""
    folder = tmp_path_factory.mktemp("runs")
    tables = of_a_gpu(request.param)
    with figure_checks.drawn("02-training-time", NAMES, tables, folder, profile="gpu") as done:
        yield STATES[request.param], done


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_draws_what_is_there_or_says_what_is_not(in_parts, name):
    shown, done = in_parts
    figure = done[name]
    assert figure_checks.is_inside(figure)
    assert figure_checks.colliding_parts(figure) == []
    assert figure_checks.colliding_words(figure) == []
    if name in shown:
        assert not figure.get_label()
        return
    (axis,) = figure.axes
    (text,) = axis.texts
    words = text.get_text()
    assert words == figure.get_label() and f"on {records.machine.slug()} " in words
    assert any(f"{table}: " in words for table in training_time.SPECS[name].tables)
    assert "profile gpu" in figure.texts[0].get_text()


@pytest.mark.parametrize("lost", [("alexnet",), ("vgg16", "densenet161")])
def test_figures_do_without_some_nets(tmp_path, lost):
    tables = of_a_gpu(None, lost)
    with figure_checks.drawn("02-training-time", NAMES, tables, tmp_path, profile="gpu") as done:
        for name, figure in done.items():
            assert not figure.get_label(), name
            assert figure_checks.is_inside(figure), name
            assert figure_checks.colliding_parts(figure) == [], name
            assert figure_checks.colliding_words(figure) == [], name
        loops_of = {axis.get_title(loc="left"): axis for axis in done[NAMES[-1]].axes}
        every = [text.get_text() for text in loops_of["all 5 nets"].texts]
        assert set(every) == {"a net has no time"}
        ours = _by_title(done["02-table2-figure1"])[3]
        words = [text.get_text() for text in ours.texts]
        assert words.count("no time") == len(lost)
        flops = _by_title(done["02-table2-figure1"])[2]  # counted, not measured: they are all there
        assert all(bar.get_width() > 0 for bar in flops.patches)


def test_tables_that_have_no_net_in_common_are_named(tmp_path):
    tables = of_a_gpu(None)
    profiled = tables["operator_times"]
    tables["operator_times"] = profiled[profiled["net"] == "vgg16"]
    timed = tables["training_steps"]
    tables["training_steps"] = timed[timed["net"] == "alexnet"]
    name = "02-where-the-time-goes"
    with figure_checks.drawn("02-training-time", [name], tables, tmp_path) as done:
        assert "no net has all of operator_times, training_steps" in done[name].get_label()


def test_layers_without_a_roof_have_their_other_panel(whole):
    left, right = roofline.roofline(whole["layer_costs"], whole["machine_peaks"].iloc[:0]).axes
    assert "machine_peaks" in left.texts[0].get_text() and not left.axison
    assert len(right.patches) == len(paper.NETS)


def test_who_cannot_see_a_plain_panel_reads_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(records.paths, "LOCAL_RESULTS", tmp_path / "runs")
    run = records.start_run("02-training-time", "gpu", where="local")
    run.write("batch_times", of_a_gpu()["batch_times"])
    results = records.Results("local")
    figure = figures.draw("02-batch-and-family", results)
    figures.save("02-batch-and-family", figure, tmp_path, results)
    alt = json.loads((tmp_path / "02-batch-and-family.json").read_text())["alt"]
    assert alt.startswith("Nothing to draw yet: on ") and "batch_times: one net" in alt


def test_whole_epochs_are_not_hatched_and_name_their_workers():
    ours = _by_title(figure_of("02-table2-figure1", of_a_gpu(("table-2",))))[3]
    assert [bar.get_hatch() for bar in ours.patches] == [None] * 5
    assert ours.get_title(loc="left").endswith("run in full")
    assert ours.get_xlabel().endswith("batch 32,\n8 loader workers")
    ends = [line.get_xdata() for line in ours.lines]
    assert np.isnan(np.array(ends, dtype=float)).all()  # of one epoch no spread is known


def test_the_rest_of_a_step_is_another_on_a_gpu(tmp_path):
    name = "02-where-the-time-goes"
    for profile, words in (("cpu", "rest: launching, Python"), ("gpu", "rest: the GPU waits")):
        with figure_checks.drawn(
            "02-training-time", [name], of_a_gpu(None), tmp_path / profile, profile=profile
        ) as done:
            (legend,) = done[name].legends
            labels = [text.get_text() for text in legend.get_texts()]
        assert next(label for label in labels if label.startswith("rest")).startswith(words)


# --- epochs --------------------------------------------------------------------------------------


def test_figure_1_has_the_papers_bars_and_ours(whole):
    flops, seconds, our_flops, ours, _ = _by_title(figure_of("02-table2-figure1", whole))
    printed = [float(sources.value("cheng2025", f"table1_{role}_gflops")) for role in paper.ROLES]
    assert [bar.get_width() for bar in flops.patches] == pytest.approx(printed)
    assert [bar.get_width() for bar in seconds.patches] == [
        sources.value("cheng2025", f"table2_{role}_seconds") for role in paper.ROLES
    ]
    tables = ("training_steps", "full_epochs", "net_costs", "fashion_accuracies")
    table = findings.table_two(*(whole[name] for name in tables))
    assert not any("!" in text.get_text() for text in ours.texts)
    macs = [training_time_tables.COSTS[net][0] for net in paper.NETS]
    assert [bar.get_width() for bar in our_flops.patches] == pytest.approx(
        [2 * count / 1_000 for count in macs]
    )
    assert [bar.get_width() for bar in ours.patches] == pytest.approx(table["epoch_s"] / 3600)
    assert [bool(bar.get_hatch()) for bar in ours.patches] == [False, True, True, True, True]
    assert "hatched: extrapolated" in ours.get_title(loc="left")


def test_a_time_of_an_unstable_run_is_marked(whole):
    runs = whole["loop_runs"]
    shaky = runs.assign(stable=runs["net"] != "vgg16")
    figure = figure_of("02-table2-figure1", whole | {"loop_runs": shaky})
    *_, ours, ratios = _by_title(figure)
    assert [text.get_text().endswith(" !") for text in ours.texts] == [False, True] + 3 * [False]
    assert ours.get_xlabel().endswith("! not stable: in no fit")
    (mark,) = ratios.texts
    assert mark.get_text() == "!" and round(mark.xy[1]) == 1


def _by_title(figure):
    axes = {axis.get_title(loc="left").split(",")[0]: axis for axis in figure.axes}
    names = ("the paper: FLOPs", "the paper: running time", "ours: FLOPs", "ours: one epoch")
    return [*(axes[name] for name in names), axes["ratio to AlexNet"]]


def test_ratios_of_figure_1_are_tied_in_pairs(whole):
    axis = _by_title(figure_of("02-table2-figure1", whole))[-1]
    shown = {line.get_label(): line.get_xdata() for line in axis.lines}
    assert shown["FLOPs, the paper"][1] == pytest.approx(30.94 / 1.42)
    assert shown["time, the paper"][1] == pytest.approx(454.72 / 230.77)
    assert shown["FLOPs, ours"][1] == pytest.approx(15_470 / 714)
    assert all(values[0] == 1 for values in shown.values())


def test_a_net_without_a_time_says_so(whole):
    steps = whole["training_steps"]
    lost = whole | {"training_steps": steps[(steps["net"] != "vgg16") | (steps["loop"] == "bf16")]}
    ours = _by_title(figure_of("02-table2-figure1", lost))[3]
    words = [text.get_text() for text in ours.texts]
    assert words[1] == "no time" and "no time" not in words[2:]


def test_tuned_bars_are_the_epochs_of_each_loop(whole):
    figure = figure_of("02-tuned-against-plain", whole)
    table = findings.ablation(whole["training_steps"], whole["loop_runs"])
    best = findings.tuned(table).set_index("net")["speed_up"]
    assert len(figure.axes) == len(paper.NETS) + 1
    for axis, net in zip(figure.axes, [*paper.NETS, "(all)"], strict=True):
        mine = table[table["net"] == net].dropna(subset=["epoch_s"])
        size, name = loops.unit(mine["epoch_s"].max())
        assert axis.get_xlabel() == name
        widths = np.array([bar.get_width() for bar in axis.patches])
        assert size * widths == pytest.approx(mine["epoch_s"])
        assert axis.get_title(loc="left").endswith(f": {best[net]:.2f} × tuned")
        ends = [line.get_xdata() for line in axis.lines]
        spread = mine[["epoch_low_s", "epoch_high_s"]].to_numpy(dtype=float)
        assert size * np.array(ends) == pytest.approx(spread)


def test_what_failed_or_was_unstable_is_marked(whole):
    runs = whole["loop_runs"].copy()
    runs.loc[(runs["net"] == "vgg16") & (runs["loop"] == "bf16"), "stable"] = False
    never = (runs["net"] == "alexnet") & (runs["loop"] == "compiled")
    steps = whole["training_steps"]
    steps = steps[(steps["net"] != "alexnet") | (steps["loop"] != "compiled")]
    figure = loops.tuned_against_plain(steps, runs[~never])
    axes = {axis.get_title(loc="left").split(":")[0]: axis for axis in figure.axes}
    words = {name: [text.get_text() for text in axis.texts] for name, axis in axes.items()}
    assert words["AlexNet"][-1] == "not tried"
    assert words["DenseNet161"][-1] == "failed"
    assert words["all 5 nets"][-1] == "a net has no time"
    assert [bool(bar.get_hatch()) for bar in axes["VGG16"].patches] == [False] * 4 + [True, False]
    assert words["VGG16"][4].endswith("× !")


def test_without_a_plain_loop_there_is_no_speed_up(whole):
    steps = whole["training_steps"]
    steps = steps[(steps["net"] != "vgg16") | (steps["loop"] != "plain")]
    figure = loops.tuned_against_plain(steps, whole["loop_runs"])
    words = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert not [word for word in words if "nan" in word]
    assert figure.axes[1].get_title(loc="left") == "VGG16"


def test_durations_have_the_unit_that_suits_them():
    for value, words in (
        (0.5, "500 ms"), (184, "184 s"), (600, "10 min"), (95.46 * 60, "95.5 min"),
        (10.4 * 3600, "10.4 h"),
    ):  # fmt: skip
        assert loops.duration(value) == words


# --- time against FLOPs --------------------------------------------------------------------------


def test_points_are_the_plain_loops_images_and_the_tuned_ones(whole):
    left, right = figure_of("02-time-against-flops", whole).axes
    table = findings.epochs(whole["training_steps"])
    costs = whole["net_costs"].query("net == 'resnet18' and in_channels == 3")
    flops = (2 * costs["macs"] + costs["backward_flops"]).to_numpy()
    mine = table[(table["net"] == "resnet18") & (table["batch_asked"] == 32)]
    by_px = mine[mine["loop"] == "plain"].set_index("input_px")["train_image_s"]
    marker = style.NET_MARKERS["resnet18"]
    plain, tuned = (line for line in left.lines if line.get_marker() == marker)
    assert plain.get_xdata() == pytest.approx(np.sort(flops))
    assert plain.get_ydata() == pytest.approx(by_px.loc[[32, 64, 96, 224]])
    fastest = mine[mine["loop"].isin(("bf16", "compiled"))]["train_image_s"].min()
    assert tuned.get_ydata() == pytest.approx([fastest])
    assert tuned.get_markerfacecolor() == "white"
    papers = [line for line in right.lines if line.get_color() == style.PAPER_COLOUR]
    assert [line.get_ydata()[0] for line in papers] == [230.77, 454.72, 587.38, 522.82, 571.19]


def test_lines_of_equal_rates_are_proportional_and_named(whole):
    left, right = figure_of("02-time-against-flops", whole).axes
    words = {text.get_text() for text in left.texts}
    assert "100 GFLOP/s" in words
    dotted = [line for line in left.lines if line.get_linestyle() == ":"]
    rates = [line.get_xdata() / line.get_ydata() for line in dotted]
    assert all(rate[0] == pytest.approx(rate[1]) for rate in rates)
    assert any(rate[0] == pytest.approx(100e9) for rate in rates)
    (alexnet,) = (line for line in right.lines if line.get_linestyle() == "--")
    assert alexnet.get_xdata()[0] / alexnet.get_ydata()[0] == pytest.approx(1.42e9 / 230.77)


def test_batches_show_r_of_all_nets_and_of_families(whole):
    figure = figure_of("02-batch-and-family", whole)
    table = findings.batches(whole["batch_times"])
    assert len(figure.axes) == 2 * 3
    for row, (what, px, batches) in enumerate((("inference", 224, (1, 16)),
                                               ("training_step", 64, (2, 32)))):  # fmt: skip
        scatter, r, spread = figure.axes[3 * row : 3 * row + 3]
        assert scatter.get_title(loc="left") == f"{what.replace('_', ' ')}, {px} px"
        mine = table[(table["what"] == what) & (table["input_px"] == px)]
        every = mine[mine["family"] == "all"].set_index("batch")
        for axis, name in ((r, "pearson"), (spread, "spread")):
            (line,) = (line for line in axis.lines if line.get_color() == "black")
            assert line.get_xdata() == pytest.approx(list(batches))
            assert line.get_ydata() == pytest.approx(every[name].astype(float))
            assert len(axis.lines) == mine["family"].nunique()
        first, last = (f"{every.loc[batch, 'pearson']:.3f}" for batch in batches)
        assert scatter.texts[0].get_text() == (
            f"hollow: batch {batches[0]}, r = {first}\n"
            f"filled: batch {batches[1]}, r = {last}, 5 unstable left out"
        )


def test_a_net_that_was_unstable_is_not_among_the_points(whole):
    scatter = figure_of("02-batch-and-family", whole).axes[0]
    vgg = [line for line in scatter.lines if line.get_color() == style.FAMILY_COLOURS["vgg"]
           and line.get_marker() == style.FAMILY_MARKERS["vgg"]]  # fmt: skip
    assert [len(line.get_xdata()) for line in vgg] == [3, 2]


# --- why -----------------------------------------------------------------------------------------


def test_stacks_are_the_parts_of_why(whole):
    left, right = figure_of("02-where-the-time-goes", whole).axes
    names = ("operator_times", "training_steps", "machine_peaks", "net_costs")
    table = findings.why(*(whole[name] for name in names))
    parts = list(roofline._PARTS)
    assert sorted(parts) == sorted(findings.layers.PARTS)
    for axis, whole_of in ((left, table["whole_s"]), (right, table["flops"] / 1e12)):
        widths = np.array([bar.get_width() for bar in axis.patches]).reshape(len(parts), -1)
        for part, row in zip(parts, widths, strict=True):
            assert row == pytest.approx(table[f"{part}_s"] / whole_of), part
    shares = np.array([bar.get_width() for bar in left.patches]).reshape(len(parts), -1)
    assert shares.sum(axis=0) == pytest.approx(1)
    (line,) = right.lines
    assert line.get_xdata()[0] == pytest.approx(1e12 / table["peak_flops_per_s"].iloc[0])
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert [label.split("\n")[0] for label in labels] == NETS
    assert labels[1].split("\n")[1].startswith("92.8 GFLOPs, ")


def test_parts_differ_in_grey_print():
    hatches = [hatch for _, _, hatch in roofline._PARTS.values()]
    assert len(set(hatches) - {""}) == len([hatch for hatch in hatches if hatch])
    plain = [to_rgb(colour) for _, colour, hatch in roofline._PARTS.values() if not hatch]
    light = sorted(0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2 for r, g, b in plain)
    assert len(light) == 2 and (light[1] + 0.05) / (light[0] + 0.05) > 3


def test_roofline_has_each_layer_with_flops_and_both_roofs(whole):
    left, right = figure_of("02-roofline", whole).axes
    table = findings.roofline(whole["layer_costs"], whole["machine_peaks"])
    points = [c.get_offsets() for c in left.collections if len(c.get_offsets())]
    layers = table[table["flops"] > 0]
    assert sum(map(len, points)) == len(layers) == 5 * 4 * 2
    heights = np.sort(np.concatenate([np.asarray(p) for p in points])[:, 1])
    assert heights == pytest.approx(np.sort(layers["flops_per_s"]))
    sloped, level = left.lines
    assert sloped.get_xydata()[1] == pytest.approx(level.get_xydata()[0])
    row = table.iloc[0]
    slopes = np.divide(sloped.get_ydata(), sloped.get_xdata())
    assert slopes == pytest.approx([row["peak_bytes_per_s"]] * 2)
    assert set(level.get_ydata()) == {row["peak_flops_per_s"]}
    shares = findings.no_flop_share(whole["layer_costs"])["share"]
    assert [bar.get_width() for bar in right.patches] == pytest.approx(shares)
    assert right.texts[0].get_text().endswith("12 of 20 layers")


def test_areas_of_points_are_shares_of_the_net(whole):
    left = figure_of("02-roofline", whole).axes[0]
    table = findings.roofline(whole["layer_costs"], whole["machine_peaks"])
    mine = table[table["net"] == "vgg16"]
    share = (mine["seconds"] / mine["seconds"].sum())[mine["flops"] > 0]
    (points,) = (
        c for c in left.collections
        if len(c.get_offsets()) and tuple(c.get_facecolor()[0][:3]) == style.NET_COLOURS["vgg16"]
    )  # fmt: skip
    areas = np.sort(points.get_sizes())
    assert np.diff(areas) == pytest.approx(900 * np.diff(np.sort(share)))


# --- forensics -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def forensics(whole):
    names = ("training_steps", "pipeline_times", "predicted_steps", "net_costs")
    return findings.forensics(*(whole[name] for name in names))


def test_the_nearest_hypotheses_of_each_kind_stand_at_their_distance(whole, forensics):
    left, _ = figure_of("02-protocol-distance", whole).axes
    marks = {line.get_label(): line for line in left.lines}
    by = ["family", "densenet", "input_px"]
    for basis, (words, _, _) in hypotheses._KINDS.items():
        best = forensics[forensics["basis"] == basis].groupby(by)["distance"].min()
        assert np.sort(marks[words].get_xdata()) == pytest.approx(np.sort(best)), basis
    labels = [label.get_text() for label in left.get_yticklabels()]
    nearest = forensics.iloc[0]
    lineup = hypotheses._LINEUPS[nearest["family"], nearest["densenet"]]
    assert labels[0] == f"{lineup}, {nearest['input_px']} px"
    rules = findings.baselines().set_index("rule")["distance"]
    for rule in ("all take the same time", "proportional to FLOPs", "a + b * FLOPs"):
        assert marks[rule].get_xdata() == [rules[rule]] * 2


def test_ratios_of_the_nearest_stand_beside_the_papers(whole, forensics):
    _, right = figure_of("02-protocol-distance", whole).axes
    marks = {line.get_label().split(":")[0]: line for line in right.lines}
    seconds = paper.table_two()["seconds"]
    assert marks["the paper"].get_ydata() == pytest.approx(seconds / seconds[0])
    assert marks["the paper"].get_color() == style.PAPER_COLOUR
    for basis in hypotheses._KINDS:
        best = forensics[forensics["basis"] == basis].iloc[0]
        ratios = [best[f"{role}_ratio"] for role in paper.ROLES]
        assert marks[basis].get_ydata() == pytest.approx(ratios)
        assert f"{best['input_px']} px" in marks[basis].get_label()


def test_a_reference_figure_is_of_the_first_machine_with_rows_in_all_its_tables(
    tmp_path, monkeypatch
):
    """A GPU that has measured a part only does not take the place of a processor that is whole."""
    monkeypatch.setattr(paths, "REFERENCE_RESULTS", tmp_path)
    whole = training_time_tables.tables()
    names = ("training_steps", "full_epochs", "net_costs", "fashion_accuracies", "batch_times")
    for machine, profile, tables in (
        ("nvidia-h100", "gpu", training_time_tables.only(whole, "table-2")),
        ("two-cores", "cpu", whole),
    ):
        monkeypatch.setenv("CONVCOST_MACHINE", machine)
        run = records.start_run("02-training-time", profile, where=records.REFERENCE)
        for name in names:
            run.write(name, tables[name])
    assert records.machines() == ["nvidia-h100", "two-cores"]
    spec = figures.FIGURES["02-batch-and-family"]
    assert figures._reference(spec).machine == "two-cores"
    assert figures._reference(replace(spec, tables=("full_epochs",))).machine == "nvidia-h100"
    # where none has rows the first one says so
    lacking = replace(spec, tables=("machine_peaks",))
    assert figures._reference(lacking).machine is None
