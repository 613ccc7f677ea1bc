"""How the frames of one clip are drawn, and what its files say about themselves."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dacli import __version__
from dacli.batch.fingerprint import Fingerprint
from dacli.batch.jobs import Job
from dacli.batch.settings import RunSettings
from dacli.batch.stages import Predicted
from dacli.inference.predictor import Predictor
from dacli.io.names import RECORD_KEYWORD
from dacli.io.records import Record
from dacli.io.scales import TONES, DepthScale, choose_scale, to_tones
from dacli.outputs.formats import OutputFormat
from dacli.outputs.style import FULL_RANGE, depth_limits
from dacli.outputs.view import DepthView
from dacli.video.depth_clips import VARYING
from dacli.video.frames import DrawnFrame, FrameInfo
from dacli.video.options import ClipOptions
from dacli.video.probe import Clip
from dacli.video.stabilize import ScaleShift

IDENTITY_SCALE_SHIFT = ScaleShift(1.0, 0.0, 0)


class FrameRow(NamedTuple):
    """A frame of an output: its time in ticks, its scale, shift and scene, the range of its depth."""

    pts: int
    scale: float
    shift: float
    scene: int
    low: float
    high: float


class FrameSizes(NamedTuple):
    """What all frames of a clip share: the network's input and the source (height, width), and the tiles of each."""

    network: tuple[int, int] = (0, 0)
    source: tuple[int, int] = (0, 0)
    tiles: int = 0


@dataclass(frozen=True)
class ClipRenderer:
    """Draws the frames of one clip, in several threads at the same time."""

    job: Job
    clip: Clip
    predictor: Predictor
    settings: RunSettings
    options: ClipOptions
    fingerprint: Fingerprint

    @cached_property
    def automatic(self) -> bool:
        """Return whether the range is that of the depth itself."""
        return self.settings.style.range == FULL_RANGE

    @cached_property
    def millimetres(self) -> bool:
        """Return whether 16-bit values are millimetres."""
        return self.automatic and self.settings.quantity == "metres"

    @cached_property
    def toned(self) -> bool:
        """Return whether tones, steady over a scene, are shown instead of the depth."""
        return self.automatic and self.options.steady != "off"

    @cached_property
    def has_fixed_scale(self) -> bool:
        """Return whether the 16-bit values of all frames mean the same depth."""
        return self.toned or self.millimetres or not (self.automatic or self.settings.style.range.percent)

    def draw(self, frame: Predicted[FrameInfo]) -> DrawnFrame:
        """Return the frame with a picture in every format."""
        found = self.predictor.finish(frame.raw)
        height, width = found.depth.shape
        sizes = FrameSizes(found.network_size, (height, width), found.tiles)
        scale_shift = frame.about.scale_shift or IDENTITY_SCALE_SHIFT
        steady = self.options.steady != "off" and self.settings.quantity != "metres"
        depth = found.depth * np.float32(scale_shift.scale) + np.float32(scale_shift.shift) if steady else found.depth
        span = depth_limits(depth, self.settings.style.range)
        scale = self.scale(span)
        view = DepthView(
            depth=depth,
            record=self.record_of(span, sizes),
            style=self.settings.style,
            scale8=scale,
            scale16=scale,
            image=frame.image,
            tones=to_tones(found.depth, scale_shift.scale, scale_shift.shift) if self.toned else None,
        )
        pictures = {kind: self.picture(row, view) for kind, row in self.job.formats.items()}
        return DrawnFrame(frame.about, pictures, span, *sizes)

    def picture(self, row: OutputFormat, view: DepthView) -> NDArray[Any] | bytes:
        """Return a frame in one format: a picture for video, the bytes of a file for a folder."""
        return row.encode(view) if self.options.as_frames or row.draw is None else row.draw(view)

    def scale(self, span: tuple[float, float]) -> DepthScale:
        """Return what the 16-bit values of a frame stand for whose depth has this range."""
        quantity, near = self.settings.quantity, self.settings.style.near
        if self.millimetres:
            return choose_scale(0.0, self.predictor.spec.max_depth or 1.0, quantity, near, auto=True)
        if self.toned:
            return replace(choose_scale(0.0, 1.0, quantity, near), unit=TONES)
        return choose_scale(*span, quantity, near)

    def record_of(self, span: tuple[float, float], sizes: FrameSizes) -> Record:
        """Return what a frame with this range says about itself."""
        scale = self.scale(span)
        return Record(
            black=scale.black,
            white=scale.white,
            near=scale.near,
            unit=scale.unit,
            quantity=self.settings.quantity,
            low=span[0],
            high=span[1],
            encoder=self.settings.encoder,
            model=self.settings.model,
            network_size=sizes.network,
            source_size=sizes.source,
            version=__version__,
            source=self.job.source_name,
            settings=str(self.fingerprint),
        )

    def record_of_clip(self, rows: Iterable[FrameRow], sizes: FrameSizes) -> Record:
        """Return what the whole clip says about itself."""
        spans = [(row.low, row.high) for row in rows]
        record = self.record_of((min(low for low, _ in spans), max(high for _, high in spans)), sizes)
        return record if self.has_fixed_scale else replace(record, unit=VARYING)

    def sidecar(self, rows: Sequence[FrameRow], record: Record) -> str:
        """Return the record and the scale and shift of every frame as JSON: the way back to the network's numbers."""
        frames = [row._asdict() | {"seconds": float(row.pts * self.clip.time_base)} for row in rows]
        return json.dumps({RECORD_KEYWORD: asdict(record), "frames": frames}, allow_nan=False)

    def texts(self, rows: Sequence[FrameRow], record: Record) -> dict[str, str]:
        """Return what each output holds besides its frames: a clip its record, a folder the sidecar."""
        text = json.dumps(asdict(record), allow_nan=False)
        return {kind: text if path.suffix else self.sidecar(rows, record) for kind, path in self.job.outputs.items()}
