"""Decoding of a clip: its frames, one by one in constant memory, and errors for damaged files."""

import contextlib
import re
import tempfile
from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dacli.callbacks import Log, ignore_log
from dacli.errors import DacliError
from dacli.io import files, images
from dacli.io.alpha import split_alpha
from dacli.io.background import OVER_WHITE, AlphaOptions
from dacli.io.names import RECORD_KEYWORD
from dacli.io.picture import Picture
from dacli.outputs.drawing import to_eight_bits
from dacli.paths import display_path
from dacli.types import PixelMask
from dacli.video import ffmpeg, probe, timing
from dacli.video.clip import Clip, seconds_text
from dacli.video.probe import KEYWORDS_END, LENIENT_OPTIONS, RECORD_MARK, RECORD_TAG

_STRICT = ("-xerror",)
_DAMAGE = (
    r"\[(?:in#0|vist#0|dec:|gif @|ffv1 @)"  # log origins that report damage; the decoders named here continue after it
)
_CONCEALED_DAMAGE = (
    r"\[(?!rawvideo @)"  # the same when damage is accepted: all except the muxer, which only reports equal times
)
_TONE_MAP = (  # via 4:4:4, because zscale does not support odd sizes in 4:2:0
    "format=yuv444p16le,zscale=tin={}:pin=bt2020:min=bt2020nc:t=linear:npl=100,format=gbrpf32le,"
    "zscale=p=bt709,tonemap=hable:desat=0,zscale=t=bt709:m=gbr:r=full"
)
_NEW_SIZE = re.compile(r"video parameters changed to \w+\([^)]*\), (\d+)x(\d+)")
_TAG_SECTION = re.compile(r"(?<!\\)\n\[(?:STREAM|CHAPTER)\]\n")
_TAG = re.compile(r"^((?:\\.|[^=\\\n])+)=((?:\\.|[^\\\n])*)$", re.MULTILINE | re.DOTALL)


class DecodedFrame(NamedTuple):
    """An upright RGB frame [H, W, 3] and its presentation time in ticks of the clip's time base.

    `transparent` [H, W] marks the pixels that get no depth, if there are any.
    """

    pts: int
    rgb: NDArray[np.uint8]
    transparent: PixelMask | None = None


class _PixelLayout(NamedTuple):
    pixel_format: str
    channels: tuple[int, ...]
    dtype: type[np.uint8 | np.uint16]


_RGB = _PixelLayout("rgb24", (3,), np.uint8)
_RGBA = _PixelLayout("rgba", (4,), np.uint8)
_DEPTH16 = _PixelLayout("gray16le", (), np.uint16)


class _DamageError(Exception):
    """The reason why ffmpeg returned no more frames; `failed` is true if it ended with an error status."""

    def __init__(self, reason: str, *, failed: bool) -> None:
        super().__init__(reason)
        self.failed = failed


def decode_frames(
    clip: Clip,
    *,
    after: int | None = None,
    allow_truncated: bool = False,
    alpha: AlphaOptions = OVER_WHITE,
    log: Log = ignore_log,
) -> Generator[DecodedFrame, None, None]:
    """Yield the frames of a clip in order, or only those that are shown later than `after` (ticks).

    Transparent pixels are treated as `alpha` says, HDR is tone-mapped, interlaced fields are combined into whole
    frames, and colors are reduced to 8 bits. Raises DacliError where damage stops decoding, and before the first frame
    if the file is truncated. With `allow_truncated`, all frames that can be decoded are used, and the damage is
    reported to `log`.
    """
    all_times = clip.decoded_times
    times = all_times if after is None else tuple(time for time in all_times if time > after)
    if clip.pictures or not times:
        yield from _read_pictures(clip, times, alpha)
        return
    if clip.missing_frames and not allow_truncated:
        raise _damage_error(clip, len(probe.decodable_frames(clip.source, clip.tick_base)[0]), "the file is truncated")
    if clip.transfer and not ffmpeg.has_filter("zscale"):
        log(f"{display_path(clip.path)} is HDR and will look dull: this ffmpeg has no zscale filter for tone mapping")
    frames = _select_frames(clip, times, LENIENT_OPTIONS if allow_truncated else _STRICT, log)
    for pts, pixels in _check_complete(clip, frames, len(all_times) - len(times), log if allow_truncated else None):
        yield _decoded_frame(pts, split_alpha(pixels, alpha))


