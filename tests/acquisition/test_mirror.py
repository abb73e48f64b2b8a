"""The unmodified clients take our mirror for the Hub, and it gives nothing but what was chosen."""

import http.client
import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from slmlab.acquisition import fetching, handing_on, mirror
from slmlab.errors import UsageError
from slmlab.files import sha256

CONTENT = b"GGUF" + bytes(range(256)) * 4000
NAME = "someone/tiny"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder in Hugging Face's layout, with a folder inside and a hidden file."""
    folder = tmp_path / "tiny"
    (folder / "onnx" / "quantized").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "tiny.gguf").write_bytes(CONTENT)
    (folder / "onnx" / "model.onnx").write_bytes(b"onnx")
    (folder / "onnx" / "quantized" / "model.onnx").write_bytes(b"4 bits")
    (folder / "empty.txt").touch()
    (folder / ".token").write_text("secret")
    (tmp_path / "outside.txt").write_text("secret")
    return folder


@pytest.fixture
def running(folder):
    with mirror.serve({NAME: folder}) as running:
        yield running


@pytest.fixture
def api(running) -> HfApi:
    return HfApi(endpoint=running.address)


def ask(running, method, path, headers=None) -> tuple[http.client.HTTPResponse, bytes]:
    """Send one request as it stands, without a client that tidies the path."""
    connection = http.client.HTTPConnection("127.0.0.1", running.server_port, timeout=30)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


FILES = ["config.json", "empty.txt", "onnx/model.onnx", "onnx/quantized/model.onnx", "tiny.gguf"]


class TestHuggingfaceHub:
    def test_downloads_a_file(self, running, folder, tmp_path):
        path = hf_hub_download(
            NAME, "tiny.gguf", endpoint=running.address, local_dir=tmp_path / "here"
        )
        assert sha256(Path(path)) == sha256(folder / "tiny.gguf")

    def test_downloads_a_repository_with_its_folders(self, running, tmp_path):
        here = Path(snapshot_download(NAME, endpoint=running.address, cache_dir=tmp_path / "cache"))
        found = [path for path in here.rglob("*") if path.is_file()]
        assert sorted(path.relative_to(here).as_posix() for path in found) == FILES
        assert (here / "onnx/quantized/model.onnx").read_bytes() == b"4 bits"

    def test_downloads_a_pinned_revision_only(self, running, api, tmp_path):
        where = {"endpoint": running.address, "cache_dir": tmp_path / "cache"}
        commit = api.model_info(NAME).sha
        path = hf_hub_download(NAME, "config.json", revision=commit, **where)
        assert commit in path
        with pytest.raises(RevisionNotFoundError):
            hf_hub_download(NAME, "config.json", revision="v2", **where)
        with pytest.raises(RevisionNotFoundError):
            api.model_info(NAME, revision="0" * 40)

    def test_goes_on_where_an_answer_was_cut(self, tmp_path):
        piece = constants.DOWNLOAD_CHUNK_SIZE  # it keeps what it got in whole pieces
        (tmp_path / "large.gguf").write_bytes(CONTENT.ljust(piece + 2000, b"!"))

        class Cuts(mirror.Handler):
            def send_file(self, path, first, count):
                super().send_file(path, first, count if first else piece + 1000)
                self.close_connection = True

        with mirror.serve({NAME: tmp_path / "large.gguf"}, Cuts) as running:
            where = {"endpoint": running.address, "cache_dir": tmp_path / "cache"}
            path = hf_hub_download(NAME, "large.gguf", **where)
        assert sha256(Path(path)) == sha256(tmp_path / "large.gguf")
        sent = [request for request in running.requests if request.startswith("GET")]
        url = f"GET /{NAME}/resolve/main/large.gguf"
        assert sent == [url, f"{url} bytes={piece}-"]

    def test_does_not_download_again_what_has_not_changed(self, running, tmp_path):
        where = {"endpoint": running.address, "cache_dir": tmp_path / "cache"}
        first, second = (hf_hub_download(NAME, "tiny.gguf", **where) for _ in range(2))
        assert first == second
        assert sum(request.startswith("GET") for request in running.requests) == 1

    def test_reads_size_and_hash(self, api, folder):
        siblings = api.model_info(NAME, files_metadata=True).siblings
        [file] = [file for file in siblings if file.rfilename == "tiny.gguf"]
        assert (file.lfs.size, file.lfs.sha256) == (len(CONTENT), sha256(folder / "tiny.gguf"))

    def test_lists_files(self, api):
        assert api.list_repo_files(NAME) == FILES

    def test_lists_a_tree_as_the_hub_does(self, api, folder):
        top = {entry.path: entry for entry in api.list_repo_tree(NAME)}
        assert top.keys() == {"config.json", "empty.txt", "tiny.gguf", "onnx"}
        assert top["tiny.gguf"].lfs.sha256 == sha256(folder / "tiny.gguf")
        inside = [entry.path for entry in api.list_repo_tree(NAME, "onnx", recursive=True)]
        assert sorted(inside) == [
            "onnx/model.onnx",
            "onnx/quantized",
            "onnx/quantized/model.onnx",
        ]

    def test_learns_what_is_not_there(self, api, running):
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("someone/other")
        with pytest.raises(RemoteEntryNotFoundError):
            hf_hub_download(NAME, "other.gguf", endpoint=running.address)
        with pytest.raises(RemoteEntryNotFoundError):
            list(api.list_repo_tree(NAME, "additional_chat_templates"))


