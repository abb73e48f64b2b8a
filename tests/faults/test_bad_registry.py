"""An npm registry that stalls, cuts, lies, redirects or is busy: asked again, or one sentence."""

import hashlib
import io
import re
import tarfile
from base64 import b64encode
from contextlib import contextmanager
from functools import partial
from random import Random

import fault_network
import pytest
from fault_network import (
    PASSING,
    busy_twice,
    cut,
    lie,
    promise_too_little,
    promise_too_much,
    redirect_in_a_circle,
    refuse,
    send,
    silence,
    stall,
)

from slmlab.acquisition import npm, patience
from slmlab.deployment.browser import wllama
from slmlab.errors import FetchError, VerificationError

pytestmark = pytest.mark.usefixtures("waits")

CONTENT = Random(6).randbytes(300_000)
PATH = f"/@wllama/wllama/-/wllama-{wllama.VERSION}.tgz"


def packed() -> bytes:
    """The content as a package of npm."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        member = tarfile.TarInfo("package/wllama.wasm")
        member.size = len(CONTENT)
        archive.addfile(member, io.BytesIO(CONTENT))
    return written.getvalue()


PACKAGE = packed()


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Nothing here sees the user's cache, and a registry that says nothing is soon asked again."""
    digest = b64encode(hashlib.sha512(PACKAGE).digest()).decode()
    monkeypatch.setattr(wllama, "INTEGRITY", f"sha512-{digest}")
    monkeypatch.setattr(npm, "_SILENCE", 0.5)
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SLMLAB_SHARED_CACHE", raising=False)


@pytest.fixture
def serve(monkeypatch):
    """Start a registry that meets its next requests with these faults, and then heals."""

    @contextmanager
    def serve(*faults):
        with fault_network.serve(fault_network.Plain, faults, "/", {PATH: PACKAGE}) as running:
            monkeypatch.setenv("npm_config_registry", running.address)
            yield running

    return serve


def whole() -> bool:
    return wllama.fetch().joinpath("wllama.wasm").read_bytes() == CONTENT


@pytest.fixture
def refused(tmp_path):
    """Give the sentence of a fetch that failed; nothing of it is kept."""

    def refused(error: type[Exception] = FetchError) -> str:
        with pytest.raises(error) as caught:
            wllama.fetch()
        assert not list((tmp_path / "cache").rglob("*.wasm"))
        assert not list((tmp_path / "cache").glob("wllama-*/"))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refused


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_registry_that_heals_gives_the_package_in_one_call(fault, serve, ledger, request):
    with serve(fault) as running:
        assert whole()
        assert len(running.requests) == 2
    ledger.note("npm registry, once", f"fetch wllama: it {request.node.callspec.id}")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_registry_is_asked_again_when_it_says(status, serve, waits, ledger):
    with serve(*busy_twice(status)):
        assert whole()
    assert waits[0] == 7
    assert 20 < waits[1] <= 30
    ledger.note("npm registry, once", f"fetch wllama: {status} with Retry-After")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (stall, "timed out"),
        (silence, "timed out"),
        (cut, "peer closed connection"),
        (promise_too_much, "peer closed connection"),
        (refuse(429), "429"),
        (refuse(503), "503"),
        (refuse(503, "86400"), "asks to be left alone for 86,400 s; try again then"),
        (redirect_in_a_circle, "redirects"),
    ],
    ids=[
        "always stalls",
        "never says anything",
        "is always cut off",
        "always says too great a length",
        "is always asked too often",
        "is always busy",
        "is busy until tomorrow",
        "redirects in a circle",
    ],
)
def test_a_registry_that_stays_ill_is_given_up_in_a_sentence(
    fault, reason, serve, refused, waits, ledger, request
):
    with serve(*[fault] * 100) as running:
        said = refused()
        assert re.search(reason, said) and "npm_config_registry" in said
        assert len(running.requests) <= 25, "redirects included"
    assert sum(waits) <= sum(patience.PAUSES)
    with serve():
        assert whole()
    ledger.note("npm registry, for ever", f"fetch wllama: it {request.node.callspec.id}")


@pytest.mark.parametrize(
    "fault",
    [lie, promise_too_little, partial(send, count=10**9, extra=b"more")],
    ids=["sends other bytes", "says too small a length", "sends more than it should"],
)
def test_a_registry_of_another_package_is_refused(fault, serve, refused, ledger, request):
    with serve(fault):
        assert "is not the one that is pinned" in refused(VerificationError)
        assert whole()
    ledger.note("npm registry, once", f"fetch wllama: it {request.node.callspec.id}")
