"""`slmlab engines`, `serve` and `mirror` say where things are, and end with Ctrl-C."""

import re
import sys
from dataclasses import replace

import pytest

from slmlab.environments import Environment, making


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
