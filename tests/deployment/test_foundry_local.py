"""Foundry Local: in this process, as a server with accounts, without a network, and its silence.

What every server must keep to is in test_every_server.py.
"""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import httpx
import pytest

from slmlab import engines
from slmlab.deployment import foundry_local, offline, serve
from slmlab.deployment import foundry_local_catalogue as catalogues
from slmlab.deployment.audit import AuditLog
from slmlab.deployment.foundry_local_app import Refusal, read_request
from slmlab.deployment.registry import folder_digest
from slmlab.deployment.roles import accounts
from slmlab.errors import InvalidModelFile, NotPossibleHere, ServerFailed, UsageError
from slmlab.files import cache_path

SECRET = "xyzzyplugh"
QUESTION = "What is the capital of France?"
MODEL_ID = "smollm2-135m:1"
PEOPLE = accounts({"ana": "owner", "ben": "user", "cleo": "reader"})

if reason := foundry_local.why_not():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(scope="module")
def folder(smollm2):
    return engines.prepare("onnx", smollm2, "int4")


@pytest.fixture
def model(folder, tmp_path):
    manager = foundry_local.runtime(tmp_path)
    registered = foundry_local.register(manager, folder, MODEL_ID)
    registered.load()
    yield registered
    manager.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return AuditLog(tmp_path_factory.mktemp("audit") / "audit.jsonl", bytes(32))


@pytest.fixture(scope="module")
def server(folder, log):
    with serve("foundry_local", folder, accounts=PEOPLE.values(), audit=log) as running:
        yield running


def chat(server, key, **changes):
    body = {
        "model": server.model,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 8,
        "temperature": 0,
        **changes,
    }
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{server.base_url}/chat/completions", headers=headers, json=body, timeout=60)


def message(answer):
    return answer.json()["error"]["message"]


# In this process


@pytest.mark.slow
def test_a_model_is_registered_loaded_asked_and_unloaded(model, folder):
    import foundry_local_sdk as sdk

    local = sdk.FoundryLocalManager.instance.get_catalog(sdk.CatalogType.LOCAL)
    assert [one.id for one in local.list_models()] == [MODEL_ID]
    assert Path(model.get_path()) == folder
    with sdk.ChatSession(model).set_streaming(True) as session:
        first = foundry_local.ask(session, [{"role": "user", "content": QUESTION}], 12)
        second = foundry_local.ask(session, [{"role": "user", "content": "Why?"}], 4)
    assert "Paris" in first.text
    assert first.new_tokens == 12
    assert second.prompt_tokens > first.prompt_tokens + first.new_tokens
    assert 0 < first.seconds_to_first_token < first.seconds
    assert first.cpu_seconds_to_first_token > 0 < first.tokens_per_second
    model.unload()
    assert local.get_loaded_models() == []


@pytest.mark.slow
def test_a_session_and_the_whole_conversation_give_the_same_answer(model):
    import foundry_local_sdk as sdk

    history = []
    with sdk.ChatSession(model).set_streaming(True) as kept:
        for text in (QUESTION, "And of Italy?"):
            history.append({"role": "user", "content": text})
            in_session = foundry_local.ask(kept, history[-1:], 12)
            with sdk.ChatSession(model).set_streaming(True) as fresh:
                anew = foundry_local.ask(fresh, history, 12)
            assert (anew.text, anew.prompt_tokens) == (in_session.text, in_session.prompt_tokens)
            history.append({"role": "assistant", "content": anew.text})


@pytest.mark.slow
def test_a_registration_is_kept_and_can_be_replaced(folder, tmp_path):
    import foundry_local_sdk as sdk

    manager = foundry_local.runtime(tmp_path)
    foundry_local.register(manager, folder, MODEL_ID)
    manager = foundry_local.runtime(tmp_path)  # the first one is closed, not in the way
    local = manager.get_catalog(sdk.CatalogType.LOCAL)
    assert [one.id for one in local.list_models()] == [MODEL_ID]
    foundry_local.register(manager, folder, MODEL_ID)
    assert len(local.list_models()) == 1
    with pytest.raises(UsageError, match="name:version"):
        foundry_local.register(manager, folder, "smollm2")
    manager.close()


