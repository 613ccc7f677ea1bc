"""Other ways to run the same network, which `dacli bench --against` times."""

import importlib.util
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dacli.inference.device import compute_threads
from dacli.inference.preprocess import MEAN, STD
from dacli.models.depth_anything import ENCODERS, DepthAnything

TimedRun = Callable[[], object]
PIPELINE, ONNX, OPENVINO, FIXED = "Transformers pipeline", "ONNX Runtime", "plain OpenVINO", "OpenVINO, one size"
RIVAL_PACKAGES = {
    PIPELINE: ("transformers",),
    ONNX: ("onnxruntime", "onnx"),
    OPENVINO: ("openvino",),
    FIXED: ("openvino",),
}


@dataclass(frozen=True)
class Runner:
    """One way to run the network, and its parts that can be timed; a part is None if this way does not have it.

    `whole` takes a picture in memory to depth at its size, `network` a normalised picture to the network's output,
    `folder` a folder of files to a gray PNG for each.
    """

    engine: str
    precision: str
    whole: TimedRun | None = None
    network: TimedRun | None = None
    folder: TimedRun | None = None


@dataclass(frozen=True)
class RivalInput:
    """The input of all rivals: the network, a picture [H, W, 3], files, and a folder to write to.

    `seen` is the picture as the network sees it, [1, 3, h, w], and `size` the short side of that. `device` is where the
    pipeline computes; the others are on the CPU.
    """

    network: DepthAnything
    rgb: NDArray[np.uint8 | np.uint16]
    seen: Tensor
    size: int
    sources: Sequence[Path]
    folder: Path
    device: str = "cpu"

    @property
    def inputs(self) -> list[NDArray[np.float32]]:
        """Return the inputs of the network: the picture, and the position embedding of its size."""
        height, width = (side // self.network.spec.multiple for side in self.seen.shape[2:])
        return [self.seen.numpy(), self.network.pretrained.position_embedding(height, width).detach().numpy()]


def missing_packages() -> dict[str, str]:
    """Return the rivals that cannot run here, and what to install for them."""
    wanted = {name: [each for each in packages if not has_package(each)] for name, packages in RIVAL_PACKAGES.items()}
    return {name: f"pip install {' '.join(packages)}" for name, packages in wanted.items() if packages}


def has_package(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def rival_runners(given: RivalInput, say: Callable[[str], None]) -> list[Runner]:
    """Return all rivals that can run here, ready to be timed, in the order of PACKAGES.

    Why another cannot is said in a line.
    """
    fixed: Callable[[RivalInput], Runner] = partial(openvino_runner, fixed=True)
    absent, found = missing_packages(), []
    for name, make in zip(RIVAL_PACKAGES, (pipeline_runner, onnx_runner, openvino_runner, fixed), strict=True):
        if name in absent:
            say(f"{name} is not measured: {absent[name]}")
            continue
        try:
            found.append(make(given))
        except Exception as error:  # noqa: BLE001 - whatever another package raises, the rest is measured
            say(f"{name} is not measured: {' '.join(f'{type(error).__name__}: {error}'.split())[:200]}")
    return found


def pipeline_runner(given: RivalInput) -> Runner:
    """Return the depth-estimation pipeline of Transformers in float32, weights drawn at random.

    It is timed, not judged.
    """
    transformers: Any = importlib.import_module("transformers")
    settings = {
        "image_processor_type": "DPTImageProcessor",
        "size": {"height": given.size, "width": given.size},
        "keep_aspect_ratio": True,
        "ensure_multiple_of": given.network.spec.multiple,
        "resample": 3,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_pad": False,
        "image_mean": [*MEAN],
        "image_std": [*STD],
    }
    place = given.folder / "processor"
    place.mkdir(exist_ok=True)
    (place / "preprocessor_config.json").write_text(json.dumps(settings), "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        processor = transformers.AutoImageProcessor.from_pretrained(place)
        model = transformers.DepthAnythingForDepthEstimation(transformers_configuration(given.network.spec.name)).eval()
        run = transformers.pipeline("depth-estimation", model=model, image_processor=processor, device=given.device)
    picture = Image.fromarray(given.rgb)
    files = partial(process_in_order, run, given.sources, given.folder)
    return Runner(PIPELINE, "fp32", whole=partial(run, picture), folder=files)


def transformers_configuration(encoder: str) -> Any:
    """Return the published configuration of Depth Anything V2 with an encoder, as Transformers has it."""
    transformers: Any = importlib.import_module("transformers")
    row = ENCODERS[encoder]
    backbone = transformers.Dinov2Config(
        hidden_size=row.dim,
        num_attention_heads=row.heads,
        num_hidden_layers=row.blocks,
        image_size=518,
        patch_size=14,
        out_indices=[tap + 1 for tap in row.taps_v2],
        reshape_hidden_states=False,
        use_swiglu_ffn=row.swiglu is not None,
    )
    return transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=row.dim,
        neck_hidden_sizes=list(row.channels),
        fusion_hidden_size=row.features,
    )


def process_in_order(run: Callable[[str], dict[str, Image.Image]], sources: Sequence[Path], folder: Path) -> None:
    """Do what a script around the pipeline does: write the depth of one file after another as a PNG."""
    for source in sources:
        run(str(source))["depth"].save(folder / f"{source.stem}_pipeline.png")


def onnx_runner(given: RivalInput) -> Runner:
    """Return ONNX Runtime in float32, over the network exported for the one size."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    path, inputs = given.folder / "network.onnx", given.inputs
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # about sizes that the export fixes, and about the export
        pair = tuple(map(torch.from_numpy, inputs))
        torch.onnx.export(given.network, pair, path, input_names=["picture", "position"], dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = compute_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = dict(zip(("picture", "position"), inputs, strict=True))
    return Runner(ONNX, "fp32", network=partial(session.run, None, feed))


def openvino_runner(given: RivalInput, *, fixed: bool = False) -> Runner:
    """Return plain OpenVINO: its default precision and layout, one picture at a time.

    `fixed`: compiled for one size.
    """
    from dacli.inference.engines.openvino_engine import (
        convert_network,  # before openvino: it stops the telemetry of openvino
    )

    ov: Any = importlib.import_module("openvino")
    inputs, model = given.inputs, convert_network(given.network)
    if fixed:
        model.reshape({number: ov.PartialShape(each.shape) for number, each in enumerate(inputs)})
    how = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": compute_threads()}
    compiled = ov.Core().compile_model(model, "CPU", how)
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    precision = {"bf16": "bf16", "f16": "fp16"}.get(hint, "fp32")
    request = compiled.create_infer_request()
    return Runner(FIXED if fixed else OPENVINO, precision, network=partial(request.infer, inputs, share_inputs=True))
