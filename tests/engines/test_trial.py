"""A model file on which llama.cpp crashes is refused in a sentence, and this process goes on."""

import math
import subprocess
from pathlib import Path

import pytest
from toy_model import toy

from slmlab import gguf
from slmlab.acquisition import trust
from slmlab.engines import llama_cpp, trial
from slmlab.errors import EngineError, InvalidModelFile, NotPossibleHere
from slmlab.quantization import quantize


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SLMLAB_SHARED_CACHE", raising=False)


@pytest.fixture
def trials(monkeypatch) -> list[str]:
    """The files that were tried, which are tried all the same."""
    tried, finish = [], trial.finish

    def counted(command, *more, **options):
        tried.append(Path(command[-1]).name)
        return finish(command, *more, **options)

    monkeypatch.setattr(trial, "finish", counted)
    return tried


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        ({"block_count": 0}, r"crashed \(SIGABRT\): llama-model\.cpp:\d+: GGML_ASSERT"),
        ({"types": {"token_embd.weight": "int32"}}, r"ggml-backend\.cpp:\d+: GGML_ASSERT"),
        ({"vocabulary": "llama"}, r"crashed \(SIGABRT\)"),
        ({"attention.layer_norm_rms_epsilon": math.nan}, r"ops\.cpp:\d+: GGML_ASSERT\(eps"),
        ({"types": {"blk.0.attn_q.weight": "float64"}}, r"crashed \(SIGSEGV\)"),
    ],
    ids=["at loading", "at its context", "at tokens", "at reading", "in memory not its own"],
)
def test_a_file_that_crashes_llama_cpp_is_refused(tmp_path, hostile, reason):
    path = toy(tmp_path / "hostile.gguf", **hostile)
    gguf.read_header(path)
    with pytest.raises(InvalidModelFile, match=reason) as refused:
        llama_cpp.load(path, context=64)
    assert str(refused.value).startswith("hostile.gguf is not a usable model file: ")
    assert "\n" not in str(refused.value) and "/" not in str(refused.value)


@pytest.mark.slow
def test_a_sound_file_is_tried_once_and_again_when_it_has_changed(tmp_path, trials):
    path = toy(tmp_path / "toy.gguf")
    for _ in range(2):
        llama_cpp.load(path, context=64).close()
    assert trials == ["toy.gguf"]
    toy(path, block_count=0)
    with pytest.raises(InvalidModelFile, match="crashed"):
        llama_cpp.load(path, context=64)
    assert trials == ["toy.gguf"] * 2


@pytest.mark.slow
def test_a_file_that_was_refused_is_tried_again(tmp_path, trials):
    path = toy(tmp_path / "toy.gguf", block_count=0)
    for _ in range(2):
        with pytest.raises(InvalidModelFile):
            llama_cpp.load(path, context=64)
    assert len(trials) == 2


def test_what_is_still_arriving_is_not_trusted(tmp_path):
    folder = tmp_path / "cache" / "models" / "toy" / "incoming"
    folder.mkdir(parents=True)
    assert not trust.is_trusted(toy(folder / "toy.gguf"))
    assert trust.is_trusted(toy(folder.parent / "toy.gguf"))


def test_verified_models_are_not_tried(tmp_path, monkeypatch, trials):
    monkeypatch.setenv("SLMLAB_SHARED_CACHE", str(tmp_path / "shared"))
    for home in ("cache", "shared"):
        folder = tmp_path / home / "models" / "toy"
        folder.mkdir(parents=True)
        llama_cpp.load(toy(folder / "toy.gguf"), context=64).close()
    assert trials == []


@pytest.mark.slow
def test_a_file_without_end_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "_SECONDS", 0)
    monkeypatch.setattr(trial, "_BYTES_PER_SECOND", 1e12)
    with pytest.raises(InvalidModelFile, match="had not read a line of text after 0 s"):
        llama_cpp.load(toy(tmp_path / "toy.gguf"), context=64)


def test_a_trial_that_was_killed_says_nothing_about_the_file(tmp_path, monkeypatch):
    killed = subprocess.CompletedProcess([], 137, "", "")
    monkeypatch.setattr(trial, "finish", lambda *_, **__: killed)
    with pytest.raises(NotPossibleHere, match=r"was killed, often because memory ran out; close"):
        llama_cpp.load(toy(tmp_path / "toy.gguf"), context=64)


@pytest.mark.parametrize("code", [1, 2, 127])
def test_a_trial_that_could_not_run_says_why_and_nothing_about_the_file(
    tmp_path, monkeypatch, code
):
    broken = "Traceback (most recent call last):\nImportError: libfoo is missing\n"
    ended = subprocess.CompletedProcess([], code, "", broken)
    monkeypatch.setattr(trial, "finish", lambda *_, **__: ended)
    said = r"could not be tried in a process of its own: ImportError: libfoo is missing; mend that"
    with pytest.raises(NotPossibleHere, match=said):
        llama_cpp.load(toy(tmp_path / "toy.gguf"), context=64)


def test_a_file_that_is_replaced_while_it_is_tried_is_not_trusted(tmp_path, monkeypatch):
    path = toy(tmp_path / "toy.gguf")

    def finish(*_, **__):
        path.write_bytes(path.read_bytes() + b"other")
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(trial, "finish", finish)
    trial.must_survive(path)
    assert not trust.is_trusted(path)


@pytest.mark.slow
def test_what_llama_cpp_refuses_in_words_it_says_itself(tmp_path):
    with pytest.raises(EngineError, match=r"could not load toy\.gguf"):
        llama_cpp.load(toy(tmp_path / "toy.gguf", block_count=7), context=64)


@pytest.mark.slow
def test_without_a_place_to_remember_a_file_is_tried_each_time(tmp_path, monkeypatch, trials):
    (tmp_path / "cache").touch()
    path = toy(tmp_path / "toy.gguf")
    for _ in range(2):
        llama_cpp.load(path, context=64).close()
    assert len(trials) == 2


@pytest.mark.parametrize("heads", [2**31, -1, 0.5, "four", True, [1, "four"]])
def test_numbers_that_no_model_has_are_refused_before_memory_is_counted(heads):
    about = {"general.architecture": "llama", "llama.attention.head_count": heads}
    header = gguf.Header(3, about, (), 0, 0)
    with pytest.raises(InvalidModelFile, match=r"llama\.attention\.head_count cannot be"):
        llama_cpp._cache_bytes(header, 64, "F16")


def test_a_model_without_heads_or_layers_keeps_nothing():
    empty = gguf.Array(4, 0, b"")
    about = {"general.architecture": "llama", "llama.attention.head_count": empty}
    assert llama_cpp._cache_bytes(gguf.Header(3, about, (), 0, 0), 64, "F16") == 0


@pytest.mark.slow
def test_what_is_made_of_a_trusted_file_is_trusted_and_of_another_is_not(tmp_path, trials):
    for home, tried in (("cache/models/toy", []), ("elsewhere", ["toy-Q8_0.gguf"])):
        folder = tmp_path / home
        folder.mkdir(parents=True)
        [made] = quantize(toy(folder / "toy.gguf"), ["Q8_0"], folder)
        llama_cpp.load(made.path, context=64).close()
        assert trials == tried
