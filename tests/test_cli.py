"""The `slmlab` command keeps its names, JSON keys and exit codes."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from slmlab.cli import main
from slmlab.environments import Environment, making
from slmlab.errors import LabError
from slmlab.lessons import progress
from slmlab.lessons.question import Verdict
from slmlab.notebooks.verify import Proof
from slmlab.tiers import DEFAULT_MODEL


@pytest.fixture
def slmlab(capsys):
    """Run a subcommand; return its exit code, standard output and standard error."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def as_json(slmlab):
    def run(*arguments):
        code, out, _ = slmlab(*arguments, "--json")
        assert code == 0
        return json.loads(out)

    return run


def test_models_are_a_list_of_objects(as_json):
    models = as_json("models")
    assert len(models) >= 24
    assert models[0]["name"] == "smollm2-135m-instruct"
    assert {"name", "parameters", "tier", "licence"} <= models[0].keys()
    assert models[0]["parameters"] == 134_515_008


def test_models_are_also_a_table(slmlab):
    _, out, _ = slmlab("models")
    lines = out.splitlines()
    assert lines[0].split() == ["model", "parameters", "tier", "context", "licence"]
    assert len({line.index(" micro ") for line in lines if " micro " in line}) == 1


def test_an_estimate_needs_only_a_name(as_json):
    found = as_json("estimate", "qwen3-0.6b", "--quant", "Q4_0", "--context", 1024)
    assert found.keys() == {"file_bytes", "peak_memory_bytes", "decode_tokens_per_second"}
    assert 3e8 < found["file_bytes"] < found["peak_memory_bytes"]


def test_doctor_says_of_each_lab_what_it_does_here(as_json):
    found = as_json("doctor")
    assert found["machine"]["cores"] >= 1
    assert [lab["lab"] for lab in found["labs"]][:2] == ["00_start_here", "01_tiers"]
    statuses = {"runs", "runs smaller", "recorded", "not here"}
    assert {lab["status"] for lab in found["labs"]} <= statuses


def test_engines_says_what_runs_here_or_why_not(slmlab, as_json, tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path))
    rows = {row["name"]: row for row in as_json("engines")["engines"]}
    assert rows.keys() >= {"llama_cpp", "transformers", "onnx", "mlx", "olive"}
    assert rows["llama_cpp"]["runs"] and "Q4_0" in rows["llama_cpp"]["precisions"]
    assert not rows["olive"]["runs"]
    assert "slmlab engines install olive" in rows["olive"]["why_not"]
    code, out, _ = slmlab("engines")
    assert code == 0
    assert out.splitlines()[0].split() == ["engine", "runs", "version", "precisions", "why", "not"]


def test_an_installed_environment_ends_with_its_path(slmlab, tmp_path, monkeypatch):
    made = Environment("olive", tmp_path / "olive")
    monkeypatch.setattr("slmlab.environments.ensure", {"olive": made}.__getitem__)
    assert slmlab("engines", "install", "olive") == (0, f"{made.path}\n", "")


def test_an_environment_that_cannot_be_made_is_exit_code_3(slmlab, tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path))
    olive = making.RECIPES["olive"]
    monkeypatch.setitem(making.RECIPES, "olive", replace(olive, bytes=10**18))
    code, out, err = slmlab("engines", "install", "olive")
    assert (code, out) == (3, "")
    assert err.startswith("slmlab: The olive environment needs") and err.count("\n") == 1


def test_mirror_says_what_learners_set_and_ends_with_ctrl_c(slmlab, tmp_path, monkeypatch):
    def ctrl_c(_):
        raise KeyboardInterrupt

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("time.sleep", ctrl_c)
    code, out, err = slmlab("mirror", f"room/tiny={tmp_path}")
    assert code == 0
    assert re.fullmatch(r"export HF_ENDPOINT=http://127\.0\.0\.1:\d+\n", out)
    assert "serving room/tiny, revision " in err and "only this machine can reach it" in err


def test_mirror_asks_for_a_licence_to_be_accepted(slmlab):
    code, _, err = slmlab("mirror", "gemma-3-270m")
    assert code == 2
    assert err.startswith("slmlab: Gemma 3 270M comes under the licence 'gemma'")


