import contextlib
import errno
import hashlib
import http.client
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dacli.errors import DacliError
from dacli.weights import download
from dacli.weights.checkpoints import checkpoint_status, obtain_checkpoint
from dacli.weights.download import DownloadRequest, RetryPolicy, download_file
from dacli.weights.hub import Origin, RedirectHandler
from dacli.weights.locations import download_origins, download_path
from dacli.weights.manifest import Checkpoint, checkpoint_named

DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()
ETAG = '"of-data"'


class Handler(BaseHTTPRequestHandler):
    server: "Hub"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers)))
        fault = self.server.faults.pop(0) if self.server.faults else serve
        fault(self)

    def do_CONNECT(self) -> None:
        self.server.requests.append((f"CONNECT {self.path}", dict(self.headers)))
        self.send_error(403)

    def head(self, status: int, **headers: str | int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


Fault = Callable[[Handler], None]


class Hub(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.faults: list[Fault] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def sent_headers(self, header: str) -> list[str | None]:
        return [headers.get(header) for _, headers in self.requests]


def serve(handler: Handler) -> None:
    """Answer as a correct server does, with Range and If-Range (RFC 9110, sections 13 and 14)."""
    start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    if handler.headers.get("If-Range", ETAG) != ETAG:
        start = 0
    if start >= len(DATA):
        handler.head(416, Content_Range=f"bytes */{len(DATA)}", Content_Length=0)
        return
    span = {"Content_Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"} if start else {}
    handler.head(206 if start else 200, ETag=ETAG, Content_Length=len(DATA) - start, **span)
    handler.wfile.write(DATA[start:])


def drop_after(count: int) -> Fault:
    def drop(handler: Handler) -> None:
        handler.head(200, ETag=ETAG, Content_Length=len(DATA))
        handler.wfile.write(DATA[:count])

    return drop


def drop_chunked(handler: Handler) -> None:
    handler.head(200, ETag=ETAG, Transfer_Encoding="chunked")
    handler.wfile.write(b"%x\r\n" % 100 + DATA[:60])


def reset_connection(handler: Handler) -> None:
    handler.head(200, ETag=ETAG, Content_Length=len(DATA))
    handler.wfile.write(DATA[:50])
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def fall_silent(handler: Handler) -> None:
    handler.head(200, ETag=ETAG, Content_Length=len(DATA))
    handler.wfile.write(DATA[:70])
    handler.connection.recv(1)


def answer(body: bytes, **headers: str) -> Fault:
    def send(handler: Handler) -> None:
        handler.head(200, Content_Length=len(body), **headers)
        handler.wfile.write(body)

    return send


def status(code: int, **headers: str | int) -> Fault:
    return lambda handler: handler.head(code, Content_Length=0, **headers)


def range_as(content_range: str, body: bytes, etag: str = ETAG) -> Fault:
    def send(handler: Handler) -> None:
        handler.head(206, ETag=etag, Content_Range=content_range, Content_Length=len(body))
        handler.wfile.write(body)

    return send


def send_too_much(handler: Handler) -> None:
    handler.head(200, Transfer_Encoding="chunked")
    with contextlib.suppress(OSError):
        for _ in range(100):
            handler.wfile.write(b"%x\r\n" % 4096 + bytes(4096) + b"\r\n")


def running_hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


hub = pytest.fixture(running_hub, name="hub")
second_hub = pytest.fixture(running_hub, name="second_hub")


class Download:
    """A download with all that it logs, shows as progress and waits for."""

    def __init__(self, path: Path, *addresses: str | Origin, size: int | None = len(DATA)) -> None:
        sources = tuple(each if isinstance(each, Origin) else Origin(each) for each in addresses)
        self.request = DownloadRequest(sources, SHA256, size, path)
        self.lines: list[str] = []
        self.progress: list[tuple[int, int | None]] = []
        self.waits: list[float] = []

    def __call__(self, attempts: int = 5, timeout: float = 20.0) -> Path:
        retries = RetryPolicy(timeout=timeout, attempts=attempts, sleep=self.waits.append)
        return download_file(self.request, self.lines.append, lambda *done: self.progress.append(done), retries)

    def fails(self, attempts: int = 5) -> str:
        with pytest.raises(DacliError) as caught:
            self(attempts)
        assert not self.request.path.exists()
        return str(caught.value)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "vits.pth"


def files_beside(path: Path) -> set[str]:
    return {each.name for each in path.parent.iterdir()} - {path.name, f"{path.name}.lock"}


def write_part(path: Path, data: bytes, etag: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.part").write_bytes(data)
    if etag:
        path.with_name(f"{path.name}.part.etag").write_text(etag)


def test_whole_file_in_one_request(hub: Hub, target: Path) -> None:
    run = Download(target, f"{hub.url}/file")
    assert run() == target
    assert target.read_bytes() == DATA
    assert run.progress[0] == (0, len(DATA))
    assert run.progress[-1] == (len(DATA), len(DATA))
    assert len(hub.requests) == 1
    assert files_beside(target) == set()


def test_file_that_is_there_is_not_fetched_again(hub: Hub, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(DATA)
    assert Download(target, f"{hub.url}/file")() == target
    assert hub.requests == []


def test_damaged_file_is_replaced(hub: Hub, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(DATA[:-1] + b"x")
    Download(target, f"{hub.url}/file")()
    assert target.read_bytes() == DATA


def test_unknown_size_is_taken_from_the_server(hub: Hub, target: Path) -> None:
    run = Download(target, f"{hub.url}/file", size=None)
    run()
    assert run.progress[-1] == (len(DATA), len(DATA))


@pytest.mark.parametrize("count", [1, 300, len(DATA) - 1])
def test_drop_is_resumed_where_it_happened(hub: Hub, target: Path, count: int) -> None:
    hub.faults = [drop_after(count)]
    run = Download(target, f"{hub.url}/file")
    run()
    assert target.read_bytes() == DATA
    assert hub.sent_headers("Range") == [None, f"bytes={count}-"]
    assert hub.sent_headers("If-Range") == [None, ETAG]
    assert "connection closed" in run.lines[0]


def test_drop_inside_a_chunk_is_resumed(hub: Hub, target: Path) -> None:
    hub.faults = [drop_chunked]
    Download(target, f"{hub.url}/file", size=None)()
    assert target.read_bytes() == DATA
    assert hub.sent_headers("Range") == [None, "bytes=60-"]


def test_reset_is_retried(hub: Hub, target: Path) -> None:
    hub.faults = [reset_connection]
    Download(target, f"{hub.url}/file")()
    assert target.read_bytes() == DATA
    assert len(hub.requests) == 2


def test_silent_server_times_out_and_is_asked_for_the_rest(hub: Hub, target: Path) -> None:
    hub.faults = [fall_silent]
    run = Download(target, f"{hub.url}/file")
    run(attempts=50, timeout=0.1)
    assert target.read_bytes() == DATA
    assert "timed out" in run.lines[0]


def test_failed_run_leaves_a_part_that_the_next_resumes(hub: Hub, target: Path) -> None:
    hub.faults = [drop_after(400)]
    Download(target, f"{hub.url}/file").fails(attempts=1)
    assert files_beside(target) == {"vits.pth.part", "vits.pth.part.etag"}
    run = Download(target, f"{hub.url}/file")
    run()
    assert target.read_bytes() == DATA
    assert hub.sent_headers("Range") == [None, "bytes=400-"]
    assert run.progress[0] == (400, len(DATA))


def test_ignored_range_starts_over(hub: Hub, target: Path) -> None:
    write_part(target, DATA[:500])
    hub.faults = [answer(DATA)]
    Download(target, f"{hub.url}/file")()
    assert target.read_bytes() == DATA
    assert hub.sent_headers("Range") == ["bytes=500-"]


def test_changed_etag_starts_over(hub: Hub, target: Path) -> None:
    write_part(target, b"x" * 500, etag='"of-another-file"')
    Download(target, f"{hub.url}/file")()
    assert target.read_bytes() == DATA
    assert hub.sent_headers("If-Range") == ['"of-another-file"']


def test_weak_etag_is_not_used_for_resuming(hub: Hub, target: Path) -> None:
    def weak(handler: Handler) -> None:
        handler.head(200, ETag=f"W/{ETAG}", Content_Length=len(DATA))
        handler.wfile.write(DATA[:30])

    hub.faults = [weak]
    Download(target, f"{hub.url}/file")()
    assert hub.sent_headers("Range") == [None, "bytes=30-"]
    assert hub.sent_headers("If-Range") == [None, None]


WRONG_REST = range_as(f"bytes 500-{len(DATA) - 1}/{len(DATA)}", b"y" * (len(DATA) - 500))


@pytest.mark.parametrize(
    ("fault", "taken"),
    [
        (range_as(f"bytes 0-{len(DATA) - 1}/{len(DATA)}", DATA), 0),
        (range_as(f"bytes 500-{len(DATA) - 1}/{len(DATA)}", DATA[500:], etag='"other"'), 0),
        (WRONG_REST, 500),
    ],
    ids=["from the start", "of another file", "wrong bytes"],
)
def test_wrong_range_starts_over(hub: Hub, target: Path, fault: Fault, taken: int) -> None:
    write_part(target, DATA[:500], etag=ETAG)
    hub.faults = [fault]
    run = Download(target, f"{hub.url}/file")
    run()
    assert target.read_bytes() == DATA
    assert hub.sent_headers("Range") == ["bytes=500-", None]
    assert run.progress[0] == (taken, len(DATA))


def test_starting_over_is_done_once(hub: Hub, target: Path) -> None:
    write_part(target, DATA[:500], etag=ETAG)
    hub.faults = [WRONG_REST, drop_after(500), WRONG_REST]
    assert "SHA-256 differs" in Download(target, f"{hub.url}/file").fails()
    assert hub.sent_headers("Range") == ["bytes=500-", None, "bytes=500-"]


@pytest.mark.parametrize("stale", [b"x" * 500, b"x" * len(DATA), b"x" * (len(DATA) + 9)])
def test_stale_part_starts_over(hub: Hub, target: Path, stale: bytes) -> None:
    write_part(target, stale)
    Download(target, f"{hub.url}/file")()
    assert target.read_bytes() == DATA
    assert files_beside(target) == set()


def test_whole_part_needs_no_request(hub: Hub, target: Path) -> None:
    write_part(target, DATA)
    Download(target, f"{hub.url}/file")()
    assert target.read_bytes() == DATA
    assert hub.requests == []


@pytest.mark.parametrize(("part", "requests"), [(DATA, 1), (b"x" * len(DATA), 2)], ids=["whole", "stale"])
def test_416_ends_or_starts_over(hub: Hub, target: Path, part: bytes, requests: int) -> None:
    write_part(target, part)
    Download(target, f"{hub.url}/file", size=None)()
    assert target.read_bytes() == DATA
    assert len(hub.requests) == requests


def test_416_to_a_plain_request_is_refused(hub: Hub, target: Path) -> None:
    hub.faults = [status(416)]
    assert "HTTP 416" in Download(target, f"{hub.url}/file").fails()


def test_wrong_bytes_fail_and_leave_nothing(hub: Hub, target: Path) -> None:
    hub.faults = [answer(b"x" * len(DATA), ETag=ETAG)]
    assert "SHA-256 differs" in Download(target, f"{hub.url}/file").fails()
    assert files_beside(target) == set()


def test_wrong_bytes_are_tried_from_the_mirror(hub: Hub, second_hub: Hub, target: Path) -> None:
    hub.faults = [answer(b"x" * len(DATA))]
    run = Download(target, f"{hub.url}/file", f"{second_hub.url}/file")
    run()
    assert target.read_bytes() == DATA
    assert second_hub.sent_headers("Range") == [None]
    assert second_hub.url.removeprefix("http://") in run.lines[0]


def test_wrong_bytes_again_after_starting_over_end_the_download(hub: Hub, target: Path) -> None:
    write_part(target, b"x" * 500)
    hub.faults = [answer(b"x" * len(DATA))] * 9
    assert "SHA-256 differs" in Download(target, f"{hub.url}/file").fails()
    assert len(hub.requests) == 2


def test_page_of_another_size_is_refused_before_it_is_read(hub: Hub, target: Path) -> None:
    hub.faults = [answer(b"<html>please log in</html>")]
    run = Download(target, f"{hub.url}/file")
    assert f"offers 26 bytes, {len(DATA)} expected" in run.fails()
    assert run.progress == []


def test_no_more_bytes_are_taken_than_expected(hub: Hub, target: Path) -> None:
    hub.faults = [send_too_much]
    run = Download(target, f"{hub.url}/file")
    run.fails()
    assert max(done for done, _ in run.progress) == len(DATA)


def test_file_of_unknown_size_has_a_limit(hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LARGEST_DOWNLOAD", 9000)
    hub.faults = [send_too_much]
    run = Download(target, f"{hub.url}/file", size=None)
    assert "more than 9000 bytes" in run.fails()
    assert max(done for done, _ in run.progress) == 9000
    assert files_beside(target) == set()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_to_another_host_loses_the_token(hub: Hub, second_hub: Hub, target: Path, code: int) -> None:
    write_part(target, DATA[:100], etag=ETAG)
    hub.faults = [status(code, Location="/moved"), status(code, Location=f"{second_hub.url}/cdn")]
    Download(target, Origin(f"{hub.url}/file", "hf_secret"))()
    assert target.read_bytes() == DATA
    assert hub.sent_headers("Authorization") == ["Bearer hf_secret"] * 2
    assert second_hub.sent_headers("Authorization") == [None]
    assert second_hub.sent_headers("Range") == ["bytes=100-"]


def test_redirect_back_does_not_regain_the_token(hub: Hub, second_hub: Hub, target: Path) -> None:
    hub.faults = [status(302, Location=f"{second_hub.url}/away")]
    second_hub.faults = [status(302, Location=f"{hub.url}/back")]
    Download(target, Origin(f"{hub.url}/file", "hf_secret"))()
    assert hub.sent_headers("Authorization") == ["Bearer hf_secret", None]


def test_redirect_loop_ends(hub: Hub, target: Path) -> None:
    hub.faults = [status(302, Location="/file")] * 99
    assert "HTTP 302" in Download(target, f"{hub.url}/file").fails()


def test_redirect_to_an_unencrypted_address_is_refused(tmp_path: Path) -> None:
    body = (tmp_path / "body").open("wb")
    request = urllib.request.Request("https://hub.test/file")
    with pytest.raises(urllib.error.URLError, match="not encrypted"):
        RedirectHandler().redirect_request(request, body, 302, "", http.client.HTTPMessage(), "http://hub.test/x")
    assert body.closed


@pytest.mark.parametrize(("code", "token"), [(401, None), (403, None), (401, "hf_old")])
def test_forbidden_names_the_token_variable_and_not_the_token(
    hub: Hub, target: Path, code: int, token: str | None
) -> None:
    hub.faults = [status(code)]
    message = Download(target, Origin(f"{hub.url}/file", token)).fails()
    assert f"HTTP {code}" in message
    assert "HF_TOKEN" in message
    assert "hf_old" not in message
    assert len(hub.requests) == 1


def test_token_that_cannot_be_sent_is_not_shown(hub: Hub, target: Path) -> None:
    message = Download(target, Origin(f"{hub.url}/file", "hf_old\nsecret")).fails()
    assert "HF_TOKEN" in message
    assert "secret" not in message
    assert hub.requests == []


def test_missing_file_goes_on_to_the_mirror(hub: Hub, second_hub: Hub, target: Path) -> None:
    hub.faults = [status(404)]
    run = Download(target, f"{hub.url}/file", f"{second_hub.url}/file")
    run()
    assert target.read_bytes() == DATA
    assert len(hub.requests) == 1
    assert run.waits == []


def test_failure_names_address_and_path_once(hub: Hub, target: Path) -> None:
    hub.faults = [status(404)]
    message = Download(target, f"{hub.url}/file").fails()
    for part in ("HTTP 404", f"{hub.url}/file", str(target)):
        assert message.count(part) == 1
    assert "\n" not in message


@pytest.mark.parametrize(("after", "wait"), [("7", 7.0), ("86400", 60.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0)])
def test_busy_server_is_asked_again_after_the_time_it_names(hub: Hub, target: Path, after: str, wait: float) -> None:
    hub.faults = [status(503, Retry_After=after)]
    run = Download(target, f"{hub.url}/file")
    run()
    assert target.read_bytes() == DATA
    assert run.waits == [wait]


def test_server_that_stays_busy_is_left_after_longer_and_longer_waits(hub: Hub, target: Path) -> None:
    hub.faults = [status(429)] * 9
    run = Download(target, f"{hub.url}/file")
    assert "HTTP 429" in run.fails(attempts=4)
    assert run.waits == [1.0, 2.0, 4.0]
    assert len(hub.requests) == 4


def test_progress_resets_the_count_of_attempts(hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "CHUNK", 100)
    hub.faults = [drop_after(100), status(503), range_as("bytes 100-", DATA[100:300]), status(503)]
    run = Download(target, f"{hub.url}/file")
    run(attempts=3)
    assert target.read_bytes() == DATA
    assert run.waits == [1.0, 2.0, 1.0, 2.0]


def test_unreachable_hub_is_left_without_waiting(hub: Hub, target: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        run = Download(target, f"http://127.0.0.1:{closed.getsockname()[1]}/file", f"{hub.url}/file")
        run()
    assert target.read_bytes() == DATA
    assert run.waits == []


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        TimeoutError("timed out"),
        ssl.SSLCertVerificationError("certificate verify failed"),
    ],
    ids=["no name", "no answer", "no trust"],
)
def test_hub_without_a_connection_is_left_at_once(
    target: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    monkeypatch.setattr(socket, "create_connection", Connections(error))
    run = Download(target, "https://hub.test/file")
    assert str(error.strerror or error) in run.fails()
    assert run.waits == []


def test_connection_lost_half_way_is_waited_for(hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults = [drop_after(10)]
    lost = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    monkeypatch.setattr(socket, "create_connection", Connections(None, lost, None))
    run = Download(target, f"{hub.url}/file")
    run()
    assert target.read_bytes() == DATA
    assert run.waits == [1.0, 2.0]


class Connections:
    """Connections that fail, each in turn with one of `errors`, or are made where it is None."""

    def __init__(self, *errors: OSError | None) -> None:
        self.errors = list(errors)
        self.connect = socket.create_connection

    def __call__(self, address: tuple[str, int], timeout: float, source: None = None) -> socket.socket:
        if error := self.errors.pop(0):
            raise error
        return self.connect(address, timeout, source)


def test_offline_sends_no_request(hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("1", "true", "YES", "on"):
        monkeypatch.setenv("HF_HUB_OFFLINE", value)
        assert "HF_HUB_OFFLINE" in Download(target, f"{hub.url}/file").fails()
    assert hub.requests == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert Download(target, f"{hub.url}/file")() == target


def test_proxy_is_used(hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", hub.url)
    Download(target, "http://hub.test/file")()
    assert target.read_bytes() == DATA
    assert [path for path, _ in hub.requests] == ["http://hub.test/file"]


def test_https_proxy_does_not_see_the_token(hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", hub.url)
    assert "403" in Download(target, Origin("https://hub.test/file", "hf_secret")).fails(attempts=1)
    assert [path for path, _ in hub.requests] == ["CONNECT hub.test:443"]
    assert hub.sent_headers("Authorization") == [None]


def test_too_little_disk_space_is_seen_before_writing(hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(target.parents[1])._replace(free=len(DATA) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert "no room" in Download(target, f"{hub.url}/file").fails()
    assert files_beside(target) == {"vits.pth.part.etag"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_that_fills_up_is_one_line(hub: Hub, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("vits.pth.part").symlink_to("/dev/full")
    message = Download(target, f"{hub.url}/file").fails()
    assert os.strerror(errno.ENOSPC) in message
    assert "free some space" in message
    assert "DACLI_CACHE" in message
    assert len(hub.requests) == 1


def test_folder_that_cannot_be_made_is_one_line(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    message = Download(tmp_path / "file" / "vits.pth", f"{hub.url}/file").fails()
    assert "cannot save" in message
    assert hub.requests == []


def test_second_thread_waits_for_the_first_and_uses_its_file(hub: Hub, target: Path) -> None:
    sending, waiting = threading.Event(), threading.Event()

    def slow(handler: Handler) -> None:
        sending.set()
        waiting.wait(60)
        serve(handler)

    hub.faults = [slow]
    first = threading.Thread(target=Download(target, f"{hub.url}/file"))
    first.start()
    assert sending.wait(60)
    second = Download(target, f"{hub.url}/file")
    second.lines = SignallingList(waiting)
    assert second().read_bytes() == DATA
    first.join()
    assert len(hub.requests) == 1
    assert "another dacli" in second.lines[0]


class SignallingList(list[str]):
    """A list that sets an event when something is appended."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self.event = event

    def append(self, text: str) -> None:
        super().append(text)
        self.event.set()


@pytest.mark.skipif(sys.platform == "win32", reason="holds the lock with fcntl")
def test_second_process_waits_for_the_first_and_uses_its_file(hub: Hub, target: Path) -> None:
    target.parent.mkdir()
    holder = (
        "import fcntl, pathlib, sys; path = pathlib.Path(sys.argv[1])\n"
        "with open(f'{path}.lock', 'ab') as file:\n"
        "    fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True)\n"
        "    sys.stdin.readline(); path.write_bytes(bytes(range(256)) * 40)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        logged = threading.Event()
        run = Download(target, f"{hub.url}/file")
        run.lines = SignallingList(logged)
        waiter = threading.Thread(target=run)
        waiter.start()
        assert logged.wait(60)
        process.stdin.write("\n")
        process.stdin.flush()
        waiter.join()
    assert target.read_bytes() == DATA
    assert hub.requests == []


def test_obtain_downloads_once_and_sends_the_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/")
    monkeypatch.setenv("HF_TOKEN", "hf_mine\n")
    checkpoint = checkpoint_of_data("vits")
    path = obtain_checkpoint(checkpoint, list[str]().append, lambda *_: None)
    assert checkpoint_status(checkpoint).state == "ok"
    assert path == obtain_checkpoint(checkpoint, list[str]().append, lambda *_: None) == download_path(checkpoint)
    assert path.read_bytes() == DATA
    assert [path for path, _ in hub.requests] == [
        "/depth-anything/Depth-Anything-V2-Small/resolve/03876f8651c73a60fe4c2c48294e09fcb6838fcf"
        "/depth_anything_v2_vits.pth"
    ]
    assert hub.sent_headers("Authorization") == ["Bearer hf_mine"]


def test_obtain_asks_a_space_for_v1(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    obtain_checkpoint(checkpoint_of_data("vitb-v1"), list[str]().append, lambda *_: None)
    assert hub.requests[0][0] == "/spaces/LiheYoung/Depth-Anything/resolve/main/checkpoints/depth_anything_vitb14.pth"


def test_obtain_replaces_a_damaged_download(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    checkpoint = checkpoint_of_data("vits")
    obtain_checkpoint(checkpoint, list[str]().append, lambda *_: None)
    download_path(checkpoint).write_bytes(DATA[:-1])
    lines: list[str] = []
    assert obtain_checkpoint(checkpoint, lines.append, lambda *_: None).read_bytes() == DATA
    assert str(download_path(checkpoint)) in lines[0]
    assert len(hub.requests) == 2


def test_obtain_logs_a_non_commercial_licence_before_the_first_use_only(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    lines: list[str] = []

    def note_request(handler: Handler) -> None:
        lines.append("requested")
        serve(handler)

    hub.faults = [note_request]
    for name in ("vitb", "vitb", "vits"):
        obtain_checkpoint(checkpoint_of_data(name), lines.append, lambda *_: None)
    assert lines[1] == "requested"
    assert "CC-BY-NC-4.0" in lines[0]
    assert len(lines) == 2


def test_obtain_offline_names_address_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    checkpoint = checkpoint_named("vitb-v1")
    with pytest.raises(DacliError) as caught:
        obtain_checkpoint(checkpoint, list[str]().append, lambda *_: None)
    path = "spaces/LiheYoung/Depth-Anything/resolve/main/checkpoints/depth_anything_vitb14.pth"
    assert f"https://huggingface.co/{path} " in str(caught.value)
    assert str(tmp_path / "cache" / "weights" / "depth_anything_vitb14.pth") in str(caught.value)


def checkpoint_of_data(name: str) -> Checkpoint:
    return replace(checkpoint_named(name), sha256=SHA256, bytes=len(DATA))


# --- hubs that lie ---


@pytest.mark.parametrize(
    "location", ["ftp://{host}/file", "file:///etc/passwd", "data:,x", "http://[::1/x", "gopher://x/"]
)
def test_redirect_to_what_is_not_http_is_refused(hub: Hub, target: Path, location: str) -> None:
    hub.faults = [status(302, Location=location.format(host=hub.url.removeprefix("http://")))]
    message = Download(target, f"{hub.url}/file").fails()
    assert "redirects to" in message
    assert len(hub.requests) == 1
    assert files_beside(target) == set()


def chunked(body: bytes, kind: str) -> Fault:
    def send(handler: Handler) -> None:
        handler.head(200, Transfer_Encoding="chunked", Content_Type=kind)
        handler.wfile.write(b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")

    return send


@pytest.mark.parametrize("size", [len(DATA), None])
@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_chunked_page_is_not_kept(hub: Hub, target: Path, kind: str, size: int | None) -> None:
    hub.faults = [chunked(b"<html>", kind)] * 9
    Download(target, f"{hub.url}/file", size=size).fails()
    assert len(hub.requests) == 1
    assert files_beside(target) == set()


@pytest.mark.parametrize("after", ["²", "9" * 5000, "-1", "soon", ""])
def test_a_wait_that_is_no_number_is_none(hub: Hub, target: Path, after: str) -> None:
    hub.faults = [status(503, Retry_After=after)]
    run = Download(target, f"{hub.url}/file")
    run()
    assert run.waits == [1.0]


@pytest.mark.parametrize("total", ["²", "9" * 5000, "*", ""])
def test_a_total_that_is_no_number_is_unknown(hub: Hub, target: Path, total: str) -> None:
    write_part(target, DATA[:100], ETAG)
    hub.faults = [range_as(f"bytes 100-{len(DATA) - 1}/{total}", DATA[100:])]
    Download(target, f"{hub.url}/file")()
    assert target.read_bytes() == DATA


def test_a_password_of_an_address_is_sent_to_its_host_alone_and_never_shown(
    hub: Hub, second_hub: Hub, target: Path
) -> None:
    secret = hub.url.replace("//", "//me:pass%20word@")
    hub.faults = [status(302, Location=f"{second_hub.url}/there")]
    second_hub.faults = [status(404)]
    run = Download(target, f"{secret}/file")
    message = run.fails()
    assert hub.sent_headers("Authorization") == ["Basic bWU6cGFzcyB3b3Jk"]
    assert second_hub.sent_headers("Authorization") == [None]
    assert not re.search("me:|pass%20word|pass word", message + "".join(run.lines))
    assert f"//***@{hub.url.removeprefix('http://')}/file" in message


@pytest.mark.parametrize("address", ["https://me:secret@hub.test:port", "ftp://me:secret@hub.test", "me:secret@hub"])
def test_a_password_of_an_address_that_is_none_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, target: Path, address: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(DacliError) as caught:
        Download(target, *download_origins(checkpoint_named("vits")))()
    assert "secret" not in str(caught.value)
