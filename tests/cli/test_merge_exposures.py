"""dacli image --merge-exposures: one result of several exposures, named by the first."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.support.commands import SMALL, Run, photo, read_bgr

ASK = (*SMALL, "--engine", "torch", "--merge-exposures", "--json")


@pytest.fixture(autouse=True)
def bracket(home: Path) -> list[Path]:
    light = cv2.resize(np.random.default_rng(3).random((12, 16, 3)), (96, 72))
    paths = [home / f"{name}.png" for name in "abc"]
    for path, times in zip(paths, (1, 0.3, 3), strict=True):
        pixels = np.rint(255 * np.clip(light * times, 0, 1) ** (1 / 2.2)).astype(np.uint8)
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return paths


def test_one_result_is_of_all_exposures_and_made_again_if_one_changes(dacli: Run, bracket: list[Path]) -> None:
    run = dacli("image", *bracket, *ASK, "--save", "side")
    assert run.code == 0
    (found,) = run.objects
    assert found["exposures"] == [str(path) for path in bracket[1:]]
    assert list(found["outputs"].values()) == [str(bracket[0].with_name("a_side.png"))]
    shown = read_bgr(Path("a_side.png"))[:, :96].astype(float)
    fused = 255 * cv2.createMergeMertens().process([read_bgr(path) for path in bracket]).clip(0, 1)
    assert np.abs(shown - fused).mean() < 2
    assert np.abs(shown - read_bgr(bracket[0])).mean() > 5
    assert dacli("image", *bracket, *ASK, "--save", "side").objects[0]["kept"]
    photo(bracket[2], shape=(72, 96))
    assert not dacli("image", *bracket, *ASK, "--save", "side").objects[0]["kept"]


def test_a_single_picture_is_no_bracket(dacli: Run, bracket: list[Path]) -> None:
    run = dacli("image", bracket[0], *ASK)
    assert (run.code, run.errors[0]) == (
        2,
        "error: --merge-exposures needs several pictures: name all exposures of one view, such as a.jpg b.jpg c.jpg",
    )


def test_pictures_of_another_size_or_none_fail_in_one_line(dacli: Run, home: Path, bracket: list[Path]) -> None:
    photo(home / "d.png", shape=(72, 95))
    (home / "e.png").write_bytes(b"no picture")
    for other, fault in (("d.png", "d.png and a.png differ in size: --merge-exposures takes"), ("e.png", "e.png")):
        run = dacli("image", bracket[0].name, bracket[1].name, other, *ASK)
        assert (run.code, len(run.errors)) == (1, 1)
        assert fault in run.errors[0]
    assert not (home / "a_color.png").exists()


def test_all_exposures_together_have_the_limit_of_one_picture(dacli: Run, bracket: list[Path]) -> None:
    with Image.open(bracket[0]) as image:
        assert image.size == (96, 72)
    run = dacli("image", *bracket, *ASK, "--max-pixels", "0.01")
    assert (run.code, len(run.errors)) == (1, 1)
    assert "--max-pixels" in run.errors[0]
