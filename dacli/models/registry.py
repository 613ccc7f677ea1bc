"""The networks that dacli knows, one row for each family, and how a run's choice becomes a network with weights."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from dacli.callbacks import DownloadProgress, Log
from dacli.errors import DacliError, UsageError
from dacli.io import files
from dacli.models import checkpoint_files, depth_anything_3, tiny, transformers_model
from dacli.models.choice import (
    MODELS,
    OF_DEPTH_ANYTHING,
    ModelChoice,
    OpenModel,
    choose_in_transformers,
    identify_file,
    is_in_transformers,
    resolve_model,
    suggest,
)
from dacli.models.depth_anything import ENCODERS, DepthAnything
from dacli.models.spec import DepthModel
from dacli.models.weight_files import find_weight_file, name_metric_model, read_saved_config
from dacli.weights import checkpoints, manifest, repositories

DINOV2_KEY = "patch_embed.proj.weight"  # a key of the files of DINOv2, which hold only an encoder


@dataclass(frozen=True)
class ModelFamily:
    """One family of networks, a row of FAMILIES.

    `names` are those that `--encoder` takes, `models` those that `--model` takes with them. `recognizes` says whether a
    file of weights is one of the family; `encoder_in` returns the name of the network whose encoder alone is in a file,
    to begin a training with, or None. `open_file` returns the network of such a file, downloaded or a user's own;
    `build` an untrained one of a name and a largest depth. `bundled` returns the file inside the package for a family
    that has one; others are downloaded.
    """

    names: tuple[str, ...]
    recognizes: Callable[[Path], bool]
    open_file: Callable[[Path, ModelChoice], OpenModel]
    build: Callable[[str, float | None], DepthModel]
    models: tuple[str, ...] = OF_DEPTH_ANYTHING
    encoder_in: Callable[[Path], str | None] = lambda _: None
    bundled: Callable[[], Path] | None = None


def model_names() -> tuple[str, ...]:
    """Return the names that `--encoder` takes."""
    return tuple(dict.fromkeys(name for family in FAMILIES for name in family.names))


def models_of(encoder: str) -> tuple[str, ...]:
    """Return the names that `--model` takes with one that `--encoder` takes."""
    return tuple(model for family in FAMILIES if encoder in family.names for model in family.models)


def family_named(encoder: str, model: str = "v2") -> ModelFamily:
    """Return the family of names that `--encoder` and `--model` take; the first of the encoder if none has both."""
    families = [family for family in FAMILIES if encoder in family.names]
    return next((family for family in families if model in family.models), families[0])


def build_untrained(name: str, max_depth: float | None) -> DepthModel:
    """Return a network with random weights as torch's generator draws them."""
    return family_named(name).build(name, max_depth)


def choose_model(encoder: str | None, model: str, weights: Path | None) -> ModelChoice:
    """Return the choice that options make; raise UsageError, with the nearest name, for names that do not exist."""
    if is_in_transformers(model):
        return choose_in_transformers(encoder, model, weights)
    model = resolve_model(model)
    names = model_names()
    if encoder is None and weights is None:
        encoder = os.environ.get("DACLI_ENCODER") or "vits"
        if model not in models_of("vits"):  # it is that of one encoder, whatever the usual one is
            encoder = next(name for name in names if model in models_of(name))
    if encoder is not None and encoder not in names:
        raise UsageError(f"unknown encoder {encoder!r}", f"{suggest(encoder, names)}choose one of {', '.join(names)}")
    if encoder is not None and model not in (known := models_of(encoder)):
        detail = "" if any(MODELS[each] for each in known) else ", which predicts relative depth"
        fault = f"there is no {model} model of {encoder}{detail}"
        other = next((name for name in names if model in models_of(name)), "vits")
        raise UsageError(fault, f"leave --model out, or choose --encoder {other}")
    return ModelChoice(encoder, model, weights)


