"""Nets as ONNX files, in float32 or with 8 bits, run by ONNX Runtime on the CPU."""

import contextlib
import copy
import io
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from convcost.core.errors import BadInputError
from convcost.core.extras import optional
from convcost.core.files import write_atomically

INPUT, OUTPUT = "images", "logits"
BATCH = 500
# Operators with multiply-adds: where their weights stand among the inputs. Behind each tensor of
# the quantised forms stand its scale and its zero point.
_PRODUCTS = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv"), 1),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), 1),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul", "QGemm"), 3),
}
# Operators without any, as `convcost.count` has it. Whatever is in neither list is refused: a name
# that is not known may be a product in a new form.
_NO_PRODUCTS = (
    "Abs Add And Ceil Clip Cos Div Equal Erf Exp Floor Greater GreaterOrEqual IsInf IsNaN Less "
    "LessOrEqual Log Max Mean Min Mod Mul Neg Not Or Pow Reciprocal Round Sign Sin Sqrt Sub Sum "
    "Where Xor Celu Elu Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu Relu Selu Sigmoid Softplus "
    "Softsign Swish Tanh ThresholdedRelu LogSoftmax Softmax BatchNormalization GroupNormalization "
    "InstanceNormalization LayerNormalization LpNormalization LRN RMSNormalization AveragePool "
    "GlobalAveragePool GlobalLpPool GlobalMaxPool LpPool MaxPool ArgMax ArgMin ReduceL1 ReduceL2 "
    "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare TopK Cast "
    "CastLike Concat Constant ConstantOfShape DepthToSpace Dropout Expand Flatten Gather GatherND "
    "GatherElements Identity Pad Range Reshape Resize Shape Size Slice SpaceToDepth Split Squeeze "
    "Tile Transpose Unsqueeze DequantizeLinear DynamicQuantizeLinear QuantizeLinear "
    "QLinearAdd QLinearAveragePool QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu "
    "QLinearMul QLinearSigmoid QLinearSoftmax"
)


def exported(model: nn.Module, input_shape: Sequence[int], path: Path) -> Path:
    """The net as an ONNX file of its own, weights inside: float32, any batch; the path comes out.

    The file's one input is "images" (N, *input_shape), its one output "logits". It computes what
    the net does in evaluation mode. The net, in whatever mode, type and place it is, is left as
    found. input_shape: of one image, without the batch.

    Refused with `BadInputError`: a net that torch cannot copy or export, with its reason in one
    line, such as a forward that branches on a value; a net of one batch size only, or of several
    outputs. Then no file is written, and one that is there stays.

    Source: `torch.onnx.export`.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = exported(nn.Linear(3, 2), (3,), Path(folder) / "net.onnx")
    ...     Session(path)(np.ones((5, 3), np.float32)).shape, macs(path) == 3 * 2
    ((5, 2), True)
    """
    with optional():
        import onnx  # noqa: F401 - what torch exports by
        import onnxscript  # noqa: F401
    name = type(model).__name__
    try:
        images = torch.zeros(2, *input_shape)
        plain = copy.deepcopy(model).cpu().float().eval().to(memory_format=torch.contiguous_format)
        with _quiet():
            program = torch.onnx.export(
                plain, (images,), input_names=[INPUT], output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},), dynamo=True, verbose=False,
            )  # fmt: skip
            proto = program.model_proto
    except Exception as error:  # whatever a net's forward or the exporter raises
        raise BadInputError(f"{name} cannot be exported to ONNX, {_reason(error)}") from error
    if len(proto.graph.output) != 1:
        raise BadInputError(
            f"{name} has {len(proto.graph.output)} outputs: one is expected, the logits"
        )
    size = _input(proto, path)[1][0]
    if size is not None:  # the exporter takes a size that the forward fixes, and says nothing
        raise BadInputError(
            f"{name} runs with batches of {size} only: its forward has to take any number of images"
        )
    return _written(proto, path)


