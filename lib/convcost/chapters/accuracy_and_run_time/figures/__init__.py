"""Figures of notebook 05: which tables each takes, and what it shows, in words."""

from convcost.figures.spec import FigureSpec

SPECS: dict[str, FigureSpec] = {}