def test_pack_ends_with_its_path(slmlab, tmp_path, monkeypatch):
    from slmlab.workshop import packing

    asked = []

    def pack(*arguments):
        asked.extend(arguments)
        return packing.Pack(tmp_path / "stick.zip", 10**9, [], ["Beware."])

    monkeypatch.setattr(packing, "pack", pack)
    terms = ["--licence-text", "gemma-3-270m=terms.txt"]
    code, out, err = slmlab(
        "pack", "--out", tmp_path / "stick", "--archive", "--pythons", "3.12", *terms
    )
    assert (code, out) == (0, f"{tmp_path / 'stick.zip'}\n")
    assert "Beware." in err
    models, texts = [DEFAULT_MODEL], {"gemma-3-270m": Path("terms.txt")}
    assert asked == [tmp_path / "stick", models, (), ["3.12"], True, False, texts]


def test_pack_takes_a_licences_text_only_with_its_model(slmlab, tmp_path):
    code, _, err = slmlab("pack", "--out", tmp_path / "stick", "--licence-text", "terms.txt")
    assert code == 2
    assert "'terms.txt' is not of the form MODEL=FILE" in err


@pytest.fixture
def serve_script(monkeypatch):
    """Let `serve` start a script, whatever engine and model are asked for."""
    from slmlab import deployment

    def use(script):
        def serve(engine, model, port):
            command = [sys.executable, "-c", script]
            toy = deployment.server.Launch(command, "/", model, "1.0", api_key="secret")
            return deployment.start(engine, lambda _: toy, port)

        monkeypatch.setattr(deployment.Server, "_is_healthy", lambda server: True)
        monkeypatch.setattr(deployment, "serve", serve)

    return use


def test_serve_says_where_and_ends_with_ctrl_c(slmlab, serve_script, monkeypatch):
    from slmlab.deployment import Server

    def ctrl_c(server):
        raise KeyboardInterrupt

    serve_script("import time; time.sleep(600)")
    monkeypatch.setattr(Server, "join", ctrl_c)
    code, out, _ = slmlab("serve", "toy", "some-model")
    assert code == 0
    assert re.search(r"http://127\.0\.0\.1:\d+/v1", out)
    assert all(word in out for word in ("toy 1.0", "some-model", "secret"))


def test_serve_is_exit_code_1_where_the_server_ends_by_itself(slmlab, serve_script):
    serve_script("import sys; sys.exit('out of tokens')")
    code, _, err = slmlab("serve", "toy", "some-model")
    assert code == 1
    assert "slmlab: toy ended: out of tokens" in err


def test_progress_shows_every_question(slmlab, as_json):
    progress.remember(Verdict("tiers.q1", "correct", ""))
    found = as_json("progress")
    assert found["tiers.q1"]["outcome"] == "correct"
    assert found["tiers.q2"] == {"outcome": "not attempted", "attempts": 0, "last": None}
    code, out, err = slmlab("progress")
    assert code == 0 and "tiers.q1" in out and "1 of " in err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["estimate", "qwen3-0.7b", "--quant", "Q4_0"], 2, "qwen3-0.6b"),
        (["estimate", "qwen3-0.6b", "--quant", "Q4_9"], 2, "Q4_9"),
        (["fetch", "gemma-3-270m"], 2, "--accept-license"),
        (["inspect", "no-such-file.gguf"], 1, "no-such-file.gguf"),
        (["measure", "no-such-file.gguf"], 1, "no-such-file.gguf"),
        (["run", "no_such_lab"], 2, "no_such_lab"),
        (["run", "01", "--profile", "quikc"], 2, "quick, standard, full"),
        (["verify", "no_such_lab"], 2, "no_such_lab"),
        (["engines", "install", "olives"], 2, "choose olive"),
    ],
)
def test_a_problem_is_one_sentence_and_its_exit_code(
    slmlab, monkeypatch, tmp_path, arguments, code, sentence
):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path))
    found, out, err = slmlab(*arguments)
    assert found == code
    assert out == ""
    assert err.startswith("slmlab: ") and len(err.splitlines()) == 1
    assert sentence in err


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["estimate", "x"], ["models", "--jsn"]])
def test_wrong_usage_is_exit_code_2(slmlab, arguments):
    code, _, err = slmlab(*arguments)
    assert code == 2
    assert "usage: slmlab" in err