def test_the_revision_changes_with_any_file(folder):
    def revision():
        with mirror.serve({NAME: folder}) as running:
            return HfApi(endpoint=running.address).model_info(NAME).sha

    before = revision()
    assert revision() == before
    (folder / "onnx/model.onnx").write_bytes(b"xnno")
    assert revision() != before


class TestAFile:
    URL = f"/{NAME}/resolve/main/tiny.gguf"

    def test_is_described_without_being_sent(self, running, folder):
        answer, body = ask(running, "HEAD", self.URL)
        assert (answer.status, body) == (200, b"")
        assert (
            answer.headers["Content-Length"] == answer.headers["X-Linked-Size"] == str(len(CONTENT))
        )
        assert (
            answer.headers["ETag"]
            == answer.headers["X-Linked-ETag"]
            == f'"{sha256(folder / "tiny.gguf")}"'
        )
        assert len(answer.headers["X-Repo-Commit"]) == 40

    @pytest.mark.parametrize(
        ("span", "expected"),
        [
            ("bytes=100-", CONTENT[100:]),
            ("bytes=5-9", CONTENT[5:10]),
            ("bytes=-7", CONTENT[-7:]),
            ("bytes=10-99999999", CONTENT[10:]),
        ],
    )
    def test_is_continued(self, running, span, expected):
        answer, body = ask(running, "GET", self.URL, {"Range": span})
        assert (answer.status, body) == (206, expected)
        first = len(CONTENT) - len(expected) if not span.endswith("-9") else 5
        last = first + len(expected) - 1
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(CONTENT)}"

    @pytest.mark.parametrize("span", ["bytes=9-5", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "x"])
    def test_comes_whole_where_the_range_is_none(self, running, span):
        answer, body = ask(running, "GET", self.URL, {"Range": span})
        assert (answer.status, body) == (200, CONTENT)

    @pytest.mark.parametrize("span", [f"bytes={len(CONTENT)}-", "bytes=-0"])
    def test_has_nothing_after_its_end(self, running, span):
        answer, _ = ask(running, "GET", self.URL, {"Range": span})
        assert answer.status == 416
        assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"

    def test_comes_whole_to_who_began_with_another(self, running):
        began = {"Range": "bytes=100-", "If-Range": '"another"'}
        answer, body = ask(running, "GET", self.URL, began)
        assert (answer.status, body) == (200, CONTENT)

    def test_may_be_empty(self, running):
        answer, body = ask(running, "GET", f"/{NAME}/resolve/main/empty.txt")
        assert (answer.status, body, answer.headers["Content-Length"]) == (200, b"", "0")

    def test_is_never_held_in_memory_whole(self, folder):
        with (folder / "sparse.gguf").open("wb") as file:
            file.truncate(1_000_000_000)
        script = f"""
            import http.client, tracemalloc
            from pathlib import Path
            from slmlab.acquisition import mirror

            tracemalloc.start()
            with mirror.serve({{"a/b": Path({str(folder / "sparse.gguf")!r})}}) as it:
                asking = http.client.HTTPConnection("127.0.0.1", it.server_port)
                asking.request("GET", "/a/b/resolve/main/sparse.gguf")
                answer = asking.getresponse()
                while answer.read(1_000_000):
                    pass
            print(tracemalloc.get_traced_memory()[1])
        """
        assert int(python(script)) < 100_000_000


class TestNothingElse:
    @pytest.mark.parametrize(
        "path",
        [
            f"/{NAME}/resolve/main/../outside.txt",
            f"/{NAME}/resolve/main/%2e%2e/outside.txt",
            f"/{NAME}/resolve/main/..%2foutside.txt",
            f"/{NAME}/resolve/main//etc/passwd",
            f"/{NAME}/resolve/main/%2fetc%2fpasswd",
            f"/{NAME}/resolve/main/onnx",
            f"/{NAME}/resolve/main/.token",
            f"/{NAME}/raw/main/tiny.gguf",
            "/../outside.txt",
            "/outside.txt",
            "/",
            "/api/models",
            "/api/datasets/someone/tiny",
        ],
    )
    def test_can_be_reached(self, running, path):
        answer, body = ask(running, "GET", path)
        assert (answer.status, body) == (404, b"")

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
    def test_can_be_done(self, running, folder, method):
        answer, _ = ask(running, method, f"/{NAME}/resolve/main/tiny.gguf")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert (folder / "tiny.gguf").read_bytes() == CONTENT

    def test_can_fill_its_memory_with_headers(self, running):
        long, many = {"X": "x" * 70_000}, {f"X-{number}": "x" for number in range(200)}
        for headers in (long, many):
            answer, _ = ask(running, "GET", "/", headers)
            assert answer.status == 431
        answer, _ = ask(running, "GET", "/" + "x" * 70_000)
        assert answer.status == 414

    def test_listens_beyond_this_machine_unless_asked_to(self, running, folder):
        assert running.server_address[0] == "127.0.0.1"
        with mirror.serve({NAME: folder}, host="0.0.0.0") as open_to_all:
            assert open_to_all.server_address[0] == "0.0.0.0"
            assert "0.0.0.0" not in open_to_all.address


