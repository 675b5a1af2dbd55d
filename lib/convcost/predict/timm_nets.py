"""The work of timm's nets, stored, so that published tables can be read without timm.

`stored` is the committed table; `collect` counts nets anew, which needs timm (the extra "timm").
Nets whose form changes for inference (RepVGG and the like) are counted in the form they run in.
"""

import gzip
import io
from collections.abc import Iterable, Iterator
from functools import cache

import pandas as pd

from convcost.core import paths
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError
from convcost.core.extras import optional
from convcost.predict.operators import FEATURES, TRAINED, USED, WHATS, of_net

FILE = paths.COUNTED / "timm-features.csv.gz"
KEY = ("net", "input_px", "what")
FACTS = ("design", "params", "macs", "acts")
DIGITS = 6  # significant ones, of an amount


@cache
def stored() -> pd.DataFrame:
    """One row a net, size and use: net, input_px, what, design, params, macs, acts, amounts.

    `what` is "inference" or "training"; `design` the module file of timm that defines the net;
    params, macs and acts are counts of one image; amounts have the columns of
    `operators.FEATURES`. Raises DamagedFileError where the file is not what it should be.
    """
    if lacking := paths.without_compendium("The stored work of timm's nets"):
        raise lacking
    try:
        table = pd.read_csv(io.BytesIO(gzip.decompress(FILE.read_bytes())))
    except (OSError, EOFError, ValueError) as error:
        raise DamagedFileError(
            f"{FILE} cannot be read ({error}): git checkout -- {paths.shown(FILE)}"
        ) from None
    missing = {*KEY, *FACTS, *FEATURES} - set(table.columns)
    if missing:
        raise DamagedFileError(f"{FILE} lacks {', '.join(sorted(missing))}")
    return table.fillna(dict.fromkeys(FEATURES, 0.0))


def collect(nets: Iterable[tuple[str, int, str]]) -> Iterator[dict]:
    """A row of `stored` for each (net, input_px, what), counted from timm's own model.

    Raises BadInputError for a name that timm does not have and another `what`.
    """
    with optional():
        import timm
        from timm.utils.model import reparameterize_model
    import torch

    from convcost.counting.count import count

    for net, input_px, what in nets:
        if what not in WHATS:
            raise BadInputError(f"what is {what!r}: choose from {', '.join(WHATS)}")
        if not timm.is_model(net):
            raise BadInputError(f"timm {timm.__version__} has no net {net!r}")
        model = _built(timm, torch, net, input_px)
        if what == USED:
            model = reparameterize_model(model.eval())
        counted = count(model, (3, input_px, input_px), training=what == TRAINED)
        yield row(net, input_px, what, type(model).__module__, counted, len([*model.parameters()]))


def _built(timm, torch, net: str, input_px: int):
    """The net without weights; where it is made for one size of image, for this one."""
    error: Exception | None = None
    for options in ({}, {"img_size": input_px}):
        try:
            with torch.device("meta"):
                model = timm.create_model(net, pretrained=False, **options)
                with torch.no_grad():
                    model.eval()(torch.empty(1, 3, input_px, input_px, device="meta"))
            return model
        except (TypeError, AssertionError, RuntimeError, ValueError) as refused:
            error = refused
    raise ConvcostError(f"{net} cannot be built for images of {input_px} px: {error}")


def row(net: str, input_px: int, what: str, module: str, counted, tensors: int) -> dict:
    """One row of `stored`: `counted` has batch 1, `tensors` are those of the parameters."""
    amounts = of_net(counted, training=what == TRAINED, tensors=tensors)
    return {
        "net": net, "input_px": input_px, "what": what, "design": module.rpartition(".")[2],
        "params": counted.params, "macs": counted.macs, "acts": counted.acts,
        **{name: float(f"{amounts[name]:.{DIGITS}g}") for name in FEATURES if name in amounts},
    }  # fmt: skip


def write(rows: Iterable[dict]) -> None:
    """Write the stored table anew, sorted: the same rows give the same bytes."""
    from convcost.core.files import write_atomically

    table = pd.DataFrame(list(rows)).reindex(columns=[*KEY, *FACTS, *FEATURES])
    table = table.sort_values(list(KEY)).drop_duplicates(list(KEY))
    content = table.to_csv(index=False, lineterminator="\n").encode()
    write_atomically(FILE, gzip.compress(content, mtime=0))
