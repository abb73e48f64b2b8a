"""The `slmlab` command: its exit codes, and a sentence for whatever goes wrong."""

import os
import re
import subprocess
import sys

import pytest

from slmlab import cli
from slmlab.errors import LabError


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.__name__)
def test_a_command_is_named_where_it_is(command):
    module = sys.modules[command.__module__]
    assert f"`{command.__name__}`" in module.__doc__


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


@pytest.mark.skipif(os.name == "nt", reason="no head, and another kind of pipe")
def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m slmlab models --json | head -c 10"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""


def test_a_folder_that_cannot_be_is_said_in_a_sentence(slmlab, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    code, _, said = slmlab("handout", "00", "--out", tmp_path / "file" / "inside")
    assert code == 3
    assert re.fullmatch(r"slmlab: .*file cannot be used \(File exists\): make room .*\n", said)