def test_a_client_that_stalls_keeps_nobody_waiting(running):
    silent = [socket.create_connection(running.server_address[:2]) for _ in range(20)]
    for connection in silent[::2]:
        connection.sendall(f"GET /{NAME}/resolve/main/tiny.gguf HTTP/1.1\r\n\r\n".encode())
    _, body = ask(running, "GET", f"/{NAME}/resolve/main/tiny.gguf")
    assert body == CONTENT
    for connection in silent:
        connection.close()


def test_those_beyond_the_most_that_it_serves_are_asked_to_come_again(folder, monkeypatch):
    monkeypatch.setattr(mirror.Mirror, "most_at_once", 2)
    with mirror.serve({NAME: folder}) as running:
        silent = [socket.create_connection(running.server_address[:2]) for _ in range(2)]
        answer, _ = ask(running, "GET", f"/{NAME}/resolve/main/tiny.gguf")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        silent.pop().close()
        assert 404 in (ask(running, "GET", "/")[0].status for _ in range(10_000))
        silent.pop().close()


def test_a_client_that_stalls_is_given_up(folder):
    class Impatient(mirror.Handler):
        timeout = 0.2

    with (
        mirror.serve({NAME: folder}, Impatient) as running,
        socket.create_connection(running.server_address[:2]) as silent,
    ):
        silent.settimeout(30)
        assert silent.recv(1) == b""


def test_a_port_that_is_taken_is_one_sentence(running, folder):
    with (
        pytest.raises(UsageError, match=r"cannot listen on port \d+ of 127.0.0.1"),
        mirror.serve({NAME: folder}, port=running.server_port),
    ):
        pass


def test_an_address_left_empty_is_not_taken_for_all(folder):
    with (
        pytest.raises(UsageError, match="The address is empty"),
        mirror.serve({NAME: folder}, host=""),
    ):
        pass


def python(script: str, **variables: str) -> str:
    """Run a script in a process of its own, where nothing was imported before."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_fetch_brings_the_chosen_model_from_it(smollm2, tmp_path, monkeypatch):
    chosen = handing_on.chosen(["smollm2-135m-instruct"])
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SLMLAB_SHARED_CACHE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with mirror.serve(chosen) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        found = fetching.fetch("smollm2-135m-instruct", offline=False)
    assert "on the Hugging Face Hub, revision " in found.source
    assert sha256(found.path) == sha256(smollm2)


@pytest.mark.slow
def test_transformers_loads_from_it(tmp_path):
    made = python(f"""
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

        torch.manual_seed(0)
        vocabulary = {{"[UNK]": 0, "small": 1, "model": 2}}
        words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
        tokenizer.chat_template = "hello"
        tokenizer.save_pretrained({str(tmp_path / "made")!r})
        size = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2)
        heads = dict(num_attention_heads=2, num_key_value_heads=1, vocab_size=3)
        model = LlamaForCausalLM(LlamaConfig(**size, **heads))
        model.save_pretrained({str(tmp_path / "made")!r}, max_shard_size="5KB")
        print(float(model(torch.tensor([[1, 2]])).logits.sum()))
    """)
    assert len(list((tmp_path / "made").glob("*.safetensors"))) > 1, "a model in several files"
    with mirror.serve({"room/tiny-llama": tmp_path / "made"}) as running:
        loaded = python(
            """
            import json
            from transformers import AutoModelForCausalLM, AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained("room/tiny-llama")
            model = AutoModelForCausalLM.from_pretrained("room/tiny-llama")
            tokens = tokenizer("small model", return_tensors="pt")["input_ids"]
            logits = float(model(tokens).logits.sum())
            print(json.dumps([tokens.tolist(), tokenizer.chat_template, logits]))
            """,
            HF_ENDPOINT=running.address,
            HF_HOME=str(tmp_path / "home"),
            HF_HUB_OFFLINE="0",
        )
    assert json.loads(loaded) == [[[1, 2]], "hello", float(made)]


def test_a_request_of_any_length_is_remembered_in_a_line(running):
    answer, _ = ask(running, "GET", f"/{'a' * 60_000}", {"Range": "b" * 60_000})
    assert answer.status == 404
    assert [len(request) for request in running.requests] == [500]
