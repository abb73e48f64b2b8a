"""A mirror of the Hugging Face Hub on this machine: what `$HF_ENDPOINT` can name.

It answers the few requests that a download needs, so that the client code that asks the Hub can
be watched, and tested, without a network.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from slmlab.files import sha256

_METADATA = re.compile(r"/api/models/(?P<repository>[^/?]+/[^/?]+)(/revision/[^/?]+)?(\?.*)?$")
_FILE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/[^/]+/(?P<file>[^/?]+)$")


@dataclass(frozen=True)
class Offer:
    """One file of a repository, as the mirror describes it."""

    path: Path

    @property
    def bytes(self) -> int:
        """The file's size."""
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """The file's SHA-256, which the Hub keeps with every large file."""
        return sha256(self.path)

    @property
    def revision(self) -> str:
        """A stand-in for the commit: 40 hexadecimal digits that change with the file."""
        return self.sha256[:40]


class Handler(BaseHTTPRequestHandler):
    """Answers one client in the Hub's words."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:  # noqa: D102
        self._answer()

    def do_GET(self) -> None:  # noqa: D102
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr; `Mirror.requests` keeps the requests."""

    def _answer(self) -> None:
        span = self.headers.get("Range", "")
        self.server.requests.append(f"{self.command} {self.path} {span}".rstrip())
        if asked := _METADATA.match(self.path):
            offer, answer = self.server.offers.get(asked["repository"]), self._metadata
        elif asked := _FILE.match(self.path):
            offer, answer = self.server.offers.get(asked["repository"]), self._file
            offer = offer if offer and offer.path.name == asked["file"] else None
        else:
            offer = None
        if offer:
            answer(asked["repository"], offer)
        else:
            self._head(404, {"Content-Length": 0, "X-Error-Code": "RepoNotFound"})

    def _metadata(self, repository: str, offer: Offer) -> None:
        lfs = {"size": offer.bytes, "sha256": offer.sha256, "pointerSize": 0}
        sibling = {"rfilename": offer.path.name, "size": offer.bytes, "lfs": lfs}
        about = {"id": repository, "sha": offer.revision, "siblings": [sibling]}
        body = json.dumps(about).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": len(body)})
        self.wfile.write(body)

    def _file(self, repository: str, offer: Offer) -> None:
        rest = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        first = int(rest[1]) if rest else 0
        headers = {
            "Content-Length": offer.bytes - first,
            "Accept-Ranges": "bytes",
            "ETag": f'"{offer.sha256}"',
            "X-Repo-Commit": offer.revision,
        }
        if rest:
            headers["Content-Range"] = f"bytes {first}-{offer.bytes - 1}/{offer.bytes}"
        self._head(206 if rest else 200, headers)
        if self.command == "GET":
            self.send_file(offer.path, first)

    def _head(self, status: int, headers: Mapping[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def send_file(self, path: Path, first: int) -> None:
        """Send the file from byte `first` on."""
        with path.open("rb") as source:
            source.seek(first)
            while block := source.read(2**20):
                self.wfile.write(block)


class Mirror(ThreadingHTTPServer):
    """A running mirror; `requests` holds a line for each request so far."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, Path], handler: type[Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.offers = {repository: Offer(path) for repository, path in files.items()}
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        """What to put into `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Go on: a client that was stopped in the middle is no error of the mirror."""


@contextmanager
def serve(files: Mapping[str, Path], handler: type[Handler] = Handler) -> Iterator[Mirror]:
    """Serve one file of each repository (`owner/name`) on 127.0.0.1 until the block ends."""
    with Mirror(files, handler) as mirror:
        threading.Thread(target=mirror.serve_forever, daemon=True).start()
        try:
            yield mirror
        finally:
            mirror.shutdown()
