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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from socketserver import TCPServer
from urllib.parse import unquote

from slmlab import byte_range
from slmlab.acquisition.fetching import ModelFile, fetch
from slmlab.errors import LicenceNotAccepted, UsageError
from slmlab.files import sha256
from slmlab.tiers import card

ON_HUB = "https://huggingface.co"
"""Where a model's licence can be read, whatever `$HF_ENDPOINT` names."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_ABOUT = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?()")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)/?(.*)")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_REMEMBERED, _LONGEST_REMEMBERED = 10_000, 500

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
    """A running mirror; `requests` holds a line, cut where it is long, for each of the last."""

    daemon_threads = True
    request_queue_size = 128

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


def chosen(models: Sequence[str], accept_licence: bool = False) -> dict[str, Path | Files]:
    """Return what a mirror of these models serves, each file verified.

    A model is the name of a card, whose file is fetched if it is not here, or `OWNER/NAME=DIR` or
    a folder in Hugging Face's layout, which is then called `local/` and its name. Raises what
    `fetch` raises, and `UsageError` for a folder that cannot be served.
    """
    found: dict[str, Path | Files] = {}
    for name, held in (_chosen(model, accept_licence) for model in dict.fromkeys(models)):
        if name in found:
            raise UsageError(f"Two models are called {name}: name each with OWNER/NAME=DIR.")
        found[name] = held
    return found


def handed_on(name: str, accept_licence: bool = False) -> ModelFile:
    """Return the verified file of a model that is to be given to others, fetched if it is not here.

    A licence that must be accepted is asked for each time, also for a file that is here. Raises
    what `fetch` raises.
    """
    model = card(name)
    if model.licence_must_be_accepted and not accept_licence:
        raise LicenceNotAccepted(
            f"{model.title} comes under the licence {model.licence!r}, which has to be accepted "
            f"and handed on with it: read it on {ON_HUB}/{model.repository}, then repeat with "
            f"--accept-license."
        )
    return fetch(name, accept_licence=accept_licence)


def _chosen(model: str, accept_licence: bool) -> tuple[str, Path | Files]:
    name, named, folder = model.rpartition("=")
    if named or Path(folder).is_dir():
        name = name or f"local/{Path(folder).resolve().name}"
        if not (_NAME.fullmatch(name) and (Path(folder) / "config.json").is_file()):
            raise UsageError(
                f"{model!r} is no model folder that can be served: give a folder with a "
                f"config.json, or OWNER/NAME=DIR to name it."
            )
        return name, Path(folder)
    found, about = handed_on(model, accept_licence), card(model)
    repository = about.gguf_repository or f"slmlab/{about.name}"
    return repository, {about.gguf_file or found.path.name: found.path}


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
