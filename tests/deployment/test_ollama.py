"""Ollama's server or its stand-in, judged by the official client."""

import os
import stat
import sys
import time
from pathlib import Path

import httpx
import ollama as official
import pytest
from waiting import wait_until

from slmlab import deployment, engines
from slmlab.deployment import ollama
from slmlab.errors import InvalidModelFile, ServerFailed, UsageError

COLD = {"temperature": 0, "num_predict": 8}
SECRET = "xylophone"


@pytest.fixture(scope="module")
def q4(smollm2):
    return engines.prepare("llama_cpp", smollm2, "Q4_0")


@pytest.fixture(scope="module")
def no_ollama():
    """Even where Ollama is installed, these tests are of the stand-in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ollama, "find_program", lambda: None)
        yield


@pytest.fixture(scope="module")
def server(q4, no_ollama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    with deployment.serve("ollama", q4, context=512, models=folder) as running:
        yield running


@pytest.fixture
def client(server):
    with ollama.client(server) as speaking:
        yield speaking


def post(server, path, **more):
    return httpx.post(server.url + path, timeout=120, **more)


def names(client):
    return [model.model for model in client.list().models]


def loaded(client):
    return [model.model for model in client.ps().models]


# The Modelfile, and how the real program would be started: no server.


def test_a_modelfile_is_read_instruction_by_instruction():
    told = ollama.modelfile(
        "# a comment\n"
        "from ./model.gguf\n\n"
        "PARAMETER temperature 0.5\n"
        'PARAMETER stop "User:"\n'
        "PARAMETER stop </s>\n"
        'SYSTEM """You are\nbrief."""\n'
        'TEMPLATE """{{ .Prompt }} """'
    )
    assert told.source == "./model.gguf"
    assert told.parameters == {"temperature": 0.5, "stop": ["User:", "</s>"]}
    assert told.system == "You are\nbrief."
    assert told.template == "{{ .Prompt }} "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM a\nPARAMETER context_length 4096", "unknown parameter 'context_length'"),
        ("FROM a\nPARAMETER num_ctx many", "must be of type int"),
        ("FROM a\nPARAMETER", "unknown parameter ''"),
        ('FROM a\nSYSTEM """hello', "must end with"),
        ("FROM a\nFILE ./guide.txt", "no instruction FILE"),
        ("FROM a\nADAPTER ./lora.gguf", "does not take ADAPTER"),
        ("SYSTEM hello", "needs a line FROM"),
        ("", "needs a line FROM"),
    ],
)
def test_what_ollama_would_not_take_is_refused_in_a_sentence(text, said):
    with pytest.raises(UsageError, match=said):
        ollama.modelfile(text)


def fake_ollama(folder: Path, monkeypatch, body: str) -> None:
    """Put a program called `ollama` on the path, which is all that there is of it."""
    program = folder / "ollama"
    program.write_text(f"#!{sys.executable}\n{body}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.mark.skipif(os.name == "nt", reason="a script is no program on Windows")
class TestTheRealProgram:
    def test_it_is_preferred_and_started_on_this_machine_alone(self, tmp_path, monkeypatch):
        fake_ollama(tmp_path, monkeypatch, 'print("Warning: client version is 0.40.1")')
        model = tmp_path / "Some-Model-Q4_0.gguf"
        model.touch()
        told = ollama.launch(
            model, 4321, context=1024, keep_alive="1m", loaded_models=1, models=tmp_path / "m"
        )
        assert list(told.command) == [str(tmp_path / "ollama"), "serve"]
        assert {name: value for name, value in told.env.items() if name not in os.environ} == {
            "OLLAMA_HOST": "127.0.0.1:4321",
            "OLLAMA_MODELS": str(tmp_path / "m"),
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_CONTEXT_LENGTH": "1024",
            "OLLAMA_KEEP_ALIVE": "1m",
            "OLLAMA_MAX_LOADED_MODELS": "1",
        }
        assert (told.version, told.stand_in, told.model) == ("0.40.1", False, "some-model-q4_0")

    def test_one_that_names_no_version_is_not_ollama(self, tmp_path, monkeypatch):
        fake_ollama(tmp_path, monkeypatch, 'print("hello")')
        (tmp_path / "model.gguf").touch()
        with pytest.raises(ServerFailed, match="names no version"):
            ollama.launch(tmp_path / "model.gguf", 4321, models=tmp_path)

    @pytest.mark.slow
    def test_one_that_ends_at_once_says_why(self, tmp_path, monkeypatch):
        body = (
            'import sys\nif "serve" in sys.argv: sys.exit("Error: no room on this disk")\n'
            'print("ollama version is 0.40.1")'
        )
        fake_ollama(tmp_path, monkeypatch, body)
        (tmp_path / "model.gguf").touch()
        with pytest.raises(ServerFailed, match="no room on this disk"):
            deployment.serve("ollama", tmp_path / "model.gguf", models=tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not ollama.find_program(), reason="Ollama is not installed")
def test_an_installed_ollama_answers_through_the_same_face(q4, tmp_path):
    with deployment.serve("ollama", q4, context=512, models=tmp_path) as server:
        assert not server.stand_in and ollama.title(server).startswith("Ollama ")
        with ollama.client(server) as client:
            assert client.generate(server.model, "Hi", options=COLD).eval_count == 8
    assert server.closed


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("SmolLM2-135M-Instruct-Q4_0.gguf", "smollm2-135m-instruct-q4_0"),
        ("Zoë's größe.gguf", "zoe-s-groe"),
        ("モデル.gguf", "model"),
        ("x" * 100 + ".gguf", "x" * 80),
    ],
)
def test_a_model_has_the_name_of_its_file_in_letters_that_ollama_takes(file, name):
    assert ollama.model_name(Path(file)) == name