def _reason(error: BaseException) -> str:
    """The first cause, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters print, warn and log on their way."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            with contextlib.redirect_stderr(io.StringIO()):
                yield
    finally:
        logging.disable(level)


def _written(proto, path: Path) -> Path:
    write_atomically(Path(path), proto.SerializeToString())
    return Path(path)


def _opened(path: Path):
    """The graph in an ONNX file; BadInputError, with the path, where there is none."""
    with optional():
        import onnx
    try:
        return onnx.load(path)
    except Exception as error:  # of the file system, or of protobuf, which is none of ours
        raise BadInputError(f"{path} is not read as an ONNX file, {_reason(error)}") from error


def _input(proto, path: Path) -> tuple[str, list[int | None]]:
    """Name and shape of a graph's one input; None for sizes that are free."""
    weights = {tensor.name for tensor in proto.graph.initializer}  # inputs, too, in old files
    inputs = [given for given in proto.graph.input if given.name not in weights]
    if len(inputs) != 1 or not inputs[0].type.tensor_type.shape.dim:
        raise BadInputError(f"{path} has {len(inputs)} inputs: one is expected, (N, …)")
    return inputs[0].name, [side.dim_value or None for side in inputs[0].type.tensor_type.shape.dim]


def _refuse_unfit(images: np.ndarray, shape: Sequence[int | None], what: str) -> None:
    fits = images.ndim == len(shape) and all(
        wanted in (None, there) for wanted, there in zip(shape[1:], images.shape[1:], strict=True)
    )
    if not fits or images.dtype != np.float32:
        wanted = ", ".join(["N", *("any" if side is None else str(side) for side in shape[1:])])
        raise BadInputError(
            f"{what} are {images.dtype} {images.shape}: float32 ({wanted}) are expected"
        )


def quantised(path: Path, images: np.ndarray, target: Path) -> Path:
    """An ONNX file with 8 bits for every convolution and linear layer; the new path comes out.

    What comes out computes with unsigned 8-bit activations and signed 8-bit weights, a scale for
    each output channel of these (QDQ form), so that ONNX Runtime's integer kernels run it. Ranges
    of activations are the least and greatest on `images` (N, C, H, W), float32 as the net gets
    them. `path` stays; it may be `target`, too.

    Refused with `BadInputError`: images of another shape or type than the file's input, not finite,
    or none; a file that is not ONNX, or that ONNX Runtime cannot quantise, with its reason (grouped
    transposed convolutions, say). Then no file is written, and one that is there stays.

    Source: `onnxruntime.quantization.quantize_static`; Jacob et al. 2018, section 2.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = exported(nn.Linear(3, 2), (3,), Path(folder) / "net.onnx")
    ...     path = quantised(path, np.ones((4, 3), np.float32), Path(folder) / "int8.onnx")
    ...     macs(path) == 3 * 2
    True
    """
    with optional():
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    images = np.asarray(images)
    name, shape = _input(_opened(path), path)
    _refuse_unfit(images, shape, "images to calibrate on")
    if not len(images):
        raise BadInputError("there are no images to calibrate on: at least one is needed")
    if not np.isfinite(images).all():
        raise BadInputError("images to calibrate on have NaN or infinite values")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.parts = iter(np.array_split(images, math.ceil(len(images) / BATCH)))

        def get_next(self):
            part = next(self.parts, None)
            return None if part is None else {name: part}

    with tempfile.TemporaryDirectory() as folder:
        ready, made = Path(folder) / "ready.onnx", Path(folder) / "made.onnx"
        try:
            with _quiet():
                quant_pre_process(str(path), str(ready))
                quantization.quantize_static(
                    str(ready), str(made), Reader(), quant_format=quantization.QuantFormat.QDQ,
                    activation_type=quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8, per_channel=True,
                )  # fmt: skip
        except Exception as error:  # onnxruntime raises kinds of its own, and numpy's
            raise BadInputError(f"{path} cannot be quantised, {_reason(error)}") from error
        return _written(_opened(made), target)


