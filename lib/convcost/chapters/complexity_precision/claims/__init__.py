"""Checks of notebook 04: models of cost and precision, and the cheapest net that is good enough."""

from convcost.chapters.complexity_precision.claims import cheapest, cost, precision
from convcost.chapters.complexity_precision.findings import printed
from convcost.chapters.complexity_precision.findings.configurations import LETTERS, NAMES
from convcost.chapters.complexity_precision.tables import CHOSEN, TRAININGS
from convcost.claims.verdicts import LOGICAL, Check, Tolerance

_INTERVAL = Tolerance(
    "a coefficient is known as well as the data tell it from the others",
    words="in our 95 % interval",
)
_LESS = Tolerance("printed as an upper bound", words="below the printed error")
_AT_MOST = Tolerance(
    "a model that errs less is no worse; half a step of the printed decimal", words="at most"
)
_DRAW = Tolerance(
    "half a step of the printed digits, and 95 % of what the draw of the test images does",
    words="within the draw of the images",
)
_CHEAPER = Tolerance("printed as about, and more is no less", words="from 0.95 of it upwards")
_PRECISE = Tolerance(
    "printed in whole percents; more is no less", words="at least, to half a percent"
)
_LOST = Tolerance("printed in whole percents; less is no more", words="at most, to half a percent")

_COST, _ONE, _TWO = "What it costs", "One parameter at a time", "Two parameters at a time"
_ALL, _BASELINE = "All four parameters", "The baseline"
_CHEAPEST = "The cheapest net that is precise enough"


def _needs(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, "lfw_gender") for name in names)


_TRAINED, _OPTIMA = _needs(TRAININGS), _needs(TRAININGS, CHOSEN)
_ROWS = {
    **{names: (f"table_i_{LETTERS[names[0]]}_beta", _ONE) for names in printed.TABLE_I},
    **{
        names: (f"table_ii_{'_'.join(LETTERS[name] for name in names)}_n", _TWO)
        for names in printed.TABLE_II
    },
    NAMES: ("lambda", _ALL),
}

CHECKS = {
    "ke/convolution_dominates_cost": Check(cost.conv_dominates, _COST, LOGICAL),
    "ke/run_time_proportional_to_eq1": Check(cost.proportional, _COST, LOGICAL),
    "ke/alpha_0": Check(cost.alpha_0, _COST, _INTERVAL),
    "ke/alpha_1": Check(cost.alpha_1, _COST, _INTERVAL),
    "ke/complexity_error_percent": Check(cost.complexity_error, _COST, _LESS),
    "ke/smaller_parameters_cost_less": Check(cost.cheaper_with_less, _COST, LOGICAL),
    "ke/one_d_models_fit": Check(precision.equation("eq. (2)"), _ONE, LOGICAL, _TRAINED),
    "ke/eq2_precision_1d": Check(precision.equation("eq. (2)"), _ONE, LOGICAL, _TRAINED),
    "ke/eq3_precision_f_s": Check(precision.equation("eq. (3)"), _TWO, LOGICAL, _TRAINED),
    "ke/eq4_precision_f_k": Check(precision.equation("eq. (4)"), _TWO, LOGICAL, _TRAINED),
    "ke/eq5_precision_f_l": Check(precision.equation("eq. (5)"), _TWO, LOGICAL, _TRAINED),
    "ke/two_d_models_fit": Check(
        precision.equation("eq. (3); eq. (4); eq. (5)"), _TWO, LOGICAL, _TRAINED
    ),
    **{
        f"ke/{prefix}_{place + 1}": Check(
            precision.coefficient(names, place), section, _INTERVAL, _TRAINED
        )
        for names, (prefix, section) in _ROWS.items()
        for place in range(2 * len(names) + 2)
    },
    "ke/eq6_precision": Check(precision.eq6, _ALL, LOGICAL, _TRAINED),
    "ke/precision_error_percent": Check(precision.precision_error, _ALL, _AT_MOST, _TRAINED),
    "ke/exponential_linear_model_fits": Check(precision.describes, _ALL, LOGICAL, _TRAINED),
    "ke/baseline_precision": Check(precision.baseline(1), _BASELINE, _DRAW, _TRAINED),
    "ke/precision_before_percent": Check(precision.baseline(100), _BASELINE, _DRAW, _TRAINED),
    "ke/eq7_minimisation": Check(cheapest.minimisation, _CHEAPEST, LOGICAL, _OPTIMA),
    "ke/complexity_reduction": Check(cheapest.tenfold, _CHEAPEST, _CHEAPER, _OPTIMA),
    "ke/precision_after_percent": Check(cheapest.after, _CHEAPEST, _PRECISE, _OPTIMA),
    "ke/precision_drop_percent": Check(cheapest.drop, _CHEAPEST, _LOST, _OPTIMA),
}  # fmt: skip
