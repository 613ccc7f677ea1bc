"""One forward pass on ONNX Runtime, by the first of its providers that this machine has."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnxruntime
import torch
from torch import Tensor

from dacli import __version__, paths
from dacli.callbacks import Log, ignore_log
from dacli.errors import DacliError
from dacli.inference import onnx_export
from dacli.inference.device import ExecutionPlan, compute_threads
from dacli.inference.engines.network_cache import (
    cached_network_path,
    name_cached_network,
    read_checked,
    write_to_cache,
)
from dacli.inference.engines.torch_engine import name_memory_errors
from dacli.inference.onnx_export import INPUT_NAME, build_onnx
from dacli.models.spec import DepthModel

PROVIDERS: Mapping[str, str] = {  # the fastest first
    "TensorRT": "TensorrtExecutionProvider",
    "CUDA": "CUDAExecutionProvider",
    "MIGraphX": "MIGraphXExecutionProvider",
    "ROCm": "ROCMExecutionProvider",
    "DirectML": "DmlExecutionProvider",
    "CoreML": "CoreMLExecutionProvider",
    "OpenVINO": "OpenVINOExecutionProvider",
    "CPU": "CPUExecutionProvider",
}
PROVIDERS_OF_DEVICE = {"cuda": ("TensorRT", "CUDA", "MIGraphX", "ROCm"), "mps": ("CoreML",)}

onnxruntime.disable_telemetry_events()
onnxruntime.set_default_logger_severity(4)  # only what ends the process: dacli reports errors itself


class ONNXRuntimeEngine:
    """A network as an ONNX graph for all sizes, run by one provider, whose name its plan has.

    `log` gets a line for a provider that is in the package and does not start on this machine.
    """

    def __init__(self, network: DepthModel, plan: ExecutionPlan, log: Log = ignore_log) -> None:
        self.network, self.streams = network, 1
        graph = load_graph(network, plan.precision, log)
        self.session, provider = start_session(graph, plan, log)
        self.plan = replace(plan, provider=provider)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return depth [B, H, W] in float32 of normalised pictures [B, 3, H, W].

        Raises MemoryShortError if memory does not suffice.
        """
        inputs = {INPUT_NAME: pictures.float().contiguous().numpy()}
        with name_memory_errors(pictures, self.plan):
            try:
                (depth,) = self.session.run(None, inputs)
            except Exception as error:  # its classes derive from Exception alone
                raise RuntimeError(str(error)) from error
        return torch.from_numpy(depth)

    def free(self) -> None:
        """Do nothing: ONNX Runtime keeps the memory of a pass for the next one."""

    def in_float32(self) -> "ONNXRuntimeEngine":
        """Return an engine with the same network that computes in float32: for pictures that overflowed."""
        return ONNXRuntimeEngine(self.network, replace(self.plan, precision="fp32"))


def candidate_providers(device: str, only: str = "") -> list[str]:
    """Return the providers that the installed package has for a device, the fastest first; only one if it is named.

    On "cpu" these are all, because some GPUs are known to ONNX Runtime and not to torch.
    """
    wanted: Sequence[str] = PROVIDERS_OF_DEVICE.get(device.partition(":")[0], tuple(PROVIDERS))
    available = onnxruntime.get_available_providers()
    return [name for name in wanted if PROVIDERS[name] in available and only in ("", name)]


def start_session(graph: bytes, plan: ExecutionPlan, log: Log) -> "tuple[onnxruntime.InferenceSession, str]":
    """Return a session and the name of its provider; raise DacliError if none starts.

    A package may have providers whose libraries or hardware the machine lacks: the next is taken then.
    """
    faults = []
    for name in candidate_providers(plan.device, plan.provider):
        providers = list(dict.fromkeys([PROVIDERS[name], PROVIDERS["CPU"]]))
        try:
            session = onnxruntime.InferenceSession(
                graph, session_options(), providers, [provider_options(name, plan), {}][: len(providers)]
            )
        except Exception as error:  # noqa: BLE001 - its classes derive from Exception alone
            faults.append(f"{name}: {str(error).partition(chr(10))[0]}")
            continue
        if session.get_providers()[0] == PROVIDERS[name]:
            return session, name
        log(f"ONNX Runtime's {name} does not start on this machine")
    raise DacliError(
        f"ONNX Runtime does not start ({'; '.join(faults) or 'no provider'})", "use --engine torch, or --device cpu"
    )


def session_options() -> onnxruntime.SessionOptions:
    """Return options for all cores, whose threads do not spin: between two pictures, other stages need the cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = compute_threads()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def provider_options(name: str, plan: ExecutionPlan) -> dict[str, str]:
    """Return the options of a provider: the GPU's number, and the folder for what TensorRT compiles in minutes."""
    number = plan.device.partition(":")[2] or "0"
    if name == "TensorRT":
        folder = str(cached_network_path("onnxruntime", "tensorrt"))
        half = str(plan.precision == "fp16")
        return {
            "device_id": number,
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": folder,
            "trt_fp16_enable": half,
        }
    return {"device_id": number} if name in ("CUDA", "ROCm", "MIGraphX", "DirectML") else {}


def load_graph(network: DepthModel, precision: str, log: Log) -> bytes:
    """Return the ONNX file of a network for normalised pictures of all sizes, from dacli's cache or written there."""
    versions = [__version__, torch.__version__, onnxruntime.__version__]
    sources = [__file__, onnx_export.__file__]
    name = name_cached_network(network.float(), precision, versions, sources)
    path = cached_network_path("onnxruntime", f"{name}.onnx")
    with contextlib.suppress(OSError, ValueError):
        return read_checked(path)
    if line := paths.describe_temporary_cache():
        log(line)
    graph = build_onnx(network, half=precision == "fp16", normalized=True)
    with contextlib.suppress(DacliError):  # without a cache it is exported in every run
        write_to_cache(graph, path)
    return graph
