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

INPUT, OUTPUT = "images", "logits"
BATCH = 500
_PRODUCTS = ("Conv", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul", "ConvInteger",
             "MatMulInteger", "FusedConv", "ConvTranspose")  # fmt: skip
_UNKNOWN = ("LSTM", "GRU", "RNN", "Einsum", "Attention", "DeformConv", "MultiHeadAttention")


def exported(model: nn.Module, input_shape: Sequence[int], path: Path) -> Path:
    """The net as an ONNX file of its own, weights inside: float32, any batch; the path comes out.

    input_shape: of one image, without the batch. The file's input is called "images", its output
    "logits"; it computes what the net does in evaluation mode, and the net is left as found.

    Refused with `BadInputError`: a net that torch cannot export, with its reason, such as a forward
    that branches on a value; then no file is written.

    Source: `torch.onnx.export`.
    """
    with optional():
        import onnx
        import onnxscript  # noqa: F401 - what torch exports by
    plain = copy.deepcopy(model).cpu().float().eval().to(memory_format=torch.contiguous_format)
    images = torch.zeros(2, *input_shape)
    batch = torch.export.Dim("batch")
    with _quiet():
        try:
            program = torch.onnx.export(
                plain, (images,), input_names=[INPUT], output_names=[OUTPUT],
                dynamic_shapes=({0: batch},), dynamo=True, verbose=False,
            )  # fmt: skip
            proto = program.model_proto
        except Exception as error:  # whatever a net's forward or the exporter raises
            raise BadInputError(
                f"{type(model).__name__} cannot be exported to ONNX, {_reason(error)}"
            ) from error
    return _written(onnx, proto, Path(path))


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


def _written(onnx, proto, path: Path) -> Path:
    """The file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(proto.SerializeToString())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def quantised(path: Path, images: np.ndarray, target: Path) -> Path:
    """An ONNX file with 8 bits for every convolution and linear layer; the new path comes out.

    What comes out computes with unsigned 8-bit activations and signed 8-bit weights, a scale for
    each output channel of these (QDQ form), so that ONNX Runtime's integer kernels run it. Ranges
    of activations are those on `images` (N, C, H, W), float32 as the net gets them.

    Refused with `BadInputError`: images of another shape or type than the file's input, not finite,
    or none; then no file is written.

    Source: `onnxruntime.quantization.quantize_static`; Jacob et al. 2018, section 2.
    """
    with optional():
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    images = np.asarray(images)
    name, shape = _input(onnx.load(path))
    fits = images.ndim == len(shape) and all(
        wanted in (None, there) for wanted, there in zip(shape[1:], images.shape[1:], strict=True)
    )
    if not fits or images.dtype != np.float32 or not len(images):
        wanted = ", ".join("N" if side is None else str(side) for side in shape)
        raise BadInputError(
            f"images to calibrate on are {images.dtype} {images.shape}: float32 ({wanted}), at "
            "least one, are expected"
        )
    if not np.isfinite(images).all():
        raise BadInputError("images to calibrate on have NaN or infinite values")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.parts = iter(np.array_split(images, math.ceil(len(images) / BATCH)))

        def get_next(self):
            part = next(self.parts, None)
            return None if part is None else {name: part}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        ready, made = Path(folder) / "ready.onnx", Path(folder) / "made.onnx"
        quant_pre_process(str(path), str(ready))
        quantization.quantize_static(
            str(ready), str(made), Reader(), quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8, per_channel=True,
        )  # fmt: skip
        return _written(onnx, onnx.load(made), Path(target))


def _input(proto) -> tuple[str, list[int | None]]:
    """Name and shape of a file's input; None for sizes that are free."""
    (given,) = proto.graph.input
    sides = given.type.tensor_type.shape.dim
    return given.name, [side.dim_value or None for side in sides]


class Session:
    """An ONNX file, ready to run on the CPU with so many threads."""

    def __init__(self, path: Path, threads: int = 1):
        with optional():
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # threads that wait by spinning would take the cores from whoever is timed next
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises kinds of its own
            raise BadInputError(f"{path} cannot be run by ONNX Runtime: {error}") from error
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """What the net says of each image: (N, classes) from (N, C, H, W), float32 both."""
        parts = np.array_split(images, max(1, math.ceil(len(images) / BATCH)))
        return np.concatenate([self._session.run(None, {self._input: part})[0] for part in parts])

    def prepared(self, images: np.ndarray) -> Callable[[], object]:
        """A function without arguments that runs all these images as one batch, to be timed."""
        given = {self._input: np.ascontiguousarray(images, np.float32)}
        return lambda: self._session.run(None, given)


def macs(path: Path) -> int:
    """Multiply-adds of one image that a graph computes, by the shapes that ONNX infers.

    Convolutions, Gemm and matrix products, in floats or with 8 bits, as `convcost.count` counts
    them: biases, normalisation and activations are none. Refused with `BadInputError`: operators
    that multiply in ways that are not known here (LSTM, Einsum, attention), and products whose
    shapes cannot be inferred, by name.
    """
    with optional():
        import onnx
    proto = onnx.load(path)
    (given,) = proto.graph.input
    batch = given.type.tensor_type.shape.dim[0].dim_param
    for value in (given, *proto.graph.value_info, *proto.graph.output):
        for side in value.type.tensor_type.shape.dim:
            if batch and side.dim_param == batch:
                side.dim_value = 1  # one image
    shapes = _shapes(onnx, onnx.shape_inference.infer_shapes(proto, data_prop=True))
    total = 0
    for node in proto.graph.node:
        if node.op_type in _UNKNOWN:
            raise BadInputError(f"{path}: {node.op_type} {node.name!r} is not counted here")
        if node.op_type in _PRODUCTS:
            total += _product(node, shapes, path)
    return total


def _shapes(onnx, proto) -> dict[str, tuple[int, ...]]:
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        sides = tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
        if all(sides):
            shapes.setdefault(value.name, sides)
    return shapes


def _product(node, shapes: dict[str, tuple[int, ...]], path: Path) -> int:
    """Multiply-adds of one node."""
    # behind each tensor of a QLinear operator stand its scale and zero point
    second = 3 if node.op_type.startswith("QLinear") else 1
    first, weight, output = (
        shapes.get(name) for name in (node.input[0], node.input[second], node.output[0])
    )
    if output is None or weight is None or first is None:
        raise BadInputError(
            f"{path}: the shapes of {node.op_type} {node.name!r} cannot be inferred"
        )
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(weight[1:])
    if "Conv" in node.op_type:
        return math.prod(output) * math.prod(weight[1:])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(output) * first[0 if transposed else -1]
