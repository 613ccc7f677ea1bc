import io
import os
import socket
import sys
from pathlib import Path

import pytest

from dacli.batch import inputs
from dacli.errors import DacliError, UsageError
from tests.batch.test_jobs import touched


def test_find_takes_pictures_only(tmp_path: Path) -> None:
    wanted = touched(tmp_path, "B.JPG", "a.png", "sub/deep/c.heic", "sub/ü.webp")
    touched(tmp_path, ".hidden.png", ".DS_Store", "._a.png", "Thumbs.db", "notes.txt", ".git/x.png", "sub/a.mp4")
    (tmp_path / "folder.png").mkdir()
    assert list(inputs.find_pictures(tmp_path)) == sorted(wanted)


def test_find_never_takes_what_a_run_writes(tmp_path: Path) -> None:
    wanted = touched(tmp_path, "a.png", "mine_color.png")
    touched(tmp_path, "out/a_color.png", "out/sub/b.png")
    made = b"\x89PNG\r\n\x1a\n" + bytes(25) + b"\0\0\0\x07tEXtdacli\0{}"
    (tmp_path / "a_depth16.png").write_bytes(made)
    assert list(inputs.find_pictures(tmp_path, tmp_path / "sub" / ".." / "out")) == sorted(wanted)
    (tmp_path / "elsewhere").symlink_to(tmp_path / "out")
    assert list(inputs.find_pictures(tmp_path, tmp_path / "elsewhere")) == sorted(wanted)


def test_find_in_the_folder_that_is_written_to(tmp_path: Path) -> None:
    (picture,) = touched(tmp_path, "a.jpg")
    assert inputs.find_pictures(tmp_path, tmp_path) == (picture,)


def test_find_does_not_follow_folder_links_round(tmp_path: Path) -> None:
    (picture,) = touched(tmp_path, "sub/a.jpg")
    (tmp_path / "sub" / "again").symlink_to(tmp_path)
    assert inputs.find_pictures(tmp_path) == (picture,)


def test_find_in_what_is_no_folder(tmp_path: Path) -> None:
    (path,) = touched(tmp_path, "a.jpg")
    with pytest.raises(DacliError, match="is not a folder"):
        inputs.find_pictures(path)
    with pytest.raises(DacliError, match="does not exist"):
        inputs.find_pictures(tmp_path / "none")


def test_a_folder_that_cannot_be_listed_fails_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (picture,) = touched(tmp_path, "a.jpg")
    touched(tmp_path, "closed/b.jpg")
    real = os.scandir

    def scandir(path: str) -> object:
        if closed in Path(path).parts:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    closed = "closed"
    monkeypatch.setattr(os, "scandir", scandir)
    assert inputs.find_pictures(tmp_path) == (picture, tmp_path / "closed")
    closed = tmp_path.name
    with pytest.raises(DacliError, match="cannot be listed: Permission denied"):
        inputs.find_pictures(tmp_path)


def test_find_takes_a_name_without_extension_by_its_first_bytes(tmp_path: Path) -> None:
    starts = {
        "jpeg": b"\xff\xd8\xff\xe0",
        "png": b"\x89PNG\r\n\x1a\n",
        "webp": b"RIFF\1\2\3\4WEBP",
        "gif": b"GIF89a",
        "tiff": b"II*\0",
        "big tiff": b"MM\0+",
        "pbm": b"P4\n# by a scanner\n8 8\n",
        "bmp": b"BM\1\2\3\4\0\0\0\0",
        "avif": b"\0\0\0\x20ftypavif",
    }
    for name, start in starts.items():
        (tmp_path / name).write_bytes(start + bytes(40))
    touched(tmp_path, "Makefile", "README", "empty")
    (tmp_path / "wave").write_bytes(b"RIFF\1\2\3\4WAVE" + bytes(40))
    (tmp_path / "film").write_bytes(b"\0\0\0\x20ftypisom" + bytes(40))
    assert [path.name for path in inputs.find_pictures(tmp_path)] == sorted(starts)


