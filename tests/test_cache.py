"""The cache says what it holds, and is pruned without taking anything from those who use it."""

import json
import mmap
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from filelock import FileLock

from slmlab import cache, cli, engines, files, marks
from slmlab.errors import NotPossibleHere, UsageError

DAY = 24 * 3600
KIND_AND_KEY = "quantized/0123"

USES = """
import sys, time
from slmlab.files import cache_path, use
use(cache_path(sys.argv[1]))
print("uses it", flush=True)
time.sleep(600)
"""

MAKES_OR_READS = """
import sys
from slmlab.files import cache_path, locked, whole
path = cache_path("quantized", "0123", "model.gguf")
with locked(path):
    if not path.exists():
        with whole(path) as aside:
            aside.write_bytes(bytes(1_000_000))
assert path.read_bytes() == bytes(1_000_000)
"""


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SLMLAB_CACHE_LIMIT", raising=False)
    return tmp_path / "cache"


def keep(root, name, size=100, days_ago=1):
    """Put an item there that a process used, which has ended."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    files.lock_file(path).touch()
    used = time.time() - days_ago * DAY
    os.utime(files.lock_file(path), (used, used))
    return path


@contextmanager
def process_that_uses(name):
    command = [sys.executable, "-c", USES, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "uses it\n"
            yield process
        finally:
            process.kill()


def names():
    return [item.name for item in cache.items()]


def test_an_item_is_what_has_a_lock_beside_it_and_what_nobody_locks_is_one(root):
    keep(root, f"{KIND_AND_KEY}/model-Q4_0.gguf", 10)
    keep(root, "converted/4567/model.gguf", 20)
    files.lock_file(root / "converted/4567").touch()
    keep(root, "axe.js", 30)
    (root / "deployment/qwen").mkdir(parents=True)
    (root / "deployment/qwen/compose.yaml").write_bytes(bytes(40))
    assert [(item.name, item.kind, item.bytes) for item in cache.items()] == [
        ("axe.js", "axe.js", 30),
        ("converted/4567", "converted", 20),
        ("deployment", "deployment", 40),
        (f"{KIND_AND_KEY}/model-Q4_0.gguf", "quantized", 10),
    ]


def test_an_item_was_used_when_it_was_last_locked_even_if_only_read(root):
    path = keep(root, f"{KIND_AND_KEY}/model.gguf", days_ago=30)
    (before,) = cache.items()
    assert before.last_used == pytest.approx(time.time() - 30 * DAY, abs=60)
    with files.locked(path):
        pass
    (after,) = cache.items()
    assert after.last_used == pytest.approx(time.time(), abs=60)
    assert after.used_by == (os.getpid(),)


def test_a_cache_that_is_not_there_holds_nothing(root):
    assert cache.items() == []
    assert not root.exists()


def test_a_cache_behind_a_link_is_listed_and_pruned(root, tmp_path):
    keep(tmp_path / "data", "rounded/a.gguf")
    root.symlink_to(tmp_path / "data", target_is_directory=True)
    with process_that_uses("rounded/a.gguf"):
        assert [item.name for item in cache.prune(0).in_use] == ["rounded/a.gguf"]
    assert [item.name for item in cache.prune(0).removed] == ["rounded/a.gguf"]
    assert names() == []


def test_what_was_used_longest_ago_goes_first_until_the_rest_fits(root):
    for days in (1, 5, 3, 9):
        keep(root, f"rounded/{days}.gguf", days_ago=days)
    done = cache.prune(250)
    assert [item.name for item in done.removed] == ["rounded/9.gguf", "rounded/5.gguf"]
    assert names() == ["rounded/1.gguf", "rounded/3.gguf"]
    assert done.bytes_left == 200
    assert cache.prune(200).removed == ()


def test_items_go_by_name_or_by_folder_with_their_locks_and_nothing_else(root):
    keep(root, f"{KIND_AND_KEY}/a.gguf")
    keep(root, f"{KIND_AND_KEY}/b.gguf")
    keep(root, "quantized/01234/c.gguf")
    cache.remove([f"{KIND_AND_KEY}/a.gguf"])
    assert names() == [f"{KIND_AND_KEY}/b.gguf", "quantized/01234/c.gguf"]
    assert not files.lock_file(root / KIND_AND_KEY / "a.gguf").exists()
    cache.remove([KIND_AND_KEY])
    assert names() == ["quantized/01234/c.gguf"]
    assert not (root / KIND_AND_KEY).exists()


@pytest.mark.parametrize("name", ["none", "../outside.gguf", "", "quantized/012"])
def test_a_name_that_is_not_listed_removes_nothing(root, name):
    outside = keep(root, "../outside.gguf")
    kept = keep(root, f"{KIND_AND_KEY}/a.gguf")
    with pytest.raises(UsageError, match=r"There is no .* in the cache; `slmlab cache` lists"):
        cache.remove([name])
    assert outside.exists() and kept.exists()


def test_a_link_is_removed_and_not_what_it_leads_to(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_text("precious")
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    assert cache.items()[0].bytes < 1000
    cache.remove(["linked"])
    assert names() == []
    assert (tmp_path / "elsewhere" / "mine").read_text() == "precious"


def test_what_a_process_uses_stays_until_it_ends_however_it_ends(root):
    name = f"{KIND_AND_KEY}/a.gguf"
    keep(root, name)
    with process_that_uses(name) as process:
        done = cache.prune(0)
        assert [item.name for item in done.in_use] == [name]
        assert (done.removed, done.bytes_left) == ((), 100)
        assert cache.items()[0].used_by == (process.pid,)
        process.kill()
        process.wait()
    assert [item.name for item in cache.prune(0).removed] == [name]


@pytest.mark.parametrize("used", ["olive", "olive/env", "olive/env/steps/3"])
def test_what_is_used_in_part_stays_whole(root, used):
    keep(root, "olive/env")
    with process_that_uses(used):
        assert cache.prune(0).removed == ()


def test_the_next_item_goes_in_place_of_one_in_use(root):
    keep(root, "rounded/old.gguf", days_ago=9)
    keep(root, "rounded/new.gguf", days_ago=1)
    with process_that_uses("rounded/old.gguf"):
        done = cache.prune(100)
    assert [item.name for item in done.removed] == ["rounded/new.gguf"]
    assert done.bytes_left == 100


def test_what_is_being_made_stays(root):
    path = keep(root, "rounded/a.gguf")
    with files.locked(path):
        assert cache.prune(0).removed == ()


def test_a_lock_counts_even_where_its_owner_could_leave_no_mark(root, monkeypatch):
    path = keep(root, "rounded/a.gguf")
    monkeypatch.setattr(files, "use", lambda path: None)
    with files.locked(path):
        assert [item.name for item in cache.prune(0).in_use] == ["rounded/a.gguf"]
    assert [item.name for item in cache.prune(0).removed] == ["rounded/a.gguf"]


def test_what_has_been_mapped_goes_on_where_the_system_keeps_open_files(root):
    path = keep(root, "rounded/a.gguf", 10_000)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        done = cache.prune(0)
        assert bool(done.removed) == (sys.platform != "win32")
        assert mapped[:] == bytes(10_000)


def test_what_killed_processes_left_goes_first_but_only_after_a_day(root):
    keep(root, "rounded/a.gguf", days_ago=300)
    old, new = (files.aside(root / "rounded" / name) for name in ("b.gguf", "c.gguf"))
    for path in (old, new):
        path.mkdir()
        (path / "half").write_bytes(bytes(50))
    for path in (old / "half", old):
        os.utime(path, (time.time() - 1.1 * DAY,) * 2)
    assert [(item.name, item.leftover) for item in cache.items()] == [
        (f"rounded/{old.name}", True),
        ("rounded/a.gguf", False),
    ]
    cache.prune(1000)
    assert not old.exists()
    assert new.exists() and names() == ["rounded/a.gguf"]


def test_what_is_unfinished_stays_while_its_maker_lives(root):
    left = files.aside(keep(root, "rounded/a.gguf").with_name("b.gguf"))
    left.write_bytes(bytes(100))
    os.utime(left, (time.time() - 2 * DAY,) * 2)
    with process_that_uses("rounded/b.gguf"):
        assert cache.prune(1000).removed == ()
    with process_that_uses("rounded/b"):  # which begins alike and is something else
        assert [item.leftover for item in cache.prune(1000).removed] == [True]


def test_a_removed_item_is_aside_before_any_of_it_is_deleted(root, monkeypatch):
    (root / "wllama/inside").mkdir(parents=True)

    def killed(aside):
        assert not (root / "wllama").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(cache.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        cache.prune(0), cache.remove(["wllama"])
    assert names() == [], "and what is left of it is no item"


def test_readers_and_a_pruner_at_once_never_meet_half_of_an_item(root):
    removed = 0
    for _ in range(6):
        command = [sys.executable, "-c", MAKES_OR_READS]
        readers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
        while any(reader.poll() is None for reader in readers):
            removed += len(cache.prune(0).removed)
        assert [reader.communicate()[1].decode() for reader in readers] == [""] * 3
    removed += len(cache.prune(0).removed)
    assert removed, "it was pruned whenever nobody used it"


PRUNES = """
import sys, time
from pathlib import Path
from slmlab import cache
print("ready", flush=True)
sys.stdin.read()
cache.prune(0)
"""


def test_pruners_at_once_do_not_stumble_over_each_other(root):
    for number in range(100):
        keep(root, f"rounded/{number}/a.gguf")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    pruners = [subprocess.Popen([sys.executable, "-c", PRUNES], **pipes) for _ in range(3)]
    for pruner in pruners:
        assert pruner.stdout.readline() == b"ready\n"
    for pruner in pruners:
        pruner.stdin.close()
        pruner.stdin = None
    assert [pruner.communicate()[1].decode() for pruner in pruners] == [""] * 3
    assert names() == []


def test_an_item_is_told_whose_lock_another_pruner_takes_away_meanwhile(root, monkeypatch):
    path = keep(root, "rounded/a.gguf", days_ago=30)
    states = cache._states

    def lock_is_gone(path):
        yield from states(path)
        files.lock_file(path).unlink(missing_ok=True)

    monkeypatch.setattr(cache, "_states", lock_is_gone)
    monkeypatch.setattr(cache.Path, "exists", lambda _: True)
    assert cache._item(path, root, {}).last_used == pytest.approx(time.time(), abs=60)


def test_a_cache_that_can_only_be_read_is_listed(root):
    keep(root, "rounded/a.gguf")
    (root / marks.FOLDER / "all.lock").mkdir(parents=True)  # which nobody can lock, root included
    (item,) = cache.items()
    assert (item.name, item.used_by) == ("rounded/a.gguf", ())


def test_marks_of_files_that_were_tried_stay_for_they_give_no_room(root):
    keep(root, "rounded/a.gguf")
    (root / "trusted").mkdir()
    (root / "trusted" / "0123").touch()
    cache.prune(0)
    assert names() == ["trusted"]
    cache.remove(names())
    assert names() == []


def test_a_model_that_is_loaded_by_its_path_stays(root, monkeypatch):
    path = keep(root, "models/tiny/tiny.gguf", days_ago=30)
    files.lock_file(path).unlink()
    files.lock_file(path.parent).touch()
    monkeypatch.setattr(engines, "_module", lambda _: SimpleNamespace(load=lambda *_: "engine"))
    assert engines.load(path) == "engine"
    assert [item.name for item in cache.prune(0).in_use] == ["models/tiny"]
    assert cache.items()[0].last_used == pytest.approx(time.time(), abs=60)


def test_who_cannot_leave_a_mark_is_told_where_another_keeps_them(root, monkeypatch, capsys):
    path = keep(root, "rounded/a.gguf")
    (root / marks.FOLDER).mkdir()
    monkeypatch.setattr(marks, "_PATIENCE", 0.0)
    with FileLock(root / marks.FOLDER / "all.lock"):
        files.use(path)
        said = capsys.readouterr().err
        assert said.startswith("a.gguf may be pruned while it is used: Another program has kept")
        with pytest.raises(NotPossibleHere, match="wait for it, or stop it, and try again"):
            cache.items()


def test_marks_of_processes_that_ended_are_swept_away(root):
    with process_that_uses("a"), process_that_uses("b"):
        assert len(list((root / marks.FOLDER).glob("*.txt"))) == 2
    cache.items()
    assert [path.name for path in (root / marks.FOLDER).iterdir()] == ["all.lock"]


def test_a_process_that_ends_by_itself_takes_its_marks_along(root):
    subprocess.run([sys.executable, "-c", USES.replace("600", "0"), "a"], check=True)
    assert [path.name for path in (root / marks.FOLDER).iterdir()] == ["all.lock"]


def test_a_process_that_begins_sweeps_away_the_marks_of_those_that_left_theirs(root):
    leaves_at_once = USES.replace("time.sleep(600)", "__import__('os')._exit(0)")
    subprocess.run([sys.executable, "-c", leaves_at_once, "a"], check=True)
    (left,) = (root / marks.FOLDER).glob("*.txt")
    files.use(root / "b")
    assert not left.exists() and not left.with_suffix(".lock").exists()
    (mine,) = (root / marks.FOLDER).glob("*.txt")
    assert mine.name.startswith(f"{os.getpid()}-")


def test_two_processes_of_one_number_each_keep_their_marks(root):
    folder = root / marks.FOLDER
    folder.mkdir(parents=True)
    with FileLock(folder / "7-a.lock"), FileLock(folder / "7-b.lock"), marks.held(root):
        (folder / "7-a.txt").write_text("rounded/a.gguf\n")
        (folder / "7-b.txt").write_text("rounded/b.gguf\n")
        assert marks.read(root) == {7: {"rounded/a.gguf", "rounded/b.gguf"}}


@pytest.mark.skipif(sys.platform == "win32", reason="a folder with an open file stays")
def test_marks_deleted_with_the_cache_are_made_anew(root):
    for _ in range(2):
        path = keep(root, "rounded/a.gguf")
        files.use(path)
        assert cache.prune(0).removed == ()
        shutil.rmtree(root)


@pytest.mark.parametrize(
    ("said", "bytes"),
    [("20GB", 20e9), ("1.5 gb", 1.5e9), ("500MB", 5e8), ("7kB", 7e3), ("2T", 2e12), ("12", 12)],
)
def test_sizes(said, bytes):
    assert cache.size(said) == bytes


@pytest.mark.parametrize("said", ["", "much", "-5GB", "5 apples", "5PB", "GB", "9" * 400])
def test_what_is_no_size_is_refused(said):
    with pytest.raises(UsageError, match="is no size; give one such as 500MB or 20GB"):
        cache.size(said)


def test_the_command_lists_items_by_name_with_what_they_hold(root, capsys, monkeypatch):
    keep(root, "rounded/a.gguf", 2_000_000)
    monkeypatch.setenv("SLMLAB_CACHE_LIMIT", "20GB")
    assert cli.main(["cache", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"path", "bytes", "limit_bytes", "kinds", "items"}
    assert (found["bytes"], found["limit_bytes"]) == (2_000_000, 20_000_000_000)
    assert found["kinds"] == {"rounded": 2_000_000}
    (item,) = found["items"]
    assert item["name"] == "rounded/a.gguf" and item["used_by"] == []
    cli.main(["cache"])
    out, err = capsys.readouterr()
    assert out.splitlines()[1].startswith("rounded/a.gguf  ")
    assert f"{root} holds 2" in err and "`slmlab cache prune` keeps to that" in err


def test_the_command_prunes_to_the_limit_to_a_size_or_by_name(root, capsys, monkeypatch):
    for days in (1, 2, 3, 4):
        keep(root, f"rounded/{days}", days_ago=days)
    assert cli.main(["cache", "prune"]) == 2
    assert "--to SIZE" in capsys.readouterr().err
    monkeypatch.setenv("SLMLAB_CACHE_LIMIT", "300")
    assert cli.main(["cache", "prune"]) == 0
    assert capsys.readouterr().out == "rounded/4\n"
    assert cli.main(["cache", "prune", "--to", "200B"]) == 0
    assert capsys.readouterr().out == "rounded/3\n"
    assert cli.main(["cache", "prune", "rounded/1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "removed": ["rounded/1"],
        "in_use": [],
        "removed_bytes": 100,
        "bytes": 100,
    }
    assert cli.main(["cache", "prune", "--all"]) == 0
    assert names() == []


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("60", "the cache is 40 bytes over SLMLAB_CACHE_LIMIT: `slmlab cache prune` makes room\n"),
        ("100", ""),
        ("", ""),
        ("much", "the cache's size cannot be told: 'much' is no size; give one such as"),
    ],
)
def test_a_cache_over_its_limit_is_said_by_what_fills_it(root, monkeypatch, capsys, limit, said):
    keep(root, "rounded/a.gguf")
    monkeypatch.setenv("SLMLAB_CACHE_LIMIT", limit)
    monkeypatch.setattr("slmlab.quantization.quantize", lambda *_: [])
    assert cli.main(["quantize", "a.gguf", "Q4_0", "--out", "out", "--json"]) == 0
    found = capsys.readouterr()
    assert json.loads(found.out) == {"files": []}
    assert found.err.startswith(said) and len(found.err.splitlines()) == bool(said)


@pytest.mark.parametrize("how", [["--all"], ["rounded"], ["--to", "50"]])
def test_the_command_fails_where_what_is_in_use_had_to_go(root, capsys, how):
    keep(root, "rounded/a")
    with process_that_uses("rounded/a"):
        assert cli.main(["cache", "prune", *how]) == 1
    assert "rounded/a is in use and stays" in capsys.readouterr().err
