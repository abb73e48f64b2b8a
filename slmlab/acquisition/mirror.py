"""A mirror of the Hugging Face Hub: what `$HF_ENDPOINT` can name.

It answers what huggingface_hub and Transformers ask for a download, read-only, from repositories
that are listed when it starts. A request is looked up in that list and is never made into a path,
so that it cannot reach any other file.
"""

import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from socketserver import TCPServer
from urllib.parse import unquote

from slmlab import byte_range
from slmlab.errors import UsageError
from slmlab.files import sha256

_ABOUT = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?()")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)/?(.*)")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_REMEMBERED, _LONGEST_REMEMBERED = 10_000, 500
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"Retry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)

Files = Mapping[str, Path]
"""The files of a repository by their names in it, with `/` between folders."""


@dataclass(frozen=True)
class Offer:
    """One file of a repository, as the mirror describes it: like the Hub, which keeps it in LFS."""

    path: Path

    @property
    def bytes(self) -> int:
        """The file's size."""
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """The file's SHA-256, which the Hub keeps with every large file."""
        return sha256(self.path)

    @cached_property
    def pointer(self) -> str:
        """What git keeps in place of the file."""
        version = "https://git-lfs.github.com/spec/v1"
        return f"version {version}\noid sha256:{self.sha256}\nsize {self.bytes}\n"

    @property
    def blob(self) -> str:
        """The name that git gives to the pointer."""
        return _sha1(f"blob {len(self.pointer)}\0{self.pointer}")

    def lfs(self, hash_key: str) -> dict[str, object]:
        """Return size and hash as the Hub's API gives them; it has two names for the hash."""
        return {"size": self.bytes, hash_key: self.sha256, "pointerSize": len(self.pointer)}


@dataclass(frozen=True)
class Repository:
    """What is served under one name, `owner/name`."""

    name: str
    offers: Mapping[str, Offer]

    @cached_property
    def revision(self) -> str:
        """A stand-in for the commit: 40 hexadecimal digits that change with any file."""
        files = [f"{name} {offer.sha256}\n" for name, offer in sorted(self.offers.items())]
        return _sha1("".join(files))

    def about(self) -> dict[str, object]:
        """Return the repository in the words of the Hub's API."""
        siblings = [
            {
                "rfilename": name,
                "size": offer.bytes,
                "blobId": offer.blob,
                "lfs": offer.lfs("sha256"),
            }
            for name, offer in self.offers.items()
        ]
        open_to_all = {"private": False, "gated": False, "disabled": False, "tags": []}
        return {"id": self.name, "sha": self.revision, **open_to_all, "siblings": siblings}

    def tree(self, folder: str, recursive: bool) -> list[dict[str, object]]:
        """Return what lies in a folder ("" is the top) in the words of the Hub's API."""
        start = f"{folder}/" if folder else ""
        inside = {
            PurePosixPath(name): offer
            for name, offer in self.offers.items()
            if name.startswith(start)
        }
        entries = {
            parent: {"type": "directory", "size": 0, "oid": _sha1(str(parent))}
            for file in inside
            for parent in file.parents
            if str(parent).startswith(start) and parent.name
        }
        for file, offer in inside.items():
            about = {"size": offer.bytes, "oid": offer.blob, "lfs": offer.lfs("oid")}
            entries[file] = {"type": "file", **about}
        return [
            {"path": str(path), **entry}
            for path, entry in entries.items()
            if recursive or path.parent == PurePosixPath(folder)
        ]


