"""The journal of a run: after it is killed, and with several processes that write at the same time."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dacli.batch import journal
from dacli.batch.entries import Entry
from dacli.batch.fingerprint import fingerprint_picture, stamp_file
from dacli.batch.finished import find_in_journal
from dacli.batch.jobs import Job, plan_jobs
from dacli.batch.journal import Journal, read_journals
from dacli.batch.settings import RunSettings
from dacli.errors import DacliError, StopError
from dacli.inference.device import ExecutionPlan
from dacli.io import files
from dacli.outputs.formats import FORMATS

SETTINGS = RunSettings(
    encoder="tiny",
    model="v2",
    weights="tiny.safetensors 1",
    quantity="inverse depth",
    size=28,
    plan=ExecutionPlan("cpu", "torch", "fp32", half_weights=False, reason=""),
)


def made(folder: Path, name: str) -> tuple[Job, Entry]:
    """Return a job whose one output exists, and its entry."""
    (job,) = plan_jobs([folder / "in" / name], folder / "out", [FORMATS["color"]], root=folder / "in")
    (path,) = job.outputs.values()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"depth")
    info = path.stat()
    digest = str(fingerprint_picture(stamp_file(job.source), SETTINGS))
    return job, Entry(job.name, 3, 4, digest, "", {"color": (5, info.st_mtime_ns)}, (28, 42), (0.5, 1.5))


def journals(out: Path) -> list[Path]:
    return sorted((out / ".dacli").iterdir())


def test_the_next_run_knows_what_the_last_one_did(tmp_path: Path) -> None:
    job, entry = made(tmp_path, "sub/ä\udcff.jpg")
    with Journal(tmp_path / "out") as log:
        assert log.entries == {}
        log.add(entry)
        log.add(Entry("b.jpg", error="b.jpg is empty"))
    with Journal(tmp_path / "out") as log:
        known = find_in_journal(log.entries, job, 0, SETTINGS)
        assert known is not None
        assert (known.network_size, known.range) == ((28, 42), (0.5, 1.5))
        assert (log.entries[job.name].size, log.entries[job.name].mtime_ns) == (3, 4)
        assert log.entries["b.jpg"].error == "b.jpg is empty"
    assert len(journals(tmp_path / "out")) == 1


def test_lines_are_json_that_others_can_read(tmp_path: Path) -> None:
    _, entry = made(tmp_path, "a.jpg")
    with Journal(tmp_path / "out") as log:
        log.begin({"encoder": "tiny", "size": 256}, tmp_path / "in")
        log.add(entry)
    (path,) = journals(tmp_path / "out")
    first, second = map(json.loads, path.read_text("ascii").splitlines())
    assert first["settings"] == {"encoder": "tiny", "size": 256}
    assert first["root"] == str(tmp_path / "in")
    assert (second["name"], second["size"], second["mtime_ns"], second["settings"]) == ("a.jpg", 3, 4, entry.settings)


@pytest.mark.parametrize("change", ["settings", "touched", "longer", "gone", "other kind", "failed since"])
def test_what_is_not_as_it_was_is_not_done(tmp_path: Path, change: str) -> None:
    job, entry = made(tmp_path, "a.jpg")
    (path,) = job.outputs.values()
    entries = {"a.jpg": entry}
    assert find_in_journal(entries, job, 0, SETTINGS)
    if change == "touched":
        os.utime(path, ns=(1, 1))
    elif change == "longer":
        path.write_bytes(b"depth!")
        os.utime(path, ns=(1, entry.outputs["color"][1]))
    elif change == "gone":
        path.unlink()
    elif change == "other kind":
        (job,) = plan_jobs([job.source], tmp_path / "out", [FORMATS["color"], FORMATS["npy"]], root=tmp_path / "in")
    elif change == "failed since":
        entries["a.jpg"] = Entry("a.jpg", 3, 4, entry.settings, "it failed", entry.outputs)
    settings = replace(SETTINGS, size=56) if change == "settings" else SETTINGS
    assert find_in_journal(entries, job, 0, settings) is None


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_a_kill_cut_short_costs_only_itself(tmp_path: Path, cut: int) -> None:
    with Journal(tmp_path / "out") as log:
        for name in ("a", "b", "c"):
            log.add(Entry(name, error="x"))
    (path,) = journals(tmp_path / "out")
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(tmp_path / "out") as log:
        assert set(log.entries) - {"c"} == {"a", "b"}
        log.add(Entry("d", error="x"))
    assert set(read_journals(tmp_path / "out")) - {"c"} == {"a", "b", "d"}


@pytest.mark.parametrize(
    "line", [b"\xff\xfe\n", b"{}\n", b"[1]\n", b"7\n", b'{"name": "a", "new": 1}\n', b'{"outputs": 3}\n', b'"a"\n']
)
def test_lines_that_are_none_are_left_out(tmp_path: Path, line: bytes) -> None:
    with Journal(tmp_path) as log:
        log.add(Entry("b", error="x"))
    (path,) = journals(tmp_path)
    path.write_bytes(line + path.read_bytes() + line)
    assert set(read_journals(tmp_path)) == {"b"}


def test_two_runs_at_once_have_a_file_each_and_know_each_other_s_work(tmp_path: Path) -> None:
    with Journal(tmp_path) as first:
        first.add(Entry("a", error="x"))
        with Journal(tmp_path) as second:
            assert second.prefix != first.prefix
            assert set(second.entries) == {"a"}
            second.add(Entry("b", error="y"))
        assert len(journals(tmp_path)) == 2
        assert first.write_failures({"a": Path("in/a"), "b": Path("in/b")}) == tmp_path / "failures.jsonl"
    with Journal(tmp_path) as third:
        assert set(third.entries) == {"a", "b"}
        assert third.prefix in (first.prefix, second.prefix)
    assert len(journals(tmp_path)) == 2


def test_of_two_entries_the_later_counts_whichever_file_it_is_in(tmp_path: Path) -> None:
    folder = tmp_path / ".dacli"
    folder.mkdir()
    for name, at in (("journal-a", 5), ("journal-b", 4), ("journal-c", 6)):
        (folder / f"{name}.jsonl").write_text(json.dumps({"name": "x", "error": name, "at": at}) + "\n")
    assert read_journals(tmp_path)["x"].error == "journal-c"


def test_a_killed_run_s_temporary_files_are_swept_and_a_living_one_s_are_not(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from dacli.batch.journal import Journal\n"
        "log = Journal(Path(sys.argv[1])); print(log.prefix, flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        prefix = run.stdout.readline().strip()
        (tmp_path / "sub").mkdir()
        left = [tmp_path / f".{prefix}1.part", tmp_path / "sub" / f".{prefix}2.part"]
        others = [tmp_path / "sub" / name for name in (".other-1.part", f"{prefix}1.part", f".{prefix}1.png")]
        for path in (*left, *others):
            path.touch()
        with Journal(tmp_path) as log:
            log.delete_leftovers([tmp_path / "sub", tmp_path / "missing"])
        assert all(path.exists() for path in left)
        run.kill()
        run.wait()
    with Journal(tmp_path) as log:
        log.delete_leftovers([tmp_path / "sub", tmp_path / "missing"])
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)


def test_failures_are_those_of_the_plan_that_failed_last(tmp_path: Path) -> None:
    with Journal(tmp_path) as log:
        for name in ("a", "b", "gone"):
            log.add(Entry(name, error=f"{name} is empty", error_kind="damaged"))
        log.add(Entry("b"))
        path = log.write_failures({"b": Path("in/b"), "a": Path("in/a"), "unknown": Path("u")})
        assert path is not None
        (row,) = map(json.loads, path.read_text().splitlines())
        assert row == {"input": "in/a", "error": "a is empty", "error_kind": "damaged"}
        log.add(Entry("a"))
        assert log.write_failures({"b": Path("in/b"), "a": Path("in/a")}) is None
        assert not path.exists()


def test_an_output_folder_that_is_a_file_or_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DacliError, match="a file stands where its folder should be"):
        Journal(tmp_path / "file")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(DacliError, match="no permission"):
        Journal(tmp_path / "out")


def test_a_journal_on_a_full_disk_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with Journal(tmp_path) as log:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(StopError, match="the disk is full"):
            log.add(Entry("a"))
        monkeypatch.undo()
    assert read_journals(tmp_path) == {}


def test_a_file_system_without_locks_gets_a_new_file_for_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "lock_file", lambda _: None)
    for count in (1, 2):
        with Journal(tmp_path) as log:
            log.add(Entry(str(count), error="x"))
        assert len(journals(tmp_path)) == count
    assert set(read_journals(tmp_path)) == {"1", "2"}


def test_whole_files_are_written_only_below_a_folder_that_is_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    files.write_file(out / "sub" / "a", b"x", below=out, prefix="m-")
    assert (out / "sub" / "a").read_bytes() == b"x"
    (out / "sub" / "a").unlink()
    (out / "sub").rmdir()
    out.rmdir()
    with pytest.raises(StopError, match="out is gone"):
        files.write_file(out / "sub" / "a", b"x", below=out)
    assert not out.exists()
    assert not files.unfinished_files


def test_abandoned_writes_leave_nothing(tmp_path: Path) -> None:
    part = tmp_path / ".x.part"
    part.touch()
    files.unfinished_files.add(part)
    files.remove_unfinished_files()
    files.unfinished_files.clear()
    assert list(tmp_path.iterdir()) == []


LIES: dict[str, dict[str, object]] = {
    "name is a list": {"name": ["x"]},
    "name is a number": {"name": 3},
    "time is text": {"at": "noon"},
    "time is no number": {"at": float("nan")},
    "time is a list": {"at": []},
    "size is text": {"size": "3"},
    "settings are a list": {"settings": [1]},
    "error is a number": {"error": 7},
    "outputs are a list": {"outputs": [["color", 3]]},
    "outputs are without times": {"outputs": {"color": 3}},
    "outputs are infinite": {"outputs": {"color": [float("inf"), 3]}},
    "network size is one number": {"network_size": [3]},
    "network size is text": {"network_size": "ab"},
    "source size is nothing": {"source_size": None},
    "range is infinite": {"range": [0, float("inf")]},
    "range is text": {"range": ["low", "high"]},
    "variant is a list": {"variant": []},
    "unknown value": {"new": 1},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_line_that_lies_is_left_out_and_counted(tmp_path: Path, lie: str) -> None:
    with Journal(tmp_path) as log:
        log.add(Entry("x", error="true"))
    (path,) = journals(tmp_path)
    row = {"name": "x", "error": "a lie", "at": 1e11} | LIES[lie]
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    contents = journal.read_journal_contents(tmp_path)
    assert {key: entry.error for key, entry in contents.entries.items()} == {"x": "true"}
    assert contents.damaged == 1
    with Journal(tmp_path) as log:
        log.add(Entry("x", error="later"))
    assert read_journals(tmp_path)["x"].error == "later"


def test_a_line_nested_without_end_is_left_out(tmp_path: Path) -> None:
    (tmp_path / ".dacli").mkdir()
    (tmp_path / ".dacli/journal-a.jsonl").write_text("[" * 100_000 + "\n" + json.dumps({"name": "x"}) + "\n")
    assert set(read_journals(tmp_path)) == {"x"}


def test_in_one_journal_the_order_of_lines_decides_and_not_the_clock(tmp_path: Path) -> None:
    (tmp_path / ".dacli").mkdir()
    rows = [{"name": "x", "error": "by a clock ahead", "at": 9e9}, {"name": "x", "at": 5}]
    (tmp_path / ".dacli/journal-a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_journals(tmp_path)["x"].error == ""


@pytest.mark.parametrize("at", [9e9, 1e300])
def test_a_later_result_counts_although_a_clock_ahead_wrote_the_one_before_into_another_journal(
    tmp_path: Path, at: float
) -> None:
    (tmp_path / ".dacli").mkdir()
    (tmp_path / ".dacli/journal-b.jsonl").write_text(json.dumps({"name": "x", "error": "ahead", "at": at}) + "\n")
    (tmp_path / ".dacli/journal-a.jsonl").write_text("")
    with Journal(tmp_path) as log:
        log.add(Entry("x"))
        assert log.write_failures({"x": Path("in/x")}) is None
    assert read_journals(tmp_path)["x"].error == ""


@pytest.mark.parametrize("place", [".dacli", ".dacli/journal-a.jsonl"])
def test_a_journal_that_is_a_link_is_named_and_nothing_is_written_behind_it(tmp_path: Path, place: str) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    (out / ".dacli").mkdir(parents=True)
    if place == ".dacli":
        (out / ".dacli").rmdir()
        (out / ".dacli").symlink_to(outside)
    else:
        (outside / "a.txt").write_text("mine")
        (out / place).symlink_to(outside / "a.txt")
    before = {path: path.read_bytes() for path in outside.iterdir()}
    with pytest.raises(DacliError, match=r"\.dacli.* is a link, and dacli writes nothing outside"):
        Journal(out)
    assert {path: path.read_bytes() for path in outside.iterdir()} == before


def test_a_journal_with_a_second_name_is_read_and_not_written(tmp_path: Path) -> None:
    with Journal(tmp_path) as log:
        log.add(Entry("x", error="x"))
    (path,) = journals(tmp_path)
    copy = tmp_path / "copy.jsonl"
    os.link(path, copy)
    before = copy.read_bytes()
    with Journal(tmp_path) as log:
        assert set(log.entries) == {"x"}
        log.add(Entry("y", error="y"))
    assert copy.read_bytes() == before
    assert set(read_journals(tmp_path)) == {"x", "y"}


def test_a_pipe_among_the_journals_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / ".dacli").mkdir()
    os.mkfifo(tmp_path / ".dacli/journal-a.jsonl")
    with Journal(tmp_path) as log:
        assert log.entries == {}


def test_a_list_of_failures_that_no_journal_knows_stays(tmp_path: Path) -> None:
    mine = tmp_path / "failures.jsonl"
    mine.write_text("mine\n")
    with Journal(tmp_path) as log:
        assert log.write_failures({"x": Path("in/x")}) is None
        log.add(Entry("x", error="x is empty"))
        with pytest.raises(DacliError, match="is not a complete output of dacli: move it away"):
            log.write_failures({"x": Path("in/x")})
        assert mine.read_text() == "mine\n"
        assert log.write_failures({"x": Path("in/x")}, overwrite=True) == mine
    with Journal(tmp_path) as log:
        assert log.write_failures({"x": Path("in/x")}) == mine
        mine.write_text(mine.read_text() + "\n")
        log.add(Entry("x"))
        assert log.write_failures({"x": Path("in/x")}) is None
    assert mine.exists()
