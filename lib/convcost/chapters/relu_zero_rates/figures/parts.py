"""What several figures of this notebook draw alike."""

import matplotlib.pyplot as plt
import pandas as pd


def around(
    rows: pd.DataFrame, middle: str = "median", low: str = "p05", high: str = "p95"
) -> list[pd.Series]:
    """Error bars for matplotlib: how far the two ends of a range lie from its middle."""
    return [rows[middle] - rows[low], rows[high] - rows[middle]]


def rates(rows: pd.DataFrame) -> pd.DataFrame:
    """The same with a column `rate`: zeros over outputs."""
    return rows.assign(rate=rows["zeros"] / rows["total"])


def one_legend(figure: plt.Figure, where: str = "outside upper center", **options) -> None:
    """One legend for all panels, over them: each label once, in the order of the panels."""
    found = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    options = {"ncols": len(found), "frameon": False} | options
    figure.legend(found.values(), found.keys(), loc=where, **options)
