import contextlib
import hashlib
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dacli import paths
from dacli.batch.jobs import Job, plan_jobs, select_shard
from dacli.errors import DacliError
from dacli.outputs.formats import choose_formats, offered_formats

PARTS = st.sampled_from(
    ["a", "A", "b", "a_jpg", "a_color", "ä", "a\u0308", "ß", "SS", "sub_a_jpg", "n" * 250, "\udcff", ".a"]
)
NAMES = st.tuples(PARTS, st.sampled_from([".jpg", ".png", ".JPG", "", "_color.png"])).map("".join)
FOLDERS = st.sampled_from(["", "sub", "Sub", "sub/sub", "other"])
SOURCES = st.lists(st.tuples(FOLDERS, NAMES).map(lambda pair: Path("in", *pair)), max_size=9)
OUTS = st.sampled_from([None, Path("out"), Path("in"), Path("in/sub")])


def folded(path: Path) -> str:
    plain = unicodedata.normalize("NFC", os.path.realpath(path))
    return unicodedata.normalize("NFC", plain.casefold())


OFFERED = choose_formats(offered_formats())
COLOR = choose_formats(["color"])


def names(planned: tuple[Job, ...]) -> list[str]:
    return [str(path) for job in planned for path in job.outputs.values()]


def touched(folder: Path, *inside: str) -> list[Path]:
    paths = [folder / name for name in inside]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return paths


def test_outputs_stand_beside_the_input() -> None:
    (job,) = plan_jobs(
        [Path("pics/photo.tar.jpg")],
        None,
        choose_formats(["color", "gray", "png16", "npy", "side", "exr", "glb", "sbs"]),
    )
    assert job.source == Path("pics/photo.tar.jpg")
    assert {kind: str(path) for kind, path in job.outputs.items()} == {
        "color": "pics/photo.tar_color.png",
        "gray": "pics/photo.tar_gray.png",
        "png16": "pics/photo.tar_depth16.png",
        "npy": "pics/photo.tar_depth.npy",
        "side": "pics/photo.tar_side.png",
        "exr": "pics/photo.tar_depth.exr",
        "glb": "pics/photo.tar_mesh.glb",
        "sbs": "pics/photo.tar_LRF_Full_SBS.png",
    }


def test_outputs_go_into_a_folder_or_a_tree_or_a_clip() -> None:
    source = Path("in/sub/a.jpg")
    assert names(plan_jobs([source], Path("out"), choose_formats(["gray"]))) == ["out/a_gray.png"]
    assert names(plan_jobs([source], Path("out"), choose_formats(["gray"]), root=Path("in"))) == ["out/sub/a_gray.png"]
    clip = plan_jobs([Path("a.mov")], Path("out"), choose_formats(["color", "png16"]), medium="clip")
    assert names(clip) == ["out/a_color.mp4", "out/a_depth16.mkv"]


def test_inputs_that_share_a_name_take_longer_ones() -> None:
    beside = plan_jobs([Path("in/a.jpg"), Path("in/a.png"), Path("in/b.png")], None, COLOR)
    assert names(beside) == ["in/a_jpg_color.png", "in/a_png_color.png", "in/b_color.png"]
    together = plan_jobs([Path("in/sub/a.jpg"), Path("in/a.jpg"), Path("in/a.png")], Path("out"), COLOR)
    assert names(together) == ["out/sub_a_jpg_color.png", "out/in_a_jpg_color.png", "out/a_png_color.png"]


def test_names_that_differ_in_case_or_unicode_form_only() -> None:
    for pair in (["Photo.jpg", "photo.jpg"], ["\u00e4.jpg", "a\u0308.jpg"]):
        planned = plan_jobs([Path("in", name) for name in pair], Path("out"), COLOR)
        assert len({folded(Path(name)) for name in names(planned)}) == 2


def test_an_input_is_never_overwritten() -> None:
    sources = [Path("photo.jpg"), Path("photo_color.png"), Path("x/../PHOTO_JPG_COLOR.png")]
    planned = plan_jobs(sources, None, COLOR)
    assert not {folded(Path(name)) for name in names(planned)} & {folded(source) for source in sources}


def test_the_same_file_is_one_job() -> None:
    sources = [Path("in/a.jpg"), Path("./in/a.jpg"), Path("in/sub/../a.jpg"), Path("in/a.jpg").absolute()]
    (job,) = plan_jobs(sources, None, COLOR)
    assert job.source == sources[0]


