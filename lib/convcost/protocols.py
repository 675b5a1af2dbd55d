"""A door for notebook 01: its findings, and its study under the name `confront`.

Both lie in `convcost.chapters.flop_counting`; nothing in the library comes in here.
"""

from convcost.chapters.flop_counting import findings
from convcost.chapters.flop_counting.findings import *  # noqa: F403 - all that it offers
from convcost.core.doors import door

__all__ = findings.__all__

__getattr__ = door(__name__, {"confront": "convcost.chapters.flop_counting.study"})
