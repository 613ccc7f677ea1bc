"""The page of a report in Chromium: what is seen and turned, in files from disk alone."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.test_report import STRANGE
from tests.support.commands import SMALL, Run, photo

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
GRAPHICS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
LOCAL = ("file:", "data:")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("home")]


@pytest.fixture
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=GRAPHICS)
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_is_seen_moved_and_turned_without_a_server(browser: Any, dacli: Run, scheme: str) -> None:
    Path("in").mkdir()
    for seed, name in enumerate(STRANGE):
        photo(Path("in", name), seed, (90, 120))
    Path("in/broken.jpg").write_text("no picture")
    dacli("folder", "in", "out", *SMALL, "--save", "npy,color", "--json")
    assert dacli("report", "out").code == 0
    page = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    page.on("request", lambda request: faults.extend([request.url] if request.url[:5] not in LOCAL else []))
    page.goto(Path("out/report.html").resolve().as_uri())
    assert page.locator("#cards li").count() == 5
    assert page.locator("figcaption", has_text=STRANGE[0]).count() == 1

    page.select_option("#status", "failed")
    assert "holds text, not a picture" in page.locator("#cards").inner_text()
    page.select_option("#status", "")
    page.fill("#search", "50%")
    page.locator("#cards a").click()
    page.wait_for_selector("#depth:visible")
    box = page.locator("#depth").bounding_box()
    depth = np.load('out/it\'s "q" & 50%_depth.npy')
    for x, y in ((0.2, 0.3), (0.77, 0.51)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        shown = re.fullmatch(r"(\S+) inverse depth at (\d+), (\d+)", page.locator("#value").inner_text())
        assert shown
        value, column, row = float(shown[1]), int(shown[2]), int(shown[3])
        assert max(abs(column - 120 * x), abs(row - 90 * y)) <= 1
        assert abs(value - depth[row, column]) <= np.ptp(depth) / 65535 + 1e-5 * abs(value)

    before = page.locator("#stage").screenshot()
    page.locator("#split").fill("90")
    moved = page.locator("#stage").screenshot()
    page.select_option("#colormap", "viridis")
    colored = page.locator("#stage").screenshot()
    page.locator("#high").fill(str(float(np.median(depth))))
    assert len({before, moved, colored, page.locator("#stage").screenshot()}) == 4

    page.click("#points")
    page.wait_for_timeout(300)
    still = page.locator("#cloud").screenshot()
    page.locator("#cloud").press("ArrowLeft")
    page.wait_for_timeout(300)
    assert page.locator("#cloud").screenshot() != still
    assert page.evaluate("document.documentElement.scrollWidth") <= 400

    page.keyboard.press("Escape")
    assert page.locator("#grid").is_visible()
    page.fill("#search", "")
    names = page.locator("#cards a").all_inner_texts()
    page.locator("#cards a").nth(1).click()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    assert names[2].startswith(page.locator("#name").inner_text())
    dark = sum(map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")))) < 200
    assert dark == (scheme == "dark")
    assert not faults


def test_ten_thousand_inputs_come_in_pages(browser: Any, dacli: Run) -> None:
    photo(Path("a.png"))
    dacli("image", "a.png", *SMALL, "--save", "npy", "-o", "out")
    data = Path("out/a_depth.npy").read_bytes()
    for number in range(10_000):
        Path(f"out/n{number:05}_depth.npy").write_bytes(data)
    assert dacli("report", "out").code == 0
    page = browser.new_page()
    page.goto(Path("out/report.html").resolve().as_uri())
    opened = page.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart")
    assert opened < 10_000  # milliseconds, on a busy machine
    assert page.locator("#cards li").count() == 60
    page.keyboard.press("ArrowRight")
    assert page.locator("#page").inner_text() == "2 of 167"
