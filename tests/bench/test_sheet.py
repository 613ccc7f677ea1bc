"""dacli bench --sheet as users type it, and the page that it draws."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dacli.bench import contact_sheet, measure, sheet_page
from dacli.bench.setups import BenchValues
from dacli.errors import DacliError
from dacli.inference import device
from dacli.models.tiny import Tiny
from tests.support.commands import Run, read_bgr

MADE = ("--engine", "torch")
ROW = sheet_page.HEAD + 300 + sheet_page.LINE + sheet_page.GAP  # of maps of 400 × 300 pixels
TOP, LEFT = sheet_page.TITLE + sheet_page.HEAD, sheet_page.GAP


@pytest.fixture
def photo(home: Path) -> Path:
    """Small enough to be shown with its own pixels."""
    path = home / "photo.png"
    picture = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8).repeat(25, 0).repeat(25, 1)
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return path


def map_at(sheet: np.ndarray, row: int, column: int, height: int = ROW, size: tuple[int, int] = (400, 300)):  # type: ignore[no-untyped-def]
    """Return the picture in a row (0 is the photo's) and a column of a sheet."""
    top, left = TOP + row * height, LEFT + column * (400 + sheet_page.GAP)
    return sheet[top : top + size[1], left : left + size[0]]


def test_a_sheet_shows_the_photo_and_what_dacli_image_makes(dacli: Run, home: Path, photo: Path) -> None:
    options = (*MADE, "--precision", "bf16,fp32", "--size", "64,32")
    run = dacli("bench", "--encoder", "tiny", *options, "--sheet", photo, "-q")
    assert (run.code, run.out, run.err) == (0, f"{home / 'photo_sheet.png'}\n", [])
    sheet = read_bgr(home / "photo_sheet.png")
    assert sheet.shape == (sheet_page.TITLE + 3 * ROW, sheet_page.GAP + 2 * (400 + sheet_page.GAP), 3)
    assert np.array_equal(map_at(sheet, 0, 0), read_bgr(photo))
    for row, precision in enumerate(("bf16", "fp32"), 1):
        for column, size in enumerate((32, 64)):
            how = ("--engine", "torch", "--precision", precision, "--size", size, "--tile", "auto")
            assert dacli("image", photo, "--encoder", "tiny", *how, "--overwrite", "-q").code == 0
            assert np.array_equal(map_at(sheet, row, column), read_bgr(home / "photo_color.png"))
            below = sheet[TOP + row * ROW + 300 :][: sheet_page.LINE, LEFT:][:, :400]
            assert 0.01 < (below < 128).mean() < 0.2
    with (home / "photo_sheet.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["size"], row["precision"]) for row in rows] == [
        *(("64", "bf16"), ("64", "fp32"), ("32", "bf16"), ("32", "fp32"))
    ]
    assert all(float(row["seconds"]) > 0 for row in rows)


def test_a_part_of_the_photo_is_shown_large_below_each_map(dacli: Run, home: Path, photo: Path) -> None:
    how = (*MADE, "--encoder", "tiny", "--precision", "fp32", "--size", "32")
    assert dacli("bench", *how, "--sheet", photo, "--crop", "100,50,80,40", "-q").code == 0
    sheet, height = read_bgr(home / "photo_sheet.png"), ROW + 200 + sheet_page.GAP
    assert sheet.shape[0] == sheet_page.TITLE + 2 * height
    part = read_bgr(photo)[50:90, 100:180].repeat(5, 0).repeat(5, 1)
    below = slice(TOP + 300 + sheet_page.GAP, TOP + 300 + sheet_page.GAP + 200)
    assert np.array_equal(sheet[below, LEFT : LEFT + 400], part)
    shown, framed = map_at(sheet, 0, 0), np.zeros((300, 400), bool)
    framed[48:93, 98:183], framed[53:87, 103:177] = True, False
    assert np.array_equal(shown[~framed], read_bgr(photo)[~framed])
    assert np.array_equal(shown[50, 100:180], np.zeros((80, 3)))
    assert (
        dacli("image", photo, "--encoder", "tiny", "--save", "npy", *MADE, "--precision", "fp32", "--size", 32).code
        == 0
    )
    depth = np.load(home / "photo_depth.npy")[50:90, 100:180]
    nearest = np.unravel_index(depth.argmax(), depth.shape)
    at = TOP + height + 300 + sheet_page.GAP + 5 * nearest[0] + 2, LEFT + 5 * nearest[1] + 2
    assert sheet[at].tolist() == [66, 1, 158]  # Spectral_r(1.0) in BGR: near is red also in the part


def test_precisions_are_named_as_asked_and_as_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_fast_bf16", lambda: "AMX")
    values = BenchValues(encoders=["tiny"], precisions=["fp16", "bf16", "fp32"], engines=["torch"], device="cpu")
    assert [setup.precision_title for setup in values.setups()] == ["fp16, bf16 (computed in bf16)", "fp32"]
    usual = BenchValues(encoders=["tiny"], engines=["torch"], device="cpu").setups()
    assert [setup.precision_title for setup in usual] == ["fp32", "bf16"]


@pytest.mark.slow
def test_models_and_files_of_weights_are_rows_of_their_own(dacli: Run, home: Path, photo: Path, weights: Path) -> None:
    how = (*MADE, "--precision", "fp32", "--size", "28")
    run = dacli(
        "bench",
        *how,
        "--encoder",
        "vits",
        "--model",
        "v2,hypersim",
        "--weights",
        weights,
        "--sheet",
        photo,
        "--json",
        "-q",
    )
    assert run.code == 0
    assert run.err == ["the weights of vits are not here (dacli weights get vits): random ones take the same time"] * 2
    found = json.loads(run.out)
    named = [(row["encoder"], row["model"], row["weights"]) for row in found["results"]]
    assert named[:2] == [("vits", "v2", "random"), ("vits", "indoor", "random")]
    assert named[2:] == [("tiny", "tiny", weights.name)]
    assert found["sheet"] == str(home / "photo_sheet.png")


def failing_at(number: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the map of a number, from 0, end with an error."""
    real, count = contact_sheet.time_pass, iter(range(100))

    def time_pass(*arguments: object) -> object:
        if next(count) == number:
            raise error
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(contact_sheet, "time_pass", time_pass)


def test_what_fails_leaves_its_place_in_the_sheet_empty(
    dacli: Run, home: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_at(1, DacliError("it is full"), monkeypatch)
    how = ("--encoder", "tiny", "--size", "32,64", *MADE, "--precision", "fp32,bf16", "--json", "-q")
    run = dacli("bench", *how, "--sheet", photo, "-o", "s.png")
    assert (run.code, run.err) == (1, ["error: it is full"])
    assert [(row["size"], row["precision"]) for row in json.loads(run.out)["results"]] == [
        *((32, "fp32"), (64, "fp32"), (64, "bf16"))
    ]
    sheet = read_bgr(home / "s.png")
    assert (map_at(sheet, 2, 0) == 255).all()
    assert (map_at(sheet, 2, 1) != 255).mean() > 0.5


def test_an_interrupt_keeps_the_maps_that_are_done(
    dacli: Run, home: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_at(1, KeyboardInterrupt(), monkeypatch)
    how = ("--encoder", "tiny", "--size", "32,48,64", *MADE, "--precision", "fp32", "-q")
    run = dacli("bench", *how, "--sheet", photo, "-o", "s.png")
    assert (run.code, run.out, run.err) == (130, "", ["interrupted after 1 of 3 maps, which are in s.png"])
    assert (map_at(read_bgr(home / "s.png"), 1, 0) != 255).mean() > 0.5
    assert len((home / "s.csv").read_text().splitlines()) == 2
    failing_at(0, KeyboardInterrupt(), monkeypatch)
    run = dacli("bench", *how, "--sheet", photo, "-o", "none.png")
    assert (run.code, run.err) == (130, ["interrupted after 0 of 3 maps"])
    assert not (home / "none.png").exists()


@pytest.mark.slow
def test_each_map_takes_one_pass_after_a_warm_up_which_ends_with_the_first_tile(
    dacli: Run, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[tuple[int, ...]] = []
    real: Callable[..., object] = Tiny.forward

    def forward(self: Tiny, pictures: torch.Tensor) -> object:
        passes.append(tuple(pictures.shape))
        return real(self, pictures)

    monkeypatch.setattr(Tiny, "forward", forward)
    how = ("--encoder", "tiny", *MADE, "--precision", "fp32", "--sheet", photo, "--overwrite", "--json", "-q")
    assert dacli("bench", *how, "--size", "64").code == 0
    assert len(passes) == 2
    passes.clear()
    run = dacli("bench", *how, "--size", "640")
    tiles = json.loads(run.out)["results"][0]["tiles"]
    assert tiles > 4
    assert len(passes) == 2 + 1 + tiles  # the base and a tile, then the base and all tiles


def test_the_peak_of_a_process_is_that_of_the_block() -> None:
    if not measure.RESET_PEAK.exists():
        pytest.skip("only Linux has it")
    large = np.ones(200 << 17)  # 200 MiB that are gone before the block
    del large
    with measure.process_peak("cpu") as peak:
        before = peak()
        block = np.ones(100 << 17)
        assert 0.09 < peak() - before < 0.12
        assert block.any()


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["-o", "s.png"], 2, "-o s.png is of a sheet, and no sheet is asked for: add --sheet PHOTO"),
        (["--crop", "0,0,9,9"], 2, "--crop 0,0,9,9 is of a sheet, and no sheet is asked for: add --sheet PHOTO"),
        (["--sheet", "photo.png", "--against"], 2, "--sheet and --against contradict each other"),
        (["--sheet", "photo.png", "-o", "s.jpg"], 2, "-o s.jpg is not a PNG"),
        (["--sheet", "photo.png", "-o", "old.png"], 1, "old.png exists already: --overwrite replaces it"),
        (["--sheet", "photo.png", "-o", "list.png"], 1, "list.csv exists already: --overwrite replaces it"),
        (["--sheet", "nowhere.png"], 1, "nowhere.png"),
        (["--sheet", "old.png", "-o", "s.png"], 1, "old.png"),
        (["--sheet", "photo.png", "--crop", "10,10"], 2, "--crop 10,10 is not X,Y,WIDTH,HEIGHT: give pixels"),
        (
            ["--sheet", "photo.png", "--crop", "0,0,0,9"],
            2,
            "--crop 0,0,0,9 is not a part of the photo: it has 400 × 300",
        ),
        (["--sheet", "photo.png", "--crop", "300,0,101,9"], 2, "--crop 300,0,101,9 is not a part of the photo"),
    ],
)
def test_what_a_sheet_cannot_be_is_one_line(
    dacli: Run, home: Path, photo: Path, arguments: list[str], code: int, why: str
) -> None:
    (home / "old.png").write_text("here first")
    (home / "list.csv").write_text("here first")
    run = dacli("bench", *arguments)
    assert (run.code, run.out) == (code, "")
    (line,) = run.err
    assert line.startswith(f"error: {why}")
    assert sorted(path.name for path in home.iterdir()) == ["list.csv", "old.png", photo.name]
    assert (home / "old.png").read_text() == (home / "list.csv").read_text() == "here first"
