"""What the scripts ask of Dunya, through the compmusic package.

compmusic knows Dunya's addresses and its token; it does not retry, waits for ever, sends the
token wherever a page of a list points, and holds a whole mp3 in memory. Its requests therefore
go through a session of ours, and audio is streamed by that session directly.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from compmusic import dunya
from compmusic.dunya import conn

from preprocessing.download import LONGEST_PAUSE, RetryingSession, describe, retry_after
from preprocessing.dunya.mp3 import NotAnMp3, check_mp3
from runtime.atomic_files import atomic_write
from runtime.errors import UsageError, UserError

DATASETS = ("makam", "hindustani", "carnatic")
HOST = "https://dunya.compmusic.upf.edu"
_TOKEN_HELP = f"your token is shown at {HOST}/user/profile/ once you are logged in"
_CHUNK_BYTES = 1 << 16
_BODY_ATTEMPTS = 3  # how often an answer is asked for again whose status was fine but whose content was not


class AccessDenied(UserError):
    """Dunya does not accept the token, or does not let its owner have the audio."""


class RecordingFailed(Exception):
    """One recording could not be had; the others may be.

    Attributes:
        temporary: it may well succeed another time (the server was down or busy).
        refused: access to it was denied.
    """

    def __init__(self, reason: str, *, temporary: bool = False, refused: bool = False) -> None:
        super().__init__(reason)
        self.temporary, self.refused = temporary, refused


class _BadContent(RecordingFailed):
    """The answer was given, but its content was not whole or not what was asked for."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, temporary=True)


class _DunyaSession(RetryingSession):
    """Sends the token to Dunya's host and nowhere else."""

    def __init__(self, host: str, token: str, **options: Any) -> None:
        super().__init__(**options)
        self.host = urlsplit(host)
        self.headers["Authorization"] = f"Token {token}"

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        """See `RetryingSession.request`.

        Raises:
            UserError: the address is not on Dunya's host, or Dunya asks for a very long pause.
        """
        parts = urlsplit(url)
        if parts.netloc != self.host.netloc:
            raise UserError(f"Dunya's list goes on at another host ({parts.netloc[:80]}); the token is not sent there")
        # A server behind a proxy may name the next page with http://; the token goes encrypted all the same.
        response = super().request(method, urlunsplit(parts._replace(scheme=self.host.scheme)), **options)
        if response.status_code == 429 and retry_after(response) > LONGEST_PAUSE:
            minutes = round(retry_after(response) / 60)
            raise UserError(f"Dunya asks to wait {minutes} minutes; run the same command again after that")
        return response