def _decoded_frame(pts: int, picture: Picture) -> DecodedFrame:
    return DecodedFrame(pts, to_eight_bits(picture.rgb), picture.transparent)


def read_depth16_clip(path: Path) -> tuple[Generator[NDArray[np.uint16], None, None], dict[str, str], int]:
    """Return an iterator of the frames [H, W] of a 16-bit depth clip, its tags (keys in lower case), its frame count.

    Raises DacliError for any other file. After the last frame that can be decoded, raises it if a frame was damaged.
    """
    clip = probe.probe_clip(path)
    if (clip.codec, clip.pixel_format) != ("ffv1", "gray16le"):
        layout = f"{clip.codec} clip ({clip.pixel_format})"
        raise DacliError(f"{display_path(path)} is a {layout}", "use the 16-bit clip that --save png16 writes")
    decoded = _check_complete(clip, _decode(clip, _STRICT, _DEPTH16), 0, None)
    return (values for _, values in decoded), read_tags(path), len(clip.pts)


def read_tags(path: Path) -> dict[str, str]:
    """Return the tags of a clip with keys in lower case, including the record; empty if ffmpeg cannot read the file."""
    with ffmpeg.FFmpegProcess(["-i", ffmpeg.file_url(path), "-f", "ffmetadata", "pipe:1"]) as process:
        text = "\n".join(process.text())
        process.finish()
    tags = {_unescape(key).lower(): _unescape(value) for key, value in _TAG.findall(_TAG_SECTION.split(text)[0])}
    others, mark, record = tags.get(RECORD_TAG, "").partition(RECORD_MARK)
    if not mark:
        return tags
    return tags | {RECORD_KEYWORD: "{" + record, RECORD_TAG: others.removesuffix(KEYWORDS_END)}


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _check_complete(
    clip: Clip, decoded: Generator[tuple[int, Any], None, None], count: int, log: Log | None
) -> Generator[tuple[int, Any], None, None]:
    """Yield the decoded frames; then, if some are missing, report that to `log`, or raise DacliError if it is None."""
    damage = None
    try:
        with contextlib.closing(decoded):
            for frame in decoded:
                count += 1
                yield frame
    except _DamageError as error:
        damage = error
    if damage is None and count == len(clip.decoded_times) and not clip.missing_frames:
        return
    failure = _damage_error(clip, count, str(damage or "the rest is missing"))
    if log is None or not count or (damage and damage.failed):
        raise failure
    log(failure.message)


def _damage_error(clip: Clip, count: int, reason: str) -> DacliError:
    total = len(clip.decoded_times) + clip.missing_frames
    message = f"decoded {count} of {total} frames of {display_path(clip.path)} ({reason})"
    return DacliError(message, "copy it again, or use its good frames with --allow-truncated")


def _select_frames(
    clip: Clip, times: tuple[int, ...], options: Sequence[str], log: Log
) -> Generator[tuple[int, Any], None, None]:
    wanted = clip.file_ticks(times)
    first, last = next(iter(wanted)), next(reversed(wanted))
    with contextlib.closing(_decode_from(clip, first, options, log)) as decoded:
        for tick, rgb in decoded:
            if tick in wanted:
                yield wanted[tick], rgb
            if clip.end_trimmed and tick >= last:
                break


def _decode_from(clip: Clip, first: int, options: Sequence[str], log: Log) -> Generator[tuple[int, Any], None, None]:
    """Yield frames from tick `first` of the file on; decode from its start if seeking does not find that frame."""
    layout = _RGBA if clip.transparent else _RGB
    if clip.seekable and first * clip.tick_base > 1:
        seek = ["-ss", seconds_text((first - Fraction(1, 2)) * clip.tick_base)]
        if clip.source.start is not None:  # ffmpeg would count the start of the file twice, and drop frames that count
            seek.append("-noaccurate_seek")
        with contextlib.closing(_decode(clip, [*options, *seek], layout, log)) as decoded:
            first_frame = _first_frame(decoded, first)
            if first_frame is not None and first_frame[0] == first:
                yield first_frame
                yield from decoded
                return
    yield from _decode(clip, options, layout, log)


