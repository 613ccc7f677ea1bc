"""The frames of a clip, one by one in constant memory, and what was wrong with them."""

import contextlib
import re
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dacli.errors import DacliError
from dacli.io import images
from dacli.io.names import RECORD_KEYWORD
from dacli.paths import display_path
from dacli.video import ffmpeg, probe, timing
from dacli.video.probe import LENIENT_OPTIONS, RECORD_TAG, Clip

_STRICT = ("-xerror",)
_DAMAGE = r"\[(?:in#0|vist#0|dec:|gif @|ffv1 @)"  # what reports damage; the decoders named here go on nevertheless
_CONCEALED = r"\[(?!rawvideo @)"  # all who do when damage is put up with; the muxer only finds equal times
_TONE_MAP = (  # through 4:4:4, because zscale takes no odd sizes in 4:2:0
    "format=yuv444p16le,zscale=tin={}:pin=bt2020:min=bt2020nc:t=linear:npl=100,format=gbrpf32le,"
    "zscale=p=bt709,tonemap=hable:desat=0,zscale=t=bt709:m=gbr:r=full"
)
_SECTION = re.compile(r"(?<!\\)\n\[(?:STREAM|CHAPTER)\]\n")
_TAG = re.compile(r"^((?:\\.|[^=\\\n])+)=((?:\\.|[^\\\n])*)$", re.MULTILINE | re.DOTALL)


class DecodedFrame(NamedTuple):
    """A frame [H, W, 3] as RGB, upright, and when it is shown, in ticks of the clip's time base."""

    pts: int
    rgb: NDArray[np.uint8]


class _Form(NamedTuple):
    pixel_format: str
    channels: tuple[int, ...]
    dtype: type[np.uint8 | np.uint16]


_RGB = _Form("rgb24", (3,), np.uint8)
_DEPTH16 = _Form("gray16le", (), np.uint16)


class _DamageError(Exception):
    """Why ffmpeg gave no more frames; `broken`: it ended ill although it was to put up with damage."""

    def __init__(self, reason: str, *, broken: bool) -> None:
        super().__init__(reason)
        self.broken = broken


def ignore_note(note: str) -> None:
    """Hear a note and do nothing."""


def decode_frames(
    clip: Clip, *, after: int | None = None, allow_truncated: bool = False, tell: Callable[[str], None] = ignore_note
) -> Generator[DecodedFrame, None, None]:
    """Yield the frames of a clip in order, or those shown later than `after` ticks.

    HDR is tone-mapped, fields become whole frames, deep colours 8-bit. Raises DacliError where damage ends decoding,
    and at once if the file is cut; with `allow_truncated`, what can be decoded is used and `tell` hears of it.
    """
    times = clip.pts if after is None else tuple(time for time in clip.pts if time > after)
    if clip.pictures or not times:
        yield from _pictures(clip, times)
        return
    if clip.lost and not allow_truncated:
        raise _damaged(clip, len(probe.decodable_frames(clip.path, clip.time_base)[0]), "the file is cut")
    if clip.transfer and not ffmpeg.has_filter("zscale"):
        tell(f"{display_path(clip.path)} is HDR and shown dull: this ffmpeg has no zscale filter to tone-map it")
    asked = _asked(clip, times, LENIENT_OPTIONS if allow_truncated else _STRICT)
    for pts, rgb in _whole(clip, asked, len(clip.pts) - len(times), tell if allow_truncated else None):
        yield DecodedFrame(pts, rgb)


def read_depth16_clip(path: Path) -> tuple[Generator[NDArray[np.uint16], None, None], dict[str, str], int]:
    """Return the frames [H, W] of a 16-bit depth clip, one by one, the file's tags by keys in lower case, the count.

    Raises DacliError for any other file, and, after the last frame that can be decoded, if any was damaged.
    """
    clip = probe.probe_clip(path)
    if (clip.codec, clip.pixel_format) != ("ffv1", "gray16le"):
        form = f"{clip.codec} clip ({clip.pixel_format})"
        raise DacliError(
            f"{display_path(path)} is a {form}", "depth comes back from the 16-bit one that --save png16 makes"
        )
    decoded = _whole(clip, _decode(clip, _STRICT, _DEPTH16), 0, None)
    return (values for _, values in decoded), read_tags(path), len(clip.pts)


