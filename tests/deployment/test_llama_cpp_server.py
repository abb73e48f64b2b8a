"""What llama-cpp-python's server has here beyond what every server keeps to."""

import threading

import httpx
import pytest

from slmlab import deployment
from slmlab.deployment import load
from slmlab.deployment.metrics import total
from slmlab.errors import InvalidModelFile, NotPossibleHere, ServerFailed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(smollm2):
    with deployment.serve("llama_cpp", smollm2, context=512) as running:
        yield running


def change(server, name, action):
    before = total(server.metrics(), name)
    action()
    while total(server.metrics(), "slmlab_requests_in_progress"):
        pass  # an answer is counted when its last piece has gone
    return total(server.metrics(), name) - before


def test_it_counts_requests_by_their_status(server):
    def ask(model):
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        httpx.post(
            f"{server.base_url}/chat/completions", headers=server.headers(), json=body, timeout=120
        )

    def both():
        ask(server.model)
        ask("gpt-99")

    assert change(server, "slmlab_requests_total", both) == 2
    statuses = {s.labels["status"] for s in server.metrics() if s.name == "slmlab_requests_total"}
    assert {"200", "404"} <= statuses


@pytest.mark.parametrize("stream", [False, True])
def test_it_counts_the_tokens_it_writes(server, stream):
    body = {
        "messages": [{"role": "user", "content": "Count to ten."}],
        "max_tokens": 7,
        "stream": stream,
    }
    url = f"{server.base_url}/chat/completions"

    def ask():
        httpx.post(url, headers=server.headers(), json=body, timeout=120).raise_for_status()

    assert change(server, "slmlab_generated_tokens_total", ask) == 7


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/engines/copilot-codex/completions"])
def test_what_is_not_checked_is_not_served(server, path):
    answer = httpx.post(f"{server.url}{path}", headers=server.headers(), json={"input": "Hi"})
    assert answer.status_code == 404
    assert "/v1/chat/completions" in answer.json()["error"]["message"]


def test_what_is_no_text_is_refused_in_a_sentence(server):
    body = b'{"messages": [{"role": "user", "content": "\\ud800"}]}'
    headers = {**server.headers(), "Content-Type": "application/json"}
    answer = httpx.post(f"{server.base_url}/chat/completions", headers=headers, content=body)
    assert answer.status_code == 400
    assert "cannot be read" in answer.json()["error"]["message"]


def test_it_counts_the_tokens_it_reads(server):
    def ask():
        answer = httpx.post(
            f"{server.base_url}/chat/completions",
            headers=server.headers(),
            json={"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1},
            timeout=120,
        )
        read.append(answer.json()["usage"]["prompt_tokens"])

    read = []
    assert change(server, "slmlab_prompt_tokens_total", ask) == read[0]


def test_its_gauges_show_who_waits_while_one_is_answered(server):
    prompts = ["Tell me a story."] * 6
    run = threading.Thread(target=load.run, args=(server, prompts, 6, 40))
    run.start()
    seen = []
    while run.is_alive():
        found = server.metrics()
        present = total(found, "slmlab_requests_in_progress")
        seen.append((present, total(found, "slmlab_requests_waiting")))
    assert max(present for present, _ in seen) == 6
    assert max(waiting for _, waiting in seen) == 5
    assert total(server.metrics(), "slmlab_requests_in_progress") == 0


def test_its_histograms_hold_every_answer(server):
    def ask():
        load.run(server, ["Hello"] * 3, 1, 2)

    assert change(server, "slmlab_time_to_first_token_seconds_count", ask) == 3
    assert change(server, "slmlab_request_seconds_count", ask) == 3


def test_a_file_that_is_no_model_does_not_start(tmp_path):
    (tmp_path / "no-model.gguf").write_bytes(b"nothing")
    with pytest.raises((ServerFailed, InvalidModelFile), match=r"model|load"):
        deployment.serve("llama_cpp", tmp_path / "no-model.gguf")


def test_a_folder_is_no_model_for_it(tmp_path):
    with pytest.raises(InvalidModelFile, match="is not a GGUF file"):
        deployment.serve("llama_cpp", tmp_path)


def test_a_model_that_memory_cannot_hold_is_refused_before_it_starts(smollm2, monkeypatch):
    monkeypatch.setattr("slmlab.machine.available_memory_bytes", lambda: 1_000_000)
    with pytest.raises(NotPossibleHere, match="GB of memory"):
        deployment.serve("llama_cpp", smollm2)
