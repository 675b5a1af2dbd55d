"""What a figure is: how it is drawn, from which tables, where it is shown, what it shows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FigureSpec:
    """One figure: how it is drawn, from which tables, and where it is shown."""

    draw: Callable[..., "Figure"]  # takes the tables, in their order
    tables: tuple[
        str, ...
    ]  # the caption tells of the first one's run, or that they are mixed; none: formulas alone
    notebook: str
    alt: str  # what a person who cannot see it should know
    by_device: bool = False  # draw takes on_gpu as well: a GPU's run reads differently
