"""A learner at the hub: what JupyterLab does in a browser, in the same requests and messages."""

import json
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.websocket import WebSocketClientConnection, websocket_connect

PATIENCE = 10_800  # seconds: ten learners share two cores, which others may use too


async def ask(url: str, token: str, method: str = "GET", body: Any = None) -> HTTPResponse:
    """Send a request as JSON; an answer of 400 or above comes back like any other."""
    request = HTTPRequest(
        url,
        method,
        headers={"Authorization": f"token {token}"},
        body=None if body is None else json.dumps(body),
        allow_nonstandard_methods=True,
        request_timeout=PATIENCE,
        connect_timeout=PATIENCE,
    )
    return await AsyncHTTPClient().fetch(request, raise_error=False)


async def demand(url: str, token: str, method: str = "GET", body: Any = None) -> Any:
    """Send a request and return its JSON; fail where it is refused."""
    answer = await ask(url, token, method, body)
    assert answer.code < 400, f"{method} {url}: {answer.code} {answer.body.decode()[-500:]}"
    return json.loads(answer.body or "null")


@dataclass(frozen=True)
class Learner:
    """One learner: the name, the address of the server (with a slash at its end) and a token."""

    name: str
    url: str
    token: str

    async def open(self, path: str) -> dict[str, Any]:
        """Return a notebook from the learner's home."""
        return (await demand(f"{self.url}api/contents/{quote(path)}", self.token))["content"]

    async def save(self, path: str, notebook: dict[str, Any]) -> None:
        """Write a notebook into the learner's home."""
        body = {"type": "notebook", "format": "json", "content": notebook}
        await demand(f"{self.url}api/contents/{quote(path)}", self.token, "PUT", body)

    async def execute(self, path: str) -> int:
        """Run a notebook from its first cell to its last and save it; return how many cells ran."""
        notebook = await self.open(path)
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        outputs = await self.run(path, ["".join(cell["source"]) for cell in cells])
        for number, (cell, output) in enumerate(zip(cells, outputs, strict=True), start=1):
            cell["execution_count"], cell["outputs"] = number, output
        await self.save(path, notebook)
        return len(outputs)

    async def run(self, path: str, sources: list[str]) -> list[list[dict[str, Any]]]:
        """Run cells in a new kernel beside a notebook; return what each printed.

        The first error fails.
        """
        kernel = {"name": "python3"}
        session = {"path": path, "name": path, "type": "notebook", "kernel": kernel}
        session = await demand(f"{self.url}api/sessions", self.token, "POST", session)
        try:
            socket = await self._connect(session["kernel"]["id"])
            outputs = [await _run_cell(socket, source) for source in sources]
            socket.close()
        finally:
            await ask(f"{self.url}api/sessions/{session['id']}", self.token, "DELETE")
        return outputs

    async def _connect(self, kernel: str) -> WebSocketClientConnection:
        address = f"{self.url}api/kernels/{kernel}/channels".replace("http", "ws", 1)
        headers = {"Authorization": f"token {self.token}"}
        request = HTTPRequest(address, headers=headers, connect_timeout=PATIENCE)
        return await websocket_connect(request, max_message_size=2**28)


async def _run_cell(socket: WebSocketClientConnection, source: str) -> list[dict[str, Any]]:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "username": "",
        "session": "",
    }
    request = {
        "channel": "shell",
        "header": {**header, "version": "5.3", "date": ""},
        "parent_header": {},
        "metadata": {},
        "content": {"code": source, "silent": False, "store_history": True, "allow_stdin": False},
    }
    await socket.write_message(json.dumps(request))
    printed = []
    while message := await socket.read_message():
        message = json.loads(message)
        if message["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        kind, content = message["header"]["msg_type"], message["content"]
        assert kind != "error", f"{content['ename']}: {content['evalue']}, in:\n{source}"
        if kind == "stream":
            printed.append({"output_type": kind, **content})
        if kind == "status" and content["execution_state"] == "idle":
            return printed
    raise AssertionError(f"The kernel went away in:\n{source}")
