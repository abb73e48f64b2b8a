"""Files and folders appear whole or not at all, one program at a time."""

import errno
import os

import pytest

from slmlab.errors import NotPossibleHere, Unwritable
from slmlab.files import (
    aside,
    begun,
    from_json,
    kept_as,
    lock_file,
    locked,
    made_once,
    weight_bytes,
    whole,
    whole_folder,
)


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "file"
    with whole(path) as new:
        new.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "folder"
    with whole_folder(path) as new:
        (new / "inside").mkdir(parents=True)
        (new / "inside" / "file").write_text("all of it")
        assert not path.exists()
    assert (path / "inside" / "file").read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_folder_is_filled_and_a_full_one_is_left_alone(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with whole_folder(path) as new:
        new.mkdir()
        (new / "file").write_text("first")
    with pytest.raises(OSError), whole_folder(path) as new:
        new.mkdir()
    assert (path / "file").read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_name_says_what_it_is_to_become_and_no_other_name_does(tmp_path):
    path = tmp_path / "model.gguf"
    assert begun(aside(path)) == "model.gguf"
    assert aside(path) != aside(path)
    for other in ("model.gguf", ".model.gguf.lock", ".model.gguf.part", f".{'0' * 32}.part"):
        assert begun(tmp_path / other) is None


@pytest.mark.parametrize("appear", [whole, whole_folder])
def test_a_failure_leaves_nothing(appear, tmp_path):
    with pytest.raises(RuntimeError), appear(tmp_path / "new") as new:
        if appear is whole:
            new.write_text("half of it")
        else:
            new.mkdir()
            (new / "file").write_text("half of it")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_what_is_kept_is_found_under_another_name_with_the_same_ending(tmp_path):
    wanted = tmp_path / "mine-int4"
    for unlike in ("theirs-int8", "int4-theirs", ".theirs-int4", ".theirs-int4.lock"):
        (tmp_path / unlike).touch()
    assert kept_as(wanted, "-int4") == wanted
    (tmp_path / "theirs-int4").mkdir()
    assert kept_as(wanted, "-int4") == tmp_path / "theirs-int4"
    wanted.mkdir()
    assert kept_as(wanted, "-int4") == wanted


def test_what_was_made_once_is_given_where_there_can_be_no_lock(tmp_path):
    wanted, made = tmp_path / "new" / "model", []

    def make(path):
        made.append(path)
        path.touch()

    assert made_once(wanted, make) == wanted
    lock_file(wanted).unlink()
    lock_file(wanted).mkdir()  # which nobody can lock, root included
    assert made_once(wanted, make) == wanted
    assert made == [wanted]


def test_a_lock_that_another_program_keeps_is_said_in_a_sentence(tmp_path, capsys):
    with (
        locked(tmp_path / "model"),
        pytest.raises(NotPossibleHere, match="working on model for 0 s; wait for it") as caught,
        locked(tmp_path / "model", timeout=0),
    ):
        pass
    assert caught.type is NotPossibleHere, "which is not about fetching"
    assert capsys.readouterr().err == "Waiting for another program to finish model.\n"
    with locked(tmp_path / "model"):
        pass  # which is free again


def test_a_folder_that_cannot_be_used_is_said_in_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    said = r"The folder .*file.a cannot be used \(.+\): .*SLMLAB_CACHE\)\.$"
    with pytest.raises(NotPossibleHere, match=said) as caught, locked(tmp_path / "file/a/model"):
        pass
    assert isinstance(caught.value, OSError), "so that a caller can say what could not be stored"
    assert caught.value.strerror


@pytest.mark.parametrize(
    ("names", "counted"),
    [
        (["model.safetensors", "config.json"], 1),
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], 2),
        (["model.safetensors", "model.safetensors.index.json"], 1),
        (["model.onnx", "model.onnx.data", "genai_config.json"], 2),
        (["model.onnx", "model.onnx_data", "model.onnx_data_1"], 3),
        (["notes.txt"], 0),
    ],
)
def test_the_weights_of_a_folder_are_counted_whoever_wrote_them(tmp_path, names, counted):
    for name in names:
        (tmp_path / name).write_bytes(bytes(10))
    assert weight_bytes(tmp_path) == 10 * counted


def test_the_weights_of_a_file_are_all_of_it(tmp_path):
    (tmp_path / "model.gguf").write_bytes(bytes(7))
    assert weight_bytes(tmp_path / "model.gguf") == 7


@pytest.mark.parametrize("text", ["", "{", b"\xff", "[" * 100_000, '{"a":' * 100_000])
def test_damaged_json_is_a_value_error_however_deep_it_is(text):
    with pytest.raises(ValueError):
        from_json(text)


def test_json_is_read():
    assert from_json(b'{"a": [1, null]}') == {"a": [1, None]}


@pytest.mark.parametrize("appear", [whole, whole_folder])
def test_what_a_killed_writer_left_goes_with_the_next_lock(appear, tmp_path):
    def left(folder, name):
        path = folder / f".{name}.{'0f' * 16}.part"
        path.parent.mkdir(exist_ok=True)
        path.touch() if appear is whole else (path / "inside").mkdir(parents=True)
        return path

    model = tmp_path / "model"
    mine = [left(tmp_path, "model"), left(model, "version")]
    others = [left(tmp_path, "model.json"), left(tmp_path, "other"), left(model / "in", "work")]
    with locked(model):
        assert not any(path.exists() for path in mine)
    assert all(path.exists() for path in others), "which may be in work, under another lock"


@pytest.mark.parametrize("appear", [whole, whole_folder])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_gets_full_is_said_in_a_sentence(appear, number, tmp_path):
    said = rf"The folder .* cannot be used \({os.strerror(number)}\): make room"
    with pytest.raises(Unwritable, match=said), appear(tmp_path / "new"):
        raise OSError(number, os.strerror(number))


def test_another_trouble_of_a_writer_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "new"):
        (tmp_path / "not there").read_text()
