"""Several encoders, sizes and precisions in one command, and names from a template."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.support.commands import Run, photo
from tests.support.footage import H264, decoded_frames, make_clip

TINY = ("--encoder", "tiny", "--engine", "torch", "--device", "cpu")
SIZES = ("--size", "32,64", "--precision", "fp32")


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and ".dacli" not in path.parts)


def test_each_size_and_precision_has_an_output_of_its_own(dacli: Run, home: Path) -> None:
    photo(home / "a.png")
    run = dacli("image", "a.png", *TINY, "--size", "32,64", "--precision", "fp32,bf16", "-o", "out", "--json")
    assert run.code == 0
    assert [(row["network_size"][0], row["precision"], Path(row["outputs"]["color"]).name) for row in run.objects] == [
        (32, "fp32", "a_32_fp32_color.png"),
        (32, "bf16", "a_32_bf16_color.png"),
        (64, "fp32", "a_64_fp32_color.png"),
        (64, "bf16", "a_64_bf16_color.png"),
    ]
    alone = dacli("image", "a.png", *TINY, "--size", "64", "--precision", "fp32")
    assert alone.code == 0
    with Image.open("a_color.png") as expected, Image.open("out/a_64_fp32_color.png") as found:
        assert found.tobytes() == expected.tobytes()


def test_a_name_keeps_what_a_plain_one_would_replace(dacli: Run, home: Path) -> None:
    photo(home / "a.png")
    for size in ("32", "64"):
        run = dacli("image", "a.png", *TINY, "--size", size, "--name", "{stem}_{encoder}_{size}", "--save", "npy")
        assert run.out == f"a_tiny_{size}_depth.npy\n"
    assert files_below(home) == ["a.png", "a_tiny_32_depth.npy", "a_tiny_64_depth.npy"]


def test_outputs_with_names_of_their_own_are_recognised_as_outputs(dacli: Run, home: Path) -> None:
    photo(home / "a.png")
    for _ in range(2):
        run = dacli("image", *(path.name for path in sorted(home.glob("*.png"))), *TINY, *SIZES)
        assert run.code == 0
    assert files_below(home) == ["a.png", "a_32_color.png", "a_64_color.png"]


def test_a_network_that_cannot_be_had_does_not_stop_the_others(dacli: Run, home: Path) -> None:
    photo(home / "a.png")
    run = dacli("image", "a.png", "--encoder", "vits,tiny", "--size", "28,56", "--device", "cpu")
    assert (run.code, run.out) == (1, "a_tiny_28_color.png\na_tiny_56_color.png\n")
    (error,) = run.errors
    assert "depth_anything_v2_vits.pth" in error


def test_a_folder_goes_on_in_every_size(dacli: Run, home: Path) -> None:
    (home / "in").mkdir()
    for name in ("a", "b"):
        photo(home / "in" / f"{name}.png")
    (home / "in" / "bad.jpg").write_bytes(b"no picture")
    ask = ("folder", "in", "out", *TINY, *SIZES)
    first = dacli(*ask)
    assert (first.code, len(first.out.splitlines())) == (1, 4)
    rows = [json.loads(line) for line in (home / "out/failures.jsonl").read_text().splitlines()]
    assert [row["input"] for row in rows] == ["in/bad.jpg", "in/bad.jpg"]
    (home / "out/b_64_color.png").unlink()
    photo(home / "in" / "bad.jpg")
    again = dacli(*ask)
    assert again.code == 0
    assert [line.partition(";")[0] for line in again.err if " skipped, " in line] == [
        *("1 done, 2 skipped, 0 failed", "2 done, 1 skipped, 0 failed"),
    ]
    assert not (home / "out/failures.jsonl").exists()
    other = dacli(*ask[:-4], "--size", "32", "--name", "{stem}_{size}", "--precision", "fp32")
    assert "0 done, 3 skipped, 0 failed" in other.err


def test_a_dry_run_shows_every_size(dacli: Run, home: Path) -> None:
    (home / "in").mkdir()
    photo(home / "in" / "a.png")
    run = dacli("folder", "in", "out", *TINY, *SIZES, "--dry-run")
    assert run.out == "in/a.png -> out/a_32_color.png\nin/a.png -> out/a_64_color.png\n"
    assert not (home / "out").exists()


def test_a_clip_in_two_sizes(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=3)
    run = dacli("video", "a.mp4", *TINY, *SIZES)
    assert (run.code, run.out) == (0, "a_32_color.mp4\na_64_color.mp4\n")
    assert len(decoded_frames(home / "a_64_color.mp4")) == 3


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            ("--encoder", "tiny,small"),
            "unknown encoder 'small': did you mean vits? choose vits, vitb, vitl, vitg or tiny",
        ),
        (("--precision", "fp32,half"), "unknown precision 'half': did you mean fp16? choose"),
        (("--size", "64,1600px"), "--size 1600px is not a number of pixels: for example --size 1600"),
        (("--size", "64,9"), "--size 9 is not between 14 and 10000"),
        (("--fp16", "--precision", "fp32,fp16"), "--fp16 and --precision fp32,fp16 contradict each other"),
        (("--encoder", "vits,vitb", "--weights", "x.pth"), "several encoders and --weights contradict each other"),
        (("--size", "32,64", "--name", "{stem}"), "--name {stem} would give several results the same name: add {size}"),
        (("--name", "{stem}/x"), "--name {stem}/x has a character that no file name may have"),
    ],
)
@pytest.mark.parametrize("command", ["image", "folder", "video"])
def test_wrong_values_are_one_line(dacli: Run, home: Path, command: str, options: tuple[str, ...], why: str) -> None:
    (home / "in").mkdir()
    photo(home / "in" / "a.png")
    arguments = {"image": ("in/a.png",), "folder": ("in", "out"), "video": ("in",)}[command]
    run = dacli(command, *arguments, *options)
    assert (run.code, run.out, len(run.err)) == (2, "", 1)
    assert run.errors[0].startswith(f"error: {why}")
    assert files_below(home) == ["a.png"]


def test_pseudo_labels_come_from_one_network(dacli: Run, home: Path) -> None:
    (home / "in").mkdir()
    photo(home / "in" / "a.png")
    run = dacli("train", "label", "in", "labels", "--encoder", "tiny", "--size", "32,64")
    assert (run.code, run.errors) == (
        2,
        ["error: this command takes one encoder, size and precision: start it once for each"],
    )
