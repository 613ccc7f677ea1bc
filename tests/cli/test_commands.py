"""The command line as users type it: its results, and its errors where there are none."""

import errno
import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import dacli as dacli_package
from dacli import __version__
from dacli.cli.console import Console
from dacli.cli.main import main
from dacli.errors import DacliError, StopError
from dacli.inference import device, predictor
from dacli.io import files as whole_files
from dacli.io import images, png
from dacli.models import registry
from dacli.models.tiny import Tiny
from dacli.outputs import formats
from dacli.weights import locations, manifest
from tests.support.commands import KINDS, SMALL, Run, files_below, photo

pytestmark = pytest.mark.usefixtures("home")


# --- what is asked for is made ---


def test_a_photo_gets_its_depth_beside_it_and_the_path_on_stdout(dacli: Run, home: Path) -> None:
    photo(home / "photo.jpg")
    run = dacli("image", "photo.jpg", *SMALL)
    assert (run.code, run.out) == (0, "photo_color.png\n")
    assert images.read_image(Path("photo_color.png")).shape == (24, 36, 3)
    assert len(run.err) == 1
    assert re.match(r"tiny inverse depth at 32 px on (cpu|cuda|mps), (torch|openvino) \w+$", run.err[0])


def test_all_kinds_come_from_one_pass_under_the_names_of_the_contract(dacli: Run, home: Path) -> None:
    photo(home / "photo.jpg")
    run = dacli("image", "photo.jpg", *SMALL, "--save", ",".join(KINDS), "-o", "deep/er")
    assert run.code == 0
    assert files_below(home / "deep/er") == [
        *("photo_color.png", "photo_depth.npy", "photo_depth16.png", "photo_gray.png", "photo_side.png")
    ]
    assert run.out.split() == [f"deep/er/photo{formats.FORMATS[kind].suffix}" for kind in KINDS]
    depth = np.load("deep/er/photo_depth.npy")
    assert (depth.shape, depth.dtype) == ((24, 36), np.float32)
    assert images.read_image(Path("deep/er/photo_side.png")).shape == (24, 72, 3)


def test_json_has_one_object_per_input_in_order_and_nothing_else(dacli: Run, home: Path) -> None:
    for number in range(3):
        photo(home / f"{number}.jpg", number, (24, 24 + 12 * number))
    (home / "1.jpg").write_bytes(b"")
    run = dacli(
        "image",
        "2.jpg",
        "1.jpg",
        "0.jpg",
        *SMALL,
        "--save",
        "color,npy",
        "--json",
        "--precision",
        "fp32",
        "--engine",
        "torch",
    )
    wide, bad, square = run.objects
    assert run.code == 1
    assert [each["input"] for each in run.objects] == ["2.jpg", "1.jpg", "0.jpg"]
    error = "1.jpg is empty: check what made it"
    assert bad == {"input": "1.jpg", "ok": False, "error": error, "error_kind": "damaged"}
    assert (wide["source_size"], square["source_size"]) == ([24, 48], [24, 24])
    assert run.summary.items() >= {"done": 2, "skipped": 0, "failed": 1}.items()
    assert wide["ok"] is square["ok"] is True
    assert wide["outputs"] == {"color": "2_color.png", "npy": "2_depth.npy"}
    assert (wide["encoder"], wide["quantity"], wide["engine"], wide["precision"]) == (
        *("tiny", "inverse depth", "torch", "fp32"),
    )
    assert wide["network_size"] == [32, 64]
    assert isinstance(wide["tiles"], int)
    assert isinstance(wide["seconds"], float)
    assert isinstance(wide["model"], str)
    assert wide["device"].partition(":")[0] in ("cpu", "cuda", "mps")
    depth = np.load("2_depth.npy")
    assert wide["range"] == [depth.min(), depth.max()]