@pytest.mark.slow
def test_its_own_service_serves_what_our_catalogue_lists_and_nothing_else(folder, tmp_path):
    def status(manager):
        manager.start_web_service()
        body = {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        url = f"{manager.urls[0]}/v1/chat/completions"
        answer = httpx.post(url, json=body, timeout=60)
        manager.stop_web_service()
        return answer.status_code, answer.text

    with catalogues.catalogue([]) as url:
        manager = foundry_local.runtime(tmp_path, url)
        foundry_local.register(manager, folder, MODEL_ID).load()
        code, said = status(manager)
        assert code == 404
        assert "No model matching" in said
    with catalogues.catalogue([MODEL_ID]) as url:
        catalogues.deliver(folder, MODEL_ID, tmp_path)
        manager = foundry_local.runtime(tmp_path, url)
        [listed] = manager.catalog.list_models()
        listed.load()
        assert status(manager)[0] == 200
        manager.close()


def test_the_catalogue_answers_at_its_address_only():
    with catalogues.catalogue(["a:1", "b:2"]) as url:
        assert url.startswith("http://127.0.0.1:")
        names = [entry["properties"]["id"] for entry in httpx.post(url, json={}).json()["value"]]
        assert names == ["a:1", "b:2"]
        assert httpx.post(url + "/x", json={}).status_code == 404


@pytest.mark.parametrize("model_id", ["a", "a:", ":1", "a:b", "../a:1", "a/b:1", "..:1", "A:1"])
def test_an_id_that_is_none_lists_delivers_and_registers_nothing(tmp_path, model_id):
    kept = tmp_path / "models" / "a-1"
    kept.mkdir(parents=True)
    for act in (
        lambda: catalogues.catalogue([model_id]).__enter__(),
        lambda: catalogues.deliver(tmp_path, model_id, tmp_path),
        lambda: foundry_local.register(None, tmp_path, model_id),
    ):
        with pytest.raises(UsageError, match="name:version"):
            act()
    assert kept.is_dir()


def test_another_onnx_runtime_than_it_was_linked_against_is_named(monkeypatch):
    versions = {"onnxruntime": "1.99.0"}
    real = foundry_local.installed_version
    monkeypatch.setattr(
        foundry_local, "installed_version", lambda name: versions.get(name) or real(name)
    )
    assert "onnxruntime than 1.99.0" in foundry_local.why_not()
    with pytest.raises(NotPossibleHere, match="pip install"):
        foundry_local.must_run()


# As a server with accounts


@pytest.mark.slow
def test_each_account_may_do_what_its_role_says_and_all_is_logged(server, log, folder):
    before = len(log.entries())
    for who, may_run in (("ana", 200), ("ben", 200), ("cleo", 403)):
        headers = {"Authorization": f"Bearer {PEOPLE[who].key}"}
        assert httpx.get(f"{server.base_url}/models", headers=headers).status_code == 200
        assert chat(server, PEOPLE[who].key).status_code == may_run
    told = [(entry.who, entry.what, entry.allowed) for entry in log.entries()[before:]]
    assert told == [
        ("ana", "read", True),
        ("ana", "run", True),
        ("ben", "read", True),
        ("ben", "run", True),
        ("cleo", "read", True),
        ("cleo", "run", False),
    ]
    assert {entry.model for entry in log.entries()} == {folder_digest(folder)}


@pytest.mark.slow
def test_a_refusal_is_a_sentence(server):
    refused = chat(server, PEOPLE["cleo"].key)
    assert "cleo may not run models as reader" in message(refused)


@pytest.mark.slow
def test_who_comes_with_a_wrong_key_is_logged(server, log):
    chat(server, "wrong")
    last = log.entries()[-1]
    assert (last.who, last.what, last.allowed) == ("somebody", "run", False)


@pytest.mark.slow
def test_what_cannot_be_logged_is_not_done(server, log):
    head = log.path.with_name(f"{log.path.name}.head")
    sealed = head.read_bytes()
    head.write_bytes(sealed.replace(b"count", b"bount"))
    answer = chat(server, PEOPLE["ana"].key)
    head.write_bytes(sealed)
    assert answer.status_code == 500
    assert "head is not as it was written" in message(answer)
    assert chat(server, PEOPLE["ana"].key).status_code == 200


@pytest.mark.slow
def test_a_request_of_unknown_length_is_refused(server):
    url = f"{server.base_url}/chat/completions"
    assert httpx.post(url, content=iter([b"{}"]), timeout=30).status_code == 411


@pytest.mark.slow
def test_no_prompt_stands_in_the_log_the_audit_log_or_an_error(server, log):
    key = PEOPLE["ben"].key
    text = [{"role": "user", "content": f"{SECRET} " * 3000}]
    answers = [
        chat(server, key, messages=[{"role": "user", "content": SECRET}]),
        chat(server, key, messages=text),
        chat(server, key, messages=SECRET),
        chat(server, key, model=f"{SECRET} " * 20),
        chat(server, key, temperature=SECRET),
        httpx.get(f"{server.url}/{SECRET}"),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 400, 404, 400, 404]
    assert not any(SECRET in answer.text for answer in answers[1:])
    assert SECRET not in server.log + log.path.read_text("utf-8")


@pytest.mark.slow
def test_a_body_that_is_too_large_is_not_read(server):
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {10**9}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        connection.sendall(head)
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")
    assert chat(server, PEOPLE["ben"].key).status_code == 200


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(InvalidModelFile, match=r"genai_config\.json"):
        serve("foundry_local", tmp_path)


# What a request may say


def body(**changes):
    asked = {"model": "m:1", "messages": [{"role": "user", "content": "Hi"}], **changes}
    return json.dumps(asked).encode()


def test_a_request_is_read_as_the_openai_client_sends_it():
    parts = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]
    options = {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0}
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    wanted = read_request(
        body(messages=messages, max_completion_tokens=5, seed=7, user="x", **options), "m:1"
    )
    assert wanted.messages[1] == {"role": "user", "content": "Hello there"}
    assert (wanted.max_tokens, wanted.stream, wanted.usage) == (5, True, True)
    assert wanted.sampling == {"temperature": 0, "seed": 7}


