"""The published values: complete, well formed, true to the sources' own arithmetic."""

import subprocess
import sys
from decimal import Decimal
from itertools import combinations
from math import exp

import pytest

from convcost import sources
from convcost.core import paths
from convcost.core.errors import BadInputError, DamagedFileError
from convcost.sources import SOURCES, entry, printed_text, published, value

ROWS = {"cheng2025": 124, "cheng2025-abstract": 3, "atsumi2020": 64, "geifman": 59, "ke": 115}


def decimals(key, *names):
    return [Decimal(printed_text(key, name)) for name in names]


def formula(key, name, **symbols):
    """The published formula, worked out with numbers for its symbols."""
    return eval(value(key, name), {"__builtins__": {}, "sum": sum, "exp": exp}, symbols)


# ---- complete and well formed


def test_every_file_is_a_source_and_every_source_has_its_file():
    assert {path.name for path in paths.PUBLISHED.glob("*.csv")} == {
        source.file for source in SOURCES.values()
    }


@pytest.mark.parametrize("key", ROWS)
def test_row_counts(key):
    assert len(published(key)) == ROWS[key] == SOURCES[key].rows


def test_readme_has_the_row_counts():
    readme = (paths.PUBLISHED / "README.md").read_text()
    for source in SOURCES.values():
        (line,) = [line for line in readme.splitlines() if line.startswith(f"| `{source.file}` |")]
        assert line.endswith(f"| {source.rows} |")


def test_every_allowed_unit_is_used():
    assert set().union(*(published(key)["unit"] for key in ROWS)) == sources.UNITS


def test_row_counts_by_kind():
    counts = {key: published(key)["kind"].value_counts().to_dict() for key in ROWS}
    assert counts == {
        "cheng2025": {"claim": 63, "setting": 19, "definition": 17, "cited": 13, "history": 12},
        "cheng2025-abstract": {"claim": 2, "setting": 1},
        "atsumi2020": {"claim": 39, "setting": 15, "definition": 8, "history": 1, "cited": 1},
        "geifman": {"claim": 30, "setting": 10, "history": 7, "definition": 6, "cited": 6},
        "ke": {"claim": 69, "setting": 41, "cited": 2, "definition": 2, "history": 1},
    }


def test_a_setting_or_history_has_no_test():
    for key in ROWS:
        rows = published(key)
        idle = rows[rows["kind"].isin(["setting", "history"])]
        assert (idle["testable"] != "yes").all(), key


@pytest.mark.parametrize("key", ROWS)
def test_texts_are_plain_and_single_spaced(key):
    frame = published(key)
    for column in sources.COLUMNS:
        assert frame[column].str.isascii().all(), column
        assert (frame[column] == frame[column].str.split().str.join(" ")).all(), column
    assert frame["statement"].str.endswith(".").all()


@pytest.mark.parametrize("key", ROWS)
def test_restored_and_missing_values_say_why(key):
    frame = published(key)
    assert (frame.loc[frame["obtained"] == "restored", "note"] != "").all()
    assert (frame.loc[frame["form"] == "figure", "note"].str.startswith("numbers not in")).all()


def test_every_notebook_that_tests_claims_has_rows():
    used = set().union(*(published(key)["notebook"] for key in ROWS))
    assert used == set(sources.notebooks())


# ---- values and their types


def test_types_follow_the_printed_text():
    assert value("atsumi2020", "conv1_multiplications") == 24 * 24 * 5 * 5 * 6
    assert type(value("atsumi2020", "conv1_multiplications")) is int
    assert type(value("ke", "baseline_complexity")) is float
    assert value("atsumi2020", "table_i_conv1_seconds") == 1.08167e-3
    assert value("ke", "alpha_1") == 0.626e7  # as printed; the note restores the sign
    assert value("atsumi2020", "background_level") == -0.9
    assert value("cheng2025", "pytorch_version") == "2.1.0"
    assert value("cheng2025", "windows_version") == "11"


def test_printed_digits_are_kept():
    assert printed_text("cheng2025", "table1_densenet_gflops") == "15.7"
    assert printed_text("cheng2025", "cpu_ghz") == "3.40"
    assert printed_text("atsumi2020", "table_i_pool2_seconds") == "8.97329E-05"
    assert printed_text("ke", "baseline_complexity") == "1.0"


def test_a_changed_frame_changes_nothing_else():
    frame = published("ke")
    frame["value"] = "0"
    assert value("ke", "baseline_f") == 64


