"""One photo seen by several networks, precisions and sizes: a sheet of depth maps with their time and memory."""

import math
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dacli.bench.measure import process_peak
from dacli.bench.setups import BenchSetup
from dacli.bench.subjects import RANDOM_WEIGHTS, measured_choice
from dacli.callbacks import Reporter, TileProgress
from dacli.choices import Quantity
from dacli.errors import DacliError
from dacli.evaluation.tables import score_value
from dacli.inference.loading import LoadedPredictor, load_predictor
from dacli.inference.predictor import Prediction, Predictor, PreparedImage
from dacli.outputs import drawing, style
from dacli.types import DepthArray, Image8, ImageArray

WORK = {"tiny": 0.1, "vits": 1.0, "vitb": 4.0, "vitl": 12.0, "vitg": 40.0}  # rough shares, for the time left only


@dataclass(frozen=True)
class PhotoCrop:
    """A part of a photo, in its pixels: position of its left upper corner, width and height."""

    x: int
    y: int
    width: int
    height: int

    def cut(self, picture: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the part of a picture [H, W, ...]."""
        return picture[self.y : self.y + self.height, self.x : self.x + self.width]


@dataclass(frozen=True)
class SheetPhoto:
    """The photo [H, W, 3] that all see, and the part of it that is shown large, if any."""

    path: Path
    rgb: ImageArray
    crop: PhotoCrop | None = None


@dataclass(frozen=True)
class SheetCell:
    """A depth map [H, W] of a sheet, and how it was made; `record` has the fields of its row in a table."""

    setup: BenchSetup
    record: dict[str, object]
    depth: DepthArray
    quantity: Quantity

    @property
    def title(self) -> str:
        """Return the title of its row: the network, its weights, how it was computed."""
        named = [str(self.record["encoder"]), str(self.record["model"])]
        weights = self.setup.choice.weights
        if self.record["weights"] == RANDOM_WEIGHTS:
            named.append("with random weights")
        elif weights is not None:
            named.append(weights.name)
        return f"{' '.join(dict.fromkeys(named))}, {self.setup.plan.engine}, {self.setup.precision_title}"

    @property
    def caption(self) -> str:
        """Return size, time and memory, and the range of metric depth."""
        low, high = style.depth_limits(self.depth)
        memory = score_value(self.record["peak_gib"])
        parts = [
            f"{self.record['size']} px",
            f"{self.record['seconds']:.3g} s",
            "" if math.isnan(memory) else f"{memory:.2f} GiB",
            f"{self.record['tiles']} tiles" if self.record["tiles"] else "",
            f"{low:.3g} to {high:.3g} m" if self.quantity == "metres" else "",
        ]
        return ", ".join(filter(None, parts))

    def draw(self, size: tuple[int, int], crop: PhotoCrop | None = None) -> Image8:
        """Return the map, or a part of it in the colors of its own range, at a size (width, height)."""
        depth = np.asarray(self.depth if crop is None else crop.cut(self.depth), np.float32)
        return drawing.draw_color(resize_map(depth, size), *style.depth_limits(depth), self.quantity)


def measure_cells(
    todo: Sequence[BenchSetup], photo: SheetPhoto, reporter: Reporter
) -> Generator[SheetCell | None, None, None]:
    """Yield the depth map of a photo by each setup, timed once after a warm-up; None if it failed, as is reported."""
    amounts = [relative_work(setup) for setup in todo]
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        reporter.progress_of_shares() as show,
    ):
        for number, (setup, amount) in enumerate(zip(todo, amounts, strict=True)):
            before, text = sum(amounts[:number]), f"map {number + 1} of {len(todo)}"

            def show_tile(done: int, of: int, before: float = before, amount: float = amount, text: str = text) -> None:
                show((before + amount * done / of) / sum(amounts), f"{text}, tile {done} of {of}")

            show(before / sum(amounts), text)
            made: SheetCell | None = None
            try:
                made = measure_cell(setup, photo, Path(name), reporter, show_tile)
            except DacliError as error:
                reporter.error(error)
            yield made


def relative_work(setup: BenchSetup) -> float:
    """Return about how much work a setup is, for the time left."""
    return WORK.get(setup.choice.encoder or "vits", 1.0) * (setup.size or 518) ** 2


def measure_cell(
    setup: BenchSetup, photo: SheetPhoto, folder: Path, reporter: Reporter, progress: TileProgress
) -> SheetCell:
    """Return the depth map of a photo by a setup, with time and memory; raise DacliError if that fails."""
    usable = nullcontext(setup.choice) if setup.real_weights else measured_choice(setup.choice, folder, reporter)
    with usable as choice, process_peak(setup.plan.device) as peak:
        loaded = load_predictor(
            choice,
            size=setup.size,
            devices=[setup.plan.device],
            precision=setup.asked[0] if setup.asked else setup.plan.precision,
            engine=setup.plan.engine,
            log=reporter.note,
            download=reporter.download,
        )
        found, seconds = time_pass(loaded.predictor, photo.rgb, progress)
        record = cell_record(setup, loaded, found) | {"seconds": seconds, "peak_gib": peak()}
    record["weights"] = record["weights"] if choice is setup.choice else RANDOM_WEIGHTS
    return SheetCell(setup, record, found.depth, loaded.predictor.spec.quantity)


def cell_record(setup: BenchSetup, loaded: LoadedPredictor, found: Prediction) -> dict[str, object]:
    """Return what was computed, and how."""
    return {
        "encoder": loaded.encoder,
        "model": loaded.model,
        "weights": loaded.weights.rsplit(" ", 2)[0],
        "size": loaded.predictor.size,
        "engine": setup.plan.engine,
        "precision": setup.plan.precision,
        "asked": ",".join(setup.asked) or setup.plan.precision,
        "tiles": found.tiles,
    }


class WarmedUpError(Exception):
    """The first tile of a warm-up is done; the others would show nothing new."""


def time_pass(predictor: Predictor, rgb: ImageArray, progress: TileProgress) -> tuple[Prediction, float]:
    """Return the depth of a picture, and the seconds that it took, in one pass after a warm-up."""
    warm_up(predictor, predictor.prepare(rgb))
    started = time.perf_counter()
    (raw,) = predictor.infer([predictor.prepare(rgb)], progress)
    found = predictor.finish(raw)
    return found, time.perf_counter() - started


def warm_up(predictor: Predictor, image: PreparedImage) -> None:
    """Run one pass over a picture, or over the base and the first tile of one that is computed in tiles."""

    def stop(_done: int, _of: int) -> None:
        raise WarmedUpError

    with suppress(WarmedUpError):
        predictor.infer([image], stop)


def resize_map(picture: DepthArray, size: tuple[int, int]) -> DepthArray:
    """Return the picture [H, W] at a size (width, height): averaged down, or enlarged with its pixels as they are."""
    smaller = size[0] <= picture.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.float32)