def test_both_engines_give_the_same_depth_and_say_which_they_are(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    depth = []
    for engine in ("torch", "openvino"):
        how = ("--device", "cpu", "--engine", engine, "--precision", "fp32")
        run = dacli("image", "a.jpg", *SMALL, *how, "-o", engine, "--save", "npy", "--json")
        assert run.objects[0]["engine"] == engine
        assert f"on cpu, {engine} fp32" in run.err[0]
        depth.append(np.load(f"{engine}/a_depth.npy"))
    assert not np.array_equal(*depth)
    assert np.linalg.norm(depth[1] - depth[0]) <= 1e-3 * np.linalg.norm(depth[0])


def test_another_engine_redoes_what_the_first_one_made(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    runs = [dacli("image", "a.jpg", *SMALL, "--engine", name, "--json") for name in ("torch", "openvino", "openvino")]
    assert [run.objects[0]["kept"] for run in runs] == [False, False, True]


def test_an_engine_that_is_not_installed_is_one_line(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(home / "a.jpg")
    monkeypatch.setattr(device, "is_installed", lambda name: name != "openvino")
    run = dacli("image", "a.jpg", *SMALL, "--engine", "openvino")
    assert (run.code, run.out) == (1, "")
    assert run.err == ["error: OpenVINO is not installed: pip install openvino, or use --engine torch"]
    assert ", torch " in dacli("image", "a.jpg", *SMALL, "--device", "cpu").err[0]


def test_an_explicit_range_is_what_is_reported(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    assert dacli("image", "a.jpg", *SMALL, "--range", "0.25,0.5", "--json").objects[0]["range"] == [0.25, 0.5]
    assert dacli("image", "a.jpg", *SMALL, "--range", "-1,2", "--json").objects[0]["range"] == [-1, 2]


def test_near_black_turns_gray_round(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    dacli("image", "a.jpg", *SMALL, "--save", "gray", "-o", "white")
    dacli("image", "a.jpg", *SMALL, "--save", "gray", "-o", "black", "--near", "black")
    white, black = (images.read_image(Path(folder, "a_gray.png")).astype(int) for folder in ("white", "black"))
    assert np.abs(white + black - 255).max() <= 1


def test_quiet_silences_notes_but_not_errors(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    run = dacli("image", "a.jpg", "b.jpg", *SMALL, "-q")
    assert run.code == 1
    assert run.err == ["error: b.jpg does not exist: check the path"]
    assert run.out == "a_color.png\n"


def test_a_second_run_says_done_already_and_leaves_the_files(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    first = dacli("image", "a.jpg", *SMALL, "--save", "color,npy")
    before = Path("a_color.png").stat().st_mtime_ns
    again = dacli("image", "a.jpg", *SMALL, "--save", "color,npy")
    assert (again.code, again.out) == (0, first.out)
    assert "a.jpg is done already; --overwrite makes it again" in again.err
    assert Path("a_color.png").stat().st_mtime_ns == before
    kept = dacli("image", "a.jpg", *SMALL, "--save", "color,npy", "--json").objects[0]
    assert kept["outputs"] == {"color": "a_color.png", "npy": "a_depth.npy"}
    assert "a.jpg is done already" not in " ".join(dacli("image", "a.jpg", *SMALL, "--overwrite").err)
    assert Path("a_color.png").stat().st_mtime_ns > before
    photo(home / "b.jpg"), photo(home / "c.jpg")
    dacli("image", "b.jpg", *SMALL)
    run = dacli("image", "a.jpg", "b.jpg", "c.jpg", *SMALL)
    assert [line for line in run.err if "already" in line] == ["2 of 3 were done already; --overwrite makes them again"]


def test_the_environment_chooses_the_encoder(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(home / "a.jpg")
    monkeypatch.setenv("DACLI_ENCODER", "tiny")
    assert dacli("image", "a.jpg", "--size", "32", "--json").objects[0]["encoder"] == "tiny"


def test_own_weights_tell_their_encoder(dacli: Run, home: Path, weights: Path) -> None:
    photo(home / "a.jpg")
    assert dacli("image", "a.jpg", "--weights", weights, "--size", "32", "--json").objects[0]["encoder"] == "tiny"


BUSY = """
import atexit, signal, time
from dacli.inference.engines import torch_engine as engine
from dacli.cli.main import main

def forward(engine, pictures):
    print("busy", flush=True)
    time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background has none
atexit.register(print, "python ended")
engine.TorchEngine.forward = forward
main(["image", "a.jpg", "--encoder", "tiny", "--size", "32", "--engine", "torch"])
"""


def test_a_signal_ends_a_run_whose_network_is_busy_without_waiting_for_it(home: Path) -> None:
    photo(home / "a.jpg")
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"busy\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")  # Python's own end would crash if the network were OpenVINO's
    assert b"interrupted after 0 of 1" in err
    assert files_below(home) == ["a.jpg"]


def test_the_same_photo_twice_is_done_once(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    run = dacli("image", "a.jpg", "./a.jpg", home / "a.jpg", *SMALL)
    assert (run.code, run.out) == (0, "a_color.png\n")


def test_a_pattern_that_names_outputs_too_makes_nothing_of_them(dacli: Run, home: Path) -> None:
    photo(home / "a.png"), photo(home / "b_color.png", 1)
    made = ["a_color.png", "a_depth16.png", "b_color_color.png", "b_color_depth16.png"]
    how = (*SMALL, "--save", "color,png16", "--json")
    assert dacli("image", "a.png", "b_color.png", *how).code == 0
    assert files_below(home) == sorted(["a.png", "b_color.png", *made])
    again = dacli("image", *(path.name for path in sorted(home.glob("*.png"))), *how)
    assert again.code == 0
    assert [(each["input"], each["kept"]) for each in again.objects] == [("a.png", True), ("b_color.png", True)]
    assert "4 outputs of dacli are left out, such as a_color.png" in again.err
    assert files_below(home) == sorted(["a.png", "b_color.png", *made])


def test_an_output_alone_is_refused(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    dacli("image", "a.jpg", *SMALL)
    run = dacli("image", "a_color.png", *SMALL)
    errors = ["error: a_color.png is an output of dacli: name the picture that it was made from"]
    assert (run.code, run.out, run.err) == (1, "", errors)


def test_photos_that_differ_in_the_extension_get_names_of_their_own(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg"), photo(home / "a.png", 1)
    run = dacli("image", "a.jpg", "a.png", *SMALL)
    assert (run.code, run.out.split()) == (0, ["a_jpg_color.png", "a_png_color.png"])


@pytest.mark.parametrize("name", ["día de sol 写真.jpg", os.fsdecode(b"caf\xe9.jpg"), "a\nb.jpg", "-q.jpg"])
def test_any_name_that_a_file_can_have(dacli: Run, home: Path, name: str) -> None:
    photo(home / "a.jpg").rename(home / name)
    run = dacli("image", *SMALL, "--json", "--", name)
    assert run.code == 0
    assert run.objects[0]["input"] == name
    assert Path(run.objects[0]["outputs"]["color"]).name == Path(name).stem + "_color.png"
    assert images.read_image(home / (Path(name).stem + "_color.png")).shape == (24, 36, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1)])
def test_pictures_of_one_pixel_are_no_special_case(dacli: Run, home: Path, shape: tuple[int, int]) -> None:
    photo(home / "a.png", shape=shape)
    run = dacli("image", "a.png", *SMALL, "--save", ",".join(KINDS), "-o", "out")
    assert run.code == 0
    assert np.load("out/a_depth.npy").shape == shape


# --- bad input: one line, exit 1, the others done, nothing half-written ---


def cut_png() -> bytes:
    return png.encode_png(np.zeros((5, 5, 3), np.uint8))[:-2]


def cut_jpeg() -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()[:-2])


def bomb() -> bytes:
    """Return a PNG whose header gives it ten thousand million pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    end = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    return png.PNG_SIGNATURE + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + end


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.jpg": (lambda: b"", "is empty"),
    "cut.jpg": (cut_jpeg, "is truncated"),
    "cut.png": (cut_png, "is truncated"),
    "half.jpg": (lambda: cut_jpeg()[:300], "truncated"),
    "garbage.jpg": (lambda: np.random.default_rng(0).bytes(5000), "is not a picture"),
    "text.jpg": (lambda: b"This is not a picture.\n", "holds text, not a picture"),
    "page.jpg": (lambda: b"<!doctype html><title>404</title>", "is a web page"),
    "bomb.png": (bomb, "100000 × 100000 pixels, more than the limit of 200 megapixels"),
    "clip.mp4": (lambda: b"\0\0\0\x20ftypisom" + bytes(64), "is a video"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_and_the_others_are_done(dacli: Run, home: Path, name: str) -> None:
    photo(home / "first.jpg"), photo(home / "last.jpg", 1)
    content, fault = BAD[name]
    (home / name).write_bytes(content())
    run = dacli("image", "first.jpg", name, "last.jpg", *SMALL)
    assert run.code == 1
    assert len(run.errors) == 1
    assert run.errors[0].startswith(f"error: {name} ")
    assert fault in run.errors[0]
    assert run.out.split() == ["first_color.png", "last_color.png"]
    assert files_below(home) == sorted(["first.jpg", name, "last.jpg", "first_color.png", "last_color.png"])


def test_a_missing_file_and_a_folder_are_named(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    (home / "album.jpg").mkdir()
    run = dacli("image", "nowhere/b.jpg", "album.jpg", "a.jpg", *SMALL)
    assert run.code == 1
    assert run.errors[0] == "error: nowhere/b.jpg does not exist: check the path"
    assert run.errors[1].startswith("error: album.jpg is a folder: name the pictures in it")
    assert run.out == "a_color.png\n"
    assert files_below(home) == ["a.jpg", "a_color.png", "album.jpg"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("image a.jpg --size 1600px", "--size 1600px is not a number of pixels: for example --size 1600"),
        (
            "image a.jpg --encoder large",
            "unknown encoder 'large': did you mean vitl? choose vits, vitb, vitl, vitg or tiny",
        ),
        (
            "image a.jpg --precision half",
            "unknown precision 'half': did you mean fp16? choose auto, fp32, fp16, bf16 or int8",
        ),
        ("image a.jpg -o o -overwrite", "there is no option -overwrite: did you mean --overwrite?"),
        ("scenes out 10", "N out is not a whole number: use dacli scenes N OUT"),
        ("video a.mp4 --crf 90", "--crf 90 is above 51: see dacli video --help"),
        ("video a.mp4 --max-fps x", "--max-fps x is not a number: see dacli video --help"),
        (
            "video a.mp4 --resume",
            "there is no option --resume: leave it out: the same command goes on where it was stopped",
        ),
        ("train teacher runs --batch 1", "--batch 1 is below 2: see dacli train teacher --help"),
        ("weights download", "there is no command 'download': use dacli weights get NAME"),
        ("help", "there is no command 'help': use dacli --help, or dacli COMMAND --help"),
        ("version", "there is no command 'version': use dacli --version"),
    ],
)
def test_what_users_of_other_tools_type_is_answered_with_what_dacli_calls_it(
    dacli: Run, home: Path, arguments: str, said: str
) -> None:
    photo(home / "a.jpg")
    run = dacli(*arguments.split())
    assert (run.code, run.err, run.out) == (2, [f"error: {said}"], "")
    assert files_below(home) == ["a.jpg"]


def test_what_is_replaced_is_named(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    first = dacli("image", "a.jpg", *SMALL, "--save", "gray,npy")
    assert first.code == 0
    assert not [line for line in first.err if "replaces" in line]
    run = dacli("image", "a.jpg", "--encoder", "tiny", "--size", "64", "--save", "gray,npy")
    assert run.code == 0
    assert run.err[1:] == [
        "a.jpg: replaces a_gray.png (tiny, 32 px)",
        "a.jpg is smaller (24 px) than --size 64, which shows no more of it",
    ]
    run = dacli("image", "a.jpg", *SMALL, "--save", "gray,npy", "--overwrite")
    assert not [line for line in run.err if "replaces" in line]


MP4 = b"\0\0\0\x20ftypisom" + bytes(64)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tpyo.jpg", "tpyo.jpg does not exist: check the path"),
        ("in", "in is a folder: name the pictures in it, or use dacli folder in OUT"),
        ("clip.mp4", "clip.mp4 is a video: use dacli video clip.mp4"),
        (
            "https://example.com/a.jpg",
            "https://example.com/a.jpg is an address, not a file: download it, and give the file",
        ),
    ],
)
def test_what_cannot_be_a_picture_is_told_before_weights_are_looked_for(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (home / "in").mkdir()
    (home / "clip.mp4").write_bytes(MP4)
    run = dacli("image", name, "--encoder", "vitl", "--json")
    assert run.code == 1
    assert run.err == [f"error: {said}"]
    assert run.objects[0]["ok"] is False
    photo(home / "a.jpg")
    run = dacli("image", name, "a.jpg", "--encoder", "vitl")
    assert (run.code, len(run.errors)) == (1, 1)
    assert "vitl" in run.errors[0]  # the weights, which are not here


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.jpg", "a.jpg is not a command: use dacli image a.jpg"),
        ("in", "in is a folder: name the pictures in it, or use dacli folder in OUT"),
        ("clip.mp4", "clip.mp4 is a video: use dacli video clip.mp4"),
    ],
)
def test_a_path_where_a_command_should_be_is_answered_with_the_command(
    dacli: Run, home: Path, name: str, said: str
) -> None:
    photo(home / "a.jpg")
    (home / "in").mkdir()
    (home / "clip.mp4").write_bytes(MP4)
    run = dacli(name)
    assert (run.code, run.err) == (2, [f"error: {said}"])


def test_a_file_that_may_not_be_read_is_named(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(home / "a.jpg"), photo(home / "secret.jpg")
    original = Path.read_bytes

    def read_bytes(self: Path) -> bytes:
        if self.name == "secret.jpg":
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    run = dacli("image", "secret.jpg", "a.jpg", *SMALL)
    assert (run.code, run.out) == (1, "a_color.png\n")
    assert run.errors == ["error: no permission to read secret.jpg: check its permissions"]


@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_a_file_in_the_place_of_the_output_folder(dacli: Run, home: Path, out: str) -> None:
    photo(home / "a.jpg"), photo(home / "b.jpg")
    (home / "taken").write_text("mine")
    run = dacli("image", "a.jpg", "b.jpg", *SMALL, "-o", out)
    assert (run.code, run.out) == (1, "")
    assert len(run.errors) == 2
    assert re.match(rf"error: a\.jpg: cannot write {out}/a_color\.png \(a file stands where", run.errors[0])
    assert (home / "taken").read_text() == "mine"
    assert files_below(home) == ["a.jpg", "b.jpg", "taken"]


@pytest.mark.parametrize(
    ("code", "fault"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "the disk is read-only")]
)
def test_a_full_disk_leaves_nothing_half_written(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch, code: int, fault: str
) -> None:
    photo(home / "a.jpg"), photo(home / "b.jpg")
    original = Path.open

    class Full:
        def __init__(self, path: Path) -> None:
            self.file = original(path, "xb")

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            self.file.write(data[:100])
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", *a, **k: Full(path) if mode == "xb" else original(path, mode, *a, **k)
    )
    run = dacli("image", "a.jpg", "b.jpg", *SMALL, "--save", "npy,color")
    assert run.code == 1
    assert len(run.errors) == 1  # the second picture would fare no better
    assert run.errors[0].startswith(f"error: cannot write a_depth.npy ({fault})")
    assert files_below(home) == ["a.jpg", "b.jpg"]


def test_a_picture_that_is_not_dacli_s_is_left_alone(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    before = photo(home / "a_color.png", 3).read_bytes()
    run = dacli("image", "a.jpg", *SMALL)
    assert run.code == 1
    assert run.errors[0].startswith("error: a.jpg: a_color.png exists and is not a complete output of dacli")
    assert (home / "a_color.png").read_bytes() == before
    assert dacli("image", "a.jpg", *SMALL, "--overwrite").code == 0
    assert (home / "a_color.png").read_bytes() != before


def test_a_picture_above_max_pixels_is_refused(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    run = dacli("image", "a.jpg", *SMALL, "--max-pixels", "0.0001")
    assert run.code == 1
    assert "24 pixels, more than the limit of 0.0001 megapixels: make it smaller or raise --max-pixels" in run.errors[0]


# --- tiles ---

TILED = ("--encoder", "tiny", "--size", "544", "--precision", "fp32")


@pytest.mark.parametrize(
    ("options", "tiles", "message"),
    [
        ((), 12, " at 544 px in tiles of 288 on "),
        (("--tile", "on"), 12, " at 544 px in tiles of 288 on "),
        (("--tile", "off"), 0, " at 544 px in one pass (tiles are better above 288) on "),
        (("--size", "256"), 0, " at 256 px on "),
        (("--size", "320"), 4, " at 320 px in tiles of 288 on "),
        (("--size", "32", "--tile", "on"), 0, " at 32 px in tiles of 288 (one pass is better up to 288) on "),
    ],
)
def test_tiles_are_taken_where_they_are_better_or_as_one_says(
    dacli: Run, home: Path, options: tuple[str, ...], tiles: int, message: str
) -> None:
    photo(home / "a.jpg")
    run = dacli("image", "a.jpg", *TILED, *options, "--json", "--save", "npy,color")
    (made,) = run.objects
    assert (run.code, made["tiles"]) == (0, tiles)
    assert all("smaller (24 px) than --size" in line for line in run.err[1:])
    short = int(options[1]) if options[:1] == ("--size",) else 544
    assert made["network_size"] == [short, {544: 832, 320: 480, 256: 384, 32: 64}[short]]
    assert message in run.err[0]
    assert np.load("a_depth.npy").shape == (24, 36)


def test_a_picture_made_otherwise_is_made_again_with_tiles_and_then_not(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    dacli("image", "a.jpg", *TILED, "--tile", "off")
    one = Path("a_color.png").read_bytes()
    assert dacli("image", "a.jpg", *TILED, "--tile", "off", "--json").objects[0]["kept"]
    assert not dacli("image", "a.jpg", *TILED, "--json").objects[0]["kept"]
    assert Path("a_color.png").read_bytes() != one
    assert dacli("image", "a.jpg", *TILED, "--tile", "on", "--json").objects[0]["kept"]


def test_a_broken_photo_among_those_made_of_tiles_is_named_and_the_others_are_made(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    (home / "bad.jpg").write_bytes(cut_jpeg())
    run = dacli("image", "bad.jpg", "a.jpg", *TILED, "--tile", "on")
    assert (run.code, run.out, len(run.errors)) == (1, "a_color.png\n", 1)
    assert "bad.jpg is truncated" in run.errors[0]


def test_one_pass_that_memory_would_not_hold_is_told_and_made_of_tiles(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(home / "a.jpg")
    monkeypatch.setattr(predictor, "free_memory", lambda _: 50_000_000)
    run = dacli("image", "a.jpg", *TILED, "--tile", "off", "--json")
    assert (run.code, run.objects[0]["tiles"]) == (0, 12)
    assert run.err[1] == (
        "a.jpg: one pass over 544 × 832 pixels takes about 0.2 GB and 0.1 GB are free, so it was computed in 12 tiles"
    )


@pytest.mark.parametrize("tile", ["auto", "on", "off"])
def test_where_memory_does_not_hold_a_single_tile_the_photo_is_named(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch, tile: str
) -> None:
    def hungry(_: Tiny, pictures: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError(f"CUDA out of memory for {len(pictures)}")

    photo(home / "a.jpg")
    monkeypatch.setattr(Tiny, "forward", hungry)
    run = dacli("image", "a.jpg", *TILED, "--tile", tile, "--engine", "torch")
    assert (run.code, run.out, len(run.errors)) == (1, "", 1)
    assert re.match(
        r"error: a\.jpg: not enough memory on \w+ for 288 × \d+ pixels: try a smaller --size", run.errors[0]
    )


def test_a_full_disk_ends_a_run_of_tiles_at_once(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(home / "a.jpg")

    def full(*_: object, **__: object) -> None:
        raise StopError("cannot write a_color.png (the disk is full)", "free some space")

    monkeypatch.setattr(whole_files, "write_file", full)
    run = dacli("image", "a.jpg", *TILED, "--tile", "on")
    assert (run.code, run.out) == (1, "")
    assert run.errors == ["error: cannot write a_color.png (the disk is full): free some space"]
    assert files_below(home) == ["a.jpg"]


def test_progress_goes_on_with_every_tile(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[float, str]] = []

    @contextmanager
    def progress_of_batch(_: Console, __: int) -> Iterator[Callable[..., None]]:
        yield lambda ended, failed, rate, file: shown.append((ended, file))  # noqa: ARG005

    monkeypatch.setattr(Console, "progress_of_batch", progress_of_batch)
    photo(home / "a.jpg")
    dacli("image", "a.jpg", *TILED)
    assert shown == [*((n / 12, f"tile {n} of 12") for n in range(1, 13)), (1, "a.jpg")]


# --- wrong usage: one line, exit 2, nothing done ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--encoder", "vitx"), "unknown encoder 'vitx': did you mean vit"),
        (("--encoder", "vit-s"), "did you mean vits?"),
        (("--model", "outdor"), "unknown model 'outdor': did you mean outdoor?"),
        (("--encoder", "tiny", "--model", "indoor"), "there is no indoor model of tiny"),
        (("--size", "0"), "--size 0 is not between 14 and 10000"),
        (("--size", "-5"), "--size -5 is not between"),
        (("--size", "13"), "--size 13 is not between"),
        (("--size", "10001"), "--size 10001 is not between"),
        (("--tile", "yes"), "unknown tile 'yes'"),
        (("--tile", ""), "unknown tile ''"),
        (("--max-pixels", "nan"), "--max-pixels nan is not above 0"),
        (("--max-pixels", "-1"), "--max-pixels -1 is not above 0"),
        (("--colormap", "Spektral_r"), "there is no colormap 'Spektral_r': did you mean Spectral_r?"),
        (("--save", "colour"), "cannot save 'colour': did you mean color?"),
        (("--save", ""), "cannot save ''"),
        (("--range", "5,1"), "the range '5,1' is empty"),
        (("--range", "wide"), "cannot read the range 'wide'"),
        (("--near", "grey"), "unknown near 'grey'"),
        (("--precision", "half"), "unknown precision 'half': "),
        (("--fp16", "--precision", "fp32"), "--fp16 and --precision fp32 contradict each other"),
        (("--device", "gpu"), "unknown device 'gpu': did you mean cuda? choose auto, cpu"),
        (("--device", "cuda:"), "unknown device 'cuda:'"),
        (("--engine", "tensorrt"), "unknown engine 'tensorrt'"),
    ],
)
def test_wrong_usage_is_one_line(dacli: Run, home: Path, arguments: tuple[str, ...], said: str) -> None:
    photo(home / "a.jpg")
    encoder = () if "--encoder" in arguments or "--model" in arguments else ("--encoder", "tiny")
    run = dacli("image", "a.jpg", *encoder, *arguments, "--json")
    assert (run.code, run.out) == (2, "")
    assert len(run.err) == 1
    assert run.err[0].startswith("error: ")
    assert said in run.err[0]
    assert files_below(home) == ["a.jpg"]


@pytest.mark.parametrize(
    "arguments",
    [("image",), ("image", "a.jpg", "--size", "big"), ("image", "a.jpg", "--colour", "x"), ("imag",), ("decode",)],
)
def test_what_cannot_be_parsed_is_wrong_usage_too(dacli: Run, arguments: tuple[str, ...]) -> None:
    run = dacli(*arguments)
    assert (run.code, run.out) == (2, "")
    assert run.err


def test_a_device_that_is_not_there_is_no_wrong_usage(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    photo(home / "a.jpg")
    run = dacli("image", "a.jpg", *SMALL, "--device", "cuda:99")
    assert run.code == 1
    assert run.err[-1].startswith("error: torch sees no cuda:99 here")


@pytest.mark.parametrize(
    ("name", "content", "encoder", "said"),
    [
        ("absent.pth", None, "vits", "there is no file absent.pth"),
        ("empty.pth", b"", "vits", "empty.pth is empty"),
        ("page.pth", b"<!doctype html>", "vits", "page.pth is a web page"),
        ("lfs.pth", b"version https://git-lfs.github.com/spec/v1", "vits", "lfs.pth is a Git LFS pointer"),
        (
            "noise.safetensors",
            b"\x10" + bytes(7) + b"{noise",
            "tiny",
            "noise.safetensors cannot be read as weights of tiny",
        ),
    ],
)
def test_weights_that_are_none(
    dacli: Run, home: Path, name: str, content: bytes | None, encoder: str, said: str
) -> None:
    photo(home / "a.jpg")
    if content is not None:
        (home / name).write_bytes(content)
    run = dacli("image", "a.jpg", "--encoder", encoder, "--weights", name)
    assert (run.code, run.out, len(run.errors)) == (1, "", 1)
    assert said in run.errors[0]


def test_an_encoder_that_does_not_fit_the_weights(dacli: Run, home: Path, weights: Path) -> None:
    photo(home / "a.jpg")
    run = dacli("image", "a.jpg", "--encoder", "vitl", "--weights", weights)
    assert run.code == 1
    assert run.err == ["error: tiny.safetensors holds tiny, not vitl: use --encoder tiny"]
    save_file({"stem": torch.zeros(1)}, home / "other.safetensors")
    run = dacli("image", "a.jpg", "--encoder", "tiny", "--weights", "other.safetensors")
    assert run.errors[0].startswith("error: other.safetensors does not hold the network tiny")


def test_offline_without_weights_says_where_they_belong_and_what_works_now(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    run = dacli("image", "a.jpg", "--json")
    assert (run.code, run.out, len(run.errors)) == (1, "", 1)
    assert "https://huggingface.co/depth-anything/Depth-Anything-V2-Small/resolve/" in run.errors[0]
    assert str(locations.download_path(manifest.checkpoint_named("vits"))) in run.errors[0]
    assert "--encoder tiny" in run.errors[0]


# --- decode ---


def made_depth16(dacli: Run, home: Path) -> Path:
    photo(home / "a.jpg")
    assert dacli("image", "a.jpg", *SMALL, "--save", "png16,npy").code == 0
    return home / "a_depth16.png"


def test_decode_gives_the_floats_back_to_half_a_step(dacli: Run, home: Path) -> None:
    source = made_depth16(dacli, home)
    run = dacli("decode", source.name)
    assert (run.code, run.out) == (0, "a_depth16.npy\n")
    depth, back = np.load("a_depth.npy"), np.load("a_depth16.npy")
    assert back.dtype == np.float32
    step = (float(depth.max()) - float(depth.min())) / 65535
    assert np.abs(depth.astype(np.float64) - back).max() <= step / 2 + 1e-7 * float(depth.max())


def test_decode_writes_where_it_is_told_and_replaces_only_when_told(dacli: Run, home: Path) -> None:
    source = made_depth16(dacli, home)
    assert dacli("decode", source.name, "-o", "deep/x.npy").out == "deep/x.npy\n"
    refused = dacli("decode", source.name, "-o", "deep/x.npy")
    assert refused.code == 1
    assert refused.errors == ["error: deep/x.npy exists already: --overwrite replaces it"]
    assert dacli("decode", source.name, "-o", "deep/x.npy", "--overwrite").code == 0


def test_decode_refuses_what_is_not_its_own(dacli: Run, home: Path) -> None:
    source = made_depth16(dacli, home)
    cut, plain = home / "cut.png", home / "plain.png"
    cut.write_bytes(source.read_bytes()[:-2])
    plain.write_bytes(png.encode_png(np.zeros((4, 4), np.uint16)))
    cases = {
        "absent.png": "absent.png does not exist",
        "a.jpg": "a.jpg is not a PNG",
        "cut.png": "cut.png is truncated",
        "plain.png": "plain.png does not say what its values mean",
        photo(home / "eight.png").name: "eight.png is a 8-bit color PNG",
        ".": ". has no frames.json",
    }
    before = files_below(home)
    for name, said in cases.items():
        run = dacli("decode", name)
        assert (run.code, run.out, len(run.err)) == (1, "", 1), name
        assert said in run.err[0]
    assert files_below(home) == before


# --- weights ---


def test_weights_list_shows_every_checkpoint(dacli: Run) -> None:
    run = dacli("weights", "list")
    assert run.code == 0
    for row in manifest.read_manifest():
        assert re.search(
            rf"^\s*{row.name}\s.*{re.escape(row.licence.split(',')[0])}.*not downloaded", run.out, re.MULTILINE
        ), row.name


def test_weights_of_tiny_are_inside_the_package(dacli: Run) -> None:
    first = dacli("weights", "list").out.splitlines()[1].split()
    assert first[:3] == [
        "tiny",
        f"{(Path(dacli_package.__file__).parent / 'assets/tiny.safetensors').stat().st_size / 1e6:.0f}",
        "Apache-2.0",
    ]
    run = dacli("weights", "get", "tiny")
    assert (run.code, run.err) == (2, ["error: tiny is inside the package: there is nothing to download or to check"])


def test_weights_path_says_where_a_file_belongs(dacli: Run) -> None:
    run = dacli("weights", "path", "vits")
    assert run.code == 1
    assert run.out.strip() == str(locations.download_path(manifest.checkpoint_named("vits")))


@pytest.mark.parametrize("command", ["get", "path", "verify"])
def test_an_unknown_checkpoint_suggests_the_near_one(dacli: Run, command: str) -> None:
    run = dacli("weights", command, "vit-s")
    assert (run.code, run.out) == (2, "")
    assert run.err == ["error: no checkpoint is called 'vit-s': did you mean vits?"]


def test_weights_get_offline_is_one_error_each_with_address_and_place(dacli: Run) -> None:
    run = dacli("weights", "get", "vits", "vitb-indoor")
    assert (run.code, run.out, len(run.errors)) == (1, "", 2)
    for line, name in zip(run.errors, ("vits", "vitb-indoor"), strict=True):
        row = manifest.checkpoint_named(name)
        assert line.startswith(f"error: cannot download {row.file} (HF_HUB_OFFLINE is set)")
        assert row.path_on_hub in line
        assert str(locations.download_path(row)) in line


def test_weights_verify_tells_missing_and_damaged(dacli: Run, home: Path) -> None:
    assert (dacli("weights", "verify").code, dacli("weights", "verify").out) == (0, "")
    missing = dacli("weights", "verify", "vits")
    assert missing.code == 1
    assert missing.out.startswith("vits: missing ")
    place = locations.download_path(manifest.checkpoint_named("vits"))
    place.parent.mkdir(parents=True)
    place.write_bytes(b"cut short")
    damaged = dacli("weights", "verify")
    assert damaged.code == 1
    assert re.match(rf"vits: damaged {re.escape(str(place))} it has 9 bytes, 99218434 expected$", damaged.out.strip())
    assert files_below(home) == []


# --- how it ends ---


def test_debug_shows_the_whole_fault(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACLI_DEBUG", "1")
    with pytest.raises(DacliError, match="unknown device"):
        main(["image", "a.jpg", "--encoder", "tiny", "--device", "gpu"])
    assert files_below(home) == []


def test_a_fault_of_its_own_is_one_line_too(dacli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault\nin two lines")

    monkeypatch.setattr(registry, "choose_model", broken)
    run = dacli("image", "a.jpg")
    assert run.code == 1
    assert run.err == [
        "error: ZeroDivisionError: a fault in two lines: this is a fault of dacli: DACLI_DEBUG=1 shows where"
    ]


@pytest.mark.parametrize("stage", ["read", "write"])
def test_an_interrupt_ends_with_130_and_no_scraps(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    photo(home / "a.jpg"), photo(home / "b.jpg")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(*((images, "decode_picture") if stage == "read" else (whole_files, "write_file")), interrupted)
    run = dacli("image", "a.jpg", "b.jpg", *SMALL)
    assert (run.code, run.out) == (130, "")
    assert run.err[-1] == "interrupted after 0 of 2; the same command goes on from there"
    assert files_below(home) == ["a.jpg", "b.jpg"]


# --- help, version, and whole processes ---

OPTIONS = (
    *(
        "--encoder",
        "--model",
        "--weights",
        "--size",
        "--tile",
        "--precision",
        "--fp16",
        "--device",
        "--engine",
        "--save",
    ),
    *("--colormap", "--near", "--range", "-o", "--out", "--overwrite", "--json", "-q", "--quiet"),
)


def test_help_names_every_option_of_the_contract(dacli: Run) -> None:
    run = dacli("image", "--help")
    assert run.code == 0
    assert not [option for option in OPTIONS if not re.search(rf"(?<![\w-]){option}\b", run.out)]
    assert "Example: dacli image photo.jpg" in run.out


@pytest.mark.parametrize("command", ["image", "decode", "demo", "doctor", "weights", "weights get", "weights verify"])
def test_every_command_has_help(dacli: Run, command: str) -> None:
    for flag in ("--help", "-h"):
        run = dacli(*command.split(), flag)
        assert (run.code, run.err) == (0, [])
        assert f"dacli {command}" in run.out


def test_version_and_doctor(dacli: Run) -> None:
    assert dacli("--version").out == f"dacli {__version__}\n"
    run = dacli("doctor")
    assert (run.code, run.err) == (0, [])
    assert "device" in run.out


def spawn(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "dacli", *arguments]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, timeout=120, check=False, **streams)


def test_a_process_of_its_own_does_good_and_bad_and_says_which(home: Path, weights: Path) -> None:
    name = b"caf\xe9.jpg"
    photo(home / "a.jpg").rename(home / os.fsdecode(name))
    (home / "bad.jpg").write_bytes(cut_jpeg())
    run = spawn("image", os.fsdecode(name), "bad.jpg", "--weights", str(weights), "--size", "32")
    assert run.returncode == 1
    assert run.stdout == b"caf\xe9_color.png\n"
    lines = run.stderr.decode("utf-8", "surrogateescape").splitlines()
    assert lines[1].partition(" is truncated")[0] == "error: bad.jpg"
    assert lines[2].startswith("1 done, 0 skipped, 1 failed; ")


@pytest.fixture
def terminal() -> Iterator[int]:
    if not hasattr(os, "openpty"):
        pytest.skip("needs a POSIX terminal")
    ours, theirs = os.openpty()
    yield theirs
    os.close(ours)
    os.close(theirs)


def test_results_reach_a_pipe_while_the_terminal_shows_a_bar(home: Path, weights: Path, terminal: int) -> None:
    photo(home / "a.jpg")
    arguments = ("image", "a.jpg", "--weights", str(weights), "--size", "32", "--json")
    run = spawn(*arguments, stderr=terminal)
    assert run.returncode == 0
    result, summary = map(json.loads, run.stdout.splitlines())
    assert result["outputs"] == {"color": "a_color.png"}
    assert summary["summary"]["done"] == 1


def test_who_watches_reads_how_png16_is_opened(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(home / "a.jpg")
    how = (*SMALL, "--save", "png16", "--overwrite")
    assert not any("png16 is data" in line for line in dacli("image", "a.jpg", *how).err)
    monkeypatch.setattr(Console, "hint", Console.note)  # as on a terminal
    assert dacli("image", "a.jpg", *how).err[-1].startswith("png16 is data, not a picture: open it with 16 bits")
    assert not any("png16 is data" in line for line in dacli("image", "a.jpg", *SMALL, "--overwrite").err)
    with Image.open("a_depth16.png") as picture:
        assert picture.mode == "I;16"
        assert np.median(np.asarray(picture.convert("RGB"))) == 255  # as docs/outputs.md says


def test_a_log_has_every_line_and_its_time_also_of_a_quiet_run_and_of_what_ends_it(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    (home / "bad.jpg").write_bytes(b"")
    assert dacli("image", "a.jpg", "bad.jpg", *SMALL, "-q", "--log-file", "run.log").code == 1
    assert dacli("image", "a.jpg", "--encoder", "tiny", "--colormap", "none", "--log-file", "run.log").code == 2
    lines = [line.split(" ", 2) for line in (home / "run.log").read_text().splitlines()]
    assert all(datetime.fromisoformat(time).year >= 2026 for time, _, _ in lines)
    assert [level for _, level, _ in lines] == ["INFO", "INFO", "ERROR", "INFO", "ERROR"]
    assert lines[1][2] == "a_color.png"
    assert lines[2][2] == "bad.jpg is empty: check what made it"
    assert lines[3][2].startswith("1 done, 0 skipped, 1 failed; ")
    assert lines[4][2].startswith("there is no colormap 'none'")
    run = dacli("image", "a.jpg", *SMALL, "--log-file", "missing/run.log")
    assert (run.code, run.out) == (1, "")
    assert run.errors == [
        "error: cannot write the log missing/run.log (No such file or directory): choose another --log-file"
    ]


def test_decode_and_doctor_as_json(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg", 0, (24, 36))
    assert dacli("image", "a.jpg", *SMALL, "--save", "png16,npy").code == 0
    (found,) = dacli("decode", "a_depth16.png", "-o", "b.npy", "--json").objects
    assert (found["input"], found["output"], found["source_size"]) == ("a_depth16.png", "b.npy", [24, 36])
    depth = np.load("a_depth.npy")
    assert (found["low"], found["high"]) == pytest.approx((depth.min(), depth.max()))
    np.testing.assert_allclose(np.load("b.npy"), depth, atol=float(np.ptp(depth)) / 65535)
    assert "by tiny" in dacli("decode", "a_depth16.png", "-o", "c.npy").err[0]
    (doctor,) = dacli("doctor", "--json").objects
    assert doctor["device"]
    assert doctor["dacli"].startswith(__version__)


@pytest.mark.slow
def test_names_beyond_the_terminals_alphabet_do_not_stop_a_run(
    home: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    photo(home / "a.jpg").rename(home / "写真.jpg")
    run = spawn("image", "写真.jpg", "写.jpg", "--weights", str(weights), "--size", "32")
    assert run.returncode == 1
    assert (home / "写真_color.png").is_file()
    assert b"fault of dacli" not in run.stderr
