"""Repositories of a hub: which folder is taken, what is downloaded and checked, and how a refusal reads."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dacli.callbacks import DownloadProgress, ignore_download, ignore_log
from dacli.errors import DacliError
from dacli.weights.download import RetryPolicy
from dacli.weights.repositories import find_repository, obtain_repository

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ONCE = RetryPolicy(timeout=5, attempts=2, sleep=lambda _: None)
FILES = {"config.json": b'{"a": 1}', "preprocessor_config.json": b"{}", "model.safetensors": b"weights" * 500}


class Hub(ThreadingHTTPServer):
    """A hub with one repository; `statuses` are answers in place of a path's own."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files = dict(files)
        self.listing: dict[str, Any] = {
            "sha": COMMIT,
            "siblings": [listed(name, content) for name, content in files.items()],
            "cardData": {"license": "mit"},
        }
        self.statuses: dict[str, int] = {}
        self.requests: list[str] = []

    def answer(self, path: str) -> tuple[int, bytes]:
        kind = "list" if path.startswith("/api/") else "file"
        if kind in self.statuses:
            return self.statuses[kind], b""
        if path == "/api/models/Org/net/revision/main?blobs=true":
            return 200, json.dumps(self.listing).encode()
        content = self.files.get(path.removeprefix(f"/Org/net/resolve/{COMMIT}/"))
        return (404, b"") if content is None else (200, content)


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        status, content = self.server.answer(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def listed(name: str, content: bytes) -> dict[str, Any]:
    """A row of the hub's list: small files have Git's hash, large ones their SHA-256."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    row: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
    if name.endswith((".safetensors", ".bin")):
        row["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return row


@contextmanager
def serving(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub(files)
    thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(FILES, monkeypatch) as running:
        yield running


def obtain(log: Any = ignore_log) -> Path:
    return obtain_repository("Org/net", log, ignore_download, ONCE)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


def test_a_model_is_downloaded_checked_and_used_again_without_a_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    folder = obtain(lines.append)
    assert folder == tmp_path / f".cache/dacli/weights/hub/Org--net/{COMMIT}"
    assert contents(folder) == FILES
    assert lines == ["hf:Org/net: its repository states the licence mit"]
    asked = len(hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert obtain() == folder
    assert len(hub.requests) == asked


def test_weights_in_parts_are_those_of_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"model-1.safetensors": b"one", "model-2.safetensors": b"two"}
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    files = {name: FILES[name] for name in ("config.json", "preprocessor_config.json")}
    files |= {"model.safetensors.index.json": index, **parts, "other.bin": b"not wanted"}
    with serving(files, monkeypatch):
        assert contents(obtain()) == {name: content for name, content in files.items() if name != "other.bin"}
        (find_repository("Org/net") or Path()).joinpath("model-2.safetensors").unlink()
        assert find_repository("Org/net") is None
        assert contents(obtain())["model-2.safetensors"] == b"two"


def test_hugging_faces_own_cache_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = tmp_path / "hub" / "models--Org--net"
    for commit in ("a" * 40, "b" * 40):
        (repo / "snapshots" / commit).mkdir(parents=True)
        for name, content in FILES.items():
            (repo / "snapshots" / commit / name).write_bytes(content)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text("b" * 40)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert find_repository("Org/net") == repo / "snapshots" / ("b" * 40)
    (repo / "snapshots" / ("b" * 40) / "config.json").unlink()
    assert find_repository("Org/net") == repo / "snapshots" / ("a" * 40)


@pytest.mark.parametrize(
    ("statuses", "message"),
    [
        (
            {"list": 401},
            r"there is no public hf:Org/net \(.*HTTP 401.*for a private one log in with `hf auth login`, or",
        ),
        ({"list": 404}, r"there is no public hf:Org/net \(.*HTTP 404"),
        ({"file": 403}, r"hf:Org/net is gated \(.*HTTP 403.*: accept its terms at http://127.0.0.1:\d+/Org/net, then"),
        ({"list": 503}, r"cannot download hf:Org/net \(.*HTTP 503.*try again, or name a folder with its files"),
    ],
)
def test_a_refusal_says_what_to_do(hub: Hub, statuses: dict[str, int], message: str) -> None:
    hub.statuses = statuses
    with pytest.raises(DacliError, match=message):
        obtain()
    assert find_repository("Org/net") is None


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_other_bytes_than_those_listed_are_not_kept(hub: Hub, name: str) -> None:
    hub.files[name] = b"x" * len(hub.files[name])
    with pytest.raises(DacliError, match=r"config.json of hf:Org/net than it lists|SHA-256 differs"):
        obtain()
    assert find_repository("Org/net") is None


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_repository_of_something_else_is_one_line(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: content for name, content in FILES.items() if name != missing}
    with (
        serving(files, monkeypatch),
        pytest.raises(DacliError, match=f"hf:Org/net has no {missing}, so it is no model"),
    ):
        obtain()


@pytest.mark.parametrize("listing", [[], {"sha": "../../x", "siblings": []}, {"sha": COMMIT, "siblings": [{}]}])
def test_a_list_that_is_none_is_one_line(hub: Hub, listing: Any) -> None:
    hub.listing = listing
    with pytest.raises(DacliError, match=r"the hub's list of hf:Org/net cannot be read \(.*\): try again"):
        obtain()


def test_an_index_that_points_outside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: FILES[name] for name in ("config.json", "preprocessor_config.json")}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": {"a": "../../x.safetensors"}}).encode()
    with serving(files, monkeypatch), pytest.raises(DacliError, match="lists no weights"):
        obtain()


@pytest.mark.usefixtures("hub")
def test_progress_names_the_file() -> None:
    names: list[str] = []

    @contextmanager
    def progress(name: str) -> Iterator[DownloadProgress]:
        names.append(name)
        yield lambda _done, _of: None

    obtain_repository("Org/net", ignore_log, progress, ONCE)
    assert names == ["Org/net model.safetensors"]