def test_find_leaves_out_what_is_no_file_but_not_a_link_to_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (picture,) = touched(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "round.jpg").symlink_to("round.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "linked.jpg").symlink_to(picture)
    monkeypatch.chdir(tmp_path)  # the name of a socket may not be long
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")
        assert [path.name for path in inputs.find_pictures(tmp_path)] == ["a.jpg", "gone.jpg", "linked.jpg"]


def test_find_is_sorted_by_folders_and_names(tmp_path: Path) -> None:
    touched(tmp_path, "a/b.jpg", "a-c.jpg", "a.jpg", "B.jpg", "a/a/z.jpg")
    assert list(inputs.find_pictures(tmp_path)) == sorted(tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize(
    ("include", "exclude", "want"),
    [
        (["*.png"], [], ["x/b.png", "x/y/c.PNG"]),
        ([], ["*.png"], ["a.jpg", "x/a.jpg"]),
        (["x/*"], [], ["x/a.jpg", "x/b.png", "x/y/c.PNG"]),
        (["x/*"], ["*/y/*"], ["x/a.jpg", "x/b.png"]),
        (["a.*", "c.*"], [], ["a.jpg", "x/a.jpg", "x/y/c.PNG"]),
        (["[ab].*"], ["A.JPG"], ["x/b.png"]),
        (["nothing"], [], []),
    ],
)
def test_patterns_choose(tmp_path: Path, include: list[str], exclude: list[str], want: list[str]) -> None:
    touched(tmp_path, "a.jpg", "x/a.jpg", "x/b.png", "x/y/c.PNG")
    found = inputs.gather_inputs(str(tmp_path), tmp_path / "out", include, exclude)
    assert [path.relative_to(tmp_path).as_posix() for path in found.files] == want
    assert found.root == tmp_path


LISTS = (
    b"a.jpg\nsub/b c.jpg\n",
    b"a.jpg\r\n\r\nsub/b c.jpg",
    b"\xef\xbb\xbfa.jpg\nsub/b c.jpg\n\n",
    b"a.jpg\0sub/b c.jpg\0",
)


@pytest.mark.parametrize("data", LISTS)
def test_a_list_in_a_file_or_on_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_bytes(data)
    want = inputs.Inputs(Path(), (Path("a.jpg"), Path("sub/b c.jpg")))
    assert inputs.gather_inputs("@list.txt", Path("out")) == want
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert inputs.gather_inputs("-", Path("out")) == want


def test_a_list_may_name_what_no_folder_would_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_bytes(b"missing.jpg\n.hidden.png\ncaf\xe9.jpg\nfilm.mp4\n")
    names = [os.fsencode(path) for path in inputs.gather_inputs("@list.txt", Path("out"), exclude=["*.mp4"]).files]
    assert names == [b"missing.jpg", b".hidden.png", b"caf\xe9.jpg"]


def test_a_list_with_a_path_elsewhere_starts_where_all_have_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched(tmp_path, "here/a.jpg", "there/sub/b.jpg")
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "list").write_text(f"a.jpg\n{tmp_path}/there/sub/b.jpg\n")
    found = inputs.gather_inputs(f"@{tmp_path}/list", Path("out"), include=["there/sub/*"])
    assert (found.root, found.files) == (tmp_path.resolve(), (tmp_path / "there/sub/b.jpg",))


def test_a_pattern_takes_pictures_and_starts_before_its_first_wildcard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, "in/1/a.jpg", "in/2/b.JPG", "in/2/c.txt", "in/2/deep/d.jpg", "in/out/e.jpg", "in/.x/e.jpg")
    (tmp_path / "in/3.jpg").mkdir()

    def found(pattern: str) -> list[str]:
        gathered = inputs.gather_inputs(pattern, Path("in/out"))
        assert gathered.root == Path("in")
        return [path.as_posix() for path in gathered.files]

    assert found("in/*/*") == ["in/1/a.jpg", "in/2/b.JPG"]
    assert found("in/**") == ["in/1/a.jpg", "in/2/b.JPG", "in/2/deep/d.jpg"]
    assert found("in/[13]*") == []


def test_a_folder_with_wildcards_in_its_name_is_a_folder(tmp_path: Path) -> None:
    (picture,) = touched(tmp_path, "shots [v2]*/a.jpg")
    assert inputs.gather_inputs(str(picture.parent), tmp_path / "out").files == (picture,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("missing", "missing does not exist: name a folder"),
        ("a.jpg", "a.jpg is not a folder: dacli image takes single files"),
        ("@missing.txt", "the list missing.txt cannot be read (No such file or directory)"),
        ("@.", "the list . cannot be read (Is a directory)"),
        ("@a\0b", "cannot be read (embedded null byte)"),
    ],
)
def test_what_is_no_source_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, "a.jpg")
    with pytest.raises(DacliError) as caught:
        inputs.gather_inputs(text, Path("out"))
    assert said in str(caught.value)


