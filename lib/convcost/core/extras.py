"""Packages that only a part of convcost needs, and what to install where one is missing.

`pip install convcost` brings what counts, predicts, times and finds zeros. The rest comes with the
extras of pyproject.toml, whose names stand here, so that a missing package is told with its cure.
"""

import contextlib
import importlib.util
from collections.abc import Iterator

from convcost.core.errors import ConvcostError

# name that is imported -> the extra that brings it
EXTRA_OF = {
    **dict.fromkeys(("pooch", "requests", "sklearn", "tqdm"), "data"),
    **dict.fromkeys(("lmfit", "scipy"), "fits"),
    **dict.fromkeys(("matplotlib", "seaborn"), "figures"),
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript", "optuna"), "acceleration"),
    "torch_pruning": "acceleration",
    **dict.fromkeys(("IPython", "jupyterlab", "jupyter_client", "jupyter_core"), "notebooks"),
    **dict.fromkeys(("nbclient", "nbformat", "pandera", "papermill", "thop"), "notebooks"),
    **dict.fromkeys(("dask", "distributed"), "cluster"),
    "timm": "timm",
}


class MissingPackageError(ConvcostError, ImportError):
    """A package that an extra brings is not installed; the text names the extra."""


def lacking(*packages: str) -> list[str]:
    """Those of these packages that are not installed, in their order; nothing is imported.

    >>> lacking("json", "no_such_package")
    ['no_such_package']
    """
    return [name for name in packages if importlib.util.find_spec(name) is None]


@contextlib.contextmanager
def optional() -> Iterator[None]:
    """A block of imports: of a package that is missing, MissingPackageError names the extra.

    >>> with optional():
    ...     raise ModuleNotFoundError("No module named 'pooch'", name="pooch")
    Traceback (most recent call last):
    ...
    convcost.core.extras.MissingPackageError: pooch is not installed: pip install "convcost[data]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA_OF:
            raise
        raise MissingPackageError(
            f'{package} is not installed: pip install "convcost[{EXTRA_OF[package]}]"'
        ) from error
