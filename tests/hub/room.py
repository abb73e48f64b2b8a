"""A real JupyterHub with the course's configuration, and learners who do their labs at it."""

import asyncio
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from learner import PATIENCE, Learner, ask, demand
from namespace import inside

from slmlab.environments.guarded import guarded
from slmlab.lessons import questions
from slmlab.notebooks.labs import Lab
from slmlab.notebooks.verify import solved

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Room:
    """A hub with learners whose servers run, and the cache that they share."""

    hub: str
    token: str
    learners: list[Learner]
    shared: Path

    def home(self, learner: Learner) -> Path:
        """Return the learner's home folder."""
        return Path(pwd.getpwnam(learner.name).pw_dir)


@dataclass(frozen=True)
class Lessons:
    """What came of the labs: the cells that ran, by learner and lab, and each learner's memory.

    The peaks are bytes of all processes of a learner together, looked at every 2 s: `peak_bytes`
    counts a page that several processes share in parts (PSS), `peak_resident_bytes` in each (RSS).
    """

    cells: dict[str, dict[str, int]]
    peak_bytes: dict[str, int]
    peak_resident_bytes: dict[str, int]
    seconds: float


async def start(hub: str, token: str, names: list[str]) -> list[Learner]:
    return await asyncio.gather(*(_start_one(hub, token, name) for name in names))


async def _start_one(hub: str, token: str, name: str) -> Learner:
    user = f"{hub}hub/api/users/{name}"
    await demand(user, token, "POST")
    own = await demand(f"{user}/tokens", token, "POST", {"note": "as the learner"})
    await demand(f"{user}/server", token, "POST")
    deadline = time.monotonic() + PATIENCE
    while not (await demand(user, token))["servers"].get("", {}).get("ready"):
        assert time.monotonic() < deadline, f"The server of {name} did not start."
        await asyncio.sleep(1)
    return Learner(name, f"{hub}user/{name}/", own["token"])


async def work(learners: list[Learner], labs: list[Lab]) -> dict[str, dict[str, int]]:
    done = await asyncio.gather(*(_work_one(learner, labs) for learner in learners))
    return {learner.name: cells for learner, cells in zip(learners, done, strict=True)}


async def _work_one(learner: Learner, labs: list[Lab]) -> dict[str, int]:
    cells = {}
    for lab in labs:
        path = f"labs/{lab.path.name}"
        await learner.save(path, solved(lab.notebook(), questions(lab.unit)))
        cells[lab.name] = await learner.execute(path)
    return cells


@contextmanager
def open_folder() -> Iterator[Path]:
    """Give a folder that every user may enter, as pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="slmlab-hub-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def users_removed(names: list[str]) -> Iterator[None]:
    """Let the hub make these Unix users, and remove them with their homes afterwards."""
    try:
        yield
    finally:
        for name in names:
            subprocess.run(["userdel", "--remove", name], capture_output=True)


@contextmanager
def running_hub(folder: Path, shared: Path, proxy: Path, token: str) -> Iterator[str]:
    """Run the hub and its proxy; give the address, with a slash at its end."""
    state, aside = folder / "state", folder / "aside"
    state.mkdir(mode=0o700)
    aside.mkdir()
    port, hub_port, proxy_port = _free_ports(3)
    command = [
        Path(sys.executable).with_name("jupyterhub"),
        "-f",
        Path(__file__).with_name("hub_config.py"),
    ]
    command += [f"--JupyterHub.bind_url=http://127.0.0.1:{port}"]
    command += [f"--JupyterHub.hub_port={hub_port}"]
    command += [f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{proxy_port}"]
    env = {
        **os.environ,
        "PATH": f"{proxy}{os.pathsep}{os.environ['PATH']}",
        "HUB_CONFIG": str(ROOT / "hub" / "jupyterhub_config.py"),
        "HUB_TOKEN": token,
        "SLMLAB_SHARED_CACHE": str(shared),
    }
    reachable = [Path(sys.base_prefix), Path(sys.prefix), ROOT, proxy.parents[1]]
    hub = f"http://127.0.0.1:{port}/"
    with (
        (folder / "hub.log").open("w") as log,
        guarded(inside(command, reachable, aside), env, state, stdout=log, stderr=log) as process,
    ):
        asyncio.run(_answers(hub, token, process, Path(log.name)))
        yield hub


async def _answers(hub: str, token: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-3000:]
        if await _reached(f"{hub}hub/api/", token):
            return
        await asyncio.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])


async def _reached(url: str, token: str) -> bool:
    try:
        return (await ask(url, token)).code == 200
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


@contextmanager
def memory(uids: dict[int, str]) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Give the peaks of each user's memory, shared pages in parts and in full, as they grow."""
    peaks, resident = defaultdict(int), defaultdict(int)
    over = threading.Event()

    def look() -> None:
        while not over.wait(2):
            now, now_resident = defaultdict(int), defaultdict(int)
            for process in psutil.process_iter():
                try:
                    name = uids.get(process.uids().real)
                    if name:
                        used = process.memory_full_info()
                        now[name] += used.pss
                        now_resident[name] += used.rss
                except psutil.Error:
                    continue
            for name in now:
                peaks[name] = max(peaks[name], now[name])
                resident[name] = max(resident[name], now_resident[name])

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peaks, resident
    finally:
        over.set()
        watcher.join()
