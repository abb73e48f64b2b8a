"""Files and folders appear whole or not at all."""

import pytest

from slmlab.files import whole, whole_folder


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "file"
    with whole(path) as aside:
        aside.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "folder"
    with whole_folder(path) as aside:
        (aside / "inside").mkdir(parents=True)
        (aside / "inside" / "file").write_text("all of it")
        assert not path.exists()
    assert (path / "inside" / "file").read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_folder_is_filled_and_a_full_one_is_left_alone(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with whole_folder(path) as aside:
        aside.mkdir()
        (aside / "file").write_text("first")
    with pytest.raises(OSError), whole_folder(path) as aside:
        aside.mkdir()
    assert (path / "file").read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("appear", [whole, whole_folder])
def test_a_failure_leaves_nothing(appear, tmp_path):
    with pytest.raises(RuntimeError), appear(tmp_path / "new") as aside:
        if appear is whole:
            aside.write_text("half of it")
        else:
            aside.mkdir()
            (aside / "file").write_text("half of it")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
