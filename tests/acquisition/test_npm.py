"""A package of npm comes from the registry that is set, and only the one that is pinned."""

import hashlib
import threading
from base64 import b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from slmlab.acquisition import npm, patience
from slmlab.errors import FetchError, VerificationError

PACKAGE = b"a package"
INTEGRITY = f"sha512-{b64encode(hashlib.sha512(PACKAGE).digest()).decode()}"


@contextmanager
def a_registry(content, status=200, missing=0):
    """Run a registry that gives one package, and remembers what it was asked for."""

    class Registry(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) + missing))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    asked = []
    with HTTPServer(("127.0.0.1", 0), Registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/npm", asked
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("axe-core", "/npm/axe-core/-/axe-core-1.2.3.tgz"),
        ("@wllama/wllama", "/npm/@wllama/wllama/-/wllama-1.2.3.tgz"),
    ],
)
def test_a_package_is_asked_for_as_npm_does(monkeypatch, name, path):
    with a_registry(PACKAGE) as (address, asked):
        monkeypatch.setenv("npm_config_registry", address)
        assert npm.download(name, "1.2.3", INTEGRITY) == PACKAGE
    assert asked == [path]


def test_another_package_than_the_pinned_one_is_refused(monkeypatch):
    with a_registry(b"evil") as (address, _):
        monkeypatch.setenv("npm_config_registry", address)
        with pytest.raises(VerificationError, match=r"axe-core 1\.2\.3 .* is pinned"):
            npm.download("axe-core", "1.2.3", INTEGRITY)


@pytest.mark.parametrize("came", [PACKAGE[:4], b""])
def test_a_line_that_is_always_cut_is_said_and_blames_no_registry(monkeypatch, came):
    monkeypatch.setattr(patience, "PAUSES", (0.0,))
    with a_registry(came, missing=len(PACKAGE) - len(came)) as (address, asked):
        monkeypatch.setenv("npm_config_registry", address)
        said = rf"received {len(came)} bytes, expected {len(PACKAGE)}\)\); connect"
        with pytest.raises(FetchError, match=said):
            npm.download("axe-core", "1.2.3", INTEGRITY)
    assert len(asked) == 2


def test_a_registry_that_never_stops_sending_is_not_listened_to_for_ever(monkeypatch):
    monkeypatch.setattr(npm, "_LARGEST_DOWNLOAD", 1000)
    with a_registry(bytes(100_000), missing=10**12) as (address, asked):
        monkeypatch.setenv("npm_config_registry", address)
        with pytest.raises(VerificationError, match="is not the one that is pinned"):
            npm.download("axe-core", "1.2.3", INTEGRITY)
    assert len(asked) == 1


def test_without_a_registry_it_says_so_in_a_sentence_and_at_once(monkeypatch):
    monkeypatch.setattr(patience.time, "sleep", lambda _: pytest.fail("nobody is waited for"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    with pytest.raises(FetchError, match="connect to a network, or name an npm registry"):
        npm.download("axe-core", "1.2.3", INTEGRITY)
    with a_registry(b"", status=404) as (address, _):
        monkeypatch.setenv("npm_config_registry", address)
        with pytest.raises(FetchError, match="Not Found"):
            npm.download("axe-core", "1.2.3", INTEGRITY)


def test_the_registry_is_the_one_this_machine_is_set_to_use(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(npm.shutil, "which", lambda _: None)
    monkeypatch.delenv("npm_config_registry", raising=False)
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    assert npm.registry() == "https://registry.npmjs.org/"
    (tmp_path / ".npmrc").write_text("fund=false\nregistry=https://mirror.example/npm\n", "utf-8")
    assert npm.registry() == "https://mirror.example/npm/"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://other.example")
    assert npm.registry() == "https://other.example/"