@pytest.fixture
def without_rawpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "reads_camera_raw", lambda: False)


def test_raw_files_are_pictures_where_their_reader_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched(tmp_path, "a.NEF", "b.dng", "c.jpg")
    for installed, names in ((True, ["a.NEF", "b.dng", "c.jpg"]), (False, ["c.jpg"])):
        monkeypatch.setattr(inputs, "reads_camera_raw", lambda installed=installed: installed)
        found = inputs.gather_inputs(str(tmp_path), tmp_path / "out")
        assert [path.name for path in found.files] == names
    assert found.left_out.describe() == (
        "1 .dng (pip install rawpy to read them), 1 .nef (pip install rawpy to read them)"
    )


@pytest.mark.usefixtures("without_rawpy")
def test_files_that_are_not_taken_are_counted_by_extension(tmp_path: Path) -> None:
    names = ("a.jpg", "b.MOV", "sub/c.mp4", "d.dng", "e.dng", "f.pdf", ".g.mp4", "out/h.mp4", "skip/i.mp4", "README")
    for name in (*names, "a_color.png.part", "d.jpg~", "v1. final"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = inputs.gather_inputs(str(tmp_path), tmp_path / "out", exclude=["skip/*"])
    assert [path.name for path in found.files] == ["a.jpg"]
    expected = (
        "2 .dng (pip install rawpy to read them), 1 without extension, 1 .jpg~, 1 .mov (use dacli video), "
        "1 .mp4 (use dacli video), 1 .part, 1 .pdf, 1 of other names"
    )
    assert found.left_out.describe() == expected
    assert found.left_out.describe_line() == f"left out: {expected}"
    found = inputs.gather_inputs(str(tmp_path), tmp_path / "out", ["*.mov"])
    assert found.left_out.describe() == "1 .mov (use dacli video)"
    assert inputs.Inputs(tmp_path, ()).left_out.describe_line() == ""


def test_a_pattern_counts_what_it_leaves_out_too(tmp_path: Path) -> None:
    touched(tmp_path, "a.jpg", "b.svg", "out/c.svg")
    found = inputs.gather_inputs(f"{tmp_path}/**/*.*", tmp_path / "out")
    assert [path.name for path in found.files] == ["a.jpg"]
    assert found.left_out.describe() == "1 .svg"


def test_many_kinds_are_summed_up(tmp_path: Path) -> None:
    touched(tmp_path, *(f"a.k{number}" for number in range(12)), "b.k3")
    text = inputs.gather_inputs(str(tmp_path), tmp_path / "out").left_out.describe()
    assert text.startswith("2 .k3, 1 .k0, 1 .k1, 1 .k10, ")
    assert text.endswith("1 .k5, 4 others")


@pytest.mark.usefixtures("without_rawpy")
def test_pictures_of_unknown_extensions_are_found_by_content(tmp_path: Path) -> None:
    names = ["a.jpg_large", "IMG.0001", "v1.2 final", "b.jpeg!d", "c.image"]
    for name in (*names, "d.dng", "e.part", "f.jpg~", "g.txt"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0" + bytes(40))
    touched(tmp_path, "h.unknown")
    found = inputs.gather_inputs(str(tmp_path), tmp_path / "out")
    assert sorted(path.name for path in found.files) == sorted(names)
    raw = "1 .dng (pip install rawpy to read them)"
    line = f"left out: {raw}, 1 .jpg~, 1 .part, 1 .txt, 1 .unknown; 5 of other names are pictures by content"
    assert found.left_out.describe_line() == line


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_as_powershell_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a.jpg", "写真 día.jpg"]
    touched(tmp_path, *names)
    mark = "" if encoding == "utf-16" else "\ufeff"
    (tmp_path / "list.txt").write_bytes((mark + "\r\n".join(names) + "\r\n").encode(encoding))
    assert [str(path) for path in inputs.gather_inputs("@list.txt", Path("out")).files] == names


def test_an_empty_name_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, "a.jpg")
    with pytest.raises(UsageError, match=r"IN is empty: name a folder"):
        inputs.gather_inputs("", Path("out"))
