"""A server process: started on a free port of 127.0.0.1, waited for, and ended with us."""

import os
import re
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from slmlab.deployment.metrics import Sample, samples
from slmlab.environments.guarded import guarded, last_words
from slmlab.errors import ServerFailed, UsageError

HOST = "127.0.0.1"

_PATIENCE = 300.0
"""Seconds a server gets to start: vLLM takes 40 on an idle machine with two cores."""

_EXCEPTION = re.compile(
    r"^(?:\(.*?\)\s*)?(?:[A-Z]+ .*?\] )?"
    r"((?:\w+\.)*\w*(?:Error|Exception): .+|Value error, .+)$"  # the latter is pydantic's
)
_ELSEWHERE = "See root cause above"
_IN_USE = re.compile("address already in use", re.IGNORECASE)


@dataclass(frozen=True)
class Launch:
    """How to start a server.

    `health` is a path that answers with 200 when it is ready; `model` the name requests must give;
    `metrics` the path of its Prometheus page, if it has one. A `stand_in` is not the real server,
    but speaks its protocol. `after_start` is called with the URL of the healthy server, to give it
    what it needs before it is handed out. `env` is all of its environment variables, or ours
    where it is None.
    """

    command: Sequence[str | Path]
    health: str
    model: str
    version: str
    env: Mapping[str, str] | None = None
    api_key: str | None = None
    metrics: str | None = None
    stand_in: bool = False
    after_start: Callable[[str], None] | None = None


class Server:
    """A running server; use it with `with`, or call `close`.

    `url` is its root and `base_url` what the OpenAI client wants, `model` the name requests must
    give, `api_key` the key they must carry (None where the server knows none).
    """

    def __init__(self, name: str, launch: Launch, port: int) -> None:
        self.name = name
        self.model = launch.model
        self.version = launch.version
        self.stand_in = launch.stand_in
        self.api_key = launch.api_key
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.base_url = f"{self.url}/v1"
        self._launch = launch
        self._open = ExitStack()
        folder = self._open.enter_context(tempfile.TemporaryDirectory(prefix="slmlab-server-"))
        self._log_file = Path(folder, "log.txt")
        self._last_log = ""
        log = self._open.enter_context(self._log_file.open("w", encoding="utf-8"))
        variables = os.environ if launch.env is None else launch.env
        variables = {**variables, "TMPDIR": folder}  # what it leaves there goes with it
        self._process: subprocess.Popen[str] = self._open.enter_context(
            guarded(launch.command, variables, stdout=log, stderr=log)
        )

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"at {self.base_url}"
        kind = " (stand-in)" if self.stand_in else ""
        return f"<{self.name}{kind} {self.version} serving {self.model}, {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called or the process has ended."""
        return self._process.poll() is not None

    @property
    def pid(self) -> int:
        """The process that guards the server; all that the server has started ends with it."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server has written so far, also after it was closed."""
        if self._log_file.exists():
            return self._log_file.read_text("utf-8", errors="replace")
        return self._last_log

    def headers(self) -> dict[str, str]:
        """Return the HTTP headers that a request needs."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    def metrics(self) -> list[Sample]:
        """Return what the server's Prometheus page says now; nothing where it has none."""
        if self._launch.metrics is None:
            return []
        request = urllib.request.Request(self.url + self._launch.metrics, headers=self.headers())
        with urllib.request.urlopen(request, timeout=30) as page:
            return samples(page.read().decode())

    def close(self) -> None:
        """End the server and all that it has started; closing twice is harmless."""
        self._last_log = self.log
        self._open.close()

    def join(self) -> None:
        """Wait until the server ends by itself, which it should not: raise `ServerFailed` then."""
        code = self._process.wait()
        raise ServerFailed(f"{self.name} ended: {_reason(code, self.log)}")

    def wait(self, patience: float = _PATIENCE) -> None:
        """Wait until the server answers; raise `ServerFailed` where it ends or takes too long."""
        end = time.monotonic() + patience
        while not self._is_healthy():
            if self.closed:
                code = self._process.returncode
                raise ServerFailed(f"{self.name} did not start: {_reason(code, self.log)}")
            if time.monotonic() > end:
                raise ServerFailed(
                    f"{self.name} was not ready after {patience:.0f} s and was stopped; the last "
                    f"it said was: {_last_line(self.log)}"
                )
            time.sleep(0.1)

    def prepare(self) -> None:
        """Give the healthy server what its `after_start` gives it."""
        if self._launch.after_start:
            self._launch.after_start(self.url)

    def _is_healthy(self) -> bool:
        request = urllib.request.Request(self.url + self._launch.health, headers=self.headers())
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status == 200 and not self.closed
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


def start(
    name: str,
    launch: Callable[[int], Launch],
    port: int | None = None,
    patience: float = _PATIENCE,
) -> Server:
    """Start what `launch` gives for a port, and return it when it is healthy.

    Where another program took the free port in the meantime, another one is tried. Raises
    `UsageError` where `port` is none or is taken, and `ServerFailed` with the reason from the
    server's log.
    """
    if port is not None and not 0 < port < 65536:
        raise UsageError(f"{port} is no port; choose one from 1 to 65535, or leave it out.")
    if port is not None and is_taken(port):
        raise UsageError(f"Port {port} of {HOST} is in use; choose another, or leave it out.")
    _ask_without_proxy()
    for attempt in range(3):
        chosen = port or free_port()
        server = Server(name, launch(chosen), chosen)
        try:
            server.wait(patience)
            server.prepare()
        except BaseException as problem:
            server.close()
            taken = isinstance(problem, ServerFailed) and _IN_USE.search(server.log)
            if taken and port is None and attempt < 2:
                continue
            raise
        return server
    raise AssertionError("the last attempt returns or raises")


def _ask_without_proxy() -> None:
    """Let this process ask 127.0.0.1 itself, whatever proxy is set: that one would see the key."""
    for name in ("no_proxy", "NO_PROXY"):
        hosts = list(filter(None, os.environ.get(name, "").split(",")))
        if HOST not in hosts:
            os.environ[name] = ",".join([*hosts, HOST])


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def is_taken(port: int) -> bool:
    """Return whether somebody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _reason(code: int, log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if _ELSEWHERE not in line]
    raised = [found[1] for line in lines if (found := _EXCEPTION.match(line))]
    return raised[-1] if raised and code < 128 else last_words(code, log)


def _last_line(log: str) -> str:
    return next(iter(log.strip().splitlines()[-1:]), "nothing")
