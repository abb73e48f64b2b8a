"""Servers that stall, cut, lie, redirect or are busy for some requests, and are well again then."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

from slmlab import byte_range
from slmlab.acquisition import mirror

Fault = Callable[["Sick"], None]
"""How one request is met."""


class Sick(mirror.Handler):
    """Meets the next requests for what has `at` in its path with the `faults` that are left."""

    faults: list[Fault]
    at: str
    contents: Mapping[str, bytes] = {}

    @property
    def content(self) -> bytes:
        """What somebody who asks for this path should get."""
        return self.contents[self._path]

    @property
    def _path(self) -> str:
        return self.path.partition("?")[0]

    def do_GET(self):
        self._record()
        if self.faults and self.at in self.path:
            self.faults.pop(0)(self)
        else:
            self._answer()


class Plain(Sick):
    """Has a content for each path, as package indexes and registries do."""

    def _answer(self):
        if self._path in self.contents:
            send(self, len(self.content))
        else:
            self._error(404, "EntryNotFound")


@contextmanager
def serve(
    handler: type[Sick],
    faults: list[Fault],
    at: str,
    contents: Mapping[str, bytes],
    files: Mapping[str, mirror.Files] | None = None,
) -> Iterator[mirror.Mirror]:
    """Start a server that meets its next requests with these faults, and then heals."""
    about = {"faults": list(faults), "at": at, "contents": contents}
    with mirror.serve(files or {}, type("Handler", (handler,), about)) as running:
        yield running


def send(handler, count, says=None, ranges=True, extra=b""):
    """Send `count` bytes of what is asked for, and say that it is `says`."""
    size = len(handler.content)
    first, _ = byte_range.asked(handler.headers.get("Range", "") if ranges else "", size)
    rest = handler.content[first:] + extra
    headers = {"Content-Type": _kind(handler), "Connection": "close"}
    handler._head(206 if first else 200, {"Content-Length": says or len(rest), **headers})
    handler.wfile.write(rest[:count])


def _kind(handler) -> str:
    return "application/octet-stream" if Path(handler.path).suffix else "text/html"


def stall(handler):
    send(handler, 50_000)
    handler.close_connection = False
    handler.rfile.read()  # until the client is gone


def silence(handler):
    handler.rfile.read()


def lie(handler):
    """Send other bytes, as many as are right."""
    size = len(handler.content)
    handler._head(200, {"Content-Length": size, "Content-Type": _kind(handler)})
    handler.wfile.write(handler.content[::-1])


def refuse(status, after=None):
    headers = {"Content-Length": 0} | ({"Retry-After": after} if after else {})
    return lambda handler: handler._head(status, headers)


def redirect(target):
    return lambda handler: handler._head(302, {"Content-Length": 0, "Location": target(handler)})


def promise_too_much(handler):
    send(handler, len(handler.content), says=2 * len(handler.content))


cut = partial(send, count=50_000)
promise_too_little = partial(send, count=50_000, says=50_000)
redirect_once = redirect(lambda handler: f"{handler.path}?again")
redirect_in_a_circle = redirect(lambda handler: handler.path)

PASSING = {
    "stalls": stall,
    "says nothing": silence,
    "is cut off": cut,
    "says too great a length": promise_too_much,
    "is asked too often": refuse(429),
    "is busy": refuse(503),
    "redirects": redirect_once,
}
"""What whoever asks again survives."""


def busy_twice(status: int) -> list[Fault]:
    """Say in Retry-After to ask again in 7 seconds, and then by the time that it is in 30."""
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    return [refuse(status, "7"), refuse(status, later)]