class Handler(BaseHTTPRequestHandler):
    """Answers one client in the Hub's words."""

    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds in which a client that neither sends nor takes anything is given up

    def do_GET(self) -> None:  # noqa: D102
        self._record()
        self._answer()

    do_HEAD = do_GET

    def _refuse(self) -> None:
        """Answer a request that would change something, and do not read what it sends."""
        self._record()
        self.close_connection = True
        self._error(405, "MethodNotAllowed", {"Allow": "GET, HEAD", "Connection": "close"})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_CONNECT = do_TRACE = _refuse

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr; `Mirror.requests` keeps the requests."""

    def _record(self) -> None:
        span = self.headers.get("Range", "")
        asked = f"{self.command} {self.path} {span}".rstrip()
        self.server.requests.append(asked[:_LONGEST_REMEMBERED])
        del self.server.requests[:-_REMEMBERED]

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        for pattern, answer in ((_ABOUT, self._about), (_TREE, self._tree), (_FILE, self._named)):
            if asked := pattern.fullmatch(path):
                return self._look_up(answer, *(unquote(part or "") for part in asked.groups()))
        return self._error(404, "RepoNotFound")

    def _look_up(self, answer: Callable, name: str, revision: str, inside: str) -> None:
        repository = self.server.repositories.get(name)
        if repository is None:
            return self._error(404, "RepoNotFound")
        if revision not in ("", "main", repository.revision):
            return self._error(404, "RevisionNotFound")
        return answer(repository, inside)

    def _about(self, repository: Repository, _: str) -> None:
        self._json(repository.about())

    def _tree(self, repository: Repository, folder: str) -> None:
        recursive = re.search(r"[?&]recursive=(true|1)\b", self.path, re.IGNORECASE)
        entries = repository.tree(folder.strip("/"), bool(recursive))
        if not entries:
            return self._nothing_there(repository)
        return self._json(entries)

    def _named(self, repository: Repository, file: str) -> None:
        offer = repository.offers.get(file)
        if offer is None:
            return self._nothing_there(repository)
        return self._file(repository, offer)

    def _nothing_there(self, repository: Repository) -> None:
        self._error(404, "EntryNotFound", {"X-Repo-Commit": repository.revision})

    def _file(self, repository: Repository, offer: Offer) -> None:
        etag, size = f'"{offer.sha256}"', offer.bytes
        headers = {
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
            "ETag": etag,
            "X-Linked-ETag": etag,
            "X-Linked-Size": size,
            "X-Repo-Commit": repository.revision,
        }
        span = self.headers.get("Range", "") if self._is_same(etag) else ""
        first, last = byte_range.asked(span, size)
        if first >= size > 0:
            return self._error(416, "RangeNotSatisfiable", {"Content-Range": f"bytes */{size}"})
        partial = (first, last) != (0, size - 1)
        if partial:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        headers["Content-Length"] = last + 1 - first
        self._head(206 if partial else 200, headers)
        if self.command == "GET":
            self.send_file(offer.path, first, last + 1 - first)

    def _is_same(self, etag: str) -> bool:
        """Whether the client has begun with this very file, as far as it says so."""
        return self.headers.get("If-Range", etag) == etag

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": len(body)})
        if self.command == "GET":
            self.wfile.write(body)

    def _error(self, status: int, code: str, headers: Mapping[str, object] | None = None) -> None:
        self._head(status, {"Content-Length": 0, "X-Error-Code": code, **(headers or {})})

    def _head(self, status: int, headers: Mapping[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def send_file(self, path: Path, first: int, count: int) -> None:
        """Send `count` bytes of the file from byte `first` on, in small pieces."""
        if count:
            with path.open("rb") as source:
                self.connection.sendfile(source, first, count)


class Mirror(ThreadingHTTPServer):
    """A running mirror; `requests` holds a line, cut where it is long, for each of the last.

    It serves `most_at_once` connections, and whoever comes then is asked to come again.
    """

    daemon_threads = True
    request_queue_size = 128
    most_at_once = 300  # a room of 30, each with the eight that huggingface_hub opens, has 240

    def __init__(
        self,
        files: Mapping[str, Path | Files],
        handler: type[Handler] = Handler,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.repositories = {
            name: Repository(name, {file: Offer(path) for file, path in _listed(held).items()})
            for name, held in files.items()
        }
        self.requests: list[str] = []
        self._places = threading.Semaphore(self.most_at_once)
        super().__init__((host, port), handler)

    @property
    def address(self) -> str:
        """What to put into `HF_ENDPOINT`."""
        host = _seen_as(self.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}"

    def server_bind(self) -> None:
        """Bind without looking up this machine's name, which can take long on a poor network."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def verify_request(self, request: socket.socket, _: object) -> bool:
        """Take a connection where there is a place for it; answer it with 503 where there is none.

        What it has sent is read first: closed with that unread, it would not get the answer.
        """
        if self._places.acquire(blocking=False):
            return True
        with suppress(OSError):
            request.settimeout(0.2)
            request.recv(2**16)
            request.sendall(_BUSY)
        return False

    def process_request_thread(self, *connection: object) -> None:
        """Serve a connection, and give its place back."""
        try:
            super().process_request_thread(*connection)
        finally:
            self._places.release()

    def handle_error(self, *_: object) -> None:
        """Go on: a client that was stopped in the middle is no error of the mirror."""


@contextmanager
def serve(
    files: Mapping[str, Path | Files],
    handler: type[Handler] = Handler,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[Mirror]:
    """Serve repositories (`owner/name`) read-only until the block ends.

    Each is one file, a folder (without what begins with a dot), or files by name. A `port` of 0 is
    a free one. Raises `UsageError` where the address or the port cannot be used.
    """
    with _bound(files, handler, host, port) as mirror:
        threading.Thread(target=mirror.serve_forever, args=[0.1], daemon=True).start()
        try:
            yield mirror
        finally:
            mirror.shutdown()


def _bound(files: Mapping, handler: type[Handler], host: str, port: int) -> Mirror:
    if not host:
        raise UsageError("The address is empty: name one of this machine, or 0.0.0.0 for all.")
    try:
        return Mirror(files, handler, host, port)
    except (OSError, OverflowError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise UsageError(
            f"The mirror cannot listen on port {port} of {host} ({reason}): choose another port, "
            f"or an address of this machine."
        ) from None


def _listed(held: Path | Files) -> Files:
    if not isinstance(held, Path):
        return held
    if held.is_file():
        return {held.name: held}
    found = {path.relative_to(held): path for path in sorted(held.rglob("*")) if path.is_file()}
    return {
        inside.as_posix(): path
        for inside, path in found.items()
        if not any(part.startswith(".") for part in inside.parts)
    }


def _seen_as(host: str) -> str:
    """Return the address under which others find us, where we listen on all that we have."""
    if host not in ("0.0.0.0", "::"):
        return host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("2001:db8::1" if ":" in host else "192.0.2.1", 9))  # sends nothing
            return asking.getsockname()[0]
        except OSError:
            return socket.gethostname()


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()
