"""Whether the Hub can be reached is known quickly, and without it when the user said so."""

import socket
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from slmlab.acquisition import hub, mirror
from slmlab.acquisition.arrival import Unavailable
from slmlab.tiers import card


def test_a_mirror_is_a_hub(monkeypatch):
    with mirror.serve({}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address + "/")
        assert hub.endpoint() == running.address
        assert hub.online()


def test_offline_by_choice_asks_nobody(monkeypatch):
    with mirror.serve({}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert not hub.online()
        assert running.requests == []


def test_a_refused_connection_is_offline(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert not hub.online()


def test_a_server_that_never_answers_is_offline(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert not hub.online(seconds=0.2)


def test_a_name_that_is_looked_up_for_ever_is_offline(monkeypatch):
    over = threading.Event()
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60))
    assert not hub.online(seconds=0.2)
    over.set()


@pytest.mark.parametrize("said", ["../../escaped", "", "A" * 64, "b" * 64])
def test_a_file_with_another_hash_than_the_cards_is_not_downloaded(tmp_path, monkeypatch, said):
    file = SimpleNamespace(rfilename="tiny.gguf", lfs=SimpleNamespace(sha256=said, size=1))
    told = SimpleNamespace(sha="1" * 40, siblings=[file])
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: told)
    model = replace(
        card("smollm2-135m-instruct"), gguf_repository="a/b", gguf_file="tiny.gguf", sha256="a" * 64
    )
    with pytest.raises(Unavailable, match=r"does not hold .*hf download a/b tiny"):
        hub.download(model, tmp_path, offline=False)
    assert list(tmp_path.iterdir()) == []
