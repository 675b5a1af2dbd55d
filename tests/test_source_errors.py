"""Every error of the sources that is known to us stands in the ledger, with its arithmetic."""

import pytest

from convcost import claims

INCONSISTENT, CONTRADICTS, DIFFERS = (
    "inconsistent in the source", "contradicts its citation", "differs",
)  # fmt: skip
TABLE_I = [f"ke/table_i_{letter}_beta_{i}" for letter in "fskl" for i in range(1, 5)]
KNOWN = {
    "atsumi2020/conv2_multiplications": (INCONSISTENT, "25,600 for conv2", "prints 30,720"),
    "atsumi2020/fc120_multiplications": (INCONSISTENT, "30,720 for fc120", "prints 25,600"),
    "atsumi2020/eq1_convolution_multiplications": (DIFFERS, "equation 25,600, exact 153,600"),
    "atsumi2020/time_relates_to_multiplications": (
        INCONSISTENT, "conv2: 30,720 multiplications", "pool1 multiplies nothing", "86 %",
    ),
    "atsumi2020/run_time_saving_percent": (INCONSISTENT, "23 % of that are 13.0 %", "not 9.7"),
    "cheng2025/conclusion_more_computation_longer": (INCONSISTENT, "of its own 10 pairs of nets 5"),
    "cheng2025/googlenet_after_resnet": (INCONSISTENT, "2015 < 2016"),
    "cheng2025/pooling_keeps_maximum": (CONTRADICTS, "a mean, no maximum"),
    "cheng2025/residuals_solve_vanishing_gradients": (CONTRADICTS, "unlikely to come from"),
    "cheng2025/inception_direct_gradients": (CONTRADICTS, "auxiliary classifiers"),
    "cheng2025/medical_reference": (CONTRADICTS, "skin cancer"),
    "cheng2025/lasso_reference": (CONTRADICTS, "reinforcement learning"),
    "cheng2025/tinybert_performance_percent": (CONTRADICTS, "more than 96.8 percent"),
    "geifman/dsc_split_description": (INCONSISTENT, "3*3*64*112*112", "exchanged"),
    "geifman/dsc_ratio": (DIFFERS, "924,844,032 / 109,985,792"),
    "geifman/dsc_introduced_for_parameters": (CONTRADICTS, "Sifre"),
    "ke/alpha_1": (INCONSISTENT, "C(T0) is set to 1", "0.626E+07"),
    "ke/grid_first": (INCONSISTENT, "1/0 does not exist"),
    "ke/precision_drop_below_percent": (INCONSISTENT, "95 - 93 = 2", "not less than 2"),
    **dict.fromkeys(TABLE_I, (INCONSISTENT, "at T0 with shares of the baseline", "0.95")),
    **{f"ke/table_ii_f_s_n_{i}": (INCONSISTENT, "gives 0.846 at T0") for i in range(1, 7)},
    **{f"ke/table_ii_f_l_n_{i}": (INCONSISTENT, "gives 1.556 at T0") for i in range(1, 7)},
    **{f"ke/lambda_{i}": (INCONSISTENT, "gives 0.773 at T0") for i in range(1, 11)},
}  # fmt: skip


@pytest.fixture(scope="module")
def ledger():
    return {entry.key: entry for entry in claims.ledger()}


@pytest.mark.parametrize("key", KNOWN)
def test_a_known_error_is_found_with_its_arithmetic_on_one_line(ledger, key):
    verdict, *said = KNOWN[key]
    entry = ledger[key]
    assert claims.family(entry.verdict) == verdict
    for part in said:
        assert part in entry.reason, entry.reason
    assert "\n" not in entry.reason


def test_no_other_row_is_called_wrong_by_itself(ledger):
    """A new one belongs into the list above."""
    blamed = {
        key for key, entry in ledger.items()
        if claims.family(entry.verdict) in (INCONSISTENT, CONTRADICTS)
    }  # fmt: skip
    assert blamed <= set(KNOWN)


def test_guesses_that_would_rescue_a_formula_are_remarks(ledger):
    for key in ("ke/lambda_6", "ke/table_ii_f_s_n_2"):
        assert "hypothesis" in ledger[key].remark and "hypothesis" not in ledger[key].reason
        assert "such changes come near" in ledger[key].remark  # of how many tries
    assert "1 - share" in ledger["ke/lambda_1"].remark
    assert "0.904" in ledger["ke/eq6_precision"].remark  # fewer filters, more precise
