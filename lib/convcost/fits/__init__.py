"""Models of what a net of the family T = (f, s, k, l) costs and how precise it is. Source: ke.

`configurations` says what can be built and counts it, `rows` makes fittable rows of the tables of
`convcost.chapters.complexity_precision.tables`, `complexity` and `precision` hold the models,
`comparison` tries them on what they have not seen, `printed` has the paper's own coefficients,
`optimum` solves eq. (7). Precision is a share, C is relative to the baseline's run time. Nothing
here imports torch.
"""

from convcost.core.extras import optional

with optional():
    from convcost.fits import (
        comparison,
        complexity,
        configurations,
        optimum,
        precision,
        printed,
        rows,
    )
    from convcost.fits.configurations import BASELINE, Configuration

__all__ = [
    "BASELINE",
    "Configuration",
    "comparison",
    "complexity",
    "configurations",
    "optimum",
    "precision",
    "printed",
    "rows",
]
