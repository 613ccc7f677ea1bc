"""Links between the pages lead somewhere, every page can be found, and the README is as long as a newcomer reads."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
README = (ROOT / "README.md").read_text("utf-8")
FENCED = re.compile(r"^```.*?^```\n", re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text("utf-8")))


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    for target in links(page):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(found), f"{page.name} links to {target}"


@pytest.mark.parametrize("index", [ROOT / "README.md", DOCS / "README.md"], ids=["README.md", "docs/README.md"])
def test_every_page_is_listed(index: Path) -> None:
    listed = {(index.parent / target.partition("#")[0]).resolve() for target in links(index) if "://" not in target}
    assert not {page for page in DOCS.glob("*.md") if page.name != "README.md"} - listed


def test_every_picture_is_shown_and_credited() -> None:
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page) if "://" not in target}
    credits_ = (DOCS / "images" / "CREDITS.md").read_text("utf-8")
    for picture in sorted((DOCS / "images").iterdir()):
        if picture.suffix != ".md":
            assert picture in shown, f"no page shows {picture.name}"
            assert f"`{picture.name}`" in credits_, f"CREDITS.md does not name {picture.name}"
            assert picture.stat().st_size <= 300_000, f"{picture.name} is larger than 300 kB"


def test_the_readme_has_600_to_900_words() -> None:
    prose = [line for line in FENCED.sub("", README).splitlines() if not line.startswith("|")]
    assert len(" ".join(prose).split()) >= 600
    assert len(README.split()) <= 900


def test_the_readme_begins_with_the_commands_to_install_and_to_test() -> None:
    install, test, *_ = re.findall(r"^```bash\n(.*?)\n```", README, re.MULTILINE | re.DOTALL)
    assert install.startswith("pip install ")
    assert "dacli demo" in install
    assert test == 'pip install -e ".[test]" && python -m pytest -n 2'