def test_a_missing_file_is_said_before_anything_starts(tmp_path):
    with pytest.raises(InvalidModelFile, match="not a GGUF file"):
        ollama.launch(tmp_path / "nothing.gguf", 4321)


# The stand-in: every verb of the official client.

slow = pytest.mark.slow


@slow
class TestTheModels:
    def test_the_server_says_that_it_stands_in_and_has_the_model(self, server, client):
        assert server.stand_in
        assert "stand-in" in repr(server)
        assert "stand-in" in ollama.title(server)
        assert "stand-in" in httpx.get(f"{server.url}/api/version").json()["version"]
        assert httpx.get(server.url).text == "Ollama is running"
        assert f"{server.model}:latest" in names(client)

    def test_create_from_a_modelfile_list_show_copy_delete(self, server, client, q4):
        text = f'FROM {q4}\nPARAMETER temperature 0\nPARAMETER stop "\\n"\nSYSTEM Answer briefly.'
        assert ollama.create(client, "brief", text).status == "success"
        shown = client.show("brief")
        assert (shown.details.family, shown.details.quantization_level) == ("llama", "Q4_0")
        assert shown.details.parameter_size == "134.52M"
        assert shown.modelinfo["llama.embedding_length"] == 576
        assert shown.capabilities == ["completion"]
        assert "SYSTEM" in shown.modelfile and "temperature" in shown.parameters
        listed = next(m for m in client.list().models if m.model == "brief:latest")
        assert (listed.size, len(listed.digest)) == (q4.stat().st_size, 64)
        assert client.copy("brief", "other:v1").status == "success"
        assert client.show("OTHER:v1").modelfile.startswith("# Modelfile generated by")
        for name in ("brief", "other:v1"):
            assert client.delete(name).status == "success"
        assert not {"brief:latest", "other:v1"} & set(names(client))
        assert client.generate(server.model, "Hi", options=COLD).response

    def test_a_model_made_from_another_keeps_what_it_was_told(self, server, client):
        client.create("parent", from_=server.model, system="Be brief.", parameters={"seed": 7})
        client.create("child", from_="parent", parameters={"top_k": 3})
        shown = client.show("child")
        assert "Be brief." in shown.modelfile
        assert "seed" in shown.parameters and "top_k" in shown.parameters
        client.delete("parent"), client.delete("child")

    def test_create_streams_its_progress(self, server, client):
        told = client.create("streamed", from_=server.model, stream=True)
        assert [part.status for part in told][-2:] == ["writing manifest", "success"]
        client.delete("streamed")

    def test_pull_brings_a_model_of_the_course(self, client, smollm2):
        parts = list(client.pull("smollm2-135m-instruct", stream=True))
        assert parts[0].status == "pulling manifest" and parts[-1].status == "success"
        bytes_told = [(part.completed, part.total) for part in parts if part.total]
        assert bytes_told[-1] == (smollm2.stat().st_size, smollm2.stat().st_size)
        assert client.show("smollm2-135m-instruct").details.quantization_level == "Q4_1"
        client.delete("smollm2-135m-instruct")

    def test_pull_of_what_is_nowhere_is_an_error(self, client):
        with pytest.raises(official.ResponseError, match="pull model manifest"):
            client.pull("no-such-model")
        with pytest.raises(official.ResponseError, match="file does not exist"):
            list(client.pull("smollm2-135m-instruct:q2", stream=True))

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"from_": "nobody"}, "'nobody' not found"),
            ({}, "neither 'from' or 'files'"),
            ({"files": {"a.gguf": "sha256:" + 64 * "0"}}, "blob not found"),
            ({"files": {"a.gguf": "sha256:../../etc"}}, "invalid digest"),
            ({"from_": "SELF", "quantize": "q4_K_M"}, "only supported for safetensors"),
            ({"from_": "SELF", "adapters": {"a": "b"}}, "LoRA"),
            ({"from_": "SELF", "template": "{{ range .Messages }}"}, "template error"),
            ({"from_": "SELF", "template": "{{ if .System }}"}, "template error"),
            ({"from_": "SELF", "parameters": {"num_ctx": "many"}}, "num_ctx"),
        ],
    )
    def test_a_model_that_cannot_be_is_not_made(self, server, client, arguments, said):
        arguments = {k: server.model if v == "SELF" else v for k, v in arguments.items()}
        with pytest.raises(official.ResponseError, match=said):
            client.create("wrong", **arguments)
        assert "wrong:latest" not in names(client)

    def test_a_name_cannot_leave_the_folder(self, server, client):
        with pytest.raises(official.ResponseError, match="invalid model name"):
            client.create("../../outside", from_=server.model)

    def test_a_file_that_is_no_model_is_refused(self, client, tmp_path):
        (tmp_path / "text.gguf").write_text("hello")
        with pytest.raises(official.ResponseError, match="not in GGUF format"):
            ollama.create(client, "text", f"FROM {tmp_path / 'text.gguf'}")

    def test_an_upload_must_have_the_hash_it_promises(self, server):
        told = post(server, f"/api/blobs/sha256:{64 * 'a'}", content=b"hello")
        assert told.status_code == 400 and "digest mismatch" in told.json()["error"]
        assert httpx.head(f"{server.url}/api/blobs/sha256:{64 * 'a'}").status_code == 404