def test_a_folder_reached_through_a_link_is_the_same(tmp_path: Path) -> None:
    touched(tmp_path, "real/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(plan_jobs([tmp_path / "link" / "a.jpg", tmp_path / "real" / "a.jpg"], None, COLOR)) == 1


@settings(max_examples=150, deadline=None)
@given(SOURCES, OUTS, st.sets(st.sampled_from(offered_formats()), min_size=1), st.booleans())
def test_no_output_is_written_twice_nor_an_input(
    sources: list[Path], out: Path | None, kinds: set[str], tree: bool
) -> None:
    planned = plan_jobs(sources, out, choose_formats(sorted(kinds)), root=Path("in") if tree else None)
    assert {folded(job.source) for job in planned} == {folded(source) for source in sources}
    made = [folded(Path(name)) for name in names(planned)]
    assert len(set(made)) == len(made)
    assert not set(made) & {folded(source) for source in sources}
    top = Path("in") if out is None else out
    for path in map(Path, names(planned)):
        assert Path(os.path.normpath(path)).is_relative_to(top)
        assert len(os.fsencode(path.name)) <= 255


@settings(max_examples=150, deadline=None)
@given(SOURCES.flatmap(lambda s: st.tuples(st.just(s), st.permutations(s))), OUTS)
def test_the_order_of_the_inputs_does_not_matter(pair: tuple[list[Path], list[Path]], out: Path | None) -> None:
    first, second = (plan_jobs(sources, out, choose_formats(["color", "npy"])) for sources in pair)
    assert {job.source: job.outputs for job in first} == {job.source: job.outputs for job in second}
    assert [job.source for job in first] == list(dict.fromkeys(pair[0]))


def test_long_names_are_shortened_by_a_hash(tmp_path: Path) -> None:
    long = ["深" * 80 + end + ".jpg" for end in ("1", "2")]
    planned = plan_jobs([tmp_path / name for name in long], None, OFFERED)
    assert len(set(names(planned))) == 2 * len(OFFERED)
    for path in map(Path, names(planned)):
        path.touch()
        assert path.name.startswith("深" * 60)
    assert planned[1:] == plan_jobs([tmp_path / long[1]], None, OFFERED)


def test_a_source_outside_the_tree_is_refused() -> None:
    for source in (Path("elsewhere/a.jpg"), Path("in/../a.jpg"), Path("/a.jpg")):
        with pytest.raises(DacliError, match=r"a\.jpg is not below in"):
            plan_jobs([source], Path("out"), COLOR, root=Path("in"))


def test_present_needs_every_output(tmp_path: Path) -> None:
    (job,) = plan_jobs([tmp_path / "a.jpg"], None, choose_formats(["color", "npy"]))
    assert not job.is_present()
    touched(tmp_path, "a_color.png")
    assert not job.is_present()
    (tmp_path / "a_depth.npy").mkdir()
    assert not job.is_present()
    (tmp_path / "a_depth.npy").rmdir()
    touched(tmp_path, "a_depth.npy")
    assert job.is_present()


def test_shown_escapes_what_a_terminal_cannot_show() -> None:
    assert paths.display_path(Path("ü 深.jpg")) == "ü 深.jpg"
    assert paths.display_path(Path("a\n\x1b[31m\udcff")) == "a\\n\\x1b[31m\\udcff"


@settings(max_examples=100, deadline=None)
@given(SOURCES, st.integers(1, 5))
def test_shards_partition_the_jobs_whatever_else_is_there(sources: list[Path], count: int) -> None:
    planned = plan_jobs(sources, Path("out"), COLOR, root=Path("in"))
    parts = [select_shard(planned, index, count) for index in range(count)]
    assert sorted(job.name for part in parts for job in part) == sorted(job.name for job in planned)
    for index, part in enumerate(parts):
        assert select_shard(planned[::2], index, count) == tuple(job for job in planned[::2] if job in part)


def test_shards_are_about_equal_and_a_hash_of_the_name() -> None:
    planned = plan_jobs([Path(f"in/{number:04}.jpg") for number in range(1000)], None, COLOR, root=Path("in"))
    assert all(200 < len(select_shard(planned, index, 4)) < 300 for index in range(4))
    digest = int(hashlib.sha256(b"0007.jpg").hexdigest()[:15], 16)
    assert planned[7] in select_shard(planned, digest % 4, 4)


LETTERS = st.characters(exclude_characters="/\0", exclude_categories=["Cs"]) | st.characters(
    min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]
)
UNICODE = st.text(LETTERS, min_size=1, max_size=80)


@settings(max_examples=200, deadline=None)
@given(st.lists(UNICODE.filter(lambda name: name not in (".", "..")), unique=True, max_size=6))
def test_names_survive_any_unicode(given_names: list[str]) -> None:
    sources = [Path("in") / name for name in given_names if len(name.encode("utf-8", "surrogatepass")) < 250]
    planned = plan_jobs(sources, Path("out"), choose_formats(["color", "npy"]), root=Path("in"))
    assert [(job.source, job.name) for job in planned] == [(source, source.name) for source in sources]
    made = [path for job in planned for path in job.outputs.values()]
    assert len({folded(path) for path in made}) == len(made)
    assert all(path.parent == Path("out") and len(path.name.encode("utf-8", "surrogatepass")) <= 255 for path in made)


def test_jobs_are_named_by_their_path_below_the_root(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        touched(tmp_path, "in/sub/a.jpg")
        (tmp_path / "link").symlink_to(tmp_path / "in")
        for source in ("in/sub/a.jpg", "in/./sub/a.jpg", tmp_path / "link" / "sub" / "a.jpg"):
            (job,) = plan_jobs([Path(source)], Path("out"), COLOR, root=Path("in"))
            assert (job.name, str(job.outputs["color"])) == ("sub/a.jpg", "out/sub/a_color.png")


def test_plan_in_the_current_folder(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        assert names(plan_jobs([Path("a.jpg"), Path("-b.jpg")], None, COLOR)) == ["a_color.png", "-b_color.png"]