@pytest.mark.parametrize(
    "content, status, sentence",
    [
        (b"{nope", 400, "not valid JSON"),
        (b"\xff", 400, "not valid JSON"),
        (b"[]", 400, "not a JSON object"),
        (body(model="n:1"), 404, "no model 'n:1', only m:1"),
        (body(model=None), 404, "no such model, only m:1"),
        (body(model="Tell me more. " * 9), 404, "no such model"),
        (body(messages=[]), 400, "at least one message"),
        (body(messages="Hi"), 400, "at least one message"),
        (body(messages=[{"role": "wizard", "content": "Hi"}]), 400, "has a role"),
        (body(messages=[{"role": "user", "content": ""}]), 400, "not empty"),
        (body(messages=[{"role": "user", "content": "a\0b"}]), 400, "a text"),
        (body(messages=[{"role": "user", "content": "\ud800"}]), 400, "a text"),
        (body(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), 400, "a text"),
        (body(max_tokens=0), 400, "max_tokens is a whole number"),
        (body(max_tokens=True), 400, "max_tokens is a whole number"),
        (body(temperature=3), 400, "temperature is a number"),
        (body(seed=-1), 400, "seed is a whole number"),
        (body(tools=[{}]), 400, "does not support tools"),
        (body(n=2), 400, "does not support n above 1"),
    ],
)
def test_what_cannot_be_answered_gets_a_status_and_a_sentence(content, status, sentence):
    with pytest.raises(Refusal, match=sentence) as refused:
        read_request(content, "m:1")
    assert refused.value.status == status


# Without a network


@pytest.mark.slow
def test_it_answers_without_a_network(folder):
    how, said = foundry_local.ask_offline(folder, QUESTION)
    assert how.startswith(("a network of its own", "proxy settings"))
    assert "answered" not in said["network"]
    assert "Paris" in said["answer"]


@pytest.mark.slow
def test_as_it_comes_it_asks_for_others_and_as_set_up_here_for_nobody(folder):
    plain = foundry_local.hosts_asked(folder, "plain")
    assert any(host.endswith(".microsoft.com") for host in plain)
    assert foundry_local.hosts_asked(folder, "ours") == []


def test_a_process_without_a_network_reaches_nobody_whether_it_has_its_own_or_none(monkeypatch):
    code = (
        "import urllib.request as r\n"
        "try: r.urlopen('http://192.0.2.1/', timeout=5); print('reached')\n"
        "except OSError as problem: print('not reached')"
    )
    first = offline.run([sys.executable, "-c", code])
    monkeypatch.setattr(offline, "_own_network", lambda: [])
    second = offline.run([sys.executable, "-c", code])
    assert (first.output.strip(), first.code) == ("not reached", 0)
    assert (second.output.strip(), second.how) == (
        "not reached",
        "proxy settings that lead nowhere",
    )


def test_an_answer_that_does_not_come_is_a_sentence(tmp_path, monkeypatch):
    def never(command, env=None, cwd=None, timeout=None):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(offline, "_own_network", lambda: [])
    for module in (offline, foundry_local):
        monkeypatch.setattr(module, "finish", never)
    with pytest.raises(ServerFailed, match="within 300 s"):
        foundry_local.ask_offline(tmp_path, QUESTION)
    with pytest.raises(ServerFailed, match="within 300 s"):
        foundry_local.hosts_asked(tmp_path, "ours")


def test_who_is_asked_for_is_written_down_and_not_reached():
    with offline.listening() as (proxies, asked):
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({"https": proxies["https_proxy"]})
        )
        with pytest.raises(OSError, match="403"):
            opener.open("https://example.org/secret")
    assert asked == ["example.org"]


def test_the_environment_is_as_before_once_the_runtime_has_started(tmp_path, monkeypatch):
    monkeypatch.setenv("CI", "yes")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with foundry_local.quietly(tmp_path):
        assert os.environ["CI"] == "1"
        assert os.environ["XDG_CACHE_HOME"] == str(tmp_path)
    assert os.environ["CI"] == "yes"
    assert "XDG_CACHE_HOME" not in os.environ


@pytest.mark.slow
def test_it_leaves_nothing_in_the_home_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(cache_path()))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-m", "slmlab.deployment.foundry_local_ask", folder, "Hi", "ours"]
    assert offline.run(command).code == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_request_nested_too_deeply_is_refused():
    with pytest.raises(Refusal, match="not valid JSON"):
        read_request(b"[" * 5000 + b"]" * 5000, "m:1")
