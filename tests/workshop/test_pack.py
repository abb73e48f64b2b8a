"""A hand-out has everything in it, says so exactly, and installs without a network."""

import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest
from toy_wheel import write_wheel

from slmlab import tiers
from slmlab.acquisition import ModelFile
from slmlab.environments import pip
from slmlab.errors import FetchError, LabError, LicenceNotAccepted, NoRoom, UsageError
from slmlab.files import sha256
from slmlab.notebooks.labs import LABS
from slmlab.workshop import packing, wheelhouse

LOCK = f"""\
# a lock
first==1.0 \\
    --hash=sha256:{{first}}
llama-cpp-python==0.3.36 \\
    --hash=sha256:{64 * "0"}
only-there==1.0 ; sys_platform == 'nowhere' \\
    --hash=sha256:{64 * "0"}
"""
BUILD_SYSTEM = "[build-system]\nrequires=[]\nbuild-backend='backend'\nbackend-path=['{}']\n"
FILES_MODULE = """
import os
from contextlib import contextmanager, nullcontext as locked
from pathlib import Path

def cache_path(*parts):
    return Path(os.environ["SLMLAB_CACHE"]).joinpath(*parts)

@contextmanager
def whole_folder(path):
    yield path.with_name("aside")
    path.with_name("aside").replace(path)
"""
BACKEND = """
import os
from zipfile import ZipFile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "slmlab-0.0-py3-none-any.whl"
    with ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("slmlab.pth", os.getcwd())
        about = "Metadata-Version: 2.1\\nName: slmlab\\nVersion: 0.0\\n"
        wheel.writestr("slmlab-0.0.dist-info/METADATA", about)
        wheel.writestr("slmlab-0.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("slmlab-0.0.dist-info/RECORD", "")
    return name
"""


DESCRIBING = """
import pathlib

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    about = pathlib.Path(folder, "llama_cpp_python-0.3.36.dist-info")
    about.mkdir()
    text = "Metadata-Version: 2.1\\nName: llama-cpp-python\\nVersion: 0.3.36\\n"
    (about / "METADATA").write_text(text)
    return about.name
"""
LAB = (LABS / "00_start_here.ipynb").read_text("utf-8")
COURSE = {
    "labs/00_start_here.ipynb": LAB,
    "labs/backend.py": BACKEND,
    "labs/.ipynb_checkpoints/copy.ipynb": "{}",
    "slmlab/__init__.py": "",
    "slmlab/files.py": FILES_MODULE,
    "pyproject.toml": BUILD_SYSTEM.format("labs"),
    ".env": "secret",
}


def publish(folder: Path, name: str, version: str = "1.0", licence: str = "License: MIT") -> Path:
    """Write a made-up wheel into a folder."""
    package = name.replace("-", "_")
    terms = f"{package}-{version}.dist-info/licenses/LICENSE"
    files = {f"{package}.py": "", terms: f"The terms of {name}."}
    return write_wheel(folder, name, files, version, f"{licence}\n")