def open_model(
    choice: ModelChoice, *, half: bool, log: Log, progress: Callable[[str], AbstractContextManager[DownloadProgress]]
) -> OpenModel:
    """Return the network in float32 on the CPU, its checkpoint downloaded if it is not here.

    With `half`, a half-size file will do; `progress(file)` shows a download. Raises DacliError if it cannot be had.
    """
    if choice.in_transformers:
        return _open_in_transformers(choice, log, progress)
    if choice.weights is not None:
        opened = open_own_file(choice.weights, choice)
        if opened.encoder != "tiny" and opened.model not in (choice.model, *depth_anything_3.DA3_MODELS):
            log(f"{opened.encoder} is {opened.model}, as the config.json beside it says")
        return opened
    name = str(choice.encoder)
    family = family_named(name, choice.model)
    if family.bundled is not None:
        found = family.open_file(family.bundled(), choice)
        return OpenModel(found.network, name, name, found.weights)
    rows = manifest.matching_checkpoints(name, choice.model, half=half)
    row = next((row for row in rows if checkpoints.find_checkpoint(row, lambda _: None)), rows[0])
    with progress(row.file) as shown:
        path = checkpoints.obtain_checkpoint(row, log, shown)
    return OpenModel(family.open_file(path, choice).network, name, choice.model, path.name)


def _open_in_transformers(
    choice: ModelChoice, log: Log, progress: Callable[[str], AbstractContextManager[DownloadProgress]]
) -> OpenModel:
    transformers_model.load_transformers(choice.model)  # before a download
    if choice.model.startswith(repositories.PREFIX):
        folder = repositories.obtain_repository(repositories.repository_name(choice.model), log, progress)
        title = choice.model
    else:
        folder = Path(choice.model)
        title = folder.name
    network = transformers_model.open_transformers_folder(folder, title)
    file = next((folder / name for name in repositories.WEIGHT_FILES if (folder / name).is_file()), folder)
    return OpenModel(network, choice.network_name, title, identify_file(file))


def has_weights(choice: ModelChoice, *, half: bool) -> bool:
    """Return whether open_model() would find the weights on this machine."""
    if choice.in_transformers:
        hub = choice.model.startswith(repositories.PREFIX)
        return not hub or repositories.find_repository(repositories.repository_name(choice.model)) is not None
    if choice.weights is not None or family_named(str(choice.encoder), choice.model).bundled is not None:
        return True
    rows = manifest.matching_checkpoints(str(choice.encoder), choice.model, half=half)
    return any(checkpoints.find_checkpoint(row, lambda _: None) for row in rows)


def open_own_file(path: Path, choice: ModelChoice) -> OpenModel:
    """Return the network of a user's own file, or of the one in a folder.

    Raises DacliError if it is not what the options, or the config.json beside it, say.
    """
    path = find_weight_file(path)
    return family_of_file(path, choice.encoder).open_file(path, choice)


def family_of_file(path: Path, encoder: str | None = None) -> ModelFamily:
    """Return the family of a file of weights; of one that none recognizes, the family of the encoder."""
    files.refuse_special_file(path)
    recognized = next((family for family in FAMILIES if family.recognizes(path)), None)
    return recognized or family_named(encoder or next(iter(ENCODERS)))


def _open_tiny(path: Path, choice: ModelChoice) -> OpenModel:
    network = tiny.load_tiny(path)
    if choice.encoder not in (None, "tiny"):
        raise DacliError(f"{path.name} holds tiny, not {choice.encoder}", "use --encoder tiny")
    if choice.model != "v2" and (network.max_depth is None or network.max_depth != MODELS[choice.model]):
        raise DacliError(f"{path.name} holds tiny, which has no {choice.model} model", "leave --model out")
    model = "tiny" if network.max_depth is None else name_metric_model(network.max_depth)
    return OpenModel(network, "tiny", model, identify_file(path))


def _open_depth_anything(path: Path, choice: ModelChoice) -> OpenModel:
    published = next((row for row in manifest.read_manifest() if row.file == path.name), None)
    if published is not None and published.model != choice.model:
        # All models have the same keys: only the name distinguishes them, and metres read as relative depth look right.
        hint = f"use --model {published.model}, or rename the file if it is your own"
        raise DacliError(f"{path.name} is the name of a published {published.model} checkpoint", hint)
    config = read_saved_config(path)
    if config is None:
        network = load_depth_anything(path, choice)
        return OpenModel(network, network.encoder, choice.model, identify_file(path))
    if choice.model not in ("v2", config.model):  # v2 is the default of --model
        fault = f"{path.name} is {config.model} by the config.json beside it, not {choice.model}"
        raise DacliError(fault, "leave --model out, or correct config.json")
    network = checkpoint_files.load_checkpoint(path, choice.encoder, config.version or "v2", config.max_depth)
    return OpenModel(network, network.encoder, config.model, identify_file(path))


