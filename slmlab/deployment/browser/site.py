"""A web site for one machine: the pages, wllama and the learner's models, on 127.0.0.1 only.

It sends the headers that give a page several threads, forbids the page to load or send anything
elsewhere, and writes down every request. It knows a fixed table of files and nothing besides.
"""

import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, unquote

from slmlab import byte_range
from slmlab.deployment.browser import wllama
from slmlab.deployment.server import HOST
from slmlab.files import from_json
from slmlab.machine import usable_threads

ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
"""With both, a browser gives the page memory that threads can share: `crossOriginIsolated`."""

POLICY = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self' 'wasm-unsafe-eval'",
            "worker-src 'self' blob:",  # wllama's workers are made of blobs
            "connect-src 'self' blob:",
            "style-src 'self'",
            "img-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

_PAGE = Path(__file__).with_name("page")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".gguf": "application/octet-stream",
}
_CONTEXT = 2048
_LARGEST_REPORT = 1_000_000


@dataclass(frozen=True)
class Request:
    """One request that was answered, with the bytes of content that went out."""

    method: str
    path: str
    status: int
    bytes: int


class Site:
    """A running site; use it with `with`, or call `close`.

    It is a thread of this process, so nothing is left of it when the process ends. Port 0 is one
    that is free.
    """

    def __init__(
        self,
        models: Sequence[Path] = (),
        plan: Mapping[str, Any] | None = None,
        isolated: bool = True,
        port: int = 0,
    ) -> None:
        package = wllama.fetch() / "esm"
        self.files = {f"/{path.name}": path for path in _PAGE.iterdir() if path.suffix in _TYPES}
        self.files["/wllama/index.js"] = package / "index.js"
        self.files["/wllama/wllama.wasm"] = package / "wasm" / "wllama.wasm"
        self.files |= {f"/models/{path.name}": path for path in models}
        self.plan = {"threads": thread_counts(), "context": _CONTEXT, **(plan or {})}
        self.plan["models"] = [_offer(path) for path in models]
        self.headers = POLICY | (ISOLATION if isolated else {})
        self.requests: list[Request] = []
        self.reports: list[dict[str, Any]] = []
        self._server = _Server(self, port)
        self.port = self._server.server_port
        self.url = f"http://{HOST}:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __repr__(self) -> str:
        return f"<site at {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sent(self, start: str = "/") -> int:
        """Return the bytes sent so far for paths that start like this."""
        return sum(request.bytes for request in self.requests if request.path.startswith(start))

    def close(self) -> None:
        """End the site and hang up on who still listens; closing twice is harmless."""
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # Windows would give one port to two sites
    allow_reuse_port = False

    def __init__(self, site: Site, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.site = site
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.connections: set[socket.socket] = set()

    def process_request(self, request: socket.socket, client: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client)

    def shutdown_request(self, request: socket.socket) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that browsers keep open for their next request."""
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: object) -> None:
        """Go on: a browser that turns away in the middle is no error of the site."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "slmlab"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        status = self._take_report()
        if status != 204:
            self.close_connection = True  # what was not read would pass for the next request
        self._say(status)

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr; the site keeps the requests."""

    def _answer(self) -> None:
        path = unquote(self.path.partition("?")[0])
        if not self._is_for_us():
            self._say(403)
        elif path == "/plan.json":
            self._say(200, json.dumps(self.server.site.plan).encode(), "application/json")
        elif path == "/":
            self._say(302, location="/chat.html")
        elif file := self.server.site.files.get(path):
            self._send(file)
        else:
            self._say(404)

    def _is_for_us(self) -> bool:
        """Whether the name that was asked for is ours: a name that only leads here is refused."""
        return self.headers.get("Host") in self.server.hosts

    def _take_report(self) -> int:
        origin = self.headers.get("Origin", "").removeprefix("http://")
        if not self._is_for_us() or origin not in self.server.hosts:
            return 403
        if self.path != "/report":
            return 404
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            return 411
        if int(length) > _LARGEST_REPORT:
            return 413
        try:
            report = from_json(self.rfile.read(int(length)))
        except ValueError:
            return 400
        if not isinstance(report, dict):
            return 400
        self.server.site.reports.append(report)
        return 204

    def _say(
        self, status: int, body: bytes = b"", kind: str = "text/plain", location: str = ""
    ) -> None:
        headers = {"Location": location} if location else {}
        if status != 204:
            headers |= {"Content-Type": kind, "Content-Length": str(len(body))}
        self._head(status, headers)
        sent = 0 if self.command == "HEAD" else self.wfile.write(body)
        self._note(status, sent)

    def _send(self, file: Path) -> None:
        try:
            source = file.open("rb")
        except OSError:
            return self._say(404)
        with source:
            size = file.stat().st_size
            first, last = byte_range.asked(self.headers.get("Range", ""), size)
            if first >= size > 0:
                return self._head_only(416, {"Content-Range": f"bytes */{size}"})
            partial = (first, last) != (0, size - 1)
            wanted = last + 1 - first
            headers = {
                "Content-Type": _TYPES[file.suffix],
                "Content-Length": str(wanted),
                "Accept-Ranges": "bytes",
            }
            if partial:
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            self._head(206 if partial else 200, headers)
            source.seek(first)
            sent = 0
            try:
                while self.command == "GET" and (block := source.read(min(2**20, wanted - sent))):
                    self.wfile.write(block)
                    sent += len(block)
            finally:
                self._note(206 if partial else 200, sent)

    def _head_only(self, status: int, headers: Mapping[str, str]) -> None:
        self._head(status, {**headers, "Content-Length": "0"})
        self._note(status, 0)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**self.server.site.headers, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _note(self, status: int, sent: int) -> None:
        self.server.site.requests.append(Request(self.command, self.path, status, sent))


def thread_counts() -> list[int]:
    """Return how many threads a page is to try: one, and as many as there are cores for us."""
    return sorted({1, usable_threads()})


def _offer(model: Path) -> dict[str, Any]:
    """Describe a model to the page; a file that has changed has another address."""
    about = model.stat()
    address = f"/models/{quote(model.name)}?v={about.st_mtime_ns}"
    return {"name": model.name, "url": address, "bytes": about.st_size}
