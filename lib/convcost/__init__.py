"""convcost: what a convolutional network costs, in operations, time and precision.

    from convcost import count
    count(model, (3, 224, 224)).macs

Importing the package does not load torch; `count` loads it when it is called.
"""

from convcost.count import Count, count
from convcost.optimum import optimize

__version__ = "0.1.0"
__all__ = ["Count", "__version__", "count", "optimize"]
