"""What of a clip is processed, and how its depth is written."""

from dataclasses import dataclass
from fractions import Fraction

from dacli.choices import SteadyMode
from dacli.video.probe import FOLDER_RATE


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """What of a clip is processed: a span in seconds, at most `max_fps` frames per second; and how it is written.

    `rate` is that of a folder of pictures in frames per second. `steady` is how depth is made steady from frame to
    frame. `crf` is the quality of H.264, 0 to 51. `as_frames` writes folders of numbered files instead of video.
    `resume` goes on after the last complete segment of a run that was stopped. `allow_truncated` accepts a damaged clip
    as far as it can be decoded.
    """

    start: float | None = None
    end: float | None = None
    max_fps: float | None = None
    rate: Fraction = FOLDER_RATE
    steady: SteadyMode = "on"
    crf: int = 18
    as_frames: bool = False
    resume: bool = False
    allow_truncated: bool = False

    @property
    def decisive(self) -> list[object]:
        """Return all that decides the outputs besides the clip and the settings of the run, as values for JSON."""
        return [self.start, self.end, self.max_fps, str(self.rate), self.steady, self.crf, self.as_frames]
