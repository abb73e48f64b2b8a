"""The Hugging Face Hub, or the mirror that `$HF_ENDPOINT` names: a download that can go on.

The metadata and the requests are huggingface_hub's. Its `hf_hub_download` is not used because,
in version 2.4, it throws a broken-off file away. The function below it, `http_get`, continues one,
but waits as long as any Retry-After says, asks without end where each answer is cut short, gives up
at a 503, and takes more bytes than were promised.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from slmlab.acquisition.arrival import Arrival, Unavailable
from slmlab.acquisition.patience import patiently
from slmlab.errors import SlmlabError, first_line
from slmlab.files import check_room
from slmlab.tiers import ModelCard

if TYPE_CHECKING:
    from tqdm import tqdm

_SILENCE = 10.0  # seconds after which a Hub that sends nothing is asked again


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

    `offline` is `fetch`'s. Raises `Unavailable` where the Hub cannot give the file that has the
    card's hash.
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

    about = partial(HfApi(endpoint=endpoint()).model_info, files_metadata=True, timeout=_SILENCE)
    info = patiently(partial(about, model.gguf_repository))
    offered = {file.rfilename: file.lfs for file in info.siblings or ()}.get(model.gguf_file)
    if offered is None or offered.sha256 != model.sha256:
        raise Unavailable(
            f"{model.gguf_repository} on the Hub does not hold the file with the card's SHA-256 "
            f"(if its publisher has replaced it, `hf download {model.gguf_repository} "
            f"{model.gguf_file}` brings the new one, unchecked)"
        )

    part = folder / model.sha256 / Path(model.gguf_file).name
    part.parent.mkdir(exist_ok=True)
    address = hf_hub_url(
        model.gguf_repository, model.gguf_file, revision=info.sha, endpoint=endpoint()
    )
    with part.open("ab") as file:
        if file.tell() > offered.size:
            _empty(file)
        check_room(offered.size - file.tell(), folder, "The download")
        _receive(address, file, offered.size)
    source = f"{model.gguf_repository} on the Hugging Face Hub, revision {info.sha[:7]}"
    return Arrival(part, source)


def _receive(address: str, file: BinaryIO, size: int) -> None:
    """Append to `file` what it lacks to `size` bytes, while each request brings something new."""
    from tqdm.auto import tqdm

    name = Path(file.name).name
    with tqdm(desc=name, total=size, initial=file.tell(), unit="B", unit_scale=True) as bar:
        most = file.tell()
        while file.tell() < size:
            patiently(partial(_receive_some, address, file, size, most, bar))
            most = max(most, file.tell())


def _receive_some(address: str, file: BinaryIO, size: int, most: int, bar: "tqdm") -> None:
    """Append what one request brings, and raise unless the file is longer than `most` then."""
    import httpx2
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    span = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
    headers = build_hf_headers() | {"Accept-Encoding": "identity"} | span
    try:
        with get_session().stream("GET", address, headers=headers, timeout=_SILENCE) as answer:
            hf_raise_for_status(answer)
            if answer.status_code != 206:  # it begins at the beginning, whatever was asked for
                _empty(file)
            for piece in answer.iter_bytes():
                file.write(piece)
                bar.update(file.tell() - bar.n)
                if file.tell() > size:
                    raise Unavailable(f"{Path(file.name).name} is longer there than it should be")
            if file.tell() <= most:
                raise httpx2.RemoteProtocolError("it sends less than it promises")
    except httpx2.TransportError:
        if file.tell() <= most:
            raise


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


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
        reason = first_line(problem)
        raise Unavailable(f"the Hugging Face Hub did not give {wanted} ({reason})") from problem
