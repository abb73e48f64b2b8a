"""Pack the course for this machine, install it where there is no network, and use it there.

`make test-pack` runs this on Linux. It takes about 3 GB of disk for a while, and minutes: pip
downloads every wheel, and llama.cpp is built for other processors where that was not done before.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from tempfile import TemporaryDirectory

# Jupyter talks to its kernels through the loopback, which a new namespace has, switched off.
LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))
os.execvp(sys.argv[1], sys.argv[1:])
"""
WITHOUT_NETWORK = ["unshare", "--map-root-user", "--net"]


def main() -> int:
    if not shutil.which("unshare"):
        print("This needs Linux with util-linux's unshare.", file=sys.stderr)
        return 3
    with TemporaryDirectory(prefix="slmlab-pack-") as folder:
        stick, home = Path(folder, "stick"), Path(folder, "a learner", "course")
        variables = {"SLMLAB_PROGRESS": f"{folder}/progress.json", "HOME": folder}
        slmlab = Path(sysconfig.get_path("scripts"), "slmlab")
        timed("pack", [slmlab, "pack", "--out", stick])
        timed(
            "install",
            [*WITHOUT_NETWORK, sys.executable, stick / "install.py", "--into", home],
            variables,
        )
        there = [*WITHOUT_NETWORK, sys.executable, "-c", LOOPBACK, home / ".venv/bin/slmlab"]
        assert interfaces() == ["lo"], "the namespace has a network"
        found = json.loads(timed("doctor", [*there, "doctor", "--json"], variables))
        assert found["labs"][0]["status"] == "runs", found["labs"][0]
        timed("run 00", [*there, "run", "00", "--out", f"{folder}/report"], variables)
        assert Path(folder, "report/index.html").is_file()
        for what in (stick, home):
            print(f"{what.name:10} {size(what) / 1e6:8,.0f} MB", flush=True)
        print((stick / "README.txt").read_text("utf-8"))
    return 0


def timed(what: str, command: list, variables: dict[str, str] | None = None) -> str:
    """Run a step of which nothing may fail, say how long it took, and return what it printed."""
    started = time.monotonic()
    # As on a machine of its own: no cache, no settings of pip, nothing of ours on the path.
    ours = ("PIP_", "SLMLAB_", "PYTHON", "HF_", "XDG_", "VIRTUAL_ENV")
    env = dict(os.environ)
    if variables:
        env = {name: value for name, value in env.items() if not name.startswith(ours)} | variables
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, f"{what} ended with {done.returncode}:\n{done.stdout}"
    print(f"{what:10} {time.monotonic() - started:8,.0f} s", flush=True)
    return done.stdout


def interfaces() -> list[str]:
    """Return the network interfaces that a program sees without a network."""
    code = "import socket; print(*(name for _, name in socket.if_nameindex()))"
    command = [*WITHOUT_NETWORK, sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
