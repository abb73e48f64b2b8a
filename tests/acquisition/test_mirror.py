"""The official client takes our mirror for the Hub."""

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError

from slmlab.acquisition import mirror
from slmlab.files import sha256


@pytest.fixture
def running(tmp_path):
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF" * 1000)
    with mirror.serve({"someone/tiny": file}) as running:
        yield running


def test_hf_hub_download(running, tmp_path):
    path = hf_hub_download(
        "someone/tiny", "tiny.gguf", endpoint=running.address, local_dir=tmp_path / "here"
    )
    assert sha256(tmp_path / "tiny.gguf") == sha256(tmp_path / "here" / "tiny.gguf")
    assert path.endswith("tiny.gguf")


def test_metadata_names_size_and_hash(running, tmp_path):
    [file] = (
        HfApi(endpoint=running.address).model_info("someone/tiny", files_metadata=True).siblings
    )
    assert file.rfilename == "tiny.gguf"
    assert (file.lfs.size, file.lfs.sha256) == (4000, sha256(tmp_path / "tiny.gguf"))


def test_what_it_does_not_have_is_not_found(running):
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=running.address).model_info("someone/other")
