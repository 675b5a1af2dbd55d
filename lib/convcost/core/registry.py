"""Which chapters there are. The rooms below ask here, for they may import none of them.

`convcost.chapters` holds the list, and `convcost` registers it. A chapter is a package whose parts
are found by their names: `tables`, `study`, `findings`, `claims`, `figures`. What an engine needs
of all chapters together is asked for by part and name, as `together("claims", "CHECKS")`; a part
is imported only then.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from convcost.core.extras import optional


@dataclass(frozen=True)
class Chapter:
    """A notebook, and the package that holds what it needs; None for one not built yet."""

    notebook: str  # its name, without .ipynb
    question: str
    package: str | None = None
    measures: bool = False  # whether `convcost measure` can do its study without it
    claims: bool = True  # whether published values may belong to it

    def part(self, name: str) -> ModuleType | None:
        """A part such as "findings", imported; None where the chapter has none."""
        if self.package is None:
            return None
        return _module(f"{self.package}.{name}")


@cache
def _module(name: str) -> ModuleType | None:
    if not importlib.util.find_spec(name):
        return None
    with optional():
        return importlib.import_module(name)


_chapters: tuple[Chapter, ...] = ()


def register(*chapters: Chapter) -> None:
    """Put chapters behind those that are there; one of the same notebook takes its place."""
    global _chapters
    together = {chapter.notebook: chapter for chapter in (*_chapters, *chapters)}
    _chapters = tuple(together.values())


def chapters() -> tuple[Chapter, ...]:
    """All chapters, in the order of the notebooks."""
    return _chapters


def names() -> tuple[str, ...]:
    """The notebooks, built or planned, without .ipynb."""
    return tuple(chapter.notebook for chapter in _chapters)


def is_meant(word: str, name: str) -> bool:
    """Whether somebody who says `word` means the notebook `name`: its name, or its number.

    >>> [is_meant(word, "02-training-time") for word in ("2", "02", "02-training-time", "training")]
    [True, True, True, False]
    """
    number = f"{int(word):02d}-" if word.isdecimal() else None
    return word == name or (number is not None and name.startswith(number))


def measurable() -> dict[str, Chapter]:
    """The chapters whose study can be done apart from their notebook, by its name."""
    return {chapter.notebook: chapter for chapter in _chapters if chapter.measures}


def together(part: str, name: str) -> dict:
    """The dicts called `name` in that part of every chapter, as one.

    A chapter that has none adds nothing. Raises ValueError for a key that two chapters have.
    """
    found: dict = {}
    for chapter in _chapters:
        more = getattr(chapter.part(part), name, {})
        if twice := found.keys() & more.keys():
            raise ValueError(f"{name} of two chapters: {', '.join(sorted(twice))}")
        found |= more
    return found
