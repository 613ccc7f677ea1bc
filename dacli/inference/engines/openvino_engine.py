"""One forward pass on OpenVINO, the faster engine on a CPU; the converted network is kept on disk."""

import contextlib
import queue
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacli import __version__, memory, paths
from dacli.callbacks import Log, ignore_log
from dacli.errors import DacliError
from dacli.inference.device import ExecutionPlan, compute_threads
from dacli.inference.engines import quantization
from dacli.inference.engines.network_cache import (
    cached_network_path,
    name_cached_network,
    read_checked,
    write_to_cache,
)
from dacli.inference.engines.torch_engine import name_memory_errors
from dacli.models.spec import DepthModel

# On import, OpenVINO sends telemetry over the network, unless the package for that is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402
from openvino.frontend import FrontEndManager, OpConversionFailure  # noqa: E402
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: E402

# The first call fills OpenVINO's table of types. Two threads that do so at the same time would deadlock: one holds
# Python's lock and waits for C++'s, the other the reverse.
openvino.Type.f32.to_dtype()

SHAPES_KEPT = 2  # compiled networks of a fixed size: each holds a copy of the weights
OpenVINOProperties = dict[str, str | int]
PRECISION_HINTS: dict[torch.dtype, OpenVINOProperties] = {
    torch.float32: {"INFERENCE_PRECISION_HINT": "f32"},
    torch.bfloat16: {"INFERENCE_PRECISION_HINT": "bf16"},
}
# The residual stream adds up many small terms, so its layers and their norms stay in float32 under every hint.
RESIDUAL_LAYER = re.compile(r'<layer id="\d+" name="[^"]*(?:/MVN|(?:blocks|layers)\.\d+/aten::add/Add)[^"]*" [^>]*>')
PRECISE_MARK = '<rt_info><attribute name="precise" version="0" /></rt_info>'