class DunyaClient:
    """Recordings of one of Dunya's corpora."""

    def __init__(
        self,
        dataset: str,
        token: str,
        host: str = HOST,
        *,
        retries: int = 5,
        wait: float = 1.0,
        timeout: float = 60.0,
        connections: int = 4,
        stop: threading.Event | None = None,
    ) -> None:
        """
        Args:
            dataset: "makam", "hindustani" or "carnatic".
            token: the user's token; it is never shown or written.
            host: Dunya's address.
            retries, wait, timeout, stop: see `RetryingSession`.
            connections: how many requests may be under way at once.

        Raises:
            UsageError: the token or the address cannot be one.
        """
        token = token.strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise UsageError(f"the Dunya token is empty or has characters that no token has; {_TOKEN_HELP}")
        host = host.rstrip("/")
        if urlsplit(host).scheme not in ("http", "https") or not urlsplit(host).netloc:
            raise UsageError(f"{host} is not an http(s) address")
        self.host = host
        self.session = _DunyaSession(host, token, retries=retries, wait=wait, timeout=timeout, stop=stop)
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections)
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)
        dunya.set_hostname(host)
        dunya.set_token(token)
        conn.session = self.session
        self._api = {"makam": dunya.makam, "hindustani": dunya.hindustani, "carnatic": dunya.carnatic}[dataset]

    def check_token(self, recording_id: str) -> None:
        """Ask for one recording, to learn whether Dunya accepts the token before much is asked.

        Raises:
            AccessDenied: it does not.
            UserError: Dunya cannot be reached.
        """
        try:
            self.recording(recording_id)
        except RecordingFailed as error:
            if error.refused:
                raise AccessDenied(f"Dunya does not accept the token ({error}); {_TOKEN_HELP}") from None
            if error.temporary:
                raise UserError(f"Dunya cannot be used now ({error}); run the same command again later") from None

    def recording_ids(self) -> list[str]:
        """The ids of all recordings of the corpus, as Dunya lists them (unchecked text).

        Raises:
            AccessDenied: the token is not accepted.
            UserError: the list cannot be had.
        """
        try:
            listed = self._json(self._api.get_recordings)
        except RecordingFailed as error:
            if error.refused:
                raise AccessDenied(f"Dunya does not accept the token ({error}); {_TOKEN_HELP}") from None
            raise UserError(f"Dunya's list of recordings cannot be had ({error}); try again later") from None
        if not isinstance(listed, list) or not all(isinstance(item, dict) and "mbid" in item for item in listed):
            raise UserError("Dunya's list of recordings has another form than expected; try again later")
        return list(dict.fromkeys(str(item["mbid"]) for item in listed))

    def recording(self, recording_id: str) -> dict[str, Any]:
        """What Dunya knows about a recording.

        Raises:
            RecordingFailed: it cannot be had.
        """
        details = self._json(lambda: self._api.get_recording(recording_id))
        if not isinstance(details, dict):
            raise RecordingFailed("the details have another form than expected")
        return details

    def _json(self, ask: Callable[[], Any]) -> Any:
        """The answer to one of compmusic's questions."""
        for attempt in range(_BODY_ATTEMPTS):
            try:
                return ask()
            except conn.HTTPError as error:
                raise _failure_of_status(error.args[0].response) from error
            except json.JSONDecodeError as error:
                if attempt + 1 == _BODY_ATTEMPTS:
                    raise RecordingFailed("the server sent something other than JSON", temporary=True) from error
            except requests.RequestException as error:
                raise RecordingFailed(describe(error), temporary=True) from error
            self.session.pause(attempt)
        raise AssertionError("unreachable")

    def save_mp3(self, recording_id: str, path: Path) -> None:
        """Stream a recording's mp3 to `path`, which appears when it is whole and has been read as an mp3.

        Raises:
            RecordingFailed: it cannot be had whole.
        """
        for attempt in range(_BODY_ATTEMPTS):
            try:
                self._stream_mp3(recording_id, path)
                return
            except _BadContent:
                if attempt + 1 == _BODY_ATTEMPTS:
                    raise
            self.session.pause(attempt)

    def _stream_mp3(self, recording_id: str, path: Path) -> None:
        with self._get_mp3(recording_id) as response:
            if response.status_code != 200:
                raise _failure_of_status(response)
            with atomic_write(path) as file:
                try:
                    for chunk in response.iter_content(_CHUNK_BYTES):
                        self.session.check_stop()
                        file.write(chunk)
                except requests.RequestException as error:
                    raise _BadContent(describe(error)) from error
                file.flush()
                self._check(Path(file.name), recording_id, response.headers.get("Content-Type", ""))

    def _get_mp3(self, recording_id: str, **headers: str) -> requests.Response:
        """The address of `dunya.docserver.get_mp3`, which would hold the file in memory."""
        url = f"{self.host}/document/by-id/{recording_id}/mp3"
        try:
            return self.session.get(url, headers={"Accept-Encoding": "identity", **headers}, stream=True)
        except requests.RequestException as error:
            raise RecordingFailed(describe(error), temporary=True) from error

    def _check(self, part: Path, recording_id: str, content_type: str) -> None:
        try:
            whole = check_mp3(part)
        except NotAnMp3 as error:
            kind = content_type.split(";")[0].strip()[:40]
            raise _BadContent(f"{error} (the server calls it {kind})" if kind else str(error)) from error
        if whole:
            return
        # Either the server announced too short a length, or its own file ends like this.
        with self._get_mp3(recording_id, Range=f"bytes={part.stat().st_size}-") as rest:
            if rest.status_code != 416:
                raise _BadContent("the mp3 arrived cut short")


def _failure_of_status(response: requests.Response) -> RecordingFailed:
    status = response.status_code
    if status == 404:
        return RecordingFailed("Dunya does not have it (HTTP 404)")
    refused = status in (401, 403)
    return RecordingFailed(describe(response), temporary=status == 429 or status >= 500, refused=refused)