def prepare(room: Path, monkeypatch) -> Path:
    """Make a tiny course, with its packages in an index, and its model and llama.cpp in the cache.

    Nothing that uses them sees the user's cache, package index, git or the Hub.
    """
    monkeypatch.setenv("SLMLAB_CACHE", str(room / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(room / "index"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(room))
    for name, text in COURSE.items():
        (room / "course" / name).parent.mkdir(parents=True, exist_ok=True)
        (room / "course" / name).write_text(text)
    for name in ("first", "hatchling", "editables"):
        publish(room / "index", name)
    first = sha256(room / "index/first-1.0-py3-none-any.whl")
    (room / "course/requirements.lock").write_text(LOCK.format(first=first))
    publish(room / "cache/wheels/llama-cpp-python-0.3.36", "llama-cpp-python", "0.3.36")
    converter = room / "cache/converter-1"
    converter.mkdir()
    (converter / "convert.py").write_text("pass")
    monkeypatch.setattr(packing, "_ROOT", room / "course")
    monkeypatch.setattr(packing, "_DOWNLOADS", ((lambda: converter, "03", "BSD-3-Clause"),))
    monkeypatch.setattr(packing, "handed_on", lambda name, _: model(room / "cache/models", name))
    return room


def model(folder: Path, name: str) -> ModelFile:
    """Put a made-up model into a folder, under the name of a card."""
    home = folder / name
    home.mkdir(parents=True)
    content = b"GGUF" * 1000
    (home / "tiny.gguf").write_bytes(content)
    (home / "model.json").write_text("{}")
    digest = hashlib.sha256(content).hexdigest()
    return ModelFile(
        name, home / "tiny.gguf", len(content), digest, "here", tiers.card(name).licence
    )


@pytest.fixture
def room(tmp_path, monkeypatch) -> Path:
    """A folder with all that a hand-out is made from."""
    return prepare(tmp_path, monkeypatch)


@pytest.fixture
def without_pip(monkeypatch):
    """Let a test that is not about wheels have none."""
    monkeypatch.setattr(wheelhouse, "gather", lambda *arguments: arguments[3].mkdir() or [])


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> packing.Pack:
    """A hand-out, to look at."""
    with pytest.MonkeyPatch.context() as patch:
        return packing.pack(prepare(tmp_path_factory.mktemp("room"), patch) / "stick")


@pytest.fixture
def stick(packed, tmp_path) -> Path:
    """A hand-out of one's own."""
    return shutil.copytree(packed.path, tmp_path / "stick")


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def install(stick: Path, into: Path, cache: Path, *options: str, python: str = sys.executable):
    """Run the installer without any package index."""
    return subprocess.run(
        [python, stick / "install.py", "--into", into, *options],
        env={**os.environ, "SLMLAB_CACHE": str(cache), "PIP_FIND_LINKS": str(into)},
        capture_output=True,
        text=True,
    )


def test_a_course_that_is_no_clone_has_what_its_readme_leads_to():
    links = re.findall(r"\]\(([^)#:\s]+)\)", (LABS.parent / "README.md").read_text("utf-8"))
    assert {Path(link).parts[0] for link in links} <= set(packing._COURSE)


class TestAHandOut:
    def test_has_the_course_the_wheels_the_models_and_the_downloads(self, packed):
        assert names(packed.path) == {
            *("README.txt", "CONTENTS.txt", "SHA256SUMS", "manifest.json", "install.py"),
            *("course/pyproject.toml", "course/requirements.lock"),
            *("course/slmlab/__init__.py", "course/slmlab/files.py"),
            *("course/labs/00_start_here.ipynb", "course/labs/backend.py"),
            *("course/.pristine/labs/00_start_here.ipynb", "course/.pristine/labs/backend.py"),
            *("wheels/first-1.0-py3-none-any.whl", "wheels/hatchling-1.0-py3-none-any.whl"),
            *("wheels/editables-1.0-py3-none-any.whl",),
            *("wheels/llama_cpp_python-0.3.36-py3-none-any.whl",),
            f"cache/models/{tiers.DEFAULT_MODEL}/tiny.gguf",
            f"cache/models/{tiers.DEFAULT_MODEL}/model.json",
            "cache/converter-1/convert.py",
            *("licences/first-1.0.txt", "licences/hatchling-1.0.txt", "licences/models.txt"),
            *("licences/editables-1.0.txt", "licences/llama_cpp_python-0.3.36.txt"),
            "licences/Apache-2.0.txt",
        }

    def test_has_the_hash_of_every_other_file(self, packed):
        lines = (packed.path / "SHA256SUMS").read_text().splitlines()
        said = {name: digest for digest, name in (line.split("  ") for line in lines)}
        assert said.keys() == names(packed.path) - {"SHA256SUMS"}
        assert all(sha256(packed.path / name) == digest for name, digest in said.items())

    def test_says_how_large_each_part_is_and_its_licence(self, packed):
        manifest = json.loads((packed.path / "manifest.json").read_text())
        assert manifest["platforms"] == [wheelhouse.here()]
        parts = {part["name"]: part for part in manifest["parts"]}
        wheel = packed.path / "wheels/first-1.0-py3-none-any.whl"
        assert parts[wheel.name]["bytes"] == wheel.stat().st_size
        assert parts[wheel.name]["licence"] == "MIT"
        assert parts[tiers.DEFAULT_MODEL]["licence"] == "Apache-2.0"
        assert parts["converter-1"]["licence"] == "BSD-3-Clause"
        beside = [packed.path / name for name in ("README.txt", "CONTENTS.txt", "manifest.json")]
        beside += [packed.path / "SHA256SUMS", packed.path / "install.py"]
        rest = sum(file.stat().st_size for file in beside)
        assert sum(part["bytes"] for part in parts.values()) == packed.bytes - rest
        contents = (packed.path / "CONTENTS.txt").read_text()
        assert all(name in contents for name in parts)
        assert re.search(r"MB  package \(4\)\n", (packed.path / "README.txt").read_text())

    def test_has_the_licences_in_their_own_words(self, packed):
        assert "The terms of first." in (packed.path / "licences/first-1.0.txt").read_text()
        models = (packed.path / "licences/models.txt").read_text()
        assert "Apache-2.0; read it on https://huggingface.co/HuggingFaceTB/" in models

    def test_has_the_text_of_a_licence_that_must_be_handed_on(self, room, without_pip):
        (room / "terms.txt").write_text("You may, if you hand these on.")
        texts = {"gemma-3-270m": room / "terms.txt"}
        made = packing.pack(
            room / "stick", ["gemma-3-270m"], accept_licence=True, licence_texts=texts
        )
        manifest = json.loads((made.path / "manifest.json").read_text())
        [read] = [item["read"] for item in manifest["cache"] if item["read"]]
        assert (made.path / read).read_text() == "You may, if you hand these on."
        assert (
            f"its text is in {Path(read).name}; " in (made.path / "licences/models.txt").read_text()
        )

    def test_can_be_one_archive(self, room, without_pip):
        made = packing.pack(room / "stick", archive=True)
        assert made.path == room / "stick.zip"
        with ZipFile(made.path) as archive:
            assert archive.testzip() is None
            archive.extractall(room / "there")
        assert names(room / "there/stick") >= {"install.py", "SHA256SUMS"}
        assert not (room / "stick").exists()

    def test_says_what_could_not_be_downloaded(self, room, without_pip, monkeypatch):
        def refuse():
            raise FetchError("No network.")

        monkeypatch.setattr(packing, "_DOWNLOADS", ((refuse, "11", "MIT"),))
        made = packing.pack(room / "stick")
        said = "Lab 11 will not run as a whole without a network: No network."
        assert said in made.remarks
        assert said in (made.path / "README.txt").read_text()

    def test_takes_the_labs_of_the_last_commit(self, room, without_pip):
        def git(*arguments):
            who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
            subprocess.run(
                ["git", "-C", room / "course", *who, *arguments], check=True, capture_output=True
            )

        git("init")
        git("add", "labs", "slmlab", "pyproject.toml", "requirements.lock")
        git("commit", "-m", "all")
        (room / "course/labs/00_start_here.ipynb").write_text('{"answer": "filled in"}')
        stick = packing.pack(room / "stick").path
        for lab in ("labs", ".pristine/labs"):
            assert (stick / "course" / lab / "00_start_here.ipynb").read_text() == LAB

    def test_takes_no_answer_along_where_there_is_no_git(self, room, without_pip):
        worked = LAB.replace("answer = ...", "answer = 7", 1)
        (room / "course/labs/00_start_here.ipynb").write_text(worked)
        with pytest.raises(LabError, match="slmlab reset 00_start_here"):
            packing.pack(room / "stick")

    def test_takes_the_pristine_labs_of_a_course_that_was_packed_itself(self, room, without_pip):
        pristine = room / "course/.pristine/labs"
        pristine.mkdir(parents=True)
        (pristine / "00_start_here.ipynb").write_text(LAB)
        (room / "course/labs/00_start_here.ipynb").write_text("{}")
        stick = packing.pack(room / "stick").path
        for lab in ("labs", ".pristine/labs"):
            assert (stick / "course" / lab / "00_start_here.ipynb").read_text() == LAB


class TestWholeOrNotAtAll:
    def left(self, tmp_path):
        return [path.name for path in tmp_path.iterdir() if "stick" in path.name]

    @pytest.mark.parametrize("archive", [False, True])
    def test_a_package_that_cannot_be_had(self, room, archive):
        (room / "index/first-1.0-py3-none-any.whl").unlink()
        with pytest.raises(FetchError, match=r"No matching distribution found for first==1\.0"):
            packing.pack(room / "stick", archive=archive)
        assert self.left(room) == []

    def test_a_package_that_is_not_the_one_in_the_lock(self, room):
        publish(room / "index", "first", licence="License: another")
        with pytest.raises(FetchError, match="that came is not the one that was promised"):
            packing.pack(room / "stick")
        assert self.left(room) == []

    def test_no_room(self, room, without_pip, monkeypatch):
        nearly_full = shutil.disk_usage(room)._replace(free=2_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: nearly_full)
        with pytest.raises(NoRoom, match="The hand-out needs 700 MB"):
            packing.pack(room / "stick")
        assert self.left(room) == []

    def test_something_is_there_already(self, room):
        (room / "stick").mkdir()
        (room / "stick/mine.txt").touch()
        with pytest.raises(UsageError, match="is there already"):
            packing.pack(room / "stick")

    def test_an_unknown_platform(self, tmp_path):
        with pytest.raises(UsageError, match="'amiga'; choose among linux-x86_64, "):
            packing.pack(tmp_path / "stick", platforms=["amiga"])

    def test_a_licence_that_was_not_accepted(self, tmp_path):
        with pytest.raises(LicenceNotAccepted, match=r"'gemma'.*handed on.*--accept-license"):
            packing.pack(tmp_path / "stick", models=["gemma-3-270m"])
        assert self.left(tmp_path) == []

    @pytest.mark.parametrize(
        ("models", "texts", "said"),
        [
            (["gemma-3-270m"], {}, r"text of its licence: .*--licence-text gemma-3-270m=FILE"),
            (["gemma-3-270m"], {"gemma-3-270m": Path("missing.txt")}, "missing.txt.*is no file"),
            (["qwen3-0.6b"], {"gemma-3-270m": Path(__file__)}, "gemma-3-270m, which is not among"),
        ],
    )
    def test_a_licences_text_that_is_not_as_it_must_be(self, room, models, texts, said):
        with pytest.raises(UsageError, match=said):
            packing.pack(room / "stick", models, accept_licence=True, licence_texts=texts)
        assert self.left(room) == []


class TestInstalling:
    @pytest.mark.slow
    def test_needs_only_the_stick(self, stick, tmp_path):
        home, cache = tmp_path / "a home/slmlab", tmp_path / "learner's cache"
        done = install(stick, home, cache)
        assert done.returncode == 0, done.stderr
        assert "jupyter lab labs/00_start_here.ipynb" in done.stdout
        python = home / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        check = "import first, llama_cpp_python, slmlab.files; print(slmlab.files.__file__)"
        asked = subprocess.run([python, "-c", check], capture_output=True, text=True, cwd=tmp_path)
        assert asked.stdout.strip() == str(home / "slmlab/files.py"), asked.stderr
        assert names(cache) == {
            f"models/{tiers.DEFAULT_MODEL}/tiny.gguf",
            f"models/{tiers.DEFAULT_MODEL}/model.json",
            "converter-1/convert.py",
        }
        assert (home / ".pristine/labs/00_start_here.ipynb").is_file()
        again = install(stick, home, cache)
        assert again.returncode == 1 and "is not empty: name another folder" in again.stderr

    def test_notices_a_damaged_file(self, stick, tmp_path):
        wheel = stick / "wheels/first-1.0-py3-none-any.whl"
        wheel.write_bytes(wheel.read_bytes()[:-1] + b"!")
        done = install(stick, tmp_path / "home", tmp_path / "there")
        assert done.returncode == 1
        assert f"install: wheels/{wheel.name} is missing or damaged" in done.stderr
        assert not (tmp_path / "home").exists()

    def test_refuses_another_python_and_another_machine(self, stick, tmp_path):
        manifest = stick / "manifest.json"
        for change, said in (
            ({"pythons": ["3.99"]}, "the wheels here are for 3.99: start this file with one"),
            ({"platforms": ["linux-vax"]}, "the wheels here are for linux-vax: ask for a hand-out"),
        ):
            kept = manifest.read_text()
            manifest.write_text(json.dumps(json.loads(kept) | change))
            done = install(stick, tmp_path / "home", tmp_path / "there")
            assert (done.returncode, said in done.stderr) == (1, True), done.stderr
            manifest.write_text(kept)

    def test_takes_the_llama_cpp_that_was_built_for_it(self, stick):
        lock = (stick / "course/requirements.lock").read_text()
        built = sha256(stick / "wheels/llama_cpp_python-0.3.36-py3-none-any.whl")
        assert f"llama-cpp-python==0.3.36 \\\n    --hash=sha256:{built} \\\n" in lock

    @pytest.mark.slow
    def test_that_fails_leaves_nothing(self, stick, tmp_path):
        (stick / "wheels/first-1.0-py3-none-any.whl").unlink()
        sums = stick / "SHA256SUMS"
        lines = sums.read_text().splitlines()
        sums.write_text("\n".join(line for line in lines if "wheels/first" not in line))
        done = install(stick, tmp_path / "home", tmp_path / "there")
        assert done.returncode == 1
        assert "install: pip could not install the packages; the reason is above." in done.stderr
        assert not (tmp_path / "home").exists()


class TestFillingTheCache:
    @pytest.fixture
    def installer(self, packed, monkeypatch, tmp_path):
        """The installer of a hand-out, to ask for one of its steps."""
        monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "there"))
        spec = importlib.util.spec_from_file_location("installer", packed.path / "install.py")
        installer = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(installer)
        return installer

    def test_leaves_out_what_has_to_be_accepted(self, installer, tmp_path, capsys):
        folder = f"models/{tiers.DEFAULT_MODEL}"
        items = [{"folder": folder, "read": "licences/gemma-3-270m.txt"}]
        installer.fill_cache(items, accept=False)
        terms = installer.HERE / "licences/gemma-3-270m.txt"
        assert f"Read it in {terms}, then accept it with" in capsys.readouterr().err
        assert not (tmp_path / "there").exists()
        installer.fill_cache(items, accept=True)
        assert (tmp_path / "there" / folder / "tiny.gguf").is_file()

    def test_keeps_what_is_there_and_replaces_what_is_not_whole(self, installer, tmp_path):
        items = [{"folder": "converter-1", "read": ""}]
        target = tmp_path / "there/converter-1"
        target.mkdir(parents=True)
        (target / "other.py").touch()
        installer.fill_cache(items, accept=False)
        assert names(target) == {"convert.py"}
        (target / "more.py").touch()
        installer.fill_cache(items, accept=False)
        assert names(target) == {"convert.py", "more.py"}

    def test_can_write_to_what_came_from_a_stick_that_it_can_only_read(
        self, installer, tmp_path, stick, monkeypatch
    ):
        monkeypatch.setattr(installer, "HERE", stick)
        (stick / "cache/converter-1/convert.py").chmod(0o444)
        installer.fill_cache([{"folder": "converter-1", "read": ""}], accept=False)
        assert (tmp_path / "there/converter-1/convert.py").stat().st_mode & 0o200

    def test_removes_what_an_installer_that_was_killed_had_begun(self, installer, tmp_path):
        begun = tmp_path / f"there/.converter-1.{'0' * 32}.part"
        begun.mkdir(parents=True)
        installer.fill_cache([{"folder": "converter-1", "read": ""}], accept=False)
        assert not begun.exists()