def read_tags(path: Path) -> dict[str, str]:
    """Return the tags of a clip, their keys in lower case, the record by its keyword; none if ffmpeg cannot read it."""
    with ffmpeg.FFmpegProcess(["-i", ffmpeg.file_url(path), "-f", "ffmetadata", "pipe:1"]) as process:
        text = "\n".join(process.text())
        process.finish()
    found = {_plain(key).lower(): _plain(value) for key, value in _TAG.findall(_SECTION.split(text)[0])}
    keyword, _, record = found.get(RECORD_TAG, "").partition("=")
    return found | {RECORD_KEYWORD: record} if keyword == RECORD_KEYWORD else found


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _whole(
    clip: Clip, decoded: Generator[tuple[int, Any], None, None], got: int, tell: Callable[[str], None] | None
) -> Generator[tuple[int, Any], None, None]:
    """Yield the decoded frames; in the end, if some are missing, an error, or a note if there is someone to tell it."""
    damage = None
    try:
        with contextlib.closing(decoded):
            for frame in decoded:
                got += 1
                yield frame
    except _DamageError as error:
        damage = error
    if damage is None and got == len(clip.pts) and not clip.lost:
        return
    fault = _damaged(clip, got, str(damage or "the rest is not there"))
    if tell is None or not got or (damage and damage.broken):
        raise fault
    tell(fault.message)


def _damaged(clip: Clip, got: int, reason: str) -> DacliError:
    message = f"decoded {got} of {len(clip.pts) + clip.lost} frames of {display_path(clip.path)} ({reason})"
    return DacliError(message, "copy it again, or use its good frames with --allow-truncated")


def _asked(clip: Clip, times: tuple[int, ...], options: Sequence[str]) -> Generator[tuple[int, Any], None, None]:
    wanted = set(times)
    with contextlib.closing(_from(clip, times[0], options)) as decoded:
        for frame in decoded:
            if frame[0] in wanted:
                yield frame
            if clip.followed and frame[0] >= times[-1]:
                break


def _from(clip: Clip, first: int, options: Sequence[str]) -> Generator[tuple[int, Any], None, None]:
    """Decode from a keyframe before `first` on, or from the start where seeking does not lead to that frame."""
    if clip.seekable and first * clip.time_base > 1:
        seek = f"{float((first - Fraction(1, 2)) * clip.time_base):.6f}"
        with contextlib.closing(_decode(clip, [*options, "-ss", seek], _RGB)) as sought:
            head = _head(sought)
            if head is not None and head[0] == first:
                yield head
                yield from sought
                return
    yield from _decode(clip, options, _RGB)


def _head(decoded: Iterator[tuple[int, Any]]) -> tuple[int, Any] | None:
    try:
        return next(decoded, None)
    except _DamageError:
        return None


def _decode(clip: Clip, options: Sequence[str], form: _Form) -> Generator[tuple[int, Any], None, None]:
    ticks = f"{clip.time_base.numerator}:{clip.time_base.denominator}"
    with tempfile.TemporaryDirectory(prefix="dacli-", ignore_cleanup_errors=True) as folder:
        times = Path(folder, "times")
        arguments = [
            *probe.clip_source(clip.path, *options),
            "-enc_time_base",
            ticks,
            "-s",
            f"{clip.width}x{clip.height}",
        ]
        arguments += ["-stats_enc_pre", ffmpeg.file_url(times), "-stats_enc_pre_fmt", "{pts}", *_filters(clip)]
        with ffmpeg.FFmpegProcess([*arguments, "-pix_fmt", form.pixel_format, "-f", "rawvideo", "pipe:1"]) as process:
            raw = _raw(process, np.empty((clip.height, clip.width, *form.channels), form.dtype))
            for values, pts in zip(raw, timing.make_increasing(_times(times)), strict=False):
                yield pts, values
            status = process.finish()
            if fault := process.fault(_DAMAGE if "-xerror" in options else _CONCEALED):
                raise _DamageError(fault, broken=bool(status))


def _raw(process: ffmpeg.FFmpegProcess, like: NDArray[Any]) -> Iterator[NDArray[Any]]:
    while process.fill((values := np.empty_like(like)).data.cast("B")):
        yield values


def _times(path: Path) -> Iterator[int]:
    """Yield the times that ffmpeg writes down: that of a frame before the frame itself."""
    with path.open() as lines:
        yield from map(int, lines)


def _filters(clip: Clip) -> list[str]:
    chain = ["bwdif=mode=send_frame"] if clip.interlaced else []
    if clip.transfer and ffmpeg.has_filter("zscale"):
        chain.append(_TONE_MAP.format(clip.transfer))
    return ["-vf", ",".join(chain)] if chain else []


def _pictures(clip: Clip, times: tuple[int, ...]) -> Generator[DecodedFrame, None, None]:
    for time in times:
        path = clip.pictures[time]
        rgb = images.read_image(path)
        if rgb.shape != (clip.height, clip.width, 3):
            size = f"{rgb.shape[1]} × {rgb.shape[0]} pixels and the first frame {clip.width} × {clip.height}"
            raise DacliError(f"{display_path(path)} has {size}", "make all frames of a folder the same size")
        deep = rgb.dtype == np.uint16
        yield DecodedFrame(time, ((rgb.astype(np.uint32) + 128) // 257 if deep else rgb).astype(np.uint8, copy=False))
