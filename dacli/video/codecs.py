"""The codecs of clips, one row for each: what `--codec` takes, and how ffmpeg encodes with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dacli.errors import DacliError
from dacli.outputs.formats import OutputFormat
from dacli.video import ffmpeg


@dataclass(frozen=True)
class VideoCodec:
    """One codec: its encoder in ffmpeg with arguments, the suffix of files, and the pixels of color and of gray.

    Gray is drawn with 16 bits if `bits` are more than 8. `arguments` may hold {crf}, the quality that users choose.
    Sides of `smallest` to `largest` pixels can be encoded.
    """

    encoder: str
    suffix: str
    arguments: tuple[str, ...]
    color: str
    gray: str
    bits: int = 8
    smallest: int = 1
    largest: int = 65535  # which the files of segments can hold

    @property
    def is_lossless(self) -> bool:
        """Return whether pixels stay as they were drawn: in RGB or gray, over the full range."""
        return self.encoder == "ffv1"

    def options(self, crf: int) -> list[str]:
        """Return the arguments of ffmpeg that choose the codec at a quality."""
        return ["-c:v", self.encoder, *(text.format(crf=crf) for text in self.arguments)]


_FFV1 = ("-level", "3", "-g", "1", "-slicecrc", "1")
EXACT16 = VideoCodec("ffv1", ".mkv", _FFV1, "gbrp16le", "gray16le", 16)  # of png16
# No B-frames: in joined files, the decoding order and times then equal those of presentation, for any frame rate.
CODECS: Mapping[str, VideoCodec] = {
    "h264": VideoCodec(
        "libx264",
        ".mp4",
        ("-preset", "veryfast", "-bf", "0", "-crf", "{crf}"),
        "yuv420p",
        "yuv420p",
        largest=16384,
    ),
    "h265": VideoCodec(
        "libx265",
        ".mp4",
        ("-preset", "fast", "-tag:v", "hvc1", "-x265-params", "bframes=0:log-level=error", "-crf", "{crf}"),
        "yuv420p10le",
        "yuv420p10le",
        10,
        smallest=16,
    ),
    "prores": VideoCodec("prores_ks", ".mov", ("-profile:v", "3", "-vendor", "apl0"), "yuv422p10le", "yuv422p10le", 10),
    "ffv1": VideoCodec("ffv1", ".mkv", _FFV1, "bgr0", "gray"),
}


def find_codec(name: str) -> VideoCodec:
    """Return a codec by its name; raise DacliError if this ffmpeg cannot encode with it."""
    codec = CODECS[name]
    if not ffmpeg.has_encoder(codec.encoder):
        hint = "choose another --codec, or reinstall imageio-ffmpeg"
        raise DacliError(f"this ffmpeg cannot encode {name}: it has no {codec.encoder}", hint)
    return codec


def check_clip_size(name: str, size: tuple[int, int], formats: Iterable[OutputFormat], codec_name: str) -> None:
    """Raise DacliError if the codec of an output cannot encode frames of a clip of a size (width, height)."""
    for row in formats:
        codec = EXACT16 if row.bits == 16 else CODECS[codec_name]
        width, height = (2 * size[0] if row.needs_image else size[0]), size[1]
        if not codec.is_lossless:
            width, height = width + width % 2, height + height % 2
        if row.draw is not None and not codec.smallest <= min(width, height) <= max(width, height) <= codec.largest:
            kind = "png16" if row.bits == 16 else codec_name
            limit = f"{kind} takes sides of {codec.smallest} to {codec.largest}"
            hint = "use --frames, or --codec ffv1" if max(width, height) <= EXACT16.largest else "use --frames"
            raise DacliError(f"{row.name} of {name} has {width} × {height} pixels, and {limit}", hint)
