"""Depth models of Transformers: every architecture that the installed version has, from a folder of its files."""

import importlib
import inspect
import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dacli.choices import Quantity
from dacli.errors import DacliError
from dacli.models.spec import DepthModel, ModelOutput, ModelSpec
from dacli.models.transformers_processing import TransformersProcessing, read_processing
from dacli.paths import display_path, printable_text

CONFIG_NAME = "config.json"
PROCESSOR_NAME = "preprocessor_config.json"
INSTALL = 'pip install "transformers>=5,<6"'
MAX_CONFIG_BYTES = 1 << 20
ANY_SIZE = ("depth_anything", "prompt_depth_anything")  # architectures that work in tiles; DPT does with a backbone


class TransformersDepth(DepthModel):
    """A depth model of Transformers, and how its image processor treats pictures and depth."""

    def __init__(self, model: nn.Module, processing: TransformersProcessing, name: str) -> None:
        super().__init__()
        self.model = model
        config: Any = model.config
        quantity, self.max_depth = predicted_quantity(config)
        self._spec = ModelSpec(
            family="Transformers",
            name=name,
            version=str(config.model_type),
            quantity=quantity,
            max_depth=self.max_depth,
            native_size=processing.native_size,
            multiple=processing.sides_multiple,
            largest_pass=2 * processing.native_size,
            tiles_allowed=works_in_tiles(config, processing),
            resize_rule=processing.input_size,
            mean=processing.mean,
            std=processing.std,
            processing=processing,
            fixed_size=True,
            precise_layers=f"model.{last_layers(model)}",
            heads=attention_heads(config),
            bytes_per_pixel=100 + 9 * int(getattr(config, "fusion_hidden_size", 256)),
        )
        self.get_submodule(self._spec.precise_layers).register_forward_pre_hook(_match_dtype, with_kwargs=True)

    @property
    def spec(self) -> ModelSpec:
        """Return what the rest of dacli has to know of the network."""
        return self._spec

    def forward(self, images: Tensor) -> Tensor:
        """Return depth [B, h, w] in float32, or inverse metres where the processor turns these into metres."""
        return self.predict(images).depth

    def predict(self, images: Tensor) -> ModelOutput:
        """Return depth, and the focal lengths in pixels of the network's input if the model estimates them.

        A model with a field of view, Depth Pro, predicts inverse depth for a focal length of the picture's width.
        """
        outputs = self.model(pixel_values=images)
        depth, degrees = outputs.predicted_depth.float(), getattr(outputs, "field_of_view", None)
        if degrees is None:
            return ModelOutput(depth)
        widths = 2 * torch.tan(degrees.float() * (math.pi / 360))  # the width of the picture in focal lengths
        return ModelOutput(depth * widths[:, None, None], images.shape[-1] / widths)

    def feature_encoder(self) -> nn.Module:
        """Return the first part of the model: its backbone."""
        return next(self.model.children())

    def token_layer(self) -> nn.Module:
        """Return the backbone as a whole: architectures differ in the names of its layers."""
        return self.feature_encoder()