def _first_frame(decoded: Iterator[tuple[int, Any]], first: int) -> tuple[int, Any] | None:
    """Return the first frame that is not shown before `first`, None if there is none."""
    try:
        return next((frame for frame in decoded if frame[0] >= first), None)
    except _DamageError:
        return None


def _decode(
    clip: Clip, options: Sequence[str], layout: _PixelLayout, log: Log = ignore_log
) -> Generator[tuple[int, Any], None, None]:
    """Yield frames with their ticks; `log` gets a line if their size changes within the clip."""
    ticks = f"{clip.tick_base.numerator}:{clip.tick_base.denominator}"
    with tempfile.TemporaryDirectory(prefix="dacli-", ignore_cleanup_errors=True) as folder:
        times = Path(folder, "times")
        arguments = [
            *clip.source.arguments(*options),
            "-enc_time_base",
            ticks,
            "-s",
            f"{clip.width}x{clip.height}",
        ]
        arguments += ["-stats_enc_pre", ffmpeg.file_url(times), "-stats_enc_pre_fmt", "{pts}", *_filters(clip)]
        arguments += ["-nostats", "-pix_fmt", layout.pixel_format, "-f", "rawvideo", "pipe:1"]
        with ffmpeg.FFmpegProcess(arguments, "info") as process:
            raw = _read_arrays(process, np.empty((clip.height, clip.width, *layout.channels), layout.dtype))
            for values, pts in zip(raw, timing.make_increasing(_read_times(times)), strict=False):
                yield pts, values
            status = process.finish()
            _mention_sizes(clip, process.read_log(), log)
            if reason := process.failure_reason(_DAMAGE if "-xerror" in options else _CONCEALED_DAMAGE):
                raise _DamageError(reason, failed=bool(status))


def _mention_sizes(clip: Clip, ffmpeg_log: str, log: Log) -> None:
    """Log that frames of another size follow in a clip, which ffmpeg stretches; a turned size is none."""
    for sides in _NEW_SIZE.findall(ffmpeg_log):
        if sorted(map(int, sides)) != sorted((clip.width, clip.height)):
            others = f"frames of {sides[0]} × {sides[1]} too"
            log(f"{display_path(clip.path)} has {others}: they are stretched to {clip.width} × {clip.height}")
            return


def _read_arrays(process: ffmpeg.FFmpegProcess, example: NDArray[Any]) -> Iterator[NDArray[Any]]:
    while process.fill((values := np.empty_like(example)).data.cast("B")):
        yield values


def _read_times(path: Path) -> Iterator[int]:
    """Yield the times that ffmpeg writes to a file; it writes the time of a frame before the frame itself."""
    with path.open() as lines:
        yield from map(int, lines)


def _filters(clip: Clip) -> list[str]:
    chain = [*clip.source.filters, *(["bwdif=mode=send_frame"] if clip.interlaced else [])]
    if clip.transfer and ffmpeg.has_filter("zscale"):
        chain.append(_TONE_MAP.format(clip.transfer))
    return ["-vf", ",".join(chain)] if chain else []


def _read_pictures(clip: Clip, times: tuple[int, ...], alpha: AlphaOptions) -> Generator[DecodedFrame, None, None]:
    for time in times:
        path = clip.pictures[time]
        picture = images.decode_picture(files.read_bytes(path), path, alpha=alpha)
        height, width = picture.rgb.shape[:2]
        if (height, width) != (clip.height, clip.width):
            size = f"{width} × {height} pixels and the first frame {clip.width} × {clip.height}"
            raise DacliError(f"{display_path(path)} has {size}", "make all frames of a folder the same size")
        yield _decoded_frame(time, picture)
