"""What follows from the tables of notebook 03 (`convcost.chapters.relu_zero_rates.tables`).

Every function takes tables as they are read and returns a DataFrame. Rates and shares are
fractions, 0 to 1; a percentile is 0 to 100; p05 and p95 are the 5 % and 95 % quantiles, linearly
interpolated. Published numbers come from `convcost.sources`.
"""

from convcost.chapters.relu_zero_rates.findings.arithmetic import arithmetic
from convcost.chapters.relu_zero_rates.findings.digits import (
    alike,
    dark_ranks,
    dark_shares,
    digit_deviation,
    digits_that_stand_out,
    filters_differ,
)
from convcost.chapters.relu_zero_rates.findings.epochs import jointly, of_recipe, rates
from convcost.chapters.relu_zero_rates.findings.pruning import (
    accuracy_curves,
    paired_differences,
    savings,
    savings_by_session,
)
from convcost.chapters.relu_zero_rates.findings.seeds import (
    against_seeds,
    by_recipe,
    layer_shares,
    of_first_recipe,
    quantities,
    spread_shares,
    stable_or_seed,
)
from convcost.chapters.relu_zero_rates.findings.sparsity import (
    break_even,
    sparse_speed_ups,
    zero_ranges,
)
from convcost.chapters.relu_zero_rates.findings.times import (
    cold_start,
    explained_by,
    multiplications,
    table_one,
)

__all__ = [
    "accuracy_curves",
    "against_seeds",
    "alike",
    "arithmetic",
    "break_even",
    "by_recipe",
    "cold_start",
    "dark_ranks",
    "dark_shares",
    "digit_deviation",
    "digits_that_stand_out",
    "explained_by",
    "filters_differ",
    "jointly",
    "layer_shares",
    "multiplications",
    "of_first_recipe",
    "of_recipe",
    "paired_differences",
    "quantities",
    "rates",
    "savings",
    "savings_by_session",
    "sparse_speed_ups",
    "spread_shares",
    "stable_or_seed",
    "table_one",
    "zero_ranges",
]
