"""What every server process has in common, shown with small ones that are quick to start."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from slmlab import deployment
from slmlab.deployment.server import HOST, Launch, Server, free_port, is_taken, start
from slmlab.errors import NotPossibleHere, ServerFailed, UsageError

ANSWERS = """
import http.server, subprocess, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'asked_total{path="a"} 3.0\\nasked_total{path="b"} 4.0\\n')

print("A word on stdout", flush=True)
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def launch(script, **more):
    def for_port(port):
        command = [sys.executable, "-c", script, str(port)]
        return Launch(command, health="/", model="toy", version="1", metrics="/metrics", **more)

    return for_port


def test_it_is_ready_inside_the_block_and_nothing_is_left_after_it(family, gone):
    with start("toy", launch(ANSWERS)) as server:
        assert is_taken(server.port)
        assert server.base_url == f"http://127.0.0.1:{server.port}/v1"
        processes = family(server.pid)
        assert len(processes) == 3  # the guard, the server, and what the server has started
    assert gone(processes, server.port)
    assert server.closed


def test_an_exception_in_the_block_ends_it_too(family, gone):
    with pytest.raises(RuntimeError), start("toy", launch(ANSWERS)) as server:
        processes = family(server.pid)
        raise RuntimeError
    assert gone(processes, server.port)


def test_closing_twice_is_harmless():
    server = start("toy", launch(ANSWERS))
    server.close()
    server.close()
    assert repr(server) == "<toy 1 serving toy, closed>"


def test_it_says_where_it_answers_and_whether_it_is_a_stand_in():
    with start("toy", launch(ANSWERS, stand_in=True)) as server:
        assert repr(server) == f"<toy (stand-in) 1 serving toy, at {server.base_url}>"


def test_its_log_is_there_while_it_runs_and_afterwards():
    with start("toy", launch(ANSWERS)) as server:
        assert "A word on stdout" in server.log
    assert "A word on stdout" in server.log


def test_its_metrics_are_samples_with_their_labels():
    with start("toy", launch(ANSWERS)) as server:
        found = server.metrics()
    assert [(one.name, one.value, one.labels) for one in found] == [
        ("asked_total", 3.0, {"path": "a"}),
        ("asked_total", 4.0, {"path": "b"}),
    ]
    assert deployment.metrics.total(found, "asked_total") == 7.0
    assert deployment.metrics.total(found, "nobody_knows_it") == 0.0


def test_its_key_travels_in_a_header():
    with start("toy", launch(ANSWERS, api_key="secret")) as server:
        assert server.headers() == {"Authorization": "Bearer secret"}
    with start("toy", launch(ANSWERS)) as server:
        assert server.headers() == {}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise ValueError('no such model')", "ValueError: no such model"),
        ("import sys; sys.exit('the disk is full')", "the disk is full"),
        ("raise SystemExit(7)", "it ended with code 7 and said nothing"),
        ("import os; os.kill(os.getpid(), 9)", "it was killed, often because memory ran out"),
    ],
)
def test_a_server_that_does_not_start_says_why_in_a_sentence(script, reason):
    with pytest.raises(ServerFailed, match=r"^toy did not start: ") as failed:
        start("toy", launch(script))
    assert str(failed.value).endswith(reason)


def test_of_several_errors_the_last_one_counts():
    script = """
    try:
        raise OSError("the first")
    except OSError:
        raise RuntimeError("Engine core initialization failed")
    """
    with pytest.raises(ServerFailed, match="Engine core initialization failed"):
        start("toy", launch(textwrap.dedent(script)))


def test_a_server_that_is_never_ready_is_stopped():
    script = "import time; print('loading', flush=True); time.sleep(600)"
    with pytest.raises(ServerFailed, match=r"not ready after 1 s .* last it said was: loading"):
        start("toy", launch(script), patience=1.0)


def test_where_the_free_port_was_taken_meanwhile_another_is_tried(monkeypatch):
    with socket.socket() as thief:
        thief.bind((HOST, 0))
        thief.listen()
        ports = [free_port(), thief.getsockname()[1]]
        wanted = ports[0]
        monkeypatch.setattr(deployment.server, "free_port", ports.pop)
        monkeypatch.setattr(Server, "_is_healthy", lambda self: self.port == wanted)
        with start("toy", launch(ANSWERS)) as server:
            assert server.port == wanted


def test_this_machine_is_asked_directly_whatever_proxy_is_set(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "intranet.example")
    monkeypatch.setenv("NO_PROXY", "")
    with start("toy", launch(ANSWERS)) as server:
        assert server.metrics()


@pytest.mark.parametrize("port", [-1, 0, 99999])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(UsageError, match=f"{port} is no port"):
        start("toy", launch(ANSWERS), port=port)


def test_a_port_that_was_asked_for_and_is_taken_is_refused():
    with start("toy", launch(ANSWERS)) as server:
        message = f"Port {server.port} of 127.0.0.1 is in use"
        with pytest.raises(UsageError, match=message):
            start("toy", launch(ANSWERS), port=server.port)


# A shell has its background jobs ignore SIGINT, and they hand that on.
WITHOUT_END = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {tests!r})
from test_server import ANSWERS, launch
from slmlab.deployment.server import start

with start("toy", launch(ANSWERS)) as server:
    print(server.pid, server.port, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_where_the_process_that_started_it_is_ended(sign, family, gone):
    code = WITHOUT_END.format(tests=str(Path(__file__).parent))
    ours = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    guard, port = map(int, ours.stdout.readline().split())
    processes = family(guard)
    assert len(processes) == 3
    ours.send_signal(sign)
    ours.wait()
    assert gone(processes, port)


def test_an_unknown_server_is_refused_with_the_names_there_are():
    with pytest.raises(UsageError, match=r"no server 'triton'; choose llama_cpp, ollama"):
        deployment.serve("triton", "smollm2-135m-instruct")


def test_a_server_that_cannot_run_here_says_so_before_it_fetches_a_model(monkeypatch):
    from slmlab.deployment import llama_cpp

    monkeypatch.setattr(llama_cpp, "find_spec", lambda name: None)
    with pytest.raises(NotPossibleHere, match=r"llama-cpp-python\[server\]"):
        deployment.serve("llama_cpp", "smollm2-135m-instruct")
