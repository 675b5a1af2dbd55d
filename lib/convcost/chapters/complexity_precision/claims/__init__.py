"""Checks of notebook 04: models of cost and precision, and the cheapest net that is good enough."""

from convcost.chapters.complexity_precision.claims import cheapest, cost, precision
from convcost.chapters.complexity_precision.findings import paper, printed
from convcost.chapters.complexity_precision.findings.configurations import LETTERS, NAMES
from convcost.chapters.complexity_precision.tables import CHOSEN, TRAININGS
from convcost.claims.verdicts import Check, Evidence, Finding, Published, Tolerance, holds
from convcost.records import Results

_INTERVAL = Tolerance(
    "the printed formula comes first: one that cannot give the paper's own precision at T0 is "
    "inconsistent; an interval that holds 0 as well does not even show that there is such a term",
    words="in our 95 % interval",
)
_OF_THE_LINE = Tolerance(
    "the paper sets C(T0) to 1, so its constants have to give that first; an interval that holds 0 "
    "as well does not even show that there is such a term",
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
_CHEAPER = Tolerance(
    "printed as about, and more is no less; the net must keep the printed precision, by the whole "
    "95 % interval of the points lost on faces that no fit and no choice saw",
    words="from 0.95 of it upwards, by the paper's model or as said",
)
_LOST = Tolerance(
    "judged on faces that no fit and no choice saw, at a saving of ten times or more",
    words="at most, by the whole 95 % interval",
)
_LIMIT = "the paper's own error of precision"
_FITS = holds(
    f"the mean error is at most {_LIMIT} and half that of a constant",
    "more configurations than coefficients, else a form passes through all",
)
_UNSEEN = holds(
    f"on nets in no fit the error is at most {_LIMIT}, and the skill against a constant at least "
    f"{paper.HALF:g}, both by their whole 95 % intervals",
    "the two thresholds are ours",
)
_RANKED = holds(
    f"on nets in no fit the rank correlation is at least {paper.RANKED:g} and the skill "
    f"{paper.HALF:g}, both by their whole 95 % intervals",
    "the two thresholds are ours",
)

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


def _from_nothing(results: Results, published: Published, name: str) -> Finding:
    """Where the paper's grid begins, its own equations divide by nothing."""
    first = published(name)
    if first > 0:
        return Finding(first, agrees=True)
    return Finding(
        published("grid_step"),
        contradiction=f"eqs. (2) to (6) hold 1/f, 1/s, 1/k and 1/l, and 1/{first} does not exist; "
        "the grid can begin at its first step",
        evidence=Evidence(),
    )


CHECKS = {
    "ke/convolution_dominates_cost": Check(
        cost.conv_dominates, _COST,
        holds("convolutions have more than half of the multiply-adds in each configuration"),
    ),
    "ke/run_time_proportional_to_eq1": Check(
        cost.proportional, _COST,
        holds("the mean error of time proportional to eq. (1) is at most that of eq. (1) itself"),
    ),
    "ke/alpha_0": Check(cost.alpha_0, _COST, _OF_THE_LINE),
    "ke/alpha_1": Check(cost.alpha_1, _COST, _OF_THE_LINE),
    "ke/complexity_error_percent": Check(cost.complexity_error, _COST, _LESS),
    "ke/smaller_parameters_cost_less": Check(
        cost.cheaper_with_less, _COST,
        holds("no step to a smaller value costs more, beyond the quartiles of both times"),
    ),
    "ke/one_d_models_fit": Check(precision.equation("eq. (2)"), _ONE, _FITS, _TRAINED),
    "ke/eq2_precision_1d": Check(precision.equation("eq. (2)"), _ONE, _FITS, _TRAINED),
    "ke/eq3_precision_f_s": Check(precision.equation("eq. (3)"), _TWO, _FITS, _TRAINED),
    "ke/eq4_precision_f_k": Check(precision.equation("eq. (4)"), _TWO, _FITS, _TRAINED),
    "ke/eq5_precision_f_l": Check(precision.equation("eq. (5)"), _TWO, _FITS, _TRAINED),
    "ke/two_d_models_fit": Check(
        precision.equation("eq. (3); eq. (4); eq. (5)"), _TWO, _FITS, _TRAINED
    ),
    **{
        f"ke/{prefix}_{place + 1}": Check(
            precision.coefficient(names, place), section, _INTERVAL, _TRAINED
        )
        for names, (prefix, section) in _ROWS.items()
        for place in range(2 * len(names) + 2)
    },
    "ke/eq6_precision": Check(precision.eq6, _ALL, _UNSEEN, _TRAINED),
    "ke/precision_error_percent": Check(precision.precision_error, _ALL, _AT_MOST, _TRAINED),
    "ke/exponential_linear_model_fits": Check(precision.describes, _ALL, _RANKED, _TRAINED),
    "ke/baseline_precision": Check(precision.baseline(1), _BASELINE, _DRAW, _TRAINED),
    "ke/precision_before_percent": Check(precision.baseline(100), _BASELINE, _DRAW, _TRAINED),
    "ke/eq7_minimisation": Check(
        cheapest.minimisation, _CHEAPEST,
        holds("every net that eq. (7) chooses by eq. (6) reaches its target, once trained"),
        _OPTIMA,
    ),
    "ke/complexity_reduction": Check(cheapest.tenfold, _CHEAPEST, _CHEAPER, _OPTIMA),
    "ke/precision_after_percent": Check(cheapest.after, _CHEAPEST, _LOST, _OPTIMA),
    "ke/precision_drop_below_percent": Check(
        cheapest.below, _CHEAPEST,
        holds("the drop of Section 3 is less, and ours is by its whole 95 % interval"), _OPTIMA,
    ),
    "ke/four_affect_precision": Check(
        precision.four_matter, _ONE,
        holds("each loses precision from its largest to its smallest value, by the whole 95 % "
              "interval"), _TRAINED,
    ),
    "ke/cost_depends_on_four": Check(
        cost.depends_on_four, _COST, holds("the median step to a smaller value saves time")
    ),
    "ke/grid_first": Check(
        _from_nothing, _CHEAPEST, holds("the equations can be worked out there")
    ),
    "ke/precision_drop_percent": Check(cheapest.drop, _CHEAPEST, _LOST, _OPTIMA),
}  # fmt: skip
