"""Networks as ONNX files: the graph, and the metadata that says how to use it."""

import io
import json
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dacli.errors import DacliError
from dacli.models.spec import DepthModel, ModelSpec

INPUT_NAME, OUTPUT_NAME = "image", "depth"
OPSET = 17  # the first with LayerNormalization; newer ones are read by fewer programs
LARGEST_FILE = (1 << 31) - (1 << 20)  # bytes of weights: a protobuf file ends at 2 GiB
HOW_TO_INSTALL = "pip install onnx onnxruntime"


class ExportedNetwork(nn.Module):
    """What an ONNX file computes: depth [B, H, W] in float32 of pictures [B, 3, H, W].

    Pictures are RGB in 0 … 1, or already normalised if `normalized`. Without a size (h, w) they may have any size.
    """

    def __init__(self, network: DepthModel, size: tuple[int, int] | None, *, normalized: bool) -> None:
        super().__init__()
        self.network, self.normalized = network, normalized
        self.extra = None if size is None else network.export_inputs(*size)

    def forward(self, images: Tensor) -> Tensor:
        """Return the depth of pictures."""
        if not self.normalized:
            images = self.network.normalize(images)
        extra = self.network.traced_inputs(images) if self.extra is None else self.extra
        depth: Tensor = self.network(images, *extra)
        return depth


def build_onnx(
    network: DepthModel,
    size: tuple[int, int] | None = None,
    *,
    half: bool = False,
    normalized: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return the ONNX file of a network, with float16 weights and arithmetic if `half`.

    Its input is `image` [B, 3, H, W], its output `depth` [B, H, W], both float32, as ExportedNetwork takes and returns
    them: one picture of a size (h, w), or any number of any size. Raises DacliError if the package onnx is missing, or
    the network is too large or has steps that ONNX lacks.
    """
    onnx = import_onnx()
    network = network.float().eval().requires_grad_(requires_grad=False)
    check_weight_bytes(network)
    try:
        file = trace_to_onnx(ExportedNetwork(network, size, normalized=normalized).eval(), size)
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        fault = f"{network.spec.name} cannot be exported to ONNX ({str(error).partition(chr(10))[0]})"
        raise DacliError(fault, "leave --dynamic out" if size is None else "choose another model") from error
    model = onnx.load_model_from_string(file)
    if half:
        model = to_half(model, network.spec)
    onnx.helper.set_model_props(model, dict(metadata or {}))
    content: bytes = model.SerializeToString()
    return content


def trace_to_onnx(exported: ExportedNetwork, size: tuple[int, int] | None) -> bytes:
    """Return the ONNX file of a network for one picture of a size (h, w), or for any number of any size."""
    multiple = exported.network.spec.multiple
    height, width = size or (3 * multiple, 5 * multiple)
    axes = {INPUT_NAME: {0: "batch", 2: "height", 3: "width"}, OUTPUT_NAME: {0: "batch", 1: "height", 2: "width"}}
    file: Any = io.BytesIO()  # which this exporter takes, though its type says paths only
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes that a trace would fix, and about this exporter's age
        # The newer exporter (dynamo=True) takes 16 s of CPU time for tiny, this one 1 s, for the same depth.
        torch.onnx.export(
            exported,
            (torch.zeros(1, 3, height, width),),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes=axes if size is None else None,
        )
    content: bytes = file.getvalue()
    return content


def to_half(model: Any, spec: ModelSpec) -> Any:
    """Return an ONNX model with float16 weights and arithmetic, except for the layers that stay in float32."""
    try:
        from onnxruntime.transformers import float16
    except ImportError as error:
        raise DacliError("half precision needs onnxruntime, not installed here", HOW_TO_INSTALL) from error
    precise = f"/network/{spec.precise_layers.replace('.', '/')}"
    kept = [node.name for node in model.graph.node if f"{node.name}/".startswith(f"{precise}/")]
    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, "Sqrt"]  # of which CPUs have no kernel in float16
    return float16.convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked, node_block_list=kept)


def import_onnx() -> Any:
    """Return the package onnx, which torch writes such files with; raise DacliError if it is missing."""
    try:
        import onnx
    except ImportError as error:
        raise DacliError("the package onnx is not installed", HOW_TO_INSTALL) from error
    return onnx


def check_weight_bytes(network: DepthModel) -> None:
    """Raise DacliError for a network with more bytes of weights than an ONNX file holds."""
    count = sum(weight.nbytes for weight in network.parameters())
    if count > LARGEST_FILE:
        fault = f"{network.spec.name} has {count / 1e9:.1f} GB of weights, and an ONNX file holds 2"
        raise DacliError(fault, "choose a smaller encoder")


def describe_export(spec: ModelSpec, size: tuple[int, int] | None) -> dict[str, str]:
    """Return the metadata of a file whose graph normalises pictures itself: what goes in, and what comes out."""
    return {
        "family": spec.family,
        "network": spec.name,
        "version": spec.version,
        "input": f"{INPUT_NAME}: float32 [batch, 3, height, width], RGB in 0 to 1; the graph normalises it",
        "output": f"{OUTPUT_NAME}: float32 [batch, height, width]",
        "quantity": spec.quantity,
        "near": "large" if spec.quantity == "inverse depth" else "small",
        "max_depth": "" if spec.max_depth is None else f"{spec.max_depth:g}",
        "height": "any multiple" if size is None else str(size[0]),
        "width": "any multiple" if size is None else str(size[1]),
        "multiple_of": str(spec.multiple),
        "native_size": str(spec.native_size),
        "mean": json.dumps(spec.mean),
        "std": json.dumps(spec.std),
    }
