"""Drawing of the frames of one clip, and the metadata of its output files."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dacli.batch.fingerprint import Fingerprint
from dacli.batch.finishing import finish_prediction
from dacli.batch.jobs import Job
from dacli.batch.settings import RunSettings
from dacli.batch.stages import Predicted
from dacli.batch.views import make_record
from dacli.inference.predictor import Predictor
from dacli.io.camera import PinholeCamera, find_camera, read_exif_focal
from dacli.io.metric_fit import MetricFit
from dacli.io.names import RECORD_KEYWORD
from dacli.io.records import Record
from dacli.io.scales import TONES, DepthScale, choose_scale, to_tones
from dacli.outputs.calibration import calibrate_depth, fit_of_range, metres_of_inverse
from dacli.outputs.formats import OutputFormat, is_video_file
from dacli.outputs.style import FULL_RANGE, depth_limits, put_far
from dacli.outputs.view import DepthView
from dacli.types import DepthArray, PixelMask
from dacli.video.clip import Clip
from dacli.video.codecs import CODECS
from dacli.video.depth_clips import VARYING_UNIT
from dacli.video.frames import DrawnFrame, FrameInfo
from dacli.video.options import ClipOptions
from dacli.video.stabilize import ScaleShift

IDENTITY_SCALE_SHIFT = ScaleShift(1.0, 0.0, 0)


class FrameRow(NamedTuple):
    """The data of an output frame: its time in ticks, its scale, shift and scene, and the range of its depth."""

    pts: int
    scale: float
    shift: float
    scene: int
    low: float
    high: float


class FrameSizes(NamedTuple):
    """Sizes shared by all frames of a clip: network input and source (height, width), and the number of tiles."""

    network: tuple[int, int] = (0, 0)
    source: tuple[int, int] = (0, 0)
    tiles: int = 0


@dataclass(frozen=True)
class ClipRenderer:
    """Draws the frames of one clip; several threads may use it at the same time."""

    job: Job
    clip: Clip
    predictor: Predictor
    settings: RunSettings
    options: ClipOptions
    fingerprint: Fingerprint

    @cached_property
    def has_automatic_range(self) -> bool:
        """Return whether the range is computed from the depth itself."""
        return self.settings.style.range == FULL_RANGE

    @cached_property
    def uses_tones(self) -> bool:
        """Return whether tones, stable over a scene, are shown instead of the depth."""
        return self.has_automatic_range and self.options.steady != "off" and self.settings.calibration is None

    @cached_property
    def has_fixed_scale(self) -> bool:
        """Return whether equal 16-bit values mean the same depth in all frames."""
        return (
            self.uses_tones
            or self.settings.uses_metric_scale
            or not (self.has_automatic_range or self.settings.style.range.percent)
        )

    def network_depth(self, frame: Predicted[FrameInfo]) -> DepthArray:
        """Return the depth [h, w] of a frame at the network's size (with tiles, the canvas), in the unit of outputs."""
        tensor = frame.raw.tensor
        if self.predictor.spec.processing is None or frame.raw.tiles:
            return np.asarray(tensor.numpy(), np.float32)
        depth = self.predictor.finish(frame.raw, self.camera.fx).depth
        height, width = tensor.shape
        return np.asarray(cv2.resize(depth, (width, height), interpolation=cv2.INTER_AREA), np.float32)

    def draw(self, frame: Predicted[FrameInfo]) -> DrawnFrame:
        """Return the frame with a picture in every format."""
        prediction = finish_prediction(frame, self.predictor, self.settings, self.camera.fx)
        height, width = prediction.depth.shape
        sizes = FrameSizes(prediction.network_size, (height, width), prediction.tiles)
        scale_shift = frame.about.scale_shift or IDENTITY_SCALE_SHIFT
        depth, fit = self.steady_depth(prediction.depth, scale_shift)
        span = self.range_of_depth(depth, frame.transparent)
        scale = self.scale(span)
        far_end = 0 if self.settings.output_quantity == "inverse depth" else 1
        far_tone = 0 if self.settings.quantity == "inverse depth" else 1
        tones = to_tones(prediction.depth, scale_shift.scale, scale_shift.shift) if self.uses_tones else None
        view = DepthView(
            depth=put_far(depth, span[far_end], frame.transparent),
            record=replace(self.frame_record(span, sizes), calibration=fit),
            style=self.settings.style,
            scale8=scale,
            scale16=scale,
            image=frame.image,
            tones=None if tones is None else put_far(tones, far_tone, frame.transparent),
            transparent=frame.transparent,
            spread=prediction.spread,
            export=self.settings.export,
        )
        pictures = {kind: self.picture(row, view) for kind, row in self.job.formats.items()}
        return DrawnFrame(frame.about, pictures, span, *sizes)

    def steady_depth(self, depth: DepthArray, scale_shift: ScaleShift) -> tuple[DepthArray, MetricFit | None]:
        """Return the depth [H, W] of outputs, in metres with known distances, and how these metres were made.

        Where depth is steady, the distances are those of the ends of its range, which is steady too.
        """
        calibration, steady = self.settings.calibration, self.options.steady != "off"
        if calibration is None:
            relative = steady and self.settings.quantity != "metres"
            return (depth * np.float32(scale_shift.scale) + np.float32(scale_shift.shift) if relative else depth), None
        if not steady:
            return calibrate_depth(depth, self.settings.quantity, calibration)
        tones = to_tones(depth, scale_shift.scale, scale_shift.shift)
        fit = fit_of_range(calibration, *((1.0, 0.0) if self.settings.quantity == "depth" else (0.0, 1.0)))
        return metres_of_inverse(tones, fit, calibration.near_far), fit

    def range_of_depth(self, depth: DepthArray, transparent: PixelMask | None) -> tuple[float, float]:
        """Return the range of depth that is drawn: with known distances that of the clip, else that of the frame.

        Depth where the frame is `transparent` does not count.
        """
        calibration = self.settings.calibration
        if self.has_automatic_range and calibration and calibration.near_far:
            return calibration.near_far
        return depth_limits(depth, self.settings.style.range, transparent)

    @cached_property
    def camera(self) -> PinholeCamera:
        """Return the camera of the frames, whose pixels may be wider than high."""
        clip = self.clip
        exif = read_exif_focal(clip.pictures[0]) if clip.pictures else None
        camera = find_camera(self.settings.camera, clip.width, clip.height, exif)
        return replace(camera, fy=camera.fx * float(clip.sample_aspect))

    def picture(self, row: OutputFormat, view: DepthView) -> NDArray[Any] | bytes:
        """Return a frame in one format: a picture for video, the bytes of a file for a folder."""
        if self.options.as_frames or row.draw is None:
            return row.encode(view)
        draw = row.draw_deep if CODECS[self.options.codec].bits > 8 and row.draw_deep is not None else row.draw
        return draw(view)

    def scale(self, span: tuple[float, float]) -> DepthScale:
        """Return the meaning of the 16-bit values of a frame with this range of depth."""
        quantity, near = self.settings.output_quantity, self.settings.style.near
        if self.settings.uses_metric_scale:
            return self.settings.metric_scale
        if self.uses_tones:
            return replace(choose_scale(0.0, 1.0, quantity, near), unit=TONES)
        return choose_scale(*span, quantity, near)

    def frame_record(self, span: tuple[float, float], sizes: FrameSizes) -> Record:
        """Return the record of a frame with this range of depth."""
        return make_record(
            self.settings,
            self.scale(span),
            span,
            network_size=sizes.network,
            source_size=sizes.source,
            source=self.job.source_name,
            fingerprint=self.fingerprint,
            camera=self.camera,
        )

    def clip_record(self, rows: Iterable[FrameRow], sizes: FrameSizes) -> Record:
        """Return the record of the whole clip."""
        spans = [(row.low, row.high) for row in rows]
        record = self.frame_record((min(low for low, _ in spans), max(high for _, high in spans)), sizes)
        return record if self.has_fixed_scale else replace(record, unit=VARYING_UNIT)

    def sidecar_text(self, rows: Sequence[FrameRow], record: Record) -> str:
        """Return the record, and the scale and shift of every frame, as JSON: they restore the network's values."""
        frames = [row._asdict() | {"seconds": float(row.pts * self.clip.time_base)} for row in rows]
        return json.dumps({RECORD_KEYWORD: asdict(record), "frames": frames}, allow_nan=False)

    def output_texts(self, rows: Sequence[FrameRow], record: Record) -> dict[str, str]:
        """Return the metadata of each output: the record for a clip, the sidecar for a folder."""
        text = json.dumps(asdict(record), allow_nan=False)
        return {
            kind: text if is_video_file(path) else self.sidecar_text(rows, record)
            for kind, path in self.job.outputs.items()
        }