@slow
class TestTheAnswers:
    def test_it_writes_what_our_engine_writes(self, server, client, q4):
        question = [{"role": "user", "content": "What is the capital of France?"}]
        with engines.load(q4, context=512) as engine:
            expected = engine.generate(question, max_tokens=12)
        told = client.chat(server.model, question, options={"temperature": 0, "num_predict": 12})
        assert told.message.content == expected.text
        assert (told.prompt_eval_count, told.eval_count) == (expected.prompt_tokens, 12)
        assert told.done_reason == "length"
        streamed = client.generate(
            server.model, question[0]["content"], options={**COLD, "num_predict": 12}, stream=True
        )
        assert "".join(part.response for part in streamed) == expected.text

    def test_durations_are_nanoseconds_that_fit_our_clock(self, server, client):
        start = time.perf_counter_ns()
        told = client.generate(server.model, "Count to ten.", options=COLD)
        ours = time.perf_counter_ns() - start
        parts = told.load_duration + told.prompt_eval_duration + told.eval_duration
        assert told.prompt_eval_duration > 0 and told.eval_duration > 0
        assert parts <= told.total_duration <= ours

    def test_a_raw_prompt_gets_no_template(self, server, client):
        told = client.generate(server.model, "The capital of France is", raw=True, options=COLD)
        plain = client.generate(server.model, "The capital of France is", options=COLD)
        assert told.prompt_eval_count < plain.prompt_eval_count

    def test_the_system_prompt_and_the_template_of_a_model_count(self, server, client):
        template = "{{ if .System }}S:{{ .System }}\n{{ end }}U:{{ .Prompt }}\nA:{{ .Response }}\n"
        client.create("told", from_=server.model, system="Hi", template=template)
        told = client.generate("told", "Yes", options=COLD)
        same = client.generate(server.model, "S:Hi\nU:Yes\nA:", raw=True, options=COLD)
        assert (told.prompt_eval_count, told.response) == (same.prompt_eval_count, same.response)
        turns = [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ]
        told = client.chat("told", turns, options=COLD)
        text = "S:Hi\nU:a\nA:b\nU:c\nA:"
        same = client.generate(server.model, text, raw=True, options=COLD)
        assert told.message.content == same.response
        client.delete("told")

    def test_it_stops_before_a_stop_and_says_so(self, server, client):
        options = {"temperature": 0, "num_predict": 24}
        whole = client.generate(server.model, "Count: 1, 2, 3,", raw=True, options=options)
        stop = whole.response[3:6]
        parts = client.generate(
            server.model, "Count: 1, 2, 3,", raw=True, options={**options, "stop": [stop]},
            stream=True,
        )  # fmt: skip
        *written, last = parts
        text = "".join(part.response for part in written)
        assert text == whole.response[: whole.response.index(stop)]
        assert last.done_reason == "stop"

    def test_chance_has_a_seed(self, server, client):
        def answer(seed):
            options = {"temperature": 1.5, "seed": seed, "num_predict": 12}
            return client.generate(server.model, "Tell me a story.", options=options).response

        assert answer(1) == answer(1)
        assert len({answer(seed) for seed in (1, 2, 3)}) > 1

    def test_characters_of_several_tokens_come_whole(self, server, client):
        parts = client.generate(
            server.model, "😀😀😀😀😀😀😀😀", raw=True, options={**COLD, "num_predict": 16},
            stream=True,
        )  # fmt: skip
        *written, _ = parts
        assert all("\ufffd" not in part.response for part in written[:-1])


