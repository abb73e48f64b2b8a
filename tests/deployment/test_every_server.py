"""What every server keeps to, whatever runs inside: the same tests, on real servers."""

import json
import time
from collections import Counter

import httpx
import openai
import psutil
import pytest

from slmlab import deployment
from slmlab.deployment import load

SECRET = "xyzzyplugh"
"""A word that stands in every prompt, and must stand in no log."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=deployment.NAMES)
def server(request, smollm2):
    if why_not := deployment.why_not(request.param):
        pytest.skip(why_not)
    with deployment.serve(request.param, smollm2) as running:
        yield running


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server.base_url, api_key=server.api_key or "none", max_retries=0)


def chat(server, content=f"Say hello to {SECRET}.", **changes):
    """Return the body of a chat request."""
    messages = [{"role": "user", "content": content}]
    return {"model": server.model, "messages": messages, "max_tokens": 4, **changes}


def post(server, headers=None, **body):
    url = f"{server.base_url}/chat/completions"
    headers = server.headers() if headers is None else headers
    return httpx.post(url, headers=headers, timeout=120, **body)


def must_go_on(server):
    """Fail unless the server answers as if nothing had happened."""
    [reply] = load.run(server, [f"Are you still there, {SECRET}?"], 1, max_tokens=2)
    assert reply.ok, reply.error
    assert not server.closed


def sentence(answer):
    """Return the sentence of an error in JSON."""
    error = answer.json()["error"]
    return error["message"] if isinstance(error, dict) else error


def test_the_openai_client_works_unchanged(server, client):
    answer = client.chat.completions.create(**chat(server))
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens in range(1, 5)
    names = {model.id.removesuffix(":latest") for model in client.models.list()}
    assert server.model in names


def test_the_openai_client_streams_the_same_answer(server, client):
    whole = client.chat.completions.create(**chat(server), temperature=0)
    stream = list(client.chat.completions.create(**chat(server), temperature=0, stream=True))
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    ends = [chunk.choices[0].finish_reason for chunk in stream if chunk.choices]
    assert ends[-1] == whole.choices[0].finish_reason == "length"


def test_500_requests_16_at_a_time_lose_and_corrupt_none(server):
    prompts = [f"Name {number} towns near {SECRET}." for number in range(2, 12)]
    alone = {reply.index: reply.text for reply in load.run(server, prompts, 1, max_tokens=4)}
    replies = load.run(server, prompts * 50, 16, max_tokens=4)
    assert Counter(reply.ok for reply in replies) == {True: 500}, [
        reply.error for reply in replies if not reply.ok
    ]
    assert [reply.index for reply in replies] == list(range(500))
    different = [reply for reply in replies if reply.text != alone[reply.index % 10]]
    # Side by side, sums are rounded in another order: that may change a word, but not most.
    assert len(different) <= (0 if server.name != "vllm" else 100)
    assert all(reply.text and reply.new_tokens <= 4 for reply in replies)


def test_a_client_that_goes_away_does_not_keep_the_server(server):
    body = chat(server, f"Tell a very long story of {SECRET}.", stream=True, max_tokens=1500)
    url = f"{server.base_url}/chat/completions"
    headers = server.headers()
    with httpx.stream("POST", url, headers=headers, json=body, timeout=120) as answer:
        assert any("content" in line for line in answer.iter_lines())
    began = time.monotonic()
    must_go_on(server)
    writing_it_all = 1500 / 250  # tokens at the highest rate that a small machine reaches
    assert time.monotonic() - began < writing_it_all * 4


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_gets_a_clear_error(server, stream):
    answer = post(server, json=chat(server, f"{SECRET} " * 3000, stream=stream))
    if server.name == "ollama":  # it cuts the prompt, unless its own API is told not to
        assert answer.status_code == 200
        body = chat(server, f"{SECRET} " * 9000, truncate=False)
        answer = httpx.post(f"{server.url}/api/chat", json=body, timeout=120)
    assert answer.status_code == 400
    assert "context" in sentence(answer)
    must_go_on(server)


@pytest.mark.parametrize("body", [b"{not json", b"[1, 2]", b'{"model": "x", "messages": "y"}'])
def test_a_request_that_is_no_request_gets_a_clear_error(server, body):
    answer = post(server, content=body, headers={**server.headers(), **JSON})
    assert answer.status_code in (400, 404, 422)
    assert len(sentence(answer)) > 10
    must_go_on(server)


JSON = {"Content-Type": "application/json"}


def test_an_unknown_model_is_named_in_the_error(server):
    answer = post(server, json=chat(server, model="gpt-99"))
    assert answer.status_code == 404
    assert "gpt-99" in sentence(answer)
    must_go_on(server)


def test_without_its_key_it_answers_nothing(server):
    if server.api_key is None:
        assert server.name == "ollama", "only Ollama knows no key"
        return
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert post(server, headers=headers, json=chat(server)).status_code == 401


def test_it_listens_on_this_machine_only(server):
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    listening = [
        connection.laddr
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert server.port in {address.port for address in listening}
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}


def test_its_key_is_not_on_a_command_line(server):
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    commands = json.dumps([process.cmdline() for process in family])
    assert not server.api_key or server.api_key not in commands


def test_its_log_holds_neither_a_prompt_nor_its_key(server):
    must_go_on(server)
    assert SECRET not in server.log
    assert not server.api_key or server.api_key not in server.log
