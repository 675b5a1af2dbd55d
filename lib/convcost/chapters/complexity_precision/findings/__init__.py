"""What follows from the tables of notebook 04 (`chapters.complexity_precision.tables`). Source: ke.

Every function takes tables as they are read and returns a DataFrame. Precision is a share of the
held-out images, C is the forward time relative to the baseline's, errors are in percent, what is
given up in percentage points; low and high are 95 % unless a docstring says otherwise. "Fit" is
what the models are fitted on: the lines and the grids, never the held-out configurations, never
the optima. Published numbers come from `convcost.sources`; the models are those of `complexity`
and `precision`.
"""

from convcost.chapters.complexity_precision.findings.cheapest import (
    cloud,
    frontiers,
    measured,
    optima,
    savings,
    search,
)
from convcost.chapters.complexity_precision.findings.costs import (
    alphas,
    complexities,
    complexity_models,
    complexity_of_chosen,
    conv_shares,
    cost_noise,
    proportion,
    steps_down,
    steps_summary,
)
from convcost.chapters.complexity_precision.findings.equations import (
    coefficients,
    curves,
    effects,
    equation_fits,
    lines,
    simpler_lines,
    surfaces,
)
from convcost.chapters.complexity_precision.findings.faces import (
    balance,
    baseline,
    constants,
    recipes,
)
from convcost.chapters.complexity_precision.findings.held_out import (
    models,
    noise,
    predictions,
    targets,
)
from convcost.chapters.complexity_precision.findings.printed import (
    lost_zeros,
    printed_curves,
    printed_frontier,
    printed_on_held_out,
    readings,
)
from convcost.chapters.complexity_precision.findings.rows import together

__all__ = [
    "alphas",
    "balance",
    "baseline",
    "cloud",
    "coefficients",
    "complexities",
    "complexity_models",
    "complexity_of_chosen",
    "constants",
    "conv_shares",
    "cost_noise",
    "curves",
    "effects",
    "equation_fits",
    "frontiers",
    "lines",
    "lost_zeros",
    "measured",
    "models",
    "noise",
    "optima",
    "predictions",
    "printed_curves",
    "printed_frontier",
    "printed_on_held_out",
    "proportion",
    "readings",
    "recipes",
    "savings",
    "search",
    "simpler_lines",
    "steps_down",
    "steps_summary",
    "surfaces",
    "targets",
    "together",
]
