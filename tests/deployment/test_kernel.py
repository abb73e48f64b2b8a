"""A server that a notebook started ends with its kernel, however that ends."""

import os
import signal

import psutil
import pytest
from jupyter_client.manager import start_new_kernel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals"),
]

START = """
from slmlab.deployment import serve
server = serve("llama_cpp", {model!r})
print(server.pid, server.port)
"""


@pytest.fixture
def kernel():
    manager, client = start_new_kernel()
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def printed(client, code):
    """Run a cell and return what it printed."""
    asked = client.execute(code)
    text = ""
    while True:
        message = client.get_iopub_msg(timeout=120)
        if message["parent_header"].get("msg_id") != asked:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            text += content["text"]
        assert kind != "error", content["evalue"]
        if kind == "status" and content["execution_state"] == "idle":
            return text


def test_a_kernel_that_is_killed_leaves_no_server(kernel, smollm2, family, gone):
    manager, client = kernel
    guard, port = map(int, printed(client, START.format(model=str(smollm2))).split())
    processes = family(guard)
    psutil.Process(manager.provisioner.pid).kill()
    assert gone(processes, port)


def test_a_kernel_that_is_restarted_leaves_no_server(kernel, smollm2, family, gone):
    manager, client = kernel
    guard, port = map(int, printed(client, START.format(model=str(smollm2))).split())
    processes = family(guard)
    manager.restart_kernel(now=False)
    assert gone(processes, port)


def test_an_interrupted_cell_ends_the_server_of_its_block(kernel, smollm2, family, gone):
    manager, client = kernel
    block = "import time\nwith server:\n    print('inside', flush=True)\n    time.sleep(600)"
    guard, port = map(int, printed(client, START.format(model=str(smollm2))).split())
    processes = family(guard)
    client.execute(block, stop_on_error=False)
    while client.get_iopub_msg(timeout=60)["msg_type"] != "stream":
        pass
    os.kill(manager.provisioner.pid, signal.SIGINT)
    assert gone(processes, port)
    assert printed(client, "print(server)")  # the kernel itself lives on
