"""A room at one JupyterHub: everybody finishes, and nobody sees what another does.

`$HUB_LEARNERS` and `$HUB_LABS` say how many learners and which labs; without them, few.
"""

import asyncio
import json
import os
import pwd
import secrets
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from learner import ask
from namespace import can_be_made
from room import Lessons, Room, memory, open_folder, running_hub, start, users_removed, work

from slmlab.files import cache_path, locked, sha256, whole_folder
from slmlab.lessons import questions
from slmlab.notebooks.labs import find_labs

pytestmark = pytest.mark.slow

PROXY = "configurable-http-proxy@5.3.0"
LEARNERS = int(os.environ.get("HUB_LEARNERS", "2"))
LABS = os.environ.get("HUB_LABS", "00").split()

STEAL = """
import os
from pathlib import Path

def attempt(what):
    try:
        return f"did it: {{what()!r}}"
    except PermissionError:
        return "refused"

other = Path({other!r})
print(attempt(lambda: os.listdir(other)))
print(attempt(lambda: (other / "labs" / "00_start_here.ipynb").read_text()))
print(attempt(lambda: (other / "left.txt").write_text("I was here")))
print(attempt(lambda: Path("/proc/{process}/environ").read_bytes()))
print(attempt(lambda: os.kill({process}, 0)))
"""

HARM = """
from pathlib import Path

for path in [Path({shared!r}), *Path({shared!r}).rglob("*")]:
    try:
        path.rename(path.with_name("taken")) if path.is_dir() else path.open("ab")
        print("did it:", path)
    except PermissionError:
        print("refused")
"""


@pytest.fixture(scope="module")
def proxy() -> Path:
    """The folder of configurable-http-proxy's program, from npm, kept in the cache."""
    if not shutil.which("npm"):
        pytest.skip("npm, which comes with Node.js, is needed for configurable-http-proxy.")
    home = cache_path(PROXY)
    with locked(home):
        if not home.is_dir():
            with whole_folder(home) as folder:
                npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder]
                subprocess.run([*npm, PROXY], check=True, timeout=1800)
    return home / "node_modules" / ".bin"


@pytest.fixture(scope="module")
def room(smollm2, proxy) -> Iterator[Room]:
    """A hub whose learners were added and started by its API; afterwards nothing of it is left."""
    if sys.platform != "linux" or os.geteuid() != 0 or not can_be_made():
        pytest.skip("Only root, on Linux and allowed to make namespaces, can start this hub.")
    room = secrets.token_hex(3)
    names = [f"learner-{room}-{number}" for number in range(1, LEARNERS + 1)]
    with open_folder() as folder, users_removed(names):
        shared = folder / "shared"
        shutil.copytree(smollm2.parent, shared / "models" / smollm2.parent.name)
        token = secrets.token_hex()
        with running_hub(folder, shared, proxy, token) as hub:
            yield Room(hub, token, asyncio.run(start(hub, token, names)), shared)


@pytest.fixture(scope="module")
def lessons(room) -> Lessons:
    """All learners at once do the labs, with the right answers filled in."""
    labs = find_labs(LABS)
    uids = {pwd.getpwnam(learner.name).pw_uid: learner.name for learner in room.learners}
    started = time.monotonic()
    with memory(uids) as (peak_bytes, peak_resident_bytes):
        cells = asyncio.run(work(room.learners, labs))
    seconds = time.monotonic() - started
    return Lessons(cells, dict(peak_bytes), dict(peak_resident_bytes), seconds)


def printed(learner, code):
    """Run one cell in a learner's server and return the lines that it printed."""
    [[output]] = asyncio.run(learner.run("elsewhere.ipynb", [code]))
    return output["text"].splitlines()


def test_everybody_finishes_every_lab(room, lessons):
    expected = {
        lab.name: sum(cell.cell_type == "code" for cell in lab.notebook().cells)
        for lab in find_labs(LABS)
    }
    assert lessons.cells == {learner.name: expected for learner in room.learners}
    assert len(lessons.cells) == LEARNERS


def test_each_has_progress_of_their_own(room, lessons):
    titles = {question.title for lab in find_labs(LABS) for question in questions(lab.unit)}
    for learner in room.learners:
        kept = room.home(learner) / ".local" / "share" / "slmlab" / "progress.json"
        outcomes = {
            title: entry["outcome"] for title, entry in json.loads(kept.read_text()).items()
        }
        assert outcomes == dict.fromkeys(titles, "correct")
        assert kept.owner() == learner.name


def test_the_memory_of_each_is_reported(room, lessons, capsys):
    with capsys.disabled():
        print(f"\n{LEARNERS} learners, labs {' '.join(LABS)}: {lessons.seconds:.0f} s in all")
        for name, peak in sorted(lessons.peak_bytes.items()):
            resident = lessons.peak_resident_bytes[name]
            print(f"{name}: peak {peak / 1e6:.0f} MB, {resident / 1e6:.0f} MB resident")
    for learner in room.learners:
        assert 10**8 < lessons.peak_bytes[learner.name] < lessons.peak_resident_bytes[learner.name]


def test_the_model_is_on_disk_once(room, lessons, smollm2):
    places = [room.shared, *(room.home(learner) for learner in room.learners)]
    size = smollm2.stat().st_size
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    same = [
        path for path in files if path.stat().st_size == size and sha256(path) == sha256(smollm2)
    ]
    assert same == [room.shared / "models" / smollm2.parent.name / smollm2.name]


def test_all_in_a_home_is_for_its_owner_alone(room, lessons):
    for learner in room.learners:
        home = room.home(learner)
        assert home.owner() == learner.name
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        made = [*(home / "labs").rglob("*"), *(home / ".local").rglob("*")]
        assert made
        assert not [path for path in made if not path.is_symlink() and path.stat().st_mode & 0o077]


def test_nobody_reads_or_stops_what_is_anothers(room):
    first, *others = room.learners
    for other in others:
        [process] = printed(other, "import os; print(os.getppid())")
        code = STEAL.format(other=str(room.home(other)), process=process)
        assert printed(first, code) == ["refused"] * 5


def test_nobody_changes_the_shared_cache(room):
    lines = printed(room.learners[0], HARM.format(shared=str(room.shared)))
    assert len(lines) >= 4
    assert set(lines) == {"refused"}


def test_a_token_opens_only_its_owners_server(room):
    first, second, *_ = room.learners
    assert asyncio.run(ask(f"{first.url}api/contents/", first.token)).code == 200
    assert asyncio.run(ask(f"{second.url}api/contents/", first.token)).code == 403
    assert asyncio.run(ask(f"{second.url}api/contents/", "guessed")).code == 403