@pytest.fixture
def stopped(monkeypatch):
    """Make `slmlab models` end with an exception."""

    def stop(problem):
        def cards():
            raise problem

        monkeypatch.setattr("slmlab.tiers.cards", cards)

    return stop


def test_ctrl_c_is_exit_code_130(slmlab, stopped):
    stopped(KeyboardInterrupt())
    assert slmlab("models") == (130, "", "slmlab: stopped\n")


def test_a_failed_check_is_exit_code_1(slmlab, stopped):
    stopped(LabError("It failed."))
    assert slmlab("models") == (1, "", "slmlab: It failed.\n")


@pytest.mark.parametrize(("faults", "code"), [((), 0), (("It is not.",), 1)])
def test_verify_tells_of_each_fault(slmlab, monkeypatch, faults, code):
    proofs = [Proof("tiers.q1", 3, ()), Proof("tiers.q2", 2, faults)]
    monkeypatch.setattr("slmlab.notebooks.verify.verify", lambda labs: proofs)
    found, out, _ = slmlab("verify", "01")
    assert found == code
    assert out.splitlines()[1].split() == ["tiers.q1", "3", "proven"]
    assert [line for line in out.splitlines() if "It is not" in line] == [
        f"tiers.q2: {fault}" for fault in faults
    ]


@pytest.mark.skipif(os.name == "nt", reason="no head, and another kind of pipe")
def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m slmlab models --json | head -c 10"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.slow
def test_a_fetched_file_ends_with_its_path(slmlab, smollm2):
    code, out, err = slmlab("fetch", "smollm2-135m-instruct")
    assert code == 0
    assert Path(out.splitlines()[-1]) == smollm2
    assert "Apache-2.0" in err


@pytest.mark.slow
def test_inspect_tells_what_the_file_is(slmlab, as_json, smollm2):
    found = as_json("inspect", smollm2)
    assert found["architecture"] == "llama"
    assert found["parameters"] == 134_515_008
    assert found["tensor_types"]["Q4_1"] == 210
    assert found["bits_per_weight"] == pytest.approx(5.744, abs=0.001)
    _, out, _ = slmlab("inspect", smollm2)
    assert "98.36 MB" in out and "210 Q4_1" in out


@pytest.mark.slow
def test_quantize_tells_what_fell_back(as_json, smollm2, tmp_path):
    found = as_json("quantize", smollm2, "Q4_0", "Q2_K", "--out", tmp_path)
    first, second = found["files"]
    assert first.keys() >= {"type", "path", "bytes", "seconds", "bits_per_weight", "fell_back"}
    assert Path(first["path"]).stat().st_size == first["bytes"]
    assert any("Q2_K -> " in what for what in second["fell_back"])


@pytest.mark.slow
def test_measure_gives_only_what_was_asked_for(as_json, smollm2, f16, tmp_path):
    assert as_json("measure", smollm2).keys() == {"file_bytes", "bits_per_weight"}
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 30, "utf-8")
    scored = ["--perplexity", text, "--chunks", 2, "--context", 64]
    found = as_json("measure", smollm2, *scored, "--against", f16)
    assert found["perplexity"] > 1
    assert found["perplexity_stderr"] > 0
    assert found["kl_divergence_mean"] >= 0
    assert "decode_tokens_per_second" not in found


@pytest.mark.slow
def test_measure_speed_and_memory(as_json, smollm2, monkeypatch):
    from slmlab import measurement

    real = measurement.speed
    monkeypatch.setattr("slmlab.measurement.speed", lambda file: real(file, 16, 4, 1))
    found = as_json("measure", smollm2, "--speed", "--memory")
    assert found["prompt_tokens_per_second"] > 0
    assert found["decode_tokens_per_second"] > 0
    assert found["peak_memory_bytes"] > 98_362_432


def test_a_folder_that_cannot_be_is_said_in_a_sentence(slmlab, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    code, _, said = slmlab("handout", "00", "--out", tmp_path / "file" / "inside")
    assert code == 3
    assert re.fullmatch(r"slmlab: .*file cannot be used \(File exists\): make room .*\n", said)
