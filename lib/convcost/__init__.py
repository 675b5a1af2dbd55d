"""convcost: what a convolutional network costs, in operations, time and precision.

    from convcost import count
    count(model, (3, 224, 224)).macs

Importing the package does not load torch; `count` loads it when it is called.

Besides what it imports, this file opens doors: names such as `convcost.zeros` or `convcost.guide`,
whose rooms lie deeper. `findings`, `protocols`, `studies` and `tables` are doors, too. The library
itself comes in by no door.
"""

from convcost.chapters import CHAPTERS
from convcost.chapters.complexity_precision.cheapest_net import cheapest_face_net
from convcost.core import registry
from convcost.core.doors import door, release
from convcost.counting.count import Count, count

registry.register(*CHAPTERS)

__all__ = ["Count", "__version__", "cheapest_face_net", "count"]

_enter = door(
    __name__,
    {
        "compress": "convcost.compression.filters",
        "conventions": "convcost.counting.conventions",
        "equations": "convcost.sources.equations",
        "guide": "convcost.application.guide",
        "optimum": "convcost.chapters.complexity_precision.cheapest_net",
        "profiles": "convcost.application.profiles",
        "sparse": "convcost.measuring.sparse",
        "timing": "convcost.measuring.timing",
        "units": "convcost.core.units",
        "zeros": "convcost.measuring.zeros",
    },
)


def __getattr__(name: str):
    return release() if name == "__version__" else _enter(name)