@slow
class TestTheMemory:
    def test_keep_alive_decides_what_is_loaded(self, server, client):
        client.generate(server.model, keep_alive=-1)
        [model] = client.ps().models
        assert model.model == f"{server.model}:latest" and model.context_length == 512
        assert model.expires_at.year > 2100
        assert client.generate(server.model, "Hi", options=COLD, keep_alive="1s").response
        wait_until(lambda: not loaded(client), seconds=20)
        assert client.chat(server.model, []).done_reason == "load"
        assert loaded(client)
        assert client.generate(server.model, keep_alive=0).done_reason == "unload"
        assert not loaded(client)

    def test_another_context_loads_the_model_again(self, server, client):
        first = client.generate(server.model, "Hi", options=COLD)
        again = client.generate(server.model, "Hi", options=COLD)
        other = client.generate(server.model, "Hi", options={**COLD, "num_ctx": 256})
        assert again.load_duration < other.load_duration
        assert client.ps().models[0].context_length == 256
        assert first.response == other.response

    def test_models_with_the_same_weights_share_them_in_memory(self, server, client):
        client.create("twin", from_=server.model, system="Be brief.")
        client.generate(server.model)
        assert client.generate("twin", "Hi", options=COLD).response
        assert loaded(client) == ["twin:latest"]
        client.delete("twin")

    def test_with_room_for_one_model_the_other_goes(self, q4, smollm2, no_ollama, tmp_path):
        with (
            deployment.serve("ollama", q4, context=64, loaded_models=1, models=tmp_path) as server,
            ollama.client(server) as client,
        ):
            ollama.create(client, "second", f"FROM {smollm2}")
            client.generate(server.model, "Hi", options=COLD)
            assert loaded(client) == [f"{server.model}:latest"]
            client.generate("second", "Hi", options=COLD)
            assert loaded(client) == ["second:latest"]

    def test_a_server_that_comes_back_still_has_its_models(self, q4, no_ollama, tmp_path):
        for _ in range(2):
            with deployment.serve("ollama", q4, models=tmp_path) as server:
                log = server.log
        assert "api/blobs" not in log


