"""Options for clips: the part to process, and how its depth is written."""

from dataclasses import dataclass
from fractions import Fraction

from dacli.choices import DeinterlaceMode, SteadyMode
from dacli.errors import UsageError
from dacli.outputs.calibration import Calibration
from dacli.video.probe import ProbeOptions
from dacli.video.sequences import FOLDER_RATE


def refuse_known_points(calibration: Calibration | None) -> None:
    """Raise UsageError for known distances of points, which are of one frame only."""
    if calibration and calibration.points:
        fault = "--calibrate is for pictures: a point of a clip moves"
        raise UsageError(fault, "give the metres of the nearest and farthest depth, such as --near-far 0.5,20")


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """The part of a clip to process, from `start` to `end` in seconds, at most `max_fps` frames per second; the output.

    With `constant_rate`, frames at varying times are repeated and dropped so that their rate is constant.

    `rate` is the frame rate of a folder of pictures, in frames per second. `steady` is how depth is stabilized over
    time. `codec` is a row of CODECS, `crf` the quality of H.264 and H.265, 0 to 51. `as_frames` writes folders of
    numbered files instead of video, the first of which has the number `first_frame`; None takes that of the source.
    `allow_truncated` accepts a damaged clip and uses the frames that can be decoded. `stream` is the number of the
    video stream, and `deinterlace` says whether its frames are made of two fields.
    """

    start: float | None = None
    end: float | None = None
    max_fps: float | None = None
    constant_rate: bool = False
    rate: Fraction = FOLDER_RATE
    steady: SteadyMode = "on"
    codec: str = "h264"
    crf: int = 18
    as_frames: bool = False
    first_frame: int | None = None
    stream: int | None = None
    deinterlace: DeinterlaceMode = "auto"
    allow_truncated: bool = False

    @property
    def probing(self) -> ProbeOptions:
        """Return the options that say how the file is read."""
        return ProbeOptions(self.stream, self.deinterlace)

    @property
    def decisive(self) -> list[object]:
        """Return the options that determine the outputs, as values for JSON."""
        numbers = [] if self.first_frame is None else [self.first_frame]
        codec = [] if self.codec == "h264" else [self.codec]
        reading = [] if (self.stream, self.deinterlace) == (None, "auto") else [self.stream, self.deinterlace]
        return [
            self.start,
            self.end,
            self.max_fps,
            *(["constant rate"] if self.constant_rate else []),
            str(self.rate),
            self.steady,
            self.crf,
            self.as_frames,
            *numbers,
            *reading,
            *codec,
        ]