class OpenVINOEngine:
    """A network compiled for a plan. Up to `streams` threads may use it at the same time, each on its share of cores.

    The result does not depend on the number of streams. `log` gets a line before work that takes long. With a `shape`
    it takes pictures of that shape [B, 3, H, W] only.
    """

    def __init__(
        self,
        network: DepthModel,
        plan: ExecutionPlan,
        streams: int = 1,
        log: Log = ignore_log,
        shape: Sequence[int] | None = None,
    ) -> None:
        self.plan, self.streams = plan, streams
        self.network = network.eval().requires_grad_(requires_grad=False).float()
        properties = PRECISION_HINTS[plan.dtype] | {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": compute_threads()}
        if shape is None:
            self.compiled = compile_network(self.network, plan.precision, properties, log)
        else:
            self.compiled = compile_for_shape(self.network, shape, properties)
        self.idle: queue.SimpleQueue[openvino.InferRequest] = queue.SimpleQueue()
        for _ in range(streams):
            self.idle.put(self.compiled.create_infer_request())
        self.input_lock = threading.Lock()

    def forward(self, pictures: Tensor) -> Tensor:
        """Return depth [B, H, W] in float32 of normalised pictures [B, 3, H, W].

        Raises MemoryShortError if memory does not suffice.
        """
        with self.input_lock:
            inputs = network_inputs(self.network, pictures)
        request = self.idle.get()
        try:
            with name_memory_errors(pictures, self.plan):
                return torch.from_numpy(request.infer(inputs, share_inputs=True)[0])
        finally:
            self.idle.put(request)

    def free(self) -> None:
        """Release the memory that passes have left, unless one is running; the next pass allocates it again."""
        requests = []
        with contextlib.suppress(queue.Empty):
            while True:
                requests.append(self.idle.get_nowait())
        if len(requests) == self.streams:
            self.compiled.release_memory()
            memory.trim_heaps()
        for request in requests:
            self.idle.put(request)

    def in_float32(self) -> "OpenVINOEngine":
        """Return an engine with the same network that computes in float32: for pictures that overflowed."""
        return OpenVINOEngine(self.network, replace(self.plan, precision="fp32"), self.streams)


class OpenVINOBySize:
    """A network of a fixed size: it is compiled for each shape of pictures, and the last few results are kept."""

    def __init__(self, network: DepthModel, plan: ExecutionPlan, streams: int = 1, log: Log = ignore_log) -> None:
        self.network, self.plan, self.streams, self.log = network, plan, streams, log
        self.engines: dict[tuple[int, ...], OpenVINOEngine] = {}  # the last used at the end
        self.choosing = threading.Lock()

    def forward(self, pictures: Tensor) -> Tensor:
        """Return depth [B, H, W] in float32 of normalised pictures [B, 3, H, W].

        Raises MemoryShortError if memory does not suffice.
        """
        return self.engine_for(tuple(pictures.shape)).forward(pictures)

    def engine_for(self, shape: tuple[int, ...]) -> OpenVINOEngine:
        """Return the engine for pictures of a shape [B, 3, H, W], compiled if it is not among the last ones."""
        with self.choosing:
            found = self.engines.pop(shape, None)
            if found is None:
                if len(self.engines) == SHAPES_KEPT:
                    del self.engines[next(iter(self.engines))]
                found = OpenVINOEngine(self.network, self.plan, self.streams, self.log, shape)
            self.engines[shape] = found
            return found

    def free(self) -> None:
        """Release the memory that passes have left."""
        with self.choosing:
            engines = list(self.engines.values())
        for engine in engines:
            engine.free()

    def in_float32(self) -> "OpenVINOBySize":
        """Return an engine with the same network that computes in float32: for pictures that overflowed."""
        return OpenVINOBySize(self.network, replace(self.plan, precision="fp32"), self.streams, self.log)


def network_inputs(network: DepthModel, pictures: Tensor) -> list[NDArray[np.float32]]:
    """Return the inputs of the converted network: pictures [B, 3, H, W], and its extra inputs for their size."""
    inputs = [pictures.float(), *network.export_inputs(*pictures.shape[2:])]
    return [values.contiguous().numpy() for values in inputs]


def compile_network(
    network: DepthModel, precision: str, properties: OpenVINOProperties, log: Log
) -> openvino.CompiledModel:
    """Return the network compiled in a precision with properties of OpenVINO.

    It is read from dacli's cache, or written there; one file serves all sizes and streams, and a damaged file is
    replaced. Each precision has its own file: with AMX, OpenVINO 2026.4 computes nonsense in bfloat16 if the file was
    exported in float32. `log` gets a line before a quantisation. Raises DacliError if a temporary file cannot be
    written.
    """
    core = openvino.Core()
    path = cache_path(network, core, precision)
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        return core.import_model(read_checked(path), "CPU", properties)
    if line := paths.describe_temporary_cache():
        log(line)
    model = convert_network(network)
    if precision == "int8":
        log("quantising the network to int8 over rendered scenes, once: seconds for tiny, minutes for a ViT")
        model = quantization.quantize_model(
            model, [network_inputs(network, picture) for picture in quantization.calibration_pictures(network)]
        )
    compiled = core.compile_model(mark_residuals_precise(model, core), "CPU", properties)
    with contextlib.suppress(DacliError):  # without a cache it is compiled in every run
        write_to_cache(compiled.export_model().getvalue(), path)
    return compiled


def compile_for_shape(
    network: DepthModel, shape: Sequence[int], properties: OpenVINOProperties
) -> openvino.CompiledModel:
    """Return the network compiled for pictures of one shape [B, 3, H, W].

    It is not cached: each shape would take a file as large as the weights. Raises DacliError for a network that
    OpenVINO cannot run.
    """
    core = openvino.Core()
    try:
        model = convert_traced(network, [torch.zeros(tuple(shape))], [list(shape)])
        return core.compile_model(mark_residuals_precise(model, core), "CPU", properties)
    except (RuntimeError, OpConversionFailure) as error:
        name, reason = network.spec.name, str(error).strip().splitlines()[-1]
        raise DacliError(f"OpenVINO cannot run {name} ({reason})", "use --engine torch") from error


def cache_path(network: DepthModel, core: openvino.Core, precision: str) -> Path:
    """Return the cache file of a network in a precision.

    Its name depends on the weights, the processor, and all code that converts, compiles and runs the network.
    """
    versions = [__version__, openvino.__version__, torch.__version__]
    versions += [str(core.get_property("CPU", name)) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    sources = [__file__]
    if precision == "int8":
        versions.append(version("nncf"))
        sources.append(quantization.__file__)
    return cached_network_path("openvino", f"{name_cached_network(network, precision, versions, sources)}.blob")


def convert_network(network: DepthModel) -> openvino.Model:
    """Return the network as OpenVINO reads it, for pictures of any number and size.

    Its export_inputs(), which torch computes, are further inputs; a side that differs between two sizes of pictures is
    variable. openvino.convert_model would take four times as long.
    """
    multiple = network.spec.multiple
    size = 3 * multiple, 5 * multiple
    extra, others = network.export_inputs(*size), network.export_inputs(4 * multiple, 7 * multiple)
    example = [torch.zeros(1, 3, *size), *extra]
    shapes = [[-1, 3, -1, -1]]
    for here, there in zip(extra, others, strict=True):
        shapes.append([a if a == b else -1 for a, b in zip(here.shape, there.shape, strict=True)])
    return convert_traced(network, example, shapes)


def convert_traced(network: DepthModel, example: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> openvino.Model:
    """Return the graph that a pass over example inputs takes, for inputs of these shapes; -1 is a variable side."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # about sizes that a trace would fix, and about tracing
        traced = torch.jit.trace(network, tuple(example), check_trace=False)  # type: ignore[no-untyped-call]
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # a variable keeps it alive: the model that load() returns does not
    model = frontend.load(decoder)
    for model_input, shape in zip(model.get_inputs(), shapes, strict=True):
        model.set_partial_shape(model_input, openvino.PartialShape(list(shape)))
    return frontend.convert(model)


def mark_residuals_precise(model: openvino.Model, core: openvino.Core) -> openvino.Model:
    """Return the model with its residual stream marked as float32, a mark that only the text of a saved model has."""
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            text, weights = Path(name, "model.xml"), Path(name, "model.bin")
            openvino.serialize(model, text, weights)
            text.write_text(RESIDUAL_LAYER.sub(rf"\g<0>{PRECISE_MARK}", text.read_text("utf-8")), "utf-8")
            return core.read_model(text, weights)
    except (OSError, RuntimeError) as error:
        hint = "free some space where temporary files go (TMPDIR), or use --engine torch"
        raise DacliError(f"cannot convert the network for OpenVINO ({error})", hint) from error
