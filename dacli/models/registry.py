"""The networks that dacli knows, one row for each family, and how a run's choice becomes a network with weights."""

import difflib
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from dacli.callbacks import DownloadProgress, Log
from dacli.errors import DacliError, UsageError
from dacli.io import files
from dacli.models import checkpoint_files, tiny, transformers_model
from dacli.models.depth_anything import ENCODERS, DepthAnything
from dacli.models.spec import DepthModel
from dacli.models.weight_files import METRIC_RANGES, find_weight_file, name_metric_model, read_saved_config
from dacli.paths import printable_text
from dacli.weights import checkpoints, manifest, repositories

MODELS: Mapping[str, float | None] = {"v2": None, "v1": None, **METRIC_RANGES}  # the largest depth in metres, if any
DINOV2_KEY = "patch_embed.proj.weight"  # a key of the files of DINOv2, which hold only an encoder


@dataclass(frozen=True)
class ModelChoice:
    """The network that options name: encoder, model (relative v2 or v1, metric indoor or outdoor), a file of your own.

    Without a file `encoder` is the name of a network; with one it may be None: the file says which it is. A model of
    Transformers is named by `model` alone: hf:ORG/NAME, or a folder.
    """

    encoder: str | None
    model: str
    weights: Path | None = None

    @property
    def in_transformers(self) -> bool:
        """Return whether it is a model of Transformers."""
        return self.model not in MODELS

    @property
    def network_name(self) -> str:
        """Return the name of the network before it is loaded; "" if only a file says it."""
        return Path(self.model).name if self.in_transformers else self.encoder or ""


@dataclass(frozen=True)
class OpenModel:
    """A network with its weights, and the names that outputs carry; `weights` tells one file from another."""

    network: DepthModel
    encoder: str
    model: str
    weights: str


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
    models: tuple[str, ...] = tuple(MODELS)
    encoder_in: Callable[[Path], str | None] = lambda _: None
    bundled: Callable[[], Path] | None = None


def model_names() -> tuple[str, ...]:
    """Return the names that `--encoder` takes."""
    return tuple(name for family in FAMILIES for name in family.names)


def family_named(name: str) -> ModelFamily:
    """Return the family of a name that `--encoder` takes."""
    return next(family for family in FAMILIES if name in family.names)


def build_untrained(name: str, max_depth: float | None) -> DepthModel:
    """Return a network with random weights as torch's generator draws them."""
    return family_named(name).build(name, max_depth)


def choose_model(encoder: str | None, model: str, weights: Path | None) -> ModelChoice:
    """Return the choice that options make; raise UsageError, with the nearest name, for names that do not exist."""
    if is_in_transformers(model):
        return _choose_in_transformers(encoder, model, weights)
    model = resolve_model(model)
    if encoder is None and weights is None:
        encoder = os.environ.get("DACLI_ENCODER") or "vits"
    names = model_names()
    if encoder is not None and encoder not in names:
        raise UsageError(f"unknown encoder {encoder!r}", f"{suggest(encoder, names)}choose one of {', '.join(names)}")
    if encoder is not None and model not in (known := family_named(encoder).models):
        detail = "" if any(MODELS[each] for each in known) else ", which predicts relative depth"
        fault = f"there is no {model} model of {encoder}{detail}"
        raise UsageError(fault, "leave --model out, or choose --encoder vits")
    return ModelChoice(encoder, model, weights)


def resolve_model(name: str) -> str:
    """Return the model that a name or its alias means; raise UsageError, with the nearest name, for any other."""
    model = manifest.MODEL_ALIASES.get(name, name)
    if model not in MODELS:
        hint = f"{suggest(name, MODELS)}choose {', '.join(MODELS)}, hf:ORG/NAME or a folder of a Transformers model"
        raise UsageError(f"unknown model {name!r}", hint)
    return model


def is_in_transformers(name: str) -> bool:
    """Return whether a name of a model is that of a repository or a folder of Transformers.

    Raises UsageError for a path that does not exist.
    """
    if name in MODELS or name in manifest.MODEL_ALIASES:
        return False
    if name.startswith(repositories.PREFIX):
        return True
    try:
        found = Path(name).is_dir()
    except (OSError, ValueError):
        found = False
    if not found and any(mark in name for mark in (os.sep, "/")):
        raise UsageError(f"there is no folder {printable_text(name)}", "--model takes a name, hf:ORG/NAME or a folder")
    return found


def _choose_in_transformers(encoder: str | None, model: str, weights: Path | None) -> ModelChoice:
    if weights is not None or encoder is not None:
        other = "--weights" if weights is not None else f"--encoder {encoder}"
        raise UsageError(f"--model {printable_text(model)} and {other} contradict each other", f"leave {other} out")
    if not model.startswith(repositories.PREFIX):
        return ModelChoice(None, str(Path(model).absolute()))
    name = repositories.repository_name(model)
    published = next((row for row in manifest.read_manifest() if row.repo.lower() == name.lower()), None)
    if published is not None:  # dacli has this network itself
        return ModelChoice(published.encoder, published.model)
    return ModelChoice(None, repositories.PREFIX + name)


def suggest(name: str, names: Collection[str]) -> str:
    """Return "did you mean …? " with the nearest of some names, or nothing."""
    near = difflib.get_close_matches(name.lower(), list(names), n=1, cutoff=0.4)
    return f"did you mean {near[0]}? " if near else ""


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
        if opened.model != choice.model and opened.encoder != "tiny":
            log(f"{opened.encoder} is {opened.model}, as the config.json beside it says")
        return opened
    name = str(choice.encoder)
    family = family_named(name)
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
    if choice.weights is not None or family_named(str(choice.encoder)).bundled is not None:
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


def identify_file(path: Path) -> str:
    """Return the identity of a user's own file of weights: its name, size and time of change."""
    info = path.stat()
    return f"{path.name} {info.st_size} {info.st_mtime_ns}"


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
)
