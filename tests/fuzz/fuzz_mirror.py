"""A request of any bytes gets an answer from the mirror, but no file that it does not serve."""

import http.client
import io
import re
import tempfile
from pathlib import Path

from slmlab.acquisition import mirror

_SCRATCH = tempfile.TemporaryDirectory(prefix="slmlab-fuzz-")
_SECRET = b"not for you"
_CONTENT = b"the model's own bytes"
_UNKNOWN_TO_HTTP = {501, 505}  # a method and a version that nobody knows
_ANSWERS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


class _Connection:
    """A client that has sent everything, and takes everything."""

    def __init__(self, asked: bytes) -> None:
        self.asked, self.answered = asked, bytearray()

    def makefile(self, *_: object, **__: object) -> io.BytesIO:
        return io.BytesIO(self.asked)

    def sendall(self, piece: bytes) -> None:
        self.answered += piece

    def sendfile(self, source: io.BufferedReader, first: int, count: int) -> None:
        source.seek(first)
        self.answered += source.read(count)

    def settimeout(self, _: float) -> None:
        pass


class _Answered(io.BytesIO):
    def makefile(self, _: str) -> io.BytesIO:
        return self


def _served() -> mirror.Mirror:
    home = Path(_SCRATCH.name)
    folder = home / "tiny"
    (folder / "onnx").mkdir(parents=True)
    for path, content in (
        (folder / "config.json", b"{}"),
        (folder / "tiny.gguf", _CONTENT),
        (folder / "onnx" / "empty.onnx", b""),
        (folder / ".token", _SECRET),
        (home / "outside.txt", _SECRET),
    ):
        path.write_bytes(content)
    running = mirror.Mirror({"someone/tiny": folder})
    running.server_close()  # requests are handed to it below, without a network
    return running


_MIRROR = _served()


def one_input(data: bytes) -> None:
    """Let the mirror's handler read the bytes as a connection's, and look at what it answers."""
    client = _Connection(data)
    mirror.Handler(client, ("127.0.0.1", 1), _MIRROR)
    answered = bytes(client.answered)
    assert _SECRET not in answered
    assert {int(code) for code in _ANSWERS.findall(answered) if int(code) >= 500} <= (
        _UNKNOWN_TO_HTTP
    )
    assert sum(map(len, _MIRROR.requests)) < 10**7
    if answered.startswith(b"HTTP/"):
        first = http.client.HTTPResponse(_Answered(answered))
        first.begin()
        assert first.getheader("Content-Length") or first.will_close
    _MIRROR.requests.clear()


def _get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode()


_GGUF = "/someone/tiny/resolve/main/tiny.gguf"
SEEDS = [
    _get("/api/models/someone/tiny"),
    _get(f"/api/models/someone/tiny/revision/{'0' * 40}", method="HEAD"),
    _get("/api/models/someone/tiny/tree/main/onnx?recursive=true"),
    _get(_GGUF, "Range: bytes=3-7"),
    _get(_GGUF, "Range: bytes=-5", 'If-Range: "0"') + _get(_GGUF, method="HEAD"),
    _get("/someone/tiny/resolve/main/onnx/empty.onnx", "Range: bytes=0-0"),
    _get("/someone/tiny/resolve/main/../../outside.txt"),
    _get("/someone/tiny/resolve/main/..%2f..%2foutside.txt"),
    _get("/someone/tiny/resolve/main/.token", "Expect: 100-continue"),
    _get(_GGUF, "Content-Length: 3", method="POST") + b"abc",
    _get(_GGUF, *(f"X-{n}: {'y' * 50}" for n in range(110))),
    b"GET " + b"/" * 70000 + b" HTTP/1.1\r\n\r\n",
    _get(_GGUF, "Range: bytes=" + "9" * 60000) * 20,
]