class TestTheLock:
    LOCK = """\
always==1
early==1 ; python_full_version < '3.11.5'
later==1 ; python_full_version >= '3.11.5'
mac==1 ; sys_platform == 'darwin'
windows==1 ; os_name == 'nt'
arm==1 ; platform_machine == 'aarch64' or platform_machine == 'arm64'
newer==1 ; python_version >= '3.12' \\
    --hash=sha256:12 \\
    --hash=sha256:34
llama-cpp-python==0.3.36
"""

    @pytest.mark.parametrize(
        ("platform", "release", "expected"),
        [
            ("linux-x86_64", "3.11.0", {"always", "early"}),
            ("linux-x86_64", "3.12.99", {"always", "later", "newer"}),
            ("linux-aarch64", "3.11.99", {"always", "later", "arm"}),
            ("macos-arm64", "3.11.99", {"always", "later", "arm", "mac"}),
            ("windows-x86_64", "3.11.99", {"always", "later", "windows"}),
        ],
    )
    def test_gives_each_machine_its_own_lines(self, tmp_path, platform, release, expected):
        (tmp_path / "lock").write_text(self.LOCK)
        found = wheelhouse.applying(tmp_path / "lock", platform, release)
        assert {pin.partition("==")[0] for pin in found} == expected

    def test_is_downloaded_for_another_machine(self, room, monkeypatch):
        index, lock = room / "index", room / "course/requirements.lock"
        windows = index / "first-1.0-cp311-cp311-win_amd64.whl"
        publish(index, "first").rename(windows)
        for name in ("scikit-build-core", "cmake", "ninja"):
            publish(index, name)
        source = sdist(index / "llama_cpp_python-0.3.36.tar.gz")
        monkeypatch.setitem(wheelhouse.SHA256, "0.3.36", sha256(source))
        remarks = wheelhouse.gather(lock, ["windows-x86_64"], ["3.11"], room / "wheels")
        assert {windows.name, source.name} < names(room / "wheels")
        assert "windows-x86_64: llama-cpp-python is there as source only" in remarks[0]

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux has two builds of PyTorch")
    def test_gives_linux_the_pytorch_for_cpus_though_the_lock_allows_the_other(
        self, room, monkeypatch
    ):
        for_cuda = publish(room / "packages/torch", "torch", "2.13.0")
        for_cpus = publish(room / "pytorch/torch", "torch", "2.13.0+cpu")
        with ZipFile(for_cuda, "a") as wheel:
            wheel.writestr(pip.CUDA, "")
        lines = ["torch==2.13.0", *(f"--hash=sha256:{sha256(it)}" for it in (for_cuda, for_cpus))]
        lock = room / "course/requirements.lock"
        lock.write_text(lock.read_text() + " \\\n    ".join(lines))
        for wheel in (for_cuda, for_cpus):
            link = f'<a href="{wheel.name}#sha256={sha256(wheel)}">{wheel.name}</a>'
            (wheel.parent / "index.html").write_text(link)
        pytorch = ("--no-deps", "--index-url", (room / "pytorch").as_uri())
        monkeypatch.setattr(pip, "FROM_PYTORCH", pytorch)
        monkeypatch.setenv("PIP_INDEX_URL", (room / "packages").as_uri())
        monkeypatch.delenv("PIP_NO_INDEX")
        wheelhouse.gather(lock, [wheelhouse.here()], [wheelhouse.HERE], room / "wheels")
        found = [name for name in names(room / "wheels") if name.startswith("torch")]
        assert found == [for_cpus.name]


def sdist(path: Path) -> Path:
    """Write a made-up source package of llama-cpp-python, which needs nothing to be built."""
    system = BUILD_SYSTEM.format(".")
    with tarfile.open(path, "w:gz") as archive:
        for name, text in {
            "pyproject.toml": system,
            "backend.py": DESCRIBING,
            "PKG-INFO": "",
        }.items():
            member = tarfile.TarInfo(f"llama_cpp_python-0.3.36/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path
