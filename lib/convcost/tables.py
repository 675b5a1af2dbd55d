"""A door for notebooks: `from convcost.tables import show`; see `convcost.core.tables`."""

from convcost.core.tables import show

__all__ = ["show"]
