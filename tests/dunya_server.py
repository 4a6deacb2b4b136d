"""A server on the loopback interface that plays Dunya, with its faults.

with DunyaServer(recordings, faults={"some-id": ["500", "cut"]}) as server:
    ...  # the first mp3 request for some-id is answered with 500, the second is cut, the third is right
"""

from __future__ import annotations

import functools
import io
import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import numpy as np
import soundfile

from tests.loopback import serve

TOKEN = "0123456789abcdef0123456789abcdef01234567"
PAGE_SIZE = 3


@functools.cache
def mp3(seed: int, seconds: float = 2.0) -> bytes:
    """An mp3 of noise, a different one for each seed."""
    file = io.BytesIO()
    noise = 0.1 * np.random.default_rng(seed).standard_normal(int(22050 * seconds))
    soundfile.write(file, noise, 22050, format="MP3", subtype="MPEG_LAYER_III")
    return file.getvalue()


class DunyaServer:
    """Recordings and their faults, and a record of what was asked.

    Attributes:
        recordings: id → details, as the API gives them.
        faults: id → what goes wrong with its mp3, one entry a request, then nothing; the last
            entry stays if it is written with a star ("404*").
        api_faults: the same for the details; the key "" is the list of recordings.
        asked: path → how often it was asked for.
        ranges: whether mp3 requests with a Range are answered as such.
        delay: seconds between blocks of an mp3.
    """

    def __init__(self, recordings, faults=None, api_faults=None, token=TOKEN, ranges=True, delay=0.0, dataset="makam"):
        self.recordings, self.token, self.ranges, self.delay = recordings, token, ranges, delay
        self.faults = {id_: list(entries) for id_, entries in (faults or {}).items()}
        self.api_faults = {id_: list(entries) for id_, entries in (api_faults or {}).items()}
        self.dataset = dataset
        self.asked: Counter[str] = Counter()
        self.times: list[float] = []
        self.tokens_seen: set[str] = set()
        self.most_at_once = self._now = 0
        self._lock = threading.Lock()

    def audio(self, id_: str) -> bytes:
        return mp3(sorted(self.recordings).index(id_))

    def __enter__(self) -> DunyaServer:
        self._context = serve(type("Handler", (_Handler,), {"dunya": self}))
        self.url = self._context.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._context.__exit__(*error)

    def take_fault(self, faults: dict[str, list[str]], id_: str) -> str:
        with self._lock:
            entries = faults.get(id_, [])
            if entries and entries[0].endswith("*"):
                return entries[0][:-1]
            return entries.pop(0) if entries else ""

    def count(self, path: str, authorization: str) -> None:
        with self._lock:
            self.asked[path] += 1
            self.times.append(time.monotonic())
            self.tokens_seen.add(authorization)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)

    def leave(self) -> None:
        with self._lock:
            self._now -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    dunya: DunyaServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        parts = urlsplit(self.path)
        self.dunya.count(parts.path, self.headers.get("Authorization", ""))
        try:
            self._answer(parts)
        finally:
            self.dunya.leave()

    def _answer(self, parts):
        if self.headers.get("Authorization") != f"Token {self.dunya.token}":
            self._send(401, b'{"detail": "Invalid token."}')
        elif parts.path.strip("/") == f"api/{self.dunya.dataset}/recording":
            self._send_list(parse_qs(parts.query))
        elif match := re.fullmatch(rf"/api/{self.dunya.dataset}/recording/([^/]+)", parts.path):
            self._send_details(match[1])
        elif match := re.fullmatch(r"/document/by-id/([^/]+)/mp3", parts.path):
            self._send_mp3(match[1])
        else:
            self._send(404, b"{}")

    def _send(self, status, body, content_type="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", headers.pop("length", str(len(body))))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        for start in range(0, len(body), 4096):
            self.wfile.write(body[start : start + 4096])
            if self.dunya.delay:
                time.sleep(self.dunya.delay)

    def _send_fault(self, fault, body, content_type):
        """Send what is wrong; False if `fault` is no fault."""
        half = body[: len(body) // 2]
        if fault.isdigit():
            self._send(int(fault), b"{}")
        elif fault.startswith("wait="):  # too many requests; come back after so many seconds
            self._send(429, b"{}", Retry_After=fault.removeprefix("wait="))
        elif fault == "cut":
            self._send(200, half, content_type, length=str(len(body)))
            self.close_connection = True
        elif fault == "long":  # a length beyond what is there
            self._send(200, body, content_type, length=str(len(body) + 100))
            self.close_connection = True
        elif fault == "short":  # a length that ends in the middle: what follows is lost to the client
            self._send(200, body, content_type, length=str(len(half)))
            self.close_connection = True
        elif fault == "half":  # the server's own file ends in the middle
            self._send(200, half, content_type)
        elif fault == "html":
            self._send(200, b"<!DOCTYPE html><html><body>Down for maintenance</body></html>" * 20, "text/html")
        elif fault == "empty":
            self._send(200, b"", content_type)
        elif fault == "silent":
            time.sleep(1.0)
            self.close_connection = True
        else:
            return False
        return True

    def _send_list(self, query):
        ids, page = sorted(self.dunya.recordings), int(query.get("page", ["1"])[0])
        rows = ids[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
        host = f"http://{self.headers['Host']}"
        following = (
            f"{host}/api/{self.dunya.dataset}/recording?page={page + 1}" if page * PAGE_SIZE < len(ids) else None
        )
        fault = self.dunya.take_fault(self.dunya.api_faults, "")
        if fault.startswith("next="):
            following = fault.removeprefix("next=")
        answer = {
            "count": len(ids),
            "next": following,
            "results": [{"mbid": id_, "title": f"Recording {id_}"} for id_ in rows],
        }
        body = json.dumps(answer).encode()
        if not self._send_fault(fault, body, "application/json"):
            self._send(200, body)

    def _send_details(self, id_):
        details = self.dunya.recordings.get(id_)
        fault = self.dunya.take_fault(self.dunya.api_faults, id_) or ("404" if details is None else "")
        body = json.dumps(details).encode()
        if not self._send_fault(fault, body, "application/json"):
            self._send(200, body)

    def _send_mp3(self, id_):
        known = id_ in self.dunya.recordings
        fault = self.dunya.take_fault(self.dunya.faults, id_) or ("" if known else "404")
        body = self.dunya.audio(id_) if known else b""
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if fault == "half" and start:
            self._send(416, b"")
        elif start and self.dunya.ranges:
            at = int(start[1])
            self._send(206 if at < len(body) else 416, body[at:], "audio/mpeg")
        elif not self._send_fault(fault, body, "audio/mpeg"):
            self._send(200, body, "audio/mpeg")