def open_transformers_folder(folder: Path, name: str) -> TransformersDepth:
    """Return the network of a folder as `save_pretrained` writes it, in float32 on the CPU; no code in it is run.

    Raises DacliError if Transformers is missing, or the folder is not that of a depth model from one picture.
    """
    transformers = load_transformers(name)
    config = read_architecture(folder, name)
    check_architecture(config, name, transformers)
    processing = read_folder_processing(folder, config["model_type"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"dtype": torch.float32, "output_loading_info": True, "weights_only": True}
        model, report = _from_folder(transformers.AutoModelForDepthEstimation, folder, name, **options)
    if missing := sorted(report["missing_keys"]):
        fault = f"{name} lacks {len(missing)} weights of {architecture_title(config)} ({missing[0]})"
        raise DacliError(fault, "check or download its files again")
    if needed := needed_inputs(model):
        hint = "dacli gives a model one picture: choose another one"
        raise DacliError(f"{name} ({architecture_title(config)}) needs {' and '.join(needed)} besides a picture", hint)
    return TransformersDepth(model.eval().requires_grad_(requires_grad=False), processing, name)


def load_transformers(name: str) -> Any:
    """Return the package, which then prints no lines of its own; raise DacliError if it cannot be imported."""
    try:
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise DacliError(f"{name} needs the package transformers ({error})", INSTALL) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def read_architecture(folder: Path, name: str) -> dict[str, Any]:
    """Return the config.json of a folder; raise DacliError if it is missing, damaged or names no architecture."""
    config = read_json(folder / CONFIG_NAME)
    if isinstance(config.get("model_type"), str):
        return config
    if str(config.get("model_name", "")).startswith("da3"):
        hint = "use hf:depth-anything/DA3MONO-LARGE or hf:depth-anything/DA3METRIC-LARGE"
        raise DacliError(f"{name} is a Depth Anything 3 model of several views", hint)
    raise DacliError(
        f"{name} is not a model of Transformers: its {CONFIG_NAME} has no model_type", "choose another one"
    )


def read_folder_processing(folder: Path, architecture: str) -> TransformersProcessing:
    """Return what the preprocessor_config.json of a folder says; raise DacliError if it cannot be used."""
    path = folder / PROCESSOR_NAME
    try:
        return read_processing(architecture, read_json(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        fault = f"{display_path(path)} is not that of an image processor ({type(error).__name__}: {error})"
        raise DacliError(fault, "download it again") from error


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a small JSON file of a model's folder; raise DacliError if it cannot be read."""
    try:
        content = json.loads(path.read_bytes() if path.stat().st_size <= MAX_CONFIG_BYTES else b"")
        if isinstance(content, dict):
            return content
    except OSError as error:
        hint = "name a folder that save_pretrained() wrote, or hf:ORG/NAME"
        raise DacliError(f"cannot read {display_path(path)} ({error.strerror})", hint) from error
    except (ValueError, RecursionError):
        pass
    raise DacliError(f"{display_path(path)} is not the JSON of a model", "download it again")


def check_architecture(config: Mapping[str, Any], name: str, transformers: Any) -> None:
    """Raise DacliError unless the installed Transformers has the architecture, for depth estimation."""
    known = transformers.models.auto.modeling_auto.MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES
    kind = config["model_type"]
    if kind in known:
        check_head(config, name, known[kind])
        return
    if kind in transformers.CONFIG_MAPPING:
        hint = f"depth models of transformers {transformers.__version__} are {', '.join(known)}"
        raise DacliError(f"{name} is {architecture_title(config)}, which is no depth model", hint)
    if "auto_map" in config:
        raise DacliError(f"{name} needs code from its repository, which dacli never runs", "choose another model")
    saved = config.get("transformers_version")
    needed = f"its files were written by version {printable_text(str(saved))}" if saved else "it may be too old"
    fault = f"transformers {transformers.__version__} does not know {printable_text(kind)}, the architecture of {name}"
    raise DacliError(f"{fault}; {needed}", "pip install --upgrade transformers")


def check_head(config: Mapping[str, Any], name: str, depth_class: str) -> None:
    """Raise DacliError if the weights were written by another class of the architecture, such as one of segments."""
    classes = config.get("architectures")
    if isinstance(classes, list) and depth_class not in classes and not any("Dense" in str(each) for each in classes):
        fault = f"{name} is {architecture_title(config)}, and depth is predicted by {depth_class}"
        raise DacliError(fault, "give a model for depth estimation")


def architecture_title(config: Mapping[str, Any]) -> str:
    """Return how errors name the architecture of a config.json."""
    names = config.get("architectures")
    listed = ", ".join(map(str, names)) if isinstance(names, list) else ""
    return printable_text(listed or config["model_type"])


def _from_folder(loader: Any, folder: Path, name: str, **options: Any) -> Any:
    try:
        return loader.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:  # its files can be wrong in any way
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {printable_text(lines[0] if lines else '')}"
        raise DacliError(f"transformers cannot load {name} ({reason})", "check or download its files again") from error


def needed_inputs(model: nn.Module) -> list[str]:
    """Return the inputs besides a picture without which a model does not run: prompts, other views."""
    parameters = inspect.signature(model.forward).parameters.values()
    required = [each for each in parameters if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD]
    return [each.name for each in required if each.name != "pixel_values"]


def predicted_quantity(config: Any) -> tuple[Quantity, float | None]:
    """Return what a model predicts, and its largest depth in metres if it has one.

    An architecture that dacli does not know predicts metres if it has a largest depth, and else inverse depth.
    """
    depth = getattr(config, "max_depth", None)
    rules: Mapping[str, Callable[[], tuple[Quantity, float | None]]] = {
        # DPT is MiDaS's, but with a projection it is that of DINOv2, which was trained on metres.
        "dpt": lambda: ("metres" if config.add_projection else "inverse depth", None),
        "depth_anything": lambda: (
            ("metres", float(config.max_depth)) if config.depth_estimation_type == "metric" else ("inverse depth", None)
        ),
        "prompt_depth_anything": lambda: ("depth", None),  # metres only with a prompt
        "zoedepth": lambda: ("metres", max(float(row["max_depth"]) for row in config.bin_configurations)),
        "depth_pro": lambda: ("metres", None),
    }
    if rule := rules.get(config.model_type):
        return rule()
    return ("metres", float(depth)) if isinstance(depth, int | float) else ("inverse depth", None)


def works_in_tiles(config: Any, processing: TransformersProcessing) -> bool:
    """Return whether a network takes parts of pictures of any shape, prepared without padding."""
    any_size = config.model_type in ANY_SIZE or (
        config.model_type == "dpt" and config.backbone_config is not None and not config.is_hybrid
    )
    return any_size and processing.keep_aspect_ratio and not processing.pad_divisor


def attention_heads(config: Any) -> int:
    """Return the attention heads of a backbone; 16 if it does not say."""
    for part in (config, getattr(config, "backbone_config", None), getattr(config, "image_model_config", None)):
        heads = getattr(part, "num_attention_heads", None)
        if heads is not None:
            return max(heads) if isinstance(heads, list | tuple) else int(heads)
    return 16


def last_layers(model: nn.Module) -> str:
    """Return the name of the submodule from which depth comes out, the last one but for that of the field of view."""
    names = [name for name, part in model.named_children() if any(True for _ in part.parameters())]
    return [name for name in names if name != "fov_model"][-1]


def _match_dtype(part: nn.Module, values: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """Return the inputs of the last layers in the dtype of their weights: those stay in float32."""
    dtype = next(part.parameters()).dtype

    def match(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.to(dtype)
        return type(value)(map(match, value)) if type(value) in (list, tuple) else value

    return tuple(map(match, values)), {key: match(value) for key, value in named.items()}
