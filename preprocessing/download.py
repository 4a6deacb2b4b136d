"""Fetching that survives bad networks: retries with back-off, resumed and verified downloads.

Built on `requests`, which compmusic uses too, so that one session serves both the published
files and Dunya.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import requests

from runtime.errors import DataError, UsageError, UserError

TEMPORARY_STATUS = frozenset({408, 429, 500, 502, 503, 504})
NETWORK_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)
LONGEST_PAUSE = 300.0  # seconds; a server that asks for more is told to the user instead
_CHUNK_BYTES = 1 << 16
_ADVICE = "try again later, or name another --base_url"


class NetworkError(UserError):
    """A server that cannot be reached, or that keeps failing."""


class Cancelled(Exception):
    """Another thread has asked for the work to stop."""


class RetryingSession(requests.Session):
    """An HTTP session that waits and tries again where that may help.

    A request is repeated after connection errors, time-outs and the statuses of
    `TEMPORARY_STATUS`, with a pause that doubles each time, or as long as `Retry-After` asks.
    When the attempts are used up the last response is returned or the last error raised.
    """

    def __init__(
        self,
        retries: int = 5,
        wait: float = 1.0,
        timeout: float = 60.0,
        stop: threading.Event | None = None,
    ) -> None:
        """
        Args:
            retries: how often a request is repeated.
            wait: first pause in seconds.
            timeout: seconds without a byte after which a request has failed.
            stop: set by another thread to end pauses and transfers with `Cancelled`.
        """
        super().__init__()
        self.retries, self.wait, self.timeout = retries, wait, timeout
        self.stop = stop or threading.Event()
        # Given any auth of its own, requests does not take one from ~/.netrc in place of our header.
        self.auth = _unchanged

    def request(self, method: str, url: str, **options) -> requests.Response:
        """See `requests.Session.request`.

        Raises:
            Cancelled: `stop` was set.
            requests.RequestException: the last attempt failed.
        """
        options.setdefault("timeout", (min(10.0, self.timeout), self.timeout))
        for attempt in range(self.retries + 1):
            self.check_stop()
            try:
                response = super().request(method, url, **options)
            except NETWORK_ERRORS:
                if attempt == self.retries:
                    raise
                self.pause(attempt)
                continue
            asked = retry_after(response)
            if response.status_code not in TEMPORARY_STATUS or attempt == self.retries or asked > LONGEST_PAUSE:
                return response
            response.close()
            self.pause(attempt, at_least=asked)
        raise AssertionError("unreachable")

    def pause(self, attempt: int, at_least: float = 0.0) -> None:
        """Wait after the failed attempt number `attempt` (from 0); `Cancelled` ends the wait."""
        self.stop.wait(min(LONGEST_PAUSE, max(self.wait * 2**attempt, at_least)))
        self.check_stop()

    def check_stop(self) -> None:
        """Raise `Cancelled` if the work has been stopped."""
        if self.stop.is_set():
            raise Cancelled


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def retry_after(response: requests.Response) -> float:
    """Seconds that a response's `Retry-After` (a number or a date, RFC 9110 §10.2.3) asks for; 0 without one."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def describe(error: Exception | requests.Response) -> str:
    """What went wrong with a request, in a few words and without headers or addresses."""
    if isinstance(error, requests.Response):
        return f"HTTP {error.status_code} {error.reason or ''}".strip()
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not trusted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be reached"
    if isinstance(error, (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)):
        return "the transfer broke off"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return type(error).__name__


@dataclass(frozen=True)
class Checksum:
    """What a published file is recognised by.

    Attributes:
        git_blob_sha1: SHA-1 of "blob <size>\\0" and the content, as Git names it.
        sha256: SHA-256 of the content; empty where it is not known.
    """

    git_blob_sha1: str
    sha256: str = ""

    def matches(self, content: bytes) -> bool:
        """Whether `content` is the published file."""
        return git_blob_sha1(content) == self.git_blob_sha1 and (
            not self.sha256 or hashlib.sha256(content).hexdigest() == self.sha256
        )


def git_blob_sha1(content: bytes) -> str:
    """The name Git gives to a file of this content (Pro Git, section 10.2)."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class Source:
    """A place with files: an http(s) address, a file:// address or a directory."""

    def __init__(self, base: str, session: RetryingSession) -> None:
        """
        Raises:
            UsageError: `base` is neither an address of a known kind nor a directory.
        """
        self.base, self.session = base.rstrip("/"), session
        parts = urlsplit(base)
        self.directory: Path | None = None
        if parts.scheme in ("http", "https") and parts.netloc:
            return
        self.directory = Path(url2pathname(unquote(parts.path))) if parts.scheme == "file" else Path(base)
        if not self.directory.is_dir():
            raise UsageError(f"{base} is neither an http(s) address nor a directory")

    def read(self, relative: str) -> bytes | None:
        """The content of a file, or None if the place does not have it.

        Files are a few megabytes at most and are held in memory until they have been verified.
        A transfer that breaks off goes on from the last whole block of it.

        Raises:
            NetworkError: the server cannot be reached or keeps failing.
            DataError: a local file cannot be read.
        """
        if self.directory is None:
            return self._read_http(f"{self.base}/{relative}")
        path = self.directory / relative
        try:
            return path.read_bytes() if path.is_file() else None
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error

    def _read_http(self, url: str) -> bytes | None:
        content = bytearray()
        for attempt in range(self.session.retries + 1):
            response = self._get(url, start=len(content))
            if response.status_code in (404, 410):
                return None
            if response.status_code == 416 or not _starts_at(response, len(content)):
                content.clear()  # a server without ranges sends the file from its first byte
            if response.status_code not in (200, 206, 416):
                raise NetworkError(f"{url}: {describe(response)}; {_ADVICE}")
            try:
                if response.status_code != 416:
                    for chunk in response.iter_content(_CHUNK_BYTES):
                        content += chunk
                    return bytes(content)
            except NETWORK_ERRORS as error:
                if attempt == self.session.retries:
                    raise NetworkError(f"{url}: {describe(error)}; {_ADVICE}") from error
            self.session.pause(attempt)
        raise NetworkError(f"{url}: the transfer broke off; {_ADVICE}")

    def _get(self, url: str, start: int) -> requests.Response:
        headers = {"Accept-Encoding": "identity"}  # ranges count the bytes of the file itself
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            return self.session.get(url, headers=headers, stream=True)
        except requests.RequestException as error:
            raise NetworkError(f"{url}: {describe(error)}; {_ADVICE}") from error


def _starts_at(response: requests.Response, start: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
