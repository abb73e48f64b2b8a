"""llama.cpp's source: of the installed version, verified, whole, and fetched once."""

import io
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from slmlab.acquisition import llama_cpp_source, source_tree
from slmlab.errors import FetchError, NotPossibleHere, VerificationError
from slmlab.files import sha256

VERSION = next(iter(llama_cpp_source.SHA256))


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(llama_cpp_source, "version", lambda _: VERSION)
    return tmp_path


def package(folder: Path, names: list[str]) -> Path:
    path = folder / f"llama_cpp_python-{VERSION}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(f"llama_cpp_python-{VERSION}/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return path


def pip_that_gives(monkeypatch, path: Path | None, stderr: str = "") -> list[list]:
    """Replace pip by one that lays `path` into the folder, and return the calls it gets."""
    calls = []

    def run(command, *_, **__):
        calls.append(command)
        if path:
            (Path(command[command.index("--dest") + 1]) / path.name).write_bytes(path.read_bytes())
        return subprocess.CompletedProcess(command, 0 if path else 1, "", stderr)

    monkeypatch.setattr(llama_cpp_source.pip, "finish", run)
    return calls


def test_pinned_version_is_the_locked_one():
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())
    assert f"llama-cpp-python[server]=={VERSION}" in project["project"]["dependencies"]


def test_only_what_is_needed_is_unpacked_and_only_once(cache, tmp_path, monkeypatch):
    names = ["vendor/llama.cpp/convert_hf_to_gguf.py", "vendor/llama.cpp/models/big", "setup.py"]
    made = package(tmp_path, names)
    calls = pip_that_gives(monkeypatch, made)
    monkeypatch.setattr(llama_cpp_source, "SHA256", {VERSION: sha256(made)})
    home = source_tree()
    assert home == source_tree() == cache / f"llama.cpp-{VERSION}"
    assert [path.name for path in home.iterdir()] == ["convert_hf_to_gguf.py"]
    assert len(calls) == 1
    assert f"llama-cpp-python=={VERSION}" in calls[0]


def test_what_a_killed_download_left_goes_with_the_next(cache, tmp_path, monkeypatch):
    made = package(tmp_path, ["vendor/llama.cpp/convert_hf_to_gguf.py"])
    pip_that_gives(monkeypatch, made)
    with monkeypatch.context() as killed, pytest.raises(VerificationError):
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)
        source_tree()
    (left,) = cache.glob(".*/*.tar.gz")
    monkeypatch.setattr(llama_cpp_source, "SHA256", {VERSION: sha256(made)})
    source_tree()
    assert not left.exists()


def test_wrong_package_is_refused_and_nothing_is_left(cache, tmp_path, monkeypatch):
    pip_that_gives(monkeypatch, package(tmp_path, ["vendor/llama.cpp/evil.py"]))
    with pytest.raises(VerificationError, match="not the package that is pinned"):
        source_tree()
    assert not (cache / f"llama.cpp-{VERSION}").exists()
    assert not list(cache.glob(".*/*.tar.gz"))


def test_package_that_leaves_its_folder_is_refused(cache, tmp_path, monkeypatch):
    made = package(tmp_path, ["vendor/llama.cpp/../../../../../evil.py"])
    pip_that_gives(monkeypatch, made)
    monkeypatch.setattr(llama_cpp_source, "SHA256", {VERSION: sha256(made)})
    with pytest.raises(tarfile.OutsideDestinationError):
        source_tree()
    assert not list(tmp_path.rglob("evil.py"))


def test_without_an_index_the_reason_is_said(cache, monkeypatch):
    pip_that_gives(monkeypatch, None, "WARNING: ...\nERROR: No matching distribution found")
    with pytest.raises(FetchError, match=r"\(No matching distribution found\); connect"):
        source_tree()


def test_other_versions_are_refused(cache, monkeypatch):
    monkeypatch.setattr(llama_cpp_source, "version", lambda _: "0.2.0")
    with pytest.raises(NotPossibleHere, match=r"0\.2\.0 is installed"):
        source_tree()


@pytest.mark.slow
def test_converter_starts():
    converter = source_tree() / "convert_hf_to_gguf.py"
    child = subprocess.run(
        [sys.executable, converter, "--print-supported-models"], capture_output=True, text=True
    )
    assert child.returncode == 0
    for architecture in ("LlamaForCausalLM", "Qwen3ForCausalLM", "Phi3ForCausalLM"):
        assert architecture in child.stderr
