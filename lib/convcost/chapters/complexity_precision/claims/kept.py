"""What checks share: findings made once for each content of their tables."""

from collections.abc import Callable
from functools import lru_cache

import pandas as pd

from convcost.claims.verdicts import Finding, Published
from convcost.core.errors import BadInputError
from convcost.records import MissingTableError, Results

Compute = Callable[[Results, Published, str], Finding]
TRAININGS, TIMES, CHOSEN = "configuration_trainings", "forward_times", "chosen_optima"


@lru_cache(maxsize=64)
def _kept(
    make: Callable[..., pd.DataFrame], results: Results, tables: tuple[tuple[str, str], ...]
) -> pd.DataFrame:
    try:
        return make(*(results.table(name) for name, _ in tables))
    except BadInputError as error:  # too thin a run, or the baseline itself diverged
        raise MissingTableError(f"the stored results are too few: {error}") from None


def made(results: Results, make: Callable[..., pd.DataFrame], *names: str) -> pd.DataFrame:
    """What a finding makes of tables, once for each content of them: many checks share one."""
    return _kept(make, results, tuple((name, results.sha256(name)) for name in names))
