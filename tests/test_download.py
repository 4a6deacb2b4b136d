"""Downloads survive what networks do, and nothing unverified passes for verified."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler

import pytest

from preprocessing.download import (
    Cancelled,
    Checksum,
    NetworkError,
    RetryingSession,
    Source,
    git_blob_sha1,
    retry_after,
)
from runtime.errors import UsageError
from tests.loopback import serve

CONTENT = bytes(range(256)) * 1024  # 256 KiB


def handler_of(answers: list[dict]) -> type[BaseHTTPRequestHandler]:
    """A handler that gives `answers` in turn, the last one for ever; `handler.requests` keeps what was asked."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        requests: list[dict] = []  # noqa: RUF012 (one class a test)

        def do_GET(self):
            answer = answers[min(len(self.requests), len(answers) - 1)]
            self.requests.append({"time": time.monotonic(), **self.headers})
            body = answer.get("body", b"")
            start = 0
            if answer.get("ranges") and self.headers.get("Range"):
                start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else answer.get("status", 200))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            for name, value in answer.get("headers", {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end = answer.get("cut", len(body))
            self.wfile.write(body[start:end])
            if end < len(body):
                self.close_connection = True

        def log_message(self, *_):
            pass

    return Handler


def session(**options) -> RetryingSession:
    return RetryingSession(**{"retries": 3, "wait": 0.01, "timeout": 5.0} | options)


def test_blob_name_is_what_git_computes(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    shown = subprocess.run(["git", "hash-object", tmp_path / "file"], capture_output=True, text=True, check=True)
    assert git_blob_sha1(CONTENT) == shown.stdout.strip()


def test_checksum_without_sha256_still_needs_the_blob_name():
    name = git_blob_sha1(CONTENT)
    assert Checksum(name).matches(CONTENT)
    assert not Checksum(name).matches(CONTENT[:-1] + b"?")
    assert not Checksum(name, hashlib.sha256(b"other").hexdigest()).matches(CONTENT)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_temporary_refusals_are_tried_again(status):
    handler = handler_of([{"status": status}, {"status": status}, {"body": CONTENT}])
    with serve(handler) as url:
        assert Source(url, session()).read("file") == CONTENT
    assert len(handler.requests) == 3


def test_pauses_double_and_follow_retry_after():
    handler = handler_of([{"status": 500}, {"status": 500}, {"status": 429, "headers": {"Retry-After": "1"}}, {}])
    with serve(handler) as url:
        session(wait=0.1).get(url)
    first, second, third = (b["time"] - a["time"] for a, b in zip(handler.requests, handler.requests[1:], strict=False))
    assert 0.1 <= first < 0.2 <= second < 0.6  # then 0.4 would be due, but a second is asked for
    assert 1.0 <= third < 2.0


def test_very_long_retry_after_is_not_waited_for():
    handler = handler_of([{"status": 429, "headers": {"Retry-After": "86400"}}])
    with serve(handler) as url:
        response = session().get(url)
    assert response.status_code == 429
    assert retry_after(response) == 86400
    assert len(handler.requests) == 1


def test_transfer_that_breaks_off_goes_on_from_the_last_whole_block():
    cut = {"body": CONTENT, "ranges": True, "cut": 100_000}
    handler = handler_of([cut, {**cut, "cut": 200_000}, {"body": CONTENT, "ranges": True}])
    with serve(handler) as url:
        assert Source(url, session()).read("file") == CONTENT
    assert [request.get("Range") for request in handler.requests] == [
        None,
        "bytes=65536-",
        "bytes=196608-",
    ]  # whole blocks of 64 KiB


def test_transfer_starts_again_where_the_server_knows_no_ranges():
    handler = handler_of([{"body": CONTENT, "cut": 100_000}, {"body": CONTENT}])
    with serve(handler) as url:
        assert Source(url, session()).read("file") == CONTENT


def test_transfer_that_never_completes_is_an_error():
    handler = handler_of([{"body": CONTENT, "cut": 100}])
    with serve(handler) as url, pytest.raises(NetworkError, match="broke off"):
        Source(url, session()).read("file")
    assert len(handler.requests) == 4


def test_file_the_server_does_not_have_is_none():
    with serve(handler_of([{"status": 404}])) as url:
        assert Source(url, session()).read("file") is None


def test_silent_server_times_out(monkeypatch):
    class Silent(BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(1)

    with serve(Silent) as url, pytest.raises(NetworkError, match="did not answer in time"):
        Source(url, session(timeout=0.1, retries=1)).read("file")


def test_unreachable_server_is_one_line():
    with pytest.raises(NetworkError, match=r"cannot be reached; try again later") as caught:
        Source("http://127.0.0.1:9", session()).read("file")
    assert "\n" not in str(caught.value)


def test_pause_ends_when_another_thread_stops_the_work():
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    with serve(handler_of([{"status": 503}])) as url:
        started = time.monotonic()
        with pytest.raises(Cancelled):
            session(wait=60, stop=stop).get(url)
    assert time.monotonic() - started < 2


def test_credentials_of_netrc_do_not_replace_our_header(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    handler = handler_of([{}])
    with serve(handler) as url:
        session().get(url, headers={"Authorization": "Token mine"})
    assert handler.requests[0]["Authorization"] == "Token mine"


def test_local_directory_and_file_address_are_sources(tmp_path):
    (tmp_path / "with space").mkdir()
    (tmp_path / "with space" / "a.npy").write_bytes(CONTENT)
    folder = tmp_path / "with space"
    for base in (str(folder), folder.as_uri()):
        source = Source(base, session())
        assert source.read("a.npy") == CONTENT
        assert source.read("b.npy") is None


def test_source_that_is_neither_address_nor_directory_is_refused(tmp_path):
    for base in ("ftp://127.0.0.1/", str(tmp_path / "nowhere"), "http://"):
        with pytest.raises(UsageError, match="neither"):
            Source(base, session())
