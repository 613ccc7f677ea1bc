"""Files with random damage: pictures, clips, depth and weights. No traceback, no hang, only the exit codes 0 and 1."""

import io
import json
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_jxl
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support.commands import SMALL, Result, Run
from tests.support.footage import H264, ffmpeg, make_clip
from tests.support.rare_pictures import encode_exr, make_dng, make_psd, rgb_channels

pytestmark = pytest.mark.slow
assert pillow_jxl.__name__  # it adds the format to Pillow
HANG = 60  # seconds after which a command counts as hanging


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    def hangs(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def run_in_time(dacli: Run, *arguments: object) -> Result:
    """Run a command, fail if it takes long, and check its exit code and its lines."""
    signal.setitimer(signal.ITIMER_REAL, HANG)
    run = dacli(*arguments)
    assert run.code in (0, 1), run.err
    assert [line for line in run.err if not is_told(line)] == []
    return run


PICTURES: dict[str, dict[str, Any]] = {
    "jpg": {"quality": 90},
    "jpeg": {"quality": 80, "progressive": True},
    "png": {},
    "webp": {"quality": 80},
    "tif": {"compression": "tiff_lzw"},
    "tiff": {},
    "bmp": {},
    "gif": {},
    "avif": {},
    "ppm": {},
    "tga": {},
    "jp2": {},
    "jxl": {},
}
RARE: dict[str, Callable[[NDArray[np.uint8]], bytes]] = {
    "exr": lambda pixels: encode_exr(rgb_channels((pixels / 255).astype(np.float16))),
    "hdr": lambda pixels: cv2.imencode(".hdr", (pixels / 255).astype(np.float32))[1].tobytes(),
    "psd": make_psd,
    "dng": lambda _: make_dng(),
    "dpx": lambda pixels: ffmpeg_picture(pixels, "dpx"),
}
KINDS = (*PICTURES, *RARE)
CLIPS = {
    "mp4": H264,
    "mkv": (*H264, "-bf", "2"),
    "webm": ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"),
    "avi": ("-c:v", "mpeg4"),
    "ts": ("-c:v", "mpeg2video", "-bf", "2"),
    "mov": ("-c:v", "prores_ks"),
    "gif": (),
    "flv": ("-c:v", "flv"),
}


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with one to four faults: bytes changed, a part cut off, zeroed, doubled or left out."""
    for _ in range(rng.integers(1, 5)):
        changed = bytearray(data)
        begin = int(rng.integers(0, max(1, len(changed))))
        length = min(int(rng.integers(1, 2 + len(changed) // 4)), len(changed) - begin)
        kind = rng.integers(0, 5)
        if kind == 0:
            for place in rng.integers(0, max(1, len(changed)), rng.integers(1, 9)):
                changed[place : place + 1] = rng.bytes(1)
        elif kind == 1:
            del changed[max(begin, 1) :]
        elif kind == 2:
            changed[begin : begin + length] = bytes(length)
        elif kind == 3:
            changed[begin:begin] = changed[begin : begin + length]
        else:
            del changed[begin : begin + length]
        data = bytes(changed)
    return data


def good_picture(suffix: str, rng: np.random.Generator) -> bytes:
    """Return a picture of smooth noise in a format."""
    rough = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((80, 60))
    if suffix in RARE:
        return RARE[suffix](np.asarray(rough))
    file = io.BytesIO()
    names = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}
    rough.save(file, names.get(suffix, suffix.upper()), **PICTURES[suffix])
    return file.getvalue()


def ffmpeg_picture(pixels: NDArray[np.uint8], form: str) -> bytes:
    """Return a picture that ffmpeg writes in 10 bits."""
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(pixels).save(Path(folder, "a.png"))
        return ffmpeg("-i", Path(folder, "a.png"), "-pix_fmt", "gbrp10be", "-c:v", form, "-f", "image2pipe", "-")


def is_told(line: str) -> bool:
    """Return whether a line is one that dacli writes for users: not of a fault of its own, nor of a library."""
    return "this is a fault of dacli" not in line and "Traceback" not in line and not line.startswith("[")


@pytest.mark.parametrize("seed", range(4))
def test_damaged_pictures_in_a_folder(dacli: Run, home: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (home / "in").mkdir()
    for number in range(75):
        suffix = KINDS[number % len(KINDS)]
        (home / f"in/{number:02}.{suffix}").write_bytes(damaged(good_picture(suffix, rng), rng))
    run = run_in_time(dacli, "folder", "in", "out", *SMALL, "--json")
    assert len(run.objects) == 75
    assert all((home / path).is_file() for row in run.objects if row["ok"] for path in row["outputs"].values())
    failed = [json.loads(line) for line in (home / "out/failures.jsonl").read_text().splitlines()]
    assert len(failed) == sum(not row["ok"] for row in run.objects) == run.summary["failed"]


@pytest.mark.parametrize("suffix", CLIPS)
def test_damaged_clips(dacli: Run, home: Path, suffix: str) -> None:
    rng = np.random.default_rng(len(suffix))
    good = make_clip(home / f"good.{suffix}", *CLIPS[suffix], frames=12).read_bytes()
    for number in range(8):
        (home / f"{number}.{suffix}").write_bytes(damaged(good, rng))
        extra = ("--allow-truncated",) if number % 2 else ()
        run = run_in_time(dacli, "video", f"{number}.{suffix}", *SMALL, *extra)
        assert (home / f"{number}_color.mp4").exists() == (run.code == 0)


@pytest.mark.parametrize("seed", range(2))
def test_damaged_depth_and_weights(dacli: Run, home: Path, weights: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (home / "a.png").write_bytes(good_picture("png", rng))
    assert dacli("image", "a.png", *SMALL, "--save", "png16,npy").code == 0
    sources = {"png": (home / "a_depth16.png").read_bytes(), "npy": (home / "a_depth.npy").read_bytes()}
    whole = weights.read_bytes()
    for number in range(9):
        for suffix, data in sources.items():
            (home / f"{number}_depth16.{suffix}").write_bytes(damaged(data, rng))
            run_in_time(dacli, "decode", f"{number}_depth16.{suffix}", "--overwrite")
        (home / "w.safetensors").write_bytes(damaged(whole, rng))
        run_in_time(dacli, "image", "a.png", "--weights", "w.safetensors", "--size", 32, "--overwrite")
