"""Run a process that cannot reach the network, to see whether it needs one."""

import os
import re
import socketserver
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slmlab.environments.guarded import finish

NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: whoever asks it for a page learns at once that there is none."""

_NAMES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")


@dataclass(frozen=True)
class OfflineRun:
    """What a process without a network wrote and its exit code; `how` says what kept it off."""

    how: str
    code: int
    output: str
    errors: str


def run(command: Sequence[str | Path], timeout: float = 300) -> OfflineRun:
    """Run a process to its end without a network.

    On Linux, where the system permits it, the process gets a network of its own that leads
    nowhere, which nothing in it can get around. Elsewhere proxy settings lead nowhere, which
    holds for programs that heed them. Raises `subprocess.TimeoutExpired` after `timeout` seconds.
    """
    own_network = _own_network()
    if own_network:
        how, settings = "a network of its own with no way out (unshare)", {}
    else:
        how, settings = "proxy settings that lead nowhere", proxies()
    done = finish([*own_network, *command], os.environ | settings, timeout=timeout)
    return OfflineRun(how, done.returncode, done.stdout, done.stderr)


def proxies(address: str = NOWHERE) -> dict[str, str]:
    """Return environment variables that send what is meant for the web to an address instead."""
    local = dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost")
    return dict.fromkeys(_NAMES, address) | local


@contextmanager
def listening() -> Iterator[tuple[dict[str, str], list[str]]]:
    """Give environment variables and a list of the hosts that programs with them ask for.

    They are told of a proxy that writes down whom they want to reach, and connects nobody.
    """
    asked: list[str] = []

    class Listener(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            line = self.rfile.readline(1000).decode("latin-1")
            if found := re.match(r"[A-Z]+ (?:https?://)?([^/:\s]+)", line):
                asked.append(found[1])
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Listener) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield proxies(f"http://127.0.0.1:{server.server_address[1]}"), asked
        finally:
            server.shutdown()


def _own_network() -> list[str]:
    """Return what goes before a command to give it a network of its own, if that is possible."""
    prefix = ["unshare", "--user", "--map-root-user", "--net"]
    if sys.platform != "linux":
        return []
    try:
        permitted = finish([*prefix, "true"]).returncode == 0
    except OSError:
        permitted = False
    return prefix if permitted else []
