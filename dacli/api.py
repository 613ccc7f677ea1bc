"""Depth from Python: load a model once, then take the depth of pictures, folders and clips."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from dacli.batch import inputs
from dacli.batch.fingerprint import Fingerprint
from dacli.batch.folder import FolderOptions, FolderRun
from dacli.batch.jobs import Job, plan_jobs
from dacli.batch.opening import Download, OpenRun, open_run
from dacli.batch.options import RunOptions
from dacli.batch.outcomes import NO_SECONDS, Outcome, StageSeconds
from dacli.batch.pictures import PictureRun, run_pictures, view_prediction
from dacli.batch.settings import RunSettings
from dacli.batch.stages import Loaded, Predicted, Stages, run_stages
from dacli.batch.summary import RunSummary
from dacli.callbacks import Log, TileProgress, ignore_download, ignore_log, ignore_progress
from dacli.choices import Near, Quantity, SteadyMode, TileMode
from dacli.errors import DacliError
from dacli.inference.predictor import Prediction
from dacli.io import files, images
from dacli.outputs.drawing import draw_color, draw_gray
from dacli.outputs.formats import FORMATS, choose_formats
from dacli.outputs.style import depth_limits
from dacli.types import DepthArray, Gray8, Image8, ImageArray
from dacli.video.options import ClipOptions
from dacli.video.process import open_clip, process_clip
from dacli.weights import manifest

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    Picture = str | Path | Image | ImageArray | Tensor

STREAM_PICTURES = 64  # as many as keep every engine busy

Range = tuple[float, float] | str | None


@dataclass(frozen=True)
class DepthMap:
    """The depth of one picture, and how it was made.

    `depth` is float32 [H, W] at the picture's size: inverse depth, near = large and without a unit, or metres along the
    optical axis, by `quantity`. `network_size` is (h, w) of what the network saw, in `tiles` tiles (0: one pass).
    `note` says what had to be done differently, such as a pass in float32 because half precision overflowed.
    """

    depth: DepthArray
    quantity: Quantity
    network_size: tuple[int, int]
    tiles: int
    precision: str
    note: str
    settings: RunSettings
    source: str = ""
    image: ImageArray | None = None
    index: int = 0
    seconds: StageSeconds = NO_SECONDS

    @property
    def nbytes(self) -> int:
        """Return the bytes that it holds."""
        return self.depth.nbytes + (0 if self.image is None else self.image.nbytes)

    def colorize(self, colormap: str = "Spectral_r", *, low: float | None = None, high: float | None = None) -> Image8:
        """Return RGB [H, W, 3], 8 bits, in a Matplotlib colormap whose last colour is near.

        `low` and `high` are the depths at its two ends, in the unit of the depth (default: the smallest and the largest
        depth). Raises ValueError (a UsageError) for a colormap that Matplotlib does not have.
        """
        return draw_color(self.depth, *self._limits(low, high), self.quantity, colormap)

    def gray(self, near: Near = "white", *, low: float | None = None, high: float | None = None) -> Gray8:
        """Return 8-bit gray [H, W], linear between the depths `low` and `high` (default: the smallest and largest)."""
        return draw_gray(self.depth, *self._limits(low, high), self.quantity, near)

    def save(self, path: str | Path, kind: str | None = None) -> Path:
        """Write one output file, whole or not at all, and return its path.

        `kind` is one of the names that `--save` takes; by default `.npy` holds the floats and `.png` 16-bit depth that
        `dacli decode` turns back into floats. Raises ValueError for another extension or kind, DacliError if the file
        cannot be written.
        """
        target = Path(path)
        chosen = kind or {".npy": "npy", ".png": "png16"}.get(target.suffix.lower())
        if chosen is None or FORMATS.get(chosen) is None or not FORMATS[chosen].offered:
            raise ValueError(
                f"{target.name}: give a name that ends in .npy or .png, or kind= one of {', '.join(FORMATS)}"
            )
        view = view_prediction(
            Prediction(self.depth, self.network_size, self.tiles, self.precision, self.note),
            self.settings,
            source=self.source,
            fingerprint=Fingerprint(""),
            image=self.image,
        )
        files.write_file(target, FORMATS[chosen].encode(view))
        return target

    def _limits(self, low: float | None, high: float | None) -> tuple[float, float]:
        smallest, largest = depth_limits(self.depth)
        return (smallest if low is None else low), (largest if high is None else high)


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
        return self._run.settings.quantity

    def __repr__(self) -> str:
        found = self.settings
        where = f"{found.plan.device}, {found.plan.engine} {found.plan.precision}"
        return f"<dacli.Depth {found.encoder} {found.model}: {found.quantity} at {found.size} px on {where}>"

    @overload
    def __call__(self, picture: "list[Picture] | tuple[Picture, ...]") -> list[DepthMap]: ...
    @overload
    def __call__(self, picture: "Picture") -> DepthMap: ...
    def __call__(self, picture: "Picture | list[Picture] | tuple[Picture, ...]") -> DepthMap | list[DepthMap]:
        """Return the depth of a picture, or a list of depths of a list.

        Raises DacliError for a file that cannot be read or memory that is short, ValueError for an array that is not a
        picture.
        """
        if isinstance(picture, (list, tuple)):
            return list(self.stream(picture))
        (found,) = self.stream([picture])
        return found

    def stream(self, pictures: "Iterable[Picture]") -> Generator[DepthMap, None, None]:
        """Yield the depth of every picture, in their order; reading, network and resizing overlap in bounded memory.

        Raises what __call__ raises at the first picture that fails, after the depths before it. Closing the generator
        ends its threads.
        """
        stages: Stages[tuple[int, Any], tuple[int, str], DepthMap] = Stages(read=self._read, write=self._finish)
        with closing(run_stages(enumerate(pictures), stages, self._run.predictor)) as found:
            yield from _in_order(found)

    def write_outputs(
        self, jobs: Iterable[Job], progress: TileProgress = ignore_progress
    ) -> Generator[Outcome, None, None]:
        """Yield the outcome of every job of dacli.batch.jobs.plan_jobs: files written, skipped, or failed."""
        yield from run_pictures(jobs, PictureRun(*self._run), progress)

    def _read(self, numbered: tuple[int, Any]) -> Loaded[tuple[int, str]]:
        index, picture = numbered
        rgb = read_picture_argument(picture, self._run.settings.max_pixels)
        name = Path(picture).name if isinstance(picture, str | Path) else ""
        return Loaded((index, name), self._run.predictor.prepare(rgb), rgb)

    def _finish(self, predicted: Predicted[tuple[int, str]]) -> DepthMap:
        found = self._run.predictor.finish(predicted.raw)
        index, name = predicted.about
        return DepthMap(
            depth=found.depth,
            quantity=self.quantity,
            network_size=found.network_size,
            tiles=found.tiles,
            precision=found.precision,
            note=found.note,
            settings=self._run.settings,
            source=name,
            image=predicted.image,
            index=index,
        )


def _in_order(found: Iterable[DepthMap]) -> Iterator[DepthMap]:
    early: dict[int, DepthMap] = {}
    expected = 0
    for one in found:
        early[one.index] = one
        while expected in early:
            yield early.pop(expected)
            expected += 1


def read_picture_argument(picture: Any, max_pixels: int) -> ImageArray:
    """Return a picture given as a path, a PIL picture, an array or a tensor as RGB [H, W, 3], 8 or 16 bits.

    Raises ValueError for what is none of these, DacliError for a file that cannot be read.
    """
    if isinstance(picture, str | Path):
        return images.read_image(Path(picture), max_pixels)
    if hasattr(picture, "convert"):
        return np.asarray(picture.convert("RGB"))
    if hasattr(picture, "detach"):
        picture = picture.detach().cpu()
        if picture.ndim == 3:
            picture = picture.permute(1, 2, 0)
        picture = picture.float().numpy() if picture.is_floating_point() else picture.numpy()
        if picture.dtype == np.float32:
            if not (picture.min() >= 0 and picture.max() <= 1):
                raise ValueError("a tensor of floats has to lie in 0 … 1")
            picture = np.rint(picture * 65535).astype(np.uint16)
    array = np.asarray(picture)
    if array.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"a picture has uint8 or uint16 values, not {array.dtype}")
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ValueError(f"a picture is [H, W, 3] or [H, W], not {list(array.shape)}")
    return array


def load(
    model: str | Path = "vits",
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    size: int | None = None,
    tile: TileMode = "auto",
    log: Log = ignore_log,
    download: Download = ignore_download,
) -> Depth:
    """Return a model, ready to use; its weights are downloaded and checked if they are not on this machine.

    `model` is a name of available_models() such as "vits", "vitl-indoor" or "tiny", the path of a checkpoint (.pth or
    .safetensors), or "hf:ORG/NAME" for the repository of one of these models. `device` is "auto", "cpu", "cuda",
    "cuda:N" or "mps"; `precision` "auto", "fp32", "fp16", "bf16" or "int8"; `engine` "auto", "torch" or "openvino";
    `size` the short side in pixels that the network sees (default: what it was trained at); `tile` "auto", "on" or
    "off". `log` is called with a line about what was decided. Raises ValueError for a name that does not exist,
    DacliError for weights or a device that cannot be had.
    """
    return Depth(
        open_run(
            options_for_model(model, device=device, precision=precision, engine=engine, size=size, tile=tile),
            STREAM_PICTURES,
            log,
            download,
        )
    )


def available_models() -> tuple[str, ...]:
    """Return the names that load() takes: the model inside the package, then those of the list of checkpoints."""
    return ("tiny", *dict.fromkeys(_model_name(row.encoder, row.model) for row in manifest.read_manifest()))


def _model_name(encoder: str, model: str) -> str:
    return encoder if model == "v2" else f"{encoder}-{model}"


def options_for_model(model: str | Path, *, device: str = "auto", **options: Any) -> RunOptions:
    """Return the options of a run with a model of this name; raise ValueError for a name that does not exist."""
    return RunOptions(**_model_options(model), devices=(device,), **options)


def _model_options(model: str | Path) -> dict[str, Any]:
    if isinstance(model, Path) or Path(model).suffix in (".pth", ".pt", ".safetensors"):
        return {"encoder": None, "weights": Path(model)}
    name = model
    if name.startswith("hf:"):
        repo = name.removeprefix("hf:")
        row = next((row for row in manifest.read_manifest() if row.repo.lower() == repo.lower()), None)
        if row is None:
            raise ValueError(f"{name} is not the repository of a model that dacli knows: see available_models()")
        name = _model_name(row.encoder, row.model)
    if name not in available_models():
        raise ValueError(f"there is no model {name!r}: choose one of {', '.join(available_models())}, or give a file")
    encoder, _, variant = name.partition("-")
    return {"encoder": encoder, "model": variant or "v2"}


def process_folder(
    source: str | Path,
    out: str | Path,
    *,
    model: str | Path = "vits",
    save: Sequence[str] = ("color",),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    on_outcome: Callable[[Outcome, RunSummary], None] | None = None,
    log: Log = ignore_log,
    **options: Any,
) -> RunSummary:
    """Write the depth of every picture below a folder, in the same tree below `out`; return how many were done.

    What is done already with the same settings is skipped, a picture that fails does not stop the others, and
    `out`/failures.jsonl lists those that failed. `save` are names as `--save` takes them. `on_outcome` is called after
    every picture. `options` are the fields of dacli.batch.options.RunOptions, such as size, precision, colormap,
    overwrite, and `device`. Raises ValueError for an argument that does not exist, DacliError if nothing can be done.
    """
    target = Path(out)
    found = inputs.gather_inputs(str(source), target, include, exclude)
    jobs = plan_jobs(found.files, target, choose_formats(list(save)), root=found.root)
    if not jobs:
        raise DacliError(f"no pictures in {source}", "check the path, include and exclude")
    folder = FolderOptions(jobs, [job.name for job in jobs], target)
    summary = RunSummary(len(jobs))
    with FolderRun(folder, options_for_model(model, **options), log, ignore_download) as run:
        for outcome in run.outcomes():
            summary.add(outcome)
            if on_outcome is not None:
                on_outcome(outcome, summary)
        run.write_failures()
    return summary


@dataclass(frozen=True)
class ClipOutputs:
    """The outputs of a clip by kind, its frames and frames per second; `skipped`: they were there already."""

    outputs: dict[str, Path]
    frames: int
    fps: float
    quantity: Quantity
    skipped: bool


def process_video(
    clip: str | Path,
    out: str | Path | None = None,
    *,
    model: str | Path = "vits",
    save: Sequence[str] = ("color",),
    steady: SteadyMode = "on",
    start: float | None = None,
    end: float | None = None,
    max_fps: float | None = None,
    rate: float = 24.0,
    as_frames: bool = False,
    progress: Callable[[int, float], None] | None = None,
    log: Log = ignore_log,
    **options: Any,
) -> ClipOutputs:
    """Write the depth of a clip (or of a folder of numbered pictures) as clips beside it, or in the folder `out`.

    `start` and `end` are seconds, `rate` the frames per second of a folder of pictures; `steady` makes depth steady
    from frame to frame ("on", "off" or "two-pass"). `progress(frames done, frames a second)` is called after every
    frame. `options` are the fields of dacli.batch.options.RunOptions, and `device`. Raises ValueError for an argument
    that does not exist, DacliError for a clip that cannot be read or written.
    """
    chosen = options_for_model(model, **options)
    clip_options = ClipOptions(
        start=start,
        end=end,
        max_fps=max_fps,
        rate=Fraction(rate).limit_denominator(1001),
        steady=steady,
        as_frames=as_frames,
    )
    formats = choose_formats(list(save))
    (job,) = plan_jobs(
        [Path(clip)], None if out is None else Path(out), formats, medium="frames" if as_frames else "clip"
    )
    opened = open_clip(job.source, clip_options, chosen.max_pixels)
    run = open_run(chosen, len(opened.pts), log, ignore_download)
    found = process_clip(job, opened, run, clip_options, log=log, progress=progress or ignore_progress)
    return ClipOutputs(job.outputs, found.count, float(opened.rate), run.settings.quantity, found.skipped)
