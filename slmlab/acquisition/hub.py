"""The Hugging Face Hub, or the mirror that `$HF_ENDPOINT` names: a download that can go on.

The metadata and the requests are huggingface_hub's. Its `hf_hub_download` is not used because,
in version 2.4, it throws a broken-off file away; the function below it, `http_get`, continues one.
"""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from slmlab.acquisition.arrival import Arrival, Unavailable
from slmlab.errors import SlmlabError
from slmlab.files import check_room
from slmlab.tiers import ModelCard

_SHA256 = re.compile("[0-9a-f]{64}")


def endpoint() -> str:
    """Return the address of the Hub, or of the mirror that `$HF_ENDPOINT` names at this moment."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")


def online(seconds: float = 3.0) -> bool:
    """Tell whether the Hub answers; an answer that takes longer than `seconds` is a no.

    `$HF_HUB_OFFLINE` is a no at once. The question is asked in a thread of its own because
    looking up a name has no time limit.
    """
    from huggingface_hub import constants, get_session

    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES
    if offline or constants.is_offline_mode():
        return False
    answered = threading.Event()

    def ask() -> None:
        with suppress(Exception):
            get_session().head(endpoint(), timeout=seconds)
            answered.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return answered.is_set()


def download(model: ModelCard, folder: Path, offline: bool | None) -> Arrival:
    """Bring the card's GGUF file into `folder`, going on where an earlier call was broken off.

    The hash to expect is the one on the card, else the one in the Hub's metadata. `offline` is
    `fetch`'s. Raises `Unavailable` where the Hub cannot give that file.
    """
    if not (model.gguf_repository and model.gguf_file):
        raise Unavailable(
            f"its card names no GGUF file on the Hub (`hf download {model.repository}` brings the "
            f"weights it can be made from)"
        )
    if offline or (offline is None and not online()):
        raise Unavailable(
            "the Hugging Face Hub cannot be reached (connect to a network, or set HF_ENDPOINT to "
            "a mirror)"
        )
    with explained(model.gguf_repository):
        return _download(model, folder)


def _download(model: ModelCard, folder: Path) -> Arrival:
    from huggingface_hub import HfApi, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    info = HfApi(endpoint=endpoint()).model_info(
        model.gguf_repository, files_metadata=True, timeout=30
    )
    offered = {file.rfilename: file.lfs for file in info.siblings or ()}.get(model.gguf_file)
    if offered is None or offered.sha256 != (model.wheel_sha256 or offered.sha256):
        raise Unavailable(f"{model.gguf_repository} on the Hub does not hold the expected file")

    if not _SHA256.fullmatch(offered.sha256):  # it names a folder here
        raise Unavailable(f"{model.gguf_repository} on the Hub says no SHA-256 of the file")
    partial = folder / offered.sha256 / Path(model.gguf_file).name
    partial.parent.mkdir(exist_ok=True)
    with partial.open("ab") as file:
        if file.tell() > offered.size:
            file.truncate(0)
        check_room(offered.size - file.tell(), folder, "The download")
        http_get(
            hf_hub_url(
                model.gguf_repository, model.gguf_file, revision=info.sha, endpoint=endpoint()
            ),
            file,
            resume_size=file.tell(),
            headers=build_hf_headers(),
            expected_size=offered.size,
            displayed_filename=model.gguf_file,
        )
    source = f"{model.gguf_repository} on the Hugging Face Hub, revision {info.sha[:7]}"
    return Arrival(partial, offered.sha256, source)


@contextmanager
def explained(wanted: str) -> Iterator[None]:
    """Turn whatever the Hub, its client or the network raises into one clause of a sentence.

    `wanted` is what the Hub was asked for, such as a repository. Raises `Unavailable`.
    """
    from huggingface_hub.errors import GatedRepoError

    try:
        yield
    except SlmlabError:
        raise
    except GatedRepoError:
        raise Unavailable(
            f"{wanted} opens only to those who accepted its licence on the Hub (do that on "
            f"{endpoint()}/{wanted}, then run `hf auth login`)"
        ) from None
    except Exception as problem:
        if isinstance(problem, OSError) and problem.errno:  # the disk's, not the network's
            raise
        reason = str(problem).strip().partition("\n")[0] or type(problem).__name__
        raise Unavailable(f"the Hugging Face Hub did not give {wanted} ({reason})") from problem