def load_depth_anything(path: Path, choice: ModelChoice) -> DepthAnything:
    """Return the network of a checkpoint of Depth Anything; raise DacliError for any other file."""
    version = "v1" if choice.model == "v1" else "v2"
    return checkpoint_files.load_checkpoint(path, choice.encoder, version, MODELS[choice.model])


def is_tiny_file(path: Path) -> bool:
    """Return whether a file holds weights of tiny; raise DacliError for a pipe, a socket or a device."""
    files.refuse_special_file(path)
    try:
        with safe_open(path, "pt") as file:
            return "head.depth.weight" in file.keys()  # noqa: SIM118 - it is not a mapping
    except (OSError, SafetensorError):
        return False


def encoder_in_file(path: Path) -> str | None:
    """Return the name of the network whose encoder alone a file of weights holds, None if it holds something else."""
    files.refuse_special_file(path)
    return next((name for family in FAMILIES if (name := family.encoder_in(path)) is not None), None)


def _dinov2_in(path: Path) -> str | None:
    try:
        with safe_open(path, "pt") as file:  # its header is enough
            shape = file.get_slice(DINOV2_KEY).get_shape() if DINOV2_KEY in file.keys() else None  # noqa: SIM118
    except (OSError, SafetensorError):
        weights = checkpoint_files.read_weights(path)
        shape = list(weights[DINOV2_KEY].shape) if isinstance(weights, dict) and DINOV2_KEY in weights else None
    return None if shape is None else checkpoint_files.ENCODER_WIDTHS.get(shape[0], "of an unknown width")


def _mobilenet_in(path: Path) -> str | None:
    try:
        with safe_open(path, "pt") as file:
            return "tiny" if "blocks.0.depthwise.conv.weight" in file.keys() else None  # noqa: SIM118
    except (OSError, SafetensorError):
        return None


def _open_depth_anything_3(path: Path, choice: ModelChoice) -> OpenModel:
    if choice.encoder not in (None, depth_anything_3.ENCODER):
        raise DacliError(f"{path.name} holds Depth Anything 3, not {choice.encoder}", "leave --encoder out")
    if choice.model in OF_DEPTH_ANYTHING[1:]:
        hint = "use --model da3 for relative depth, or da3-metric for metres"
        raise DacliError(f"{path.name} holds Depth Anything 3, which has no {choice.model} model", hint)
    model = "da3" if choice.model == "v2" else choice.model  # v2 is the default of --model
    network = depth_anything_3.load_depth_anything_3(path, metric=model == "da3-metric")
    return OpenModel(network, depth_anything_3.ENCODER, model, identify_file(path))


def _build_depth_anything_3(_name: str, max_depth: float | None) -> DepthModel:
    return depth_anything_3.DepthAnything3(metric=max_depth is not None)


def _build_depth_anything(name: str, max_depth: float | None) -> DepthModel:
    return DepthAnything(name, max_depth=max_depth)


def _build_tiny(_name: str, max_depth: float | None) -> DepthModel:
    return tiny.Tiny(max_depth)


FAMILIES: tuple[ModelFamily, ...] = (
    ModelFamily(
        names=tuple(ENCODERS),
        recognizes=lambda _: False,  # what no other family recognizes is read as Depth Anything, which names the fault
        open_file=_open_depth_anything,
        build=_build_depth_anything,
        encoder_in=_dinov2_in,
    ),
    ModelFamily(
        names=("tiny",),
        recognizes=is_tiny_file,
        open_file=_open_tiny,
        build=_build_tiny,
        models=("v2",),
        encoder_in=_mobilenet_in,
        bundled=lambda: tiny.BUNDLED_WEIGHTS,
    ),
    ModelFamily(
        names=(depth_anything_3.ENCODER,),
        recognizes=depth_anything_3.is_depth_anything_3_file,
        open_file=_open_depth_anything_3,
        build=_build_depth_anything_3,
        models=depth_anything_3.DA3_MODELS,
    ),
)