class Session:
    """An ONNX file, ready to run on the CPU with so many threads: a function of images.

    Refused with `BadInputError`: a file that ONNX Runtime cannot run, threads that are no whole
    number from 1 on, and images that are not float32 of the file's shape.
    """

    def __init__(self, path: Path, threads: int = 1):
        with optional():
            import onnxruntime
        if not isinstance(threads, int) or threads < 1:  # to ONNX Runtime, 0 means all cores
            raise BadInputError(f"threads is {threads!r}: a whole number from 1 on is expected")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Threads that wait by spinning take cores from whoever else runs. Tried twice on two cores
        # with other work, nets alone and in turns: at two threads spinning made the shortest times
        # 1.5 to 3 times as long; without it those in turns were within a sixth of those alone. At
        # one thread nobody waits, and nothing changed. What it does where cores are idle, was not
        # tried.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises kinds of its own
            raise BadInputError(
                f"{path} cannot be run by ONNX Runtime, {_reason(error)}"
            ) from error
        given = self._session.get_inputs()[0]
        self._input = given.name
        self._shape = [side if isinstance(side, int) else None for side in given.shape]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """What the net says of each image: (N, classes) from (N, C, H, W), float32 both.

        They run in batches of at most `BATCH`; of no images, (0, classes) comes out.
        """
        _refuse_unfit(images := np.asarray(images), self._shape, "images")
        parts = np.array_split(images, max(1, math.ceil(len(images) / BATCH)))
        return np.concatenate([self._session.run(None, {self._input: part})[0] for part in parts])

    def prepared(self, images: np.ndarray) -> Callable[[], list[np.ndarray]]:
        """A function without arguments that runs all these images as one batch, to be timed.

        What it returns is a list of one array, the logits.
        """
        _refuse_unfit(images := np.asarray(images), self._shape, "images")
        given = {self._input: np.ascontiguousarray(images)}
        return lambda: self._session.run(None, given)


def macs(path: Path) -> int:
    """Multiply-adds of one image that a graph computes, by the shapes that ONNX infers.

    Convolutions, Gemm and matrix products, in floats or with 8 bits, as `convcost.count` counts
    them: biases, normalisation and activations are none.

    Refused with `BadInputError`: operators that are not known here, by name, among them those that
    multiply (LSTM, Einsum, attention) or hold graphs (If, Loop); products whose shapes cannot be
    inferred; a file that is not ONNX, or for batches of a fixed size above 1.

    Source: the definitions of the operators, https://onnx.ai/onnx/operators.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = exported(nn.Conv2d(3, 8, 3), (3, 5, 5), Path(folder) / "net.onnx")
    ...     macs(path) == 3*3*3 * 8 * 3*3
    True
    """
    with optional():
        import onnx
    proto = _opened(path)
    name, (batch, *_) = _input(proto, path)
    if batch not in (None, 1):
        raise BadInputError(f"{path} is for batches of {batch}: one image has no count of its own")
    given = next(value for value in proto.graph.input if value.name == name)
    free = given.type.tensor_type.shape.dim[0].dim_param
    for value in (given, *proto.graph.value_info, *proto.graph.output):
        for side in value.type.tensor_type.shape.dim:
            if free and side.dim_param == free:
                side.dim_value = 1  # one image
    known = {*_PRODUCTS, *_NO_PRODUCTS.split()}
    if unknown := {node.op_type for node in proto.graph.node} - known:
        raise BadInputError(
            f"{path} has operators that are not counted here: {', '.join(sorted(unknown))}"
        )
    try:
        shapes = _shapes(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    except Exception as error:  # onnx raises kinds of its own
        raise BadInputError(f"{path}: shapes cannot be inferred, {_reason(error)}") from error
    products = (node for node in proto.graph.node if node.op_type in _PRODUCTS)
    return sum(_product(node, shapes, path) for node in products)


def _shapes(proto) -> dict[str, tuple[int, ...]]:
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        sides = tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
        # without a shape there are no sides either, and such a value is no scalar
        if value.type.tensor_type.HasField("shape") and all(sides):
            shapes.setdefault(value.name, sides)
    return shapes


def _product(node, shapes: dict[str, tuple[int, ...]], path: Path) -> int:
    """Multiply-adds of one node."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in shapes:
            raise BadInputError(
                f"{path}: the shapes of {node.op_type} {node.name!r} cannot be inferred"
            )
        return shapes[name]

    first, weight = shape(node.input[0]), shape(node.input[_PRODUCTS[node.op_type]])
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(weight[1:])
    if "Gemm" in node.op_type:  # by its inputs: of QGemm, ONNX infers no output
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return math.prod(first) * weight[0 if transposed else 1]
    output = math.prod(shape(node.output[0]))
    return output * (math.prod(weight[1:]) if "Conv" in node.op_type else first[-1])
