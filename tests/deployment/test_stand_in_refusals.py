"""What is wrong with a request, the Ollama stand-in says: it is never an error of its own."""

import hashlib
import json

import anyio
import httpx
import numpy as np
import pytest
from toy_model import toy

from slmlab.deployment.ollama_stand_in import app as stand_in
from slmlab.deployment.ollama_stand_in.failure import Failure
from slmlab.deployment.ollama_stand_in.generating import DEFAULTS, _chooser, options
from slmlab.deployment.ollama_stand_in.prompts import go_template
from slmlab.deployment.ollama_stand_in.store import Model, Store

ASK = {"model": "toy", "prompt": "hello"}


@pytest.fixture
def ask(tmp_path):
    """Send one request to the application itself; what it raises is raised here."""
    store = Store(tmp_path)
    store.keep(Model("toy", f"sha256-{'0' * 64}", 1, {"context_length": 64}))
    transport = httpx.ASGITransport(stand_in.app(store, stand_in.Settings()))

    async def send(method, path, **more):
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **more)

    return lambda *what, **more: anyio.run(lambda: send(*what, **more))


@pytest.mark.parametrize("origin", ["http://[::1", "http://evil.example", "//[", "null"])
def test_an_origin_that_is_not_ours_is_refused(ask, origin):
    assert ask("GET", "/", headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize("name", ["num_ctx", "top_k", "temperature", "top_p", "seed"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", str(10**400), "1e999", "[]"])
def test_a_number_that_is_none_is_refused(ask, name, value):
    body = json.dumps(ASK | {"options": {name: "?"}}).replace('"?"', value)
    answer = ask("POST", "/api/generate", content=body)
    assert answer.status_code == 400
    assert f'option "{name}" must be of type' in answer.json()["error"]


def test_a_temperature_next_to_nothing_takes_the_likeliest():
    logits = np.array([0, 3, 2.5], np.float32)
    assert _chooser(options(DEFAULTS, {"temperature": 1e-320}))(logits) == 1


@pytest.mark.parametrize("message", [{"content": "hi"}, {"role": "user"}, {"role": 5}, "hi"])
def test_a_model_is_not_made_of_half_a_message(ask, message):
    answer = ask("POST", "/api/create", json={"model": "a", "from": "toy", "messages": [message]})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("messages.0")


def test_a_template_nested_too_deeply_is_refused():
    for depth in (150, 5000):
        with pytest.raises(Failure, match="template error"):
            go_template("{{ if .System }}" * depth + "{{ end }}" * depth)


def test_a_request_too_large_for_memory_is_refused(ask, monkeypatch):
    monkeypatch.setattr(stand_in, "_LARGEST_REQUEST", 1000)
    answer = ask("POST", "/api/generate", json=ASK | {"prompt": "a" * 1000})
    assert (answer.status_code, answer.json()["error"]) == (
        413,
        "request is larger than 1000 bytes",
    )


@pytest.mark.slow
def test_a_model_that_crashes_llama_cpp_ends_neither_the_server_nor_its_other_models(
    tmp_path, ask, monkeypatch
):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    weights = toy(tmp_path / "toy.gguf", block_count=0).read_bytes()
    digest = f"sha256:{hashlib.sha256(weights).hexdigest()}"
    assert ask("POST", f"/api/blobs/{digest}", content=weights).status_code == 201
    made = ask("POST", "/api/create", json={"model": "bad", "files": {"a": digest}})
    assert '"success"' in made.text
    answer = ask("POST", "/api/generate", json=ASK | {"model": "bad"})
    assert answer.status_code == 500
    assert "is not a usable model file: llama.cpp tried it" in answer.json()["error"]
    assert ask("GET", "/").text == "Ollama is running"
