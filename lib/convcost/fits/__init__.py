"""Fitted models, whatever they predict: where they extrapolate, and how well they say the unseen.

`fitted` is what a fit gives, `comparison` tries models on rows that no fit has seen, beside
referees that know nothing. The models of a chapter are its own; nothing here imports torch.
`complexity` and `printed` are doors for notebook 04.
"""

from convcost.core.doors import door
from convcost.core.extras import optional

with optional():
    from convcost.fits import comparison, fitted

__all__ = ["comparison", "fitted"]

_FINDINGS = "convcost.chapters.complexity_precision.findings"
__getattr__ = door(
    __name__, {"complexity": f"{_FINDINGS}.complexity", "printed": f"{_FINDINGS}.printed"}
)
