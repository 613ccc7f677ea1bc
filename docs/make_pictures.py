"""Make the pictures of the README and of these pages, with the model inside the package.

python docs/make_pictures.py FOLDER, where FOLDER holds china.jpg of scikit-learn, and camera.png, coffee.png and
astronaut.png of scikit-image (CREDITS.md). The pictures are written to docs/images. Chromium and Playwright are needed
(CONTRIBUTING.md).
"""

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

import dacli

IMAGES = Path(__file__).with_name("images")
GAP = 6  # pixels between pictures
QUALITY = 88  # of JPEG
PAN = "crop=320:214:x='(in_w-out_w)*n/59':y=90,scale=480:320"  # over the photo, from left to right


def main(photos: Path) -> None:
    """Write all pictures but rooms.svg, which was drawn."""
    depth = dacli.load("tiny", precision="fp32")
    names = ("china.jpg", "camera.png", "coffee.png", "astronaut.png")
    pictures: list[Any] = [Image.open(photos / name).convert("RGB") for name in names]
    found = depth(pictures)
    colored = [Image.fromarray(each.colorize()) for each in found]
    write_grid("strip.jpg", [[fill(each, 300, 260) for each in row] for row in (pictures, colored)])
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run_dacli("image", photos / "china.jpg", "--save", "color,gray,side", "-o", work)
        shown = [pictures[0], *(Image.open(work / f"china_{kind}.png").convert("RGB") for kind in ("color", "gray"))]
        write_grid("outputs.jpg", [[fill(each, 300, 200) for each in shown]])
        write_grid("side.jpg", [[Image.open(work / "china_side.png").convert("RGB").resize((960, 320))]])
        write_grid("clip.jpg", clip_rows(photos / "china.jpg", work))
        write_grid("report.jpg", [report_views(photos / "china.jpg", work / "report")])
        subprocess.run([sys.executable, "-m", "dacli", "demo", "-o", work / "demo"], check=True)
        side = Image.open(work / "demo" / "demo_side.png").convert("RGB")
        write_grid("demo.jpg", [[side.resize((1440, 320), Image.Resampling.LANCZOS)]])


def clip_rows(photo: Path, work: Path) -> list[list[Image.Image]]:
    """Return four frames of a pan over the photo, and their depth in `dacli video`."""
    ffmpeg, clip = get_ffmpeg_exe(), work / "clip.mp4"
    pan: list[str | Path] = [
        "-loop",
        "1",
        "-i",
        photo,
        "-vf",
        PAN,
        "-frames:v",
        "60",
        "-r",
        "30",
        "-crf",
        "12",
        "-pix_fmt",
        "yuv420p",
    ]
    subprocess.run([ffmpeg, "-v", "error", *pan, clip], check=True)
    run_dacli("video", clip, "--save", "side", "-o", work)
    frames: list[str | Path] = [
        "-i",
        work / "clip_side.mp4",
        "-vf",
        "select='not(mod(n,19))'",
        "-fps_mode",
        "passthrough",
    ]
    subprocess.run([ffmpeg, "-v", "error", *frames, work / "frame%d.png"], check=True)
    sides = [Image.open(work / f"frame{number}.png") for number in range(1, 5)]
    halves = [[side.crop((left, 0, left + 480, 320)) for side in sides] for left in (0, 480)]
    return [[fill(each, 300, 200) for each in row] for row in halves]


def report_views(photo: Path, work: Path) -> list[Image.Image]:
    """Return the page of a report in Chromium: a photo and its depth, and its points, turned."""
    from playwright.sync_api import sync_playwright

    run_dacli("image", photo, "--save", "npy", "-o", work)
    subprocess.run([sys.executable, "-m", "dacli", "report", work, "--input", photo.parent], check=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 560, "height": 560})
        page.goto((work / "report.html").resolve().as_uri())
        page.click("#cards a")
        page.hover("#stage", position={"x": 380, "y": 200})
        first = page.screenshot()
        page.click("#points")
        for key in ("ArrowLeft", "ArrowDown", "ArrowLeft", "ArrowLeft"):
            page.press("#cloud", key)
        page.wait_for_timeout(1000)
        views = [first, page.screenshot()]
        browser.close()
    return [Image.open(io.BytesIO(view)).convert("RGB") for view in views]


def run_dacli(command: str, *arguments: object) -> None:
    """Run a command with the model inside the package."""
    options = ("--encoder", "tiny", "--precision", "fp32", "-q")
    subprocess.run([sys.executable, "-m", "dacli", command, *map(str, arguments), *options], check=True)


def fill(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Return the middle of a picture, from its top, scaled to fill width × height."""
    scale = max(width / picture.width, height / picture.height)
    size = round(picture.width * scale), round(picture.height * scale)
    left = (size[0] - width) // 2
    return picture.resize(size, Image.Resampling.LANCZOS).crop((left, 0, left + width, height))


def write_grid(name: str, rows: Sequence[Sequence[Image.Image]], gap: int = GAP) -> None:
    """Write rows of pictures of one size as a JPEG, on white."""
    width, height = rows[0][0].size
    size = len(rows[0]) * (width + gap) - gap, len(rows) * (height + gap) - gap
    grid = Image.new("RGB", size, "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            grid.paste(picture, (column * (width + gap), row * (height + gap)))
    grid.save(IMAGES / name, quality=QUALITY)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