@slow
class TestWhatGoesWrong:
    def test_an_unknown_model_is_not_found(self, server, client):
        for ask in (
            lambda: client.generate("nobody", "Hi"),
            lambda: client.chat("nobody", [{"role": "user", "content": "Hi"}]),
            lambda: list(client.generate("nobody", "Hi", stream=True)),
            lambda: client.show("nobody"),
            lambda: client.delete("nobody"),
            lambda: client.copy("nobody", "somebody"),
        ):
            with pytest.raises(official.ResponseError, match="not found") as caught:
                ask()
            assert caught.value.status_code == 404

    @pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/v1/chat/completions"])
    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", b"hello", b'{"model": 5}', b'{"messages": 7}', b"\xff\xfe",
         b'{"model": ""}', b'{"model": "SELF", "options": {"num_ctx": "big"}, "temperature": {}}',
         b'{"model": "SELF", "messages": [{"role": "user"}], "prompt": []}'],
    )  # fmt: skip
    def test_a_wrong_request_is_an_error_in_json(self, server, path, body):
        told = post(server, path, content=body.replace(b"SELF", server.model.encode()))
        assert told.status_code == 400
        assert told.json()["error"]

    def test_what_the_stand_in_lacks_it_refuses(self, server, client):
        for ask in (
            lambda: client.generate(server.model, "Hi", format="json"),
            lambda: client.generate(server.model, "Hi", think=True),
            lambda: client.embed(server.model, "Hi"),
        ):
            with pytest.raises(official.ResponseError, match="stand-in does not"):
                ask()

    def test_an_over_long_prompt_loses_its_middle_as_in_ollama(self, server, client):
        told = client.generate(server.model, "word " * 1000, raw=True, options=COLD)
        assert told.prompt_eval_count == 512 - (512 - 4) // 2

    def test_or_is_an_error_where_nothing_may_be_lost(self, server):
        for path, prompt in (
            ("/api/generate", {"prompt": "word " * 1000}),
            ("/api/chat", {"messages": [{"role": "user", "content": "word " * 1000}]}),
        ):
            asked = {"model": server.model, "truncate": False, **prompt}
            told = post(server, path, json=asked)
            assert told.status_code == 400
            assert "exceeds the available context size" in told.json()["error"]

    def test_the_oldest_messages_go_first_and_the_system_prompt_stays(self, server, client):
        system = {"role": "system", "content": "Be brief."}
        old = [{"role": role, "content": "word " * 100} for role in ("user", "assistant")] * 4
        last = {"role": "user", "content": "What is the capital of France?"}
        short = client.chat(server.model, [system, *old[-2:], last], options=COLD)
        whole = client.chat(server.model, [system, *old, last], options=COLD)
        assert short.prompt_eval_count < whole.prompt_eval_count <= 512
        assert whole.prompt_eval_count > 400

    def test_a_client_that_goes_mid_stream_does_not_block_the_next(self, server, client):
        endless = {"prompt": "Count: 1, 2, 3,", "raw": True, "options": {"temperature": 0}}
        for path, asked in (
            ("/api/generate", endless),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Count."}]}),
        ):
            body = {"model": server.model, "stream": True, **asked}
            with httpx.stream("POST", server.url + path, json=body, timeout=60) as answer:
                next(answer.iter_lines())
        body = {"model": server.model, "stream": False, **endless}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/api/generate", json=body, timeout=0.2)
        assert client.generate(server.model, "Hi", options=COLD).response
        assert "Traceback" not in server.log

    def test_no_other_host_name_is_answered(self, server):
        told = httpx.get(f"{server.url}/api/tags", headers={"Host": "evil.example"})
        assert told.status_code in (400, 403)

    @pytest.mark.parametrize(("origin", "status"), [("https://evil.example", 403), (None, 200)])
    def test_a_page_from_another_site_is_refused(self, server, origin, status):
        headers = {"Origin": origin} if origin else {"Origin": server.url}
        told = httpx.post(f"{server.url}/api/show", json={"model": server.model}, headers=headers)
        assert told.status_code == status

    def test_the_log_holds_no_prompt(self, server, client):
        client.generate(server.model, f"{SECRET} one", options={**COLD, "no_option": SECRET})
        post(server, "/api/generate", json={"model": server.model, "prompt": [SECRET]})
        post(server, "/api/chat", content=f'{{"{SECRET}'.encode())
        assert "POST /api/generate" in server.log and "no_option" in server.log
        assert SECRET not in server.log
