"""`python -m convcost count`: what a network costs, as text, JSON or CSV."""

import dataclasses
import json
import sys

from convcost.core.errors import BadInputError
from convcost.counting import conventions

HELP_CONVENTION = f"also the total by one of: {', '.join(conventions.CONVENTIONS)}; list: titles"


def add_arguments(parser) -> None:
    parser.add_argument(
        "net",
        nargs="?",
        help="a net of the sources (lenet_atsumi, …), a torchvision net by its name there "
        "(resnet18, fcn_resnet50, r3d_18, raft_small, …; no detection nets), or file.py:function",
    )
    parser.add_argument(
        "--input", help="shape of one image without batch: 3,224,224 (several inputs: 3,8,8;10)"
    )
    parser.add_argument("--batch", type=int, default=1, help="images per batch (default 1)")
    parser.add_argument("--dtype", help="dtype of the inputs, such as int64 for token indices")
    parser.add_argument("--training", action="store_true", help="count training mode")
    parser.add_argument("--aux", action="store_true", help="build the auxiliary heads too")
    parser.add_argument("--convention", metavar="NAME", help=HELP_CONVENTION)
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--by-type", action="store_true", help="one row per operator type")
    rows.add_argument("--by-module", action="store_true", help="one row per module")
    rows.add_argument("--by-call", action="store_true", help="one row per operator call")
    parser.add_argument("--depth", type=int, default=1, help="levels of --by-module (default 1)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object")
    form.add_argument("--csv", action="store_true", help="rows as CSV (one per call by default)")


def network(wanted: str, given: str | None, *, aux: bool = False):
    """The model that is named, its name, and the shape of its input: as given, or its own.

    Raises BadInputError for a name that is no net's, and a file's net without a shape.
    """
    shape = None if given is None else _shape(given)
    from convcost import nets

    if ":" in wanted or wanted.endswith(".py"):
        if aux:
            raise BadInputError("--aux is for torchvision's nets; a file builds its own")
        if shape is None:
            raise BadInputError("--input is needed with a net from a file, such as 3,224,224")
        return nets.load(wanted), wanted, shape
    net = nets.get(wanted)
    model = nets.build(net.name, aux=aux, device="meta")
    return model, net.name, net.input_shape if shape is None else shape


def run(args) -> int:
    if args.convention == "list":
        width = max(map(len, conventions.CONVENTIONS))
        for key, convention in conventions.CONVENTIONS.items():
            print(f"{key:<{width}}  {convention.unit:<15}  {convention.title}")
        return 0
    if args.net is None:
        raise BadInputError("name a net, such as resnet18, or file.py:function (see --help)")
    model, name, shape = network(args.net, args.input, aux=args.aux)
    from convcost import count

    result = count(
        model,
        shape,
        batch=args.batch,
        convention=args.convention,
        training=args.training,
        dtype=args.dtype,
    )
    result = dataclasses.replace(result, model=f"{name} ({result.model})")
    if args.json:
        print(json.dumps(_summary(args, result, shape), indent=1, ensure_ascii=False))
        return 0
    rows = _rows(args, result)
    if args.csv:
        (result.table if rows is None else rows).to_csv(sys.stdout, index=False)
        return 0
    print(repr(result))
    if rows is not None:
        print()
        print(_text(rows))
    return 0


def _rows(args, result):
    if args.by_type:
        return result.by_type()
    if args.by_module:
        return result.by_module(args.depth)
    return result.table if args.by_call else None


def _summary(args, result, shape) -> dict:
    out = {
        "net": args.net,
        "input_shape": shape,
        "batch": result.batch,
        "training": result.training,
        "macs": result.macs,
        "flops": result.flops,
        "params": result.params,
        "acts": result.acts,
        "bytes": result.bytes,
        "backward_flops": result.backward_flops,
        "backward_flops_with_input_gradient": result.backward_flops_with_input_gradient,
        "training_flops": result.training_flops,
        "unused_params": sum(result.unused_params.values()),
        "uncounted": result.uncounted,
        "fallback": result.fallback,
        "convention": result.convention,
        "total": result.total if result.total is None else _number(result.total),
        "unit": result.unit,
    }
    rows = _rows(args, result)
    if rows is not None:
        out["rows"] = json.loads(rows.to_json(orient="records"))
    return out


def _number(total):
    """An int, or a float where a convention counts halves."""
    return int(total) if total == int(total) else float(total)


def _shape(text: str):
    """ "3,224,224" as (3, 224, 224); "3,8,8;10" as ((3, 8, 8), (10,))."""
    shown = text if len(text) < 80 else f"{text[:60]}… ({len(text)} characters)"
    try:
        shapes = [tuple(int(n) for n in part.split(",")) for part in text.split(";")]
    except ValueError:
        shapes = [()]
    if not all(n > 0 for shape in shapes for n in shape) or not all(shapes):
        raise BadInputError(
            f"--input {shown!r}: positive ints with commas between are expected, such as "
            "3,224,224 (channels, height, width; without the batch)"
        )
    return shapes[0] if len(shapes) == 1 else tuple(shapes)


def _text(rows) -> str:
    """The rows as a table: numbers with thousands separators, right-aligned."""
    from convcost.core import tables  # loads pandas

    columns, numbers = [], []
    for name in rows.columns:
        values = rows[name]
        if name == "share":
            cells = [f"{v:.1%}" for v in values]
        elif name in ("module", "path"):
            cells = [v or "(root)" for v in values]
        elif values.dtype.kind == "f":
            cells = [f"{v:.2f}" for v in values]
        elif values.dtype.kind == "i":
            cells = [f"{v:,}" for v in values]
        else:
            cells = [_cell(v) for v in values]
        columns.append(cells)
        numbers += [name] if values.dtype.kind in "if" else []
    lines = zip(*columns, strict=True)
    return tables.text(list(rows.columns), lines, right=numbers, rule=False)


def _cell(value) -> str:
    """A shape as 1x3x8x8, several shapes by their number, anything else as it is."""
    if not isinstance(value, tuple):
        return str(value)
    if all(isinstance(n, int) for n in value):
        return "x".join(map(str, value)) or "scalar"
    return f"{len(value)} tensors"
