"""The registry: every version arrives whole, goes on after interruption, and replaces nothing."""

import json
import os
import subprocess
import sys
import uuid

import fsspec
import pytest

from slmlab.deployment import registry
from slmlab.deployment.audit import AuditLog
from slmlab.deployment.registry import Registry, folder_digest
from slmlab.deployment.roles import Access, accounts
from slmlab.errors import (
    Conflict,
    FetchError,
    InvalidModelFile,
    NotAllowed,
    UsageError,
    VerificationError,
)

CHUNK = 1000


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(registry, "CHUNK_BYTES", CHUNK)


@pytest.fixture(params=["file", "memory"])
def central(request, tmp_path):
    if request.param == "file":
        return (tmp_path / "central").as_uri()
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def model(tmp_path):
    """A folder of 5,520 bytes: six chunks and two small files."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(os.urandom(5 * CHUNK + 500))
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "sub" / "vocabulary.txt").write_text("hello world\n")
    return folder


@pytest.fixture
def device(tmp_path, central):
    def make(name):
        return Registry(tmp_path / name, central)

    return make


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.name != "registry.json"
    }


def change_manifest(central, change):
    """Change the central manifest of version 1 of tiny, with a digest that fits."""
    store, root = fsspec.core.url_to_fs(central)
    manifest = json.loads(store.cat_file(f"{root}/models/tiny/1.json"))
    change(manifest["files"])
    files = tuple(
        registry.StoredFile(file["path"], tuple(registry.Chunk(**c) for c in file["chunks"]))
        for file in manifest["files"]
    )
    manifest["digest"] = registry.Version("tiny", 1, files).digest
    store.pipe_file(f"{root}/models/tiny/1.json", json.dumps(manifest).encode())


class Cut(Exception):
    pass


def cut_after(chunks):
    left = [chunks]

    def progress(way, size):
        left[0] -= 1
        if left[0] == 0:
            raise Cut

    return progress


def test_a_model_travels_from_one_device_to_another(device, model):
    one, two = device("one"), device("two")
    added = one.add(model, "tiny")
    assert (added.number, added.size) == (1, 5520)
    up = one.synchronise("tiny")
    assert (up.pushed, up.pulled, up.bytes_up, up.bytes_down) == ((1,), (), 5520, 0)
    down = two.synchronise("tiny")
    assert (down.pulled, down.bytes_down) == ((1,), 5520)
    assert contents(two.path("tiny")) == contents(model)
    assert folder_digest(two.path("tiny")) == folder_digest(model) == added.digest


def test_what_is_the_newest_version_already_is_not_added_again(device, model):
    one = device("one")
    assert one.add(model, "tiny") == one.add(model, "tiny")
    assert list(one.local("tiny")) == [1]


def test_nothing_travels_twice(device, model):
    one = device("one")
    one.add(model, "tiny")
    one.synchronise("tiny")
    again = one.synchronise("tiny")
    assert (again.pushed, again.pulled, again.bytes_up, again.bytes_down) == ((), (), 0, 0)


def test_a_new_version_brings_only_the_chunks_that_changed(device, model):
    one, two = device("one"), device("two")
    one.add(model, "tiny")
    one.synchronise("tiny")
    (model / "config.json").write_text('{"a": 2}')
    assert one.add(model, "tiny").number == 2
    assert one.synchronise("tiny").bytes_up == 8
    two.synchronise("tiny")
    assert sorted(two.local("tiny")) == [1, 2]
    assert two.path("tiny").name == "2"
    assert (two.path("tiny", 1) / "config.json").read_text() == '{"a": 1}'


def test_an_interrupted_fetch_shows_no_version_and_goes_on_where_it_ended(device, model):
    one, two = device("one"), device("two")
    one.add(model, "tiny")
    one.synchronise("tiny")
    with pytest.raises(Cut):
        two.synchronise("tiny", cut_after(4))
    assert two.local("tiny") == {}
    with pytest.raises(UsageError, match="synchronise first"):
        two.path("tiny")
    rest = two.synchronise("tiny")
    first_four = 8 + 12 + 2 * CHUNK
    assert rest.bytes_down == 5520 - first_four
    assert contents(two.path("tiny")) == contents(model)


def test_an_interrupted_upload_shows_no_version_and_goes_on_where_it_ended(device, model):
    one, two = device("one"), device("two")
    one.add(model, "tiny")
    with pytest.raises(Cut):
        one.synchronise("tiny", cut_after(5))
    assert two.central("tiny") == {}
    assert one.synchronise("tiny").bytes_up == 5520 - (8 + 12 + 3 * CHUNK)
    two.synchronise("tiny")
    assert contents(two.path("tiny")) == contents(model)


def test_damage_in_a_partial_file_is_fetched_again(device, model, tmp_path):
    one, two = device("one"), device("two")
    one.add(model, "tiny")
    one.synchronise("tiny")
    with pytest.raises(Cut):
        two.synchronise("tiny", cut_after(6))
    [partial] = (tmp_path / "two" / ".partial").rglob("weights.bin")
    damaged = bytearray(partial.read_bytes())
    damaged[CHUNK + 5] ^= 1
    partial.write_bytes(damaged)
    two.synchronise("tiny")
    assert contents(two.path("tiny")) == contents(model)


def test_what_a_killed_addition_left_goes_with_the_next(device, model, tmp_path):
    left = tmp_path / "device" / "tiny" / f".1.{'0f' * 16}.part"
    left.mkdir(parents=True)
    device("device").add(model, "tiny")
    assert not left.exists()


def test_a_process_that_is_killed_in_the_middle_leaves_nothing_half(tmp_path, model):
    central = (tmp_path / "central").as_uri()
    one = Registry(tmp_path / "one", central)
    one.add(model, "tiny")
    one.synchronise("tiny")
    code = (
        "import os, sys; from slmlab.deployment import registry;"
        "registry.Registry(sys.argv[1], sys.argv[2]).synchronise("
        "'tiny', lambda way, size: size == 1000 and os.kill(os.getpid(), 9))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "two", central])
    assert done.returncode != 0
    two = Registry(tmp_path / "two", central)
    assert two.local("tiny") == {}
    assert two.synchronise("tiny").bytes_down < 5520
    assert contents(two.path("tiny")) == contents(model)


def test_two_devices_that_both_made_version_2_conflict_and_nothing_is_overwritten(device, model):
    one, two = device("one"), device("two")
    one.add(model, "tiny")
    one.synchronise("tiny")
    two.synchronise("tiny")
    for who in (one, two):
        (model / "config.json").write_text(f"made by {who.device.name}")
        who.add(model, "tiny")
    one.synchronise("tiny")
    with pytest.raises(Conflict, match=r"Version 2 of tiny.*nothing was overwritten"):
        two.synchronise("tiny")
    assert (one.path("tiny") / "config.json").read_text() == "made by one"
    assert (two.path("tiny") / "config.json").read_text() == "made by two"
    assert two.central("tiny")[2].digest == one.local("tiny")[2].digest

    two.renumber("tiny", 2, 3)
    settled = two.synchronise("tiny")
    assert (settled.pulled, settled.pushed) == ((2,), (3,))
    one.synchronise("tiny")
    assert (one.path("tiny") / "config.json").read_text() == "made by two"


def test_who_comes_second_at_the_same_moment_gets_the_conflict(device, model, monkeypatch):
    one, two = device("one"), device("two")
    one.add(model, "tiny")
    (model / "config.json").write_text("another")
    two.add(model, "tiny")
    one.synchronise("tiny")
    monkeypatch.setattr(two, "central", lambda name: {})  # it looked before the other had written
    with pytest.raises(Conflict):
        two.synchronise("tiny")
    assert one.central("tiny")[1].digest == one.local("tiny")[1].digest


def test_a_number_that_is_taken_cannot_be_had(device, model):
    one = device("one")
    one.add(model, "tiny")
    (model / "config.json").write_text('{"a": 2}')
    one.add(model, "tiny")
    with pytest.raises(Conflict, match="another version 1"):
        one.renumber("tiny", 2, 1)


def test_a_chunk_that_was_damaged_in_the_central_place_is_not_taken(device, model, central):
    one, two = device("one"), device("two")
    version = one.add(model, "tiny")
    one.synchronise("tiny")
    store, root = fsspec.core.url_to_fs(central)
    chunk = version.files[-1].chunks[1]
    store.pipe_file(f"{root}/chunks/{chunk.digest}", bytes(chunk.size))
    with pytest.raises(
        VerificationError, match=rf"weights\.bin.*/chunks/{chunk.digest} and .*/1\.js"
    ):
        two.synchronise("tiny")
    assert two.local("tiny") == {}
    store.rm(f"{root}/chunks/{chunk.digest}")
    with pytest.raises(FetchError, match=r"lost a piece.*delete .*/models/tiny/1\.json there"):
        two.synchronise("tiny")
    store.rm(f"{root}/models/tiny/1.json")  # as it says
    assert one.synchronise("tiny").bytes_up == chunk.size
    two.synchronise("tiny")
    assert contents(two.path("tiny")) == contents(model)


def test_an_upload_that_broke_within_a_chunk_is_repaired(device, model, central):
    one, two = device("one"), device("two")
    version = one.add(model, "tiny")
    store, root = fsspec.core.url_to_fs(central)
    chunk = version.files[-1].chunks[0]
    store.makedirs(f"{root}/chunks", exist_ok=True)
    store.pipe_file(f"{root}/chunks/{chunk.digest}", b"half")
    one.synchronise("tiny")
    two.synchronise("tiny")
    assert contents(two.path("tiny")) == contents(model)


def test_a_registered_model_that_was_changed_on_the_device_is_not_published(device, model):
    one = device("one")
    one.add(model, "tiny")
    (one.path("tiny") / "config.json").write_text('{"a": 9}')
    with pytest.raises(VerificationError, match=r"config\.json"):
        one.synchronise("tiny")
    assert one.central("tiny") == {}


UNSAFE = [
    *("../../evil", "/etc/evil", "//etc/evil", "a/../../evil", "c:evil", "..\\evil", "", "."),
    *("registry.json", "Registry.json", "registry.json/evil", "./evil", "a//evil", "a/./evil"),
    *("weights.bin/evil", "con/evil", "evil.", "evil ", "evil\n", "evil/" * 99 + "evil"),
]


@pytest.mark.parametrize("path", UNSAFE)
def test_a_manifest_cannot_lead_out_of_the_folder_or_replace_ours(
    device, model, central, tmp_path, path
):
    one, two = device("one"), device("two")
    one.add(model, "tiny")
    one.synchronise("tiny")
    change_manifest(central, lambda files: files[0].update(path=path))
    with pytest.raises(VerificationError, match="manifest of version 1 of tiny"):
        two.synchronise("tiny")
    assert not list(tmp_path.rglob("*evil*"))


def test_a_manifest_with_one_path_twice_is_refused(device, model, central):
    one, two = device("one"), device("two")
    one.add(model, "tiny")
    one.synchronise("tiny")
    change_manifest(central, lambda files: files[1].update(path=files[0]["path"]))
    with pytest.raises(VerificationError, match="manifest of version 1 of tiny"):
        two.synchronise("tiny")


@pytest.mark.parametrize("size", [0, -1, True, 1.0, "500", CHUNK + 1])
def test_a_manifest_with_a_size_that_no_chunk_has_is_refused(device, model, central, size):
    one, two = device("one"), device("two")
    one.add(model, "tiny")
    one.synchronise("tiny")
    change_manifest(central, lambda files: files[2]["chunks"][5].update(size=size))
    with pytest.raises(VerificationError, match="manifest of version 1 of tiny"):
        two.synchronise("tiny")


def test_a_chunk_that_is_shorter_than_its_manifest_says_is_not_filled_up(device, model, central):
    one, two = device("one"), device("two")
    one.add(model, "tiny")
    one.synchronise("tiny")
    with pytest.raises(Cut):
        two.synchronise("tiny", cut_after(8))  # all chunks are here, the version is not
    change_manifest(central, lambda files: files[2]["chunks"][5].update(size=900))
    for _ in range(2):
        with pytest.raises(VerificationError, match=r"weights\.bin"):
            two.synchronise("tiny")
    assert two.local("tiny") == {}


def test_a_resumed_fetch_asks_for_room_only_for_what_is_missing(device, model, monkeypatch):
    one, two = device("one"), device("two")
    one.add(model, "tiny")
    one.synchronise("tiny")
    with pytest.raises(Cut):
        two.synchronise("tiny", cut_after(4))
    needed = []
    monkeypatch.setattr(registry, "check_room", lambda size, *_: needed.append(size))
    two.synchronise("tiny")
    assert needed == [5520 - (8 + 12 + 2 * CHUNK)]


def test_of_two_writers_of_a_manifest_one_is_refused_with_hard_links_or_without(
    tmp_path, monkeypatch
):
    def no_links(source, target):
        raise PermissionError

    store, path = fsspec.filesystem("file"), tmp_path / "1.json"
    for link in (os.link, no_links):
        monkeypatch.setattr(os, "link", link)
        registry._create(store, str(path), b"first")
        with pytest.raises(FileExistsError):
            registry._create(store, str(path), b"second")
        assert path.read_bytes() == b"first"
        path.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_is_being_written_is_not_there_yet(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.extend(tmp_path.glob("*.json")))
    path = tmp_path / "1.json"
    registry._create(fsspec.filesystem("file"), str(path), b"whole")
    assert (seen, path.read_bytes()) == ([], b"whole")


def test_files_are_sorted_by_name_on_every_system(device, tmp_path):
    folder = tmp_path / "model"
    (folder / "a").mkdir(parents=True)
    for name in ("a/x", "a-b", "B", "c"):
        (folder / name).write_text(name)
    files = device("one").add(folder, "tiny").files
    assert [file.path for file in files] == ["B", "a-b", "a/x", "c"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file names")
def test_a_file_that_no_manifest_could_name_is_not_registered(device, model):
    (model / "a:b").write_text("x")
    one = device("one")
    with pytest.raises(InvalidModelFile, match="'a:b'; rename it"):
        one.add(model, "tiny")
    assert one.local("tiny") == {}


def test_only_who_may_register_adds_a_model_and_both_are_logged(tmp_path, model, central):
    log = AuditLog(tmp_path / "audit.jsonl", bytes(32))
    access = Access(accounts({"ana": "owner", "ben": "user"}).values(), log)
    with pytest.raises(NotAllowed, match="ben may not register"):
        Registry(tmp_path / "one", central, access, "ben").add(model, "tiny")
    one = Registry(tmp_path / "one", central, access, "ana")
    assert one.local("tiny") == {}
    digest = one.add(model, "tiny").digest
    told = [(entry.who, entry.what, entry.model, entry.allowed) for entry in log.entries()]
    assert told == [("ben", "register", digest, False), ("ana", "register", digest, True)]


def test_a_manifest_that_is_none_is_refused(device, model, central):
    one, two = device("one"), device("two")
    one.add(model, "tiny")
    one.synchronise("tiny")
    store, root = fsspec.core.url_to_fs(central)
    good = store.cat_file(f"{root}/models/tiny/1.json")
    store.pipe_file(f"{root}/models/tiny/2.json", good)  # another version under a new number
    with pytest.raises(VerificationError, match="manifest of version 2 of tiny"):
        two.synchronise("tiny")
    store.rm(f"{root}/models/tiny/2.json")
    for none in (b'{"name": "tiny"}', b'"tiny"', b"[" * 5000 + b"]" * 5000):
        store.pipe_file(f"{root}/models/tiny/1.json", none)
        with pytest.raises(VerificationError, match="manifest of version 1 of tiny"):
            two.synchronise("tiny")


def test_names_and_folders_that_are_none_are_refused(device, model, tmp_path):
    one = device("one")
    for act in (one.synchronise, one.path, lambda name: one.add(model, name)):
        with pytest.raises(UsageError, match="no name"):
            act("../tiny")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidModelFile, match="no files"):
        one.add(tmp_path / "empty", "tiny")
    with pytest.raises(UsageError, match="not on this device"):
        one.renumber("tiny", 1, 2)
    assert one.synchronise("tiny").pulled == ()
