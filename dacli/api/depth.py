"""A loaded model: the depth of pictures, one, several or a stream."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from dacli.api.depth_map import DepthMap
from dacli.batch.finishing import finish_prediction
from dacli.batch.jobs import Job
from dacli.batch.opening import Download, OpenRun, open_run
from dacli.batch.options import RunOptions
from dacli.batch.outcomes import Outcome
from dacli.batch.pictures import PictureRun, run_pictures
from dacli.batch.preparing import prepare_picture
from dacli.batch.settings import RunSettings
from dacli.batch.stages import Loaded, Predicted, Stages, run_stages
from dacli.batch.views import calibrate_prediction
from dacli.callbacks import Log, TileProgress, ignore_download, ignore_log, ignore_progress
from dacli.choices import Quantity, TileMode
from dacli.io import images
from dacli.io.alpha import lay_over
from dacli.io.camera import find_camera, read_exif_focal
from dacli.models import registry
from dacli.models.transformers_model import CONFIG_NAME
from dacli.models.weight_files import read_saved_config
from dacli.types import ImageArray
from dacli.weights import manifest

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    Picture = str | Path | Image | ImageArray | Tensor

STREAM_PICTURES = 64  # number of pictures that a model is prepared for: enough to keep all streams of an engine busy


@dataclass(frozen=True)
class StreamedPicture:
    """A picture of a stream: its index, its file name, and its focal length by EXIF, in diagonals."""

    index: int
    name: str
    exif_focal: float | None


class Depth:
    """A loaded model. Call it with a picture, or with a list of pictures; it may be used by several threads.

    A picture is a path, a PIL picture, an array [H, W, 3] or [H, W] (uint8 or uint16, RGB), or a tensor [3, H, W]
    (uint8, or floats in 0 … 1).
    """

    def __init__(self, run: OpenRun) -> None:
        self._run = run

    @property
    def settings(self) -> RunSettings:
        """Return what was decided: model, device, engine, precision and size."""
        return self._run.settings

    @property
    def quantity(self) -> Quantity:
        """Return what the numbers mean: "inverse depth" or "metres"."""
        return self._run.settings.output_quantity

    def __repr__(self) -> str:
        settings = self.settings
        model = f"{settings.encoder} {settings.model}"
        return f"<dacli.Depth {model}: {settings.quantity} at {settings.size} px on {settings.plan.place}>"

    @overload
    def __call__(self, picture: "list[Picture] | tuple[Picture, ...]") -> list[DepthMap]: ...
    @overload
    def __call__(self, picture: "Picture") -> DepthMap: ...
    def __call__(self, picture: "Picture | list[Picture] | tuple[Picture, ...]") -> DepthMap | list[DepthMap]:
        """Return the depth of a picture; for a list of pictures, the list of their depths.

        Raises DacliError for a file that cannot be read or if memory does not suffice, ValueError for an array that is
        not a picture.
        """
        if isinstance(picture, (list, tuple)):
            return list(self.stream(picture))
        (depth_map,) = self.stream([picture])
        return depth_map

    def stream(self, pictures: "Iterable[Picture]") -> Generator[DepthMap, None, None]:
        """Yield the depth of every picture, in their order; reading, network and resizing overlap in bounded memory.

        Raises what __call__ raises at the first picture that fails, after the depths before it. Closing the generator
        ends its threads.
        """
        stages: Stages[tuple[int, Any], StreamedPicture, DepthMap] = Stages(read=self._read, write=self._finish)
        with closing(run_stages(enumerate(pictures), stages, self._run.predictor)) as depth_maps:
            yield from _in_order(depth_maps)

    def write_outputs(
        self, jobs: Iterable[Job], progress: TileProgress = ignore_progress
    ) -> Generator[Outcome, None, None]:
        """Yield the outcome of every job of dacli.batch.jobs.plan_jobs: files written, skipped, or failed."""
        yield from run_pictures(jobs, PictureRun(*self._run), progress)

    def _read(self, indexed: tuple[int, Any]) -> Loaded[StreamedPicture]:
        index, picture = indexed
        rgb = read_picture_argument(picture, self._run.settings.max_pixels)
        name = Path(picture).name if isinstance(picture, str | Path) else ""
        prepared = prepare_picture(rgb, *self._run)
        return Loaded(StreamedPicture(index, name, exif_focal_of(picture)), prepared, rgb)

    def _finish(self, predicted: Predicted[StreamedPicture]) -> DepthMap:
        settings, about = self._run.settings, predicted.about
        height, width = predicted.raw.source
        camera = find_camera(settings.camera, width, height, about.exif_focal)
        finished = finish_prediction(predicted, self._run.predictor, settings, camera.fx)
        prediction, fit = calibrate_prediction(finished, settings)
        return DepthMap(
            depth=prediction.depth,
            quantity=self.quantity,
            network_size=prediction.network_size,
            tiles=prediction.tiles,
            precision=prediction.precision,
            note=prediction.note,
            settings=settings,
            camera=camera,
            calibration=fit,
            source=about.name,
            image=predicted.image,
            spread=prediction.spread,
            index=about.index,
        )


def _in_order(depth_maps: Iterable[DepthMap]) -> Iterator[DepthMap]:
    waiting: dict[int, DepthMap] = {}
    expected = 0
    for depth_map in depth_maps:
        waiting[depth_map.index] = depth_map
        while expected in waiting:
            yield waiting.pop(expected)
            expected += 1


def exif_focal_of(picture: Any) -> float | None:
    """Return the focal length by EXIF of a path or a PIL picture, in diagonals; None for anything else."""
    if isinstance(picture, str | Path):
        return read_exif_focal(Path(picture))
    return read_exif_focal(picture) if hasattr(picture, "getexif") else None


def read_picture_argument(picture: Any, max_pixels: int) -> ImageArray:
    """Return RGB [H, W, 3], 8 or 16 bits, of a path, a PIL picture, an array or a tensor.

    Raises ValueError for an array or tensor that is not a picture, DacliError for a file that cannot be read.
    """
    if isinstance(picture, str | Path):
        return images.read_image(Path(picture), max_pixels)
    if hasattr(picture, "convert"):
        return _pixels_over_white(picture)
    if hasattr(picture, "detach"):
        picture = picture.detach().cpu()
        if picture.ndim == 3:
            picture = picture.permute(1, 2, 0)
        picture = picture.float().numpy() if picture.is_floating_point() else picture.numpy()
        if picture.dtype == np.float32:
            if not (picture.min() >= 0 and picture.max() <= 1):
                raise ValueError("a tensor of floats has values from 0 to 1: divide 8-bit values by 255")
            picture = np.rint(picture * 65535).astype(np.uint16)
    array = np.asarray(picture)
    if array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"a picture has uint8 or uint16 values, not {array.dtype}")
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ValueError(f"a picture is [H, W, 3] or [H, W], not {list(array.shape)}")
    return array


def _pixels_over_white(picture: Any) -> ImageArray:
    """Return RGB [H, W, 3] of a PIL picture."""
    if getattr(picture, "has_transparency_data", False):
        return lay_over(np.asarray(picture.convert("RGBA")))
    return np.asarray(picture.convert("RGB"))


def load(
    model: str | Path = "vits",
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    size: int | None = None,
    tile: TileMode = "auto",
    pre: str = "",
    post: str = "",
    ensemble: str = "",
    log: Log = ignore_log,
    download: Download = ignore_download,
) -> Depth:
    """Return a model, ready to use; its weights are downloaded and checked if they are not on this machine.

    `model` is a name of available_models() such as "vits", "vitl-indoor" or "tiny", the path of a checkpoint (.pth or
    .safetensors) or of a folder of a depth model of Transformers, or "hf:ORG/NAME" for a repository. `device` is
    "auto", "cpu", "cuda", "cuda:N" or "mps"; `precision` "auto", "fp32", "fp16", "bf16" or "int8"; `engine` "auto",
    "torch", "openvino" or "onnxruntime"; `size` the short side of the network's input in pixels (default: the size it
    was trained at); `tile` "auto", "on" or "off"; `pre` filters of the picture before the network, such as
    "exposure,denoise"; `post` filters of the depth, such as "sharpen,median:3";
    `ensemble` "flip", "sizes" or "flip,sizes" averages several passes. `log` is called with a line that says what was
    decided. Raises ValueError for a name that does not exist, DacliError for weights that cannot be downloaded or a
    device that this machine does not have.
    """
    return Depth(
        open_run(
            options_for_model(
                model,
                device=device,
                precision=precision,
                engine=engine,
                size=size,
                tile=tile,
                pre=pre,
                post=post,
                ensemble=ensemble,
            ),
            STREAM_PICTURES,
            log,
            download,
        )
    )


def available_models() -> tuple[str, ...]:
    """Return the names that load() takes: the model inside the package, then the published models."""
    return ("tiny", *dict.fromkeys(_model_name(row.encoder, row.model) for row in manifest.read_manifest()))


def _model_name(encoder: str, model: str) -> str:
    return encoder if model == "v2" else f"{encoder}-{model}"


def _file_options(path: Path) -> dict[str, Any]:
    """Return the options of a file of weights, or of a folder: of Depth Anything, or another model of Transformers."""
    if (path / CONFIG_NAME).is_file() and read_saved_config(path / CONFIG_NAME) is None:
        return {"model": str(path)}
    return {"encoder": None, "weights": path}


def options_for_model(model: str | Path, *, device: str = "auto", **options: Any) -> RunOptions:
    """Return the options of a run with a model of this name; raise ValueError for a name that does not exist."""
    return RunOptions(**_model_options(model), devices=(device,), **options)


def _model_options(model: str | Path) -> dict[str, Any]:
    is_path = isinstance(model, Path) or Path(model).suffix in (".pth", ".pt", ".safetensors") or Path(model).is_dir()
    if is_path:
        return _file_options(Path(model))
    name = str(model)
    if name.startswith("hf:"):
        choice = registry.choose_model(None, name, None)
        if choice.in_transformers:
            return {"model": name}
        name = _model_name(str(choice.encoder), choice.model)
    if name not in available_models():
        raise ValueError(f"there is no model {name!r}: choose one of {', '.join(available_models())}, or give a file")
    encoder, _, variant = name.partition("-")
    return {"encoder": encoder, "model": variant or "v2"}