# ---- the arithmetic that the sources state themselves


def test_fashionmnist_adds_up():
    assert value("cheng2025", "fashionmnist_test_images") + value(
        "cheng2025", "fashionmnist_train_images"
    ) == value("cheng2025", "fashionmnist_images")


def test_tables_1_and_2_of_cheng_and_liu():
    nets = ("alexnet", "vgg16", "googlenet", "resnet18", "densenet")
    gflops = decimals("cheng2025", *(f"table1_{net}_gflops" for net in nets))
    seconds = decimals("cheng2025", *(f"table2_{net}_seconds" for net in nets))
    assert sum(gflops) == Decimal("54.72")
    assert sum(seconds) == Decimal("2366.88")
    # The note of the conclusion: half of the pairs agree, so time does not follow FLOPs at all.
    agreeing = [
        (gflops[a] - gflops[b]) * (seconds[a] - seconds[b]) > 0
        for a, b in combinations(range(5), 2)
    ]
    assert (sum(agreeing), len(agreeing)) == (5, 10)


def test_restored_equations_of_cheng_and_liu():
    layer = dict(K=3, C_in=64, C_out=128, W_out=112, H_out=112)
    assert formula("cheng2025", "eq1_fully_connected_macs", C_in=9216, C_out=4096) == 9216 * 4096
    assert formula("cheng2025", "eq2_convolution_macs", **layer) == 3 * 3 * 64 * 128 * 112 * 112
    assert formula("cheng2025", "eq3_group_convolution_macs", **layer, g=4) == (
        3 * 3 * (64 // 4) * (128 // 4) * 112 * 112 * 4
    )
    assert formula("cheng2025", "flops_from_macs", MACs=7) == 14


def test_the_post_s_example_fits_the_restored_equations():
    # Two sources, one layer: the post's totals are eqs. (2) and (4) of Cheng and Liu.
    layer = dict(
        K=value("geifman", "dsc_kernel_px"),
        C_in=value("geifman", "dsc_input_channels"),
        C_out=value("geifman", "dsc_output_channels"),
        W_out=value("geifman", "dsc_map_px"),
        H_out=value("geifman", "dsc_map_px"),
    )
    regular, separable = value("geifman", "dsc_regular_macs"), value("geifman", "dsc_total_macs")
    assert formula("cheng2025", "eq2_convolution_macs", **layer) == regular
    assert formula("cheng2025", "eq4_depthwise_separable_macs", **layer) == separable
    assert Decimal("8.40") < Decimal(regular) / separable < Decimal("8.41")
    assert regular < value("geifman", "dsc_ratio") * separable


def test_depthwise_separable_example_digit_by_digit():
    depthwise, pointwise = (
        value("geifman", f"dsc_{step}_macs") for step in ("depthwise", "pointwise")
    )
    assert depthwise == formula("geifman", "dsc_depthwise_formula") == 3 * 3 * 64 * 112 * 112
    assert pointwise == formula("geifman", "dsc_pointwise_formula") == 64 * 112 * 112 * 128
    assert depthwise + pointwise == value("geifman", "dsc_total_macs")


def test_multiplications_of_lenet_are_exchanged():
    conv = dict(K=value("atsumi2020", "kernel_px"))
    wide, narrow = (value("atsumi2020", f"conv{i}_output_px") for i in (1, 2))
    eq1 = "eq1_convolution_multiplications"
    assert formula(
        "atsumi2020", eq1, W=wide, H=wide, F=value("atsumi2020", "conv1_filters"), **conv
    ) == value("atsumi2020", "conv1_multiplications")
    assert formula(
        "atsumi2020", eq1, W=narrow, H=narrow, F=value("atsumi2020", "conv2_filters"), **conv
    ) == value("atsumi2020", "fc120_multiplications")
    assert formula(
        "atsumi2020",
        "eq2_fully_connected_multiplications",
        PCN=value("atsumi2020", "fc120_inputs"),
        CN=value("atsumi2020", "fc120_connections"),
    ) == value("atsumi2020", "conv2_multiplications")


def test_table_i_of_atsumi():
    layers = ("conv1", "conv2", "pool1", "pool2", "fc120", "fc84", "fc10")
    times = dict(
        zip(layers, decimals("atsumi2020", *(f"table_i_{x}_seconds" for x in layers)), strict=True)
    )
    assert sum(times.values()) == Decimal("1.9177555E-03")
    assert sorted(times, key=times.get, reverse=True)[:3] == ["conv1", "fc120", "conv2"]
    assert round(times["conv1"] / times["fc120"], 2) == Decimal("3.12")
    # 23 percent of conv1 is not 9.7 percent of the run.
    share = times["conv1"] / sum(times.values())
    assert round(value("atsumi2020", "removed_multiplications_percent") * share, 1) == Decimal(
        "13.0"
    )
    assert value("atsumi2020", "run_time_saving_percent") == 9.7


def test_candidate_sets_of_ke():
    sets = {
        "f": [64, 48, 40, 32, 24, 16, 12, 8, 4, 2],
        "s": [64, 56, 48, 40, 32, 24, 20, 12],
        "k": [5, 4, 3],
        "l": [3, 2, 1],
    }
    for name, elements in sets.items():
        found = [value("ke", f"omega_{name}_{i}") for i in range(1, len(elements) + 1)]
        assert found == elements
        assert found[0] == max(found) == value("ke", f"baseline_{name}")
    assert sum(published("ke")["name"].str.startswith("omega_")) == 10 + 8 + 3 + 3


def test_precision_decreases_of_ke():
    baseline, target, decrease = decimals(
        "ke", "baseline_precision", "target_precision", "precision_decrease"
    )
    assert baseline - target == decrease
    before, after, drop = decimals(
        "ke", "precision_before_percent", "precision_after_percent", "precision_drop_percent"
    )
    assert before - after == drop
    assert before == 100 * baseline


def test_coefficients_of_ke_as_sums():
    sums = {
        f"table_i_{p}_beta_{{}}": (4, total)
        for p, total in (("f", "1.19891"), ("s", "0.34837"), ("k", "-0.02073"), ("l", "2.92777"))
    } | {
        "table_ii_f_s_n_{}": (6, "0.844099"),
        "table_ii_f_k_n_{}": (6, "0.9547"),
        "table_ii_f_l_n_{}": (6, "1.55538"),
        "lambda_{}": (10, "0.7721"),
    }
    for pattern, (count, total) in sums.items():
        terms = decimals("ke", *(pattern.format(i) for i in range(1, count + 1)))
        assert sum(terms) == Decimal(total), pattern


def test_integrated_model_of_ke_misses_its_own_baseline():
    lambdas = {f"lambda_{i}": value("ke", f"lambda_{i}") for i in range(1, 11)}
    shares = formula("ke", "eq6_precision", f=1, s=1, k=1, l=1, **lambdas)
    pixels = formula("ke", "eq6_precision", f=64, s=64, k=5, l=3, **lambdas)
    assert (round(shares, 3), round(pixels, 1)) == (0.773, -10.0)
    assert "0.773" in entry("ke", "eq6_precision")["note"]


def test_slope_of_ke_needs_a_negative_exponent():
    baseline = 3 * 25 * 64 * 64 * 64 + 64 * 25 * 64 * 32 * 32 + 64 * 25 * 64 * 16 * 16
    assert baseline == 150_732_800
    assert value("ke", "alpha_1") > value("ke", "baseline_complexity")  # one multiplication alone
    offset = value("ke", "alpha_0")
    assert [round(offset + float(f"0.626e-{i}") * baseline, 3) for i in (7, 8)] == [9.45, 0.958]


# ---- names and damage


def test_unknown_source_lists_the_sources():
    with pytest.raises(BadInputError, match=r"unknown source 'chen'.*cheng2025.*atsumi2020.*ke"):
        published("chen")


def test_unknown_name_offers_the_nearest():
    with pytest.raises(BadInputError, match="did you mean table1_vgg16_gflops"):
        value("cheng2025", "table1_vgg_gflops")


def test_statement_has_no_value():
    with pytest.raises(BadInputError, match="'figure1' is a figure and has no value"):
        value("cheng2025", "figure1")


@pytest.fixture
def ke(tmp_path, monkeypatch):
    """A writable copy of the published files; gives the file of `ke`."""
    for path in paths.PUBLISHED.glob("*.csv"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(paths, "PUBLISHED", tmp_path)
    return tmp_path / "ke.csv"


def replace(path, old, new):
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def damage(path):
    with pytest.raises(DamagedFileError) as error:
        published("ke")
    text = str(error.value)
    assert text.startswith("ke.csv, ") and "git checkout" in text
    return text


def line_of(path, start):
    lines = path.read_text().splitlines()
    return 1 + next(i for i, line in enumerate(lines) if line.startswith(start))


def test_text_for_a_number(ke):
    number = line_of(ke, "alpha_0,")
    replace(ke, b"alpha_0,claim,number,0.014,", b"alpha_0,claim,number,O.014,")
    assert f"line {number}, column 'value': 'O.014' must be a number" in damage(ke)


@pytest.mark.parametrize("text", ["", "1,000", " 0.014", "nan", "1e-3", "0.014 ", "014", "inf"])
def test_numbers_have_one_form(ke, text):
    replace(ke, b"alpha_0,claim,number,0.014,", f'alpha_0,claim,number,"{text}",'.encode())
    assert f"column 'value': '{text}' must be a number" in damage(ke)


def test_value_where_none_belongs(ke):
    replace(ke, b"figure2,setting,figure,,", b"figure2,setting,figure,7,")
    assert "column 'value': '7' must be empty" in damage(ke)


def test_duplicate_name(ke):
    replace(ke, b"\nalpha_1,", b"\nalpha_0,")
    second = line_of(ke, "alpha_0,") + 1
    assert f"line {second}, column 'name': 'alpha_0' stands twice" in damage(ke)


def test_unknown_unit(ke):
    replace(ke, b"omega_f_1,setting,number,64,filters,", b"omega_f_1,setting,number,64,filter,")
    assert "column 'unit': 'filter' must be one of 1, FLOPs" in damage(ke)


def test_unit_that_does_not_fit_the_kind(ke):
    replace(ke, b"omega_f_1,setting,number,64,filters,", b"omega_f_1,setting,number,64,name,")
    assert "column 'unit': 'name' must be one of 1, FLOPs" in damage(ke)


def test_unknown_kind_and_form(ke):
    replace(ke, b"alpha_0,claim,number,", b"alpha_0,clam,number,")
    assert "column 'kind': 'clam' must be one of cited" in damage(ke)
    replace(ke, b"alpha_0,clam,number,", b"alpha_0,claim,numbr,")
    assert "column 'form': 'numbr' must be one of equation" in damage(ke)


def test_a_twin_is_named_by_its_key(ke):
    replace(ke, b",ke/one_d_models_fit,", b",one_d_models_fit,")
    assert "column 'same_as': 'one_d_models_fit' must be empty or" in damage(ke)


def test_cut_inside_a_row(ke):
    content = ke.read_bytes()
    ke.write_bytes(content[: content.index(b"\nlambda_3,") + len(b"\nlambda_3,claim,number,-0.02")])
    number = line_of(ke, "lambda_3,")
    assert f"line {number}, column 'value': has 4 fields where 13 belong" in damage(ke)


def test_cut_inside_the_last_field(ke):
    ke.write_bytes(ke.read_bytes()[:-4])
    assert "column 'testable': is cut off" in damage(ke)


def test_cut_inside_a_quoted_field(ke):
    content = ke.read_bytes()
    ke.write_bytes(content[: content.index(b'"', content.index(b"\neq6_precision")) + 5])
    assert f"line {line_of(ke, 'eq6_precision')}: is not a row" in damage(ke)


def test_cut_at_the_end_of_a_line(ke):
    lines = ke.read_bytes().splitlines(keepends=True)
    ke.write_bytes(b"".join(lines[:-1]))
    assert "whole file: has 114 rows where 115 belong" in damage(ke)


def test_every_cut_is_noticed(ke):
    content = ke.read_bytes()
    for end in range(0, len(content), 997):
        ke.write_bytes(content[:end])
        damage(ke)


def test_quotation_mark_lost(ke):
    number = line_of(ke, "eq6_precision")
    content = ke.read_bytes()
    at = content.index(b'"', content.index(b"\neq6_precision"))
    end = content.index(b'"', at + 1)
    ke.write_bytes(content[:end] + content[end + 1 :])
    assert f"line {number}" in damage(ke)


def test_wrong_header(ke):
    replace(ke, b"name,kind,form,value,unit,", b"name,kind,form,unit,value,")
    assert "line 1: the columns must be name, kind, form, value, unit" in damage(ke)


def test_empty_and_missing_and_binary_file(ke):
    ke.write_bytes(b"")
    assert "line 1" in damage(ke)
    ke.unlink()
    assert "cannot be read" in damage(ke)
    ke.write_bytes(b"\xff\xfe\x00\x00")
    assert "is not UTF-8" in damage(ke)


# ---- fingerprint and cost of importing


def test_import_is_light():
    code = "import sys, convcost.sources; print(*{'torch', 'pandas', 'pandera'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
