"""What the stand-in keeps on disk: weights by their hash, and models that name them."""

import hashlib
import json
import re
from collections.abc import AsyncIterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from slmlab import gguf
from slmlab.deployment.ollama_stand_in.failure import Failure
from slmlab.errors import InvalidModelFile
from slmlab.files import from_json, whole

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_NAME = re.compile(
    r"([A-Za-z0-9][\w.-]{0,49}/){0,2}[A-Za-z0-9][\w.-]{0,49}(:[\w.-]{1,50})?", re.ASCII
)


@dataclass(frozen=True)
class Model:
    """A model as `create` made it: whose weights it runs, and what it was told besides."""

    name: str
    weights: str
    bytes: int
    details: dict[str, Any]
    template: str = ""
    system: str = ""
    license: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, str]] = field(default_factory=list)
    modified_at: str = ""

    @property
    def digest(self) -> str:
        """A hash of all that makes the model, without its name and date."""
        content = asdict(replace(self, name="", modified_at=""))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class Store:
    """A folder of models; a name without a tag means `:latest`, upper or lower case."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._models = folder / "models"
        self._models.mkdir(parents=True, exist_ok=True)

    def models(self) -> list[Model]:
        """Return every model, the latest first."""
        found = [_read(path) for path in self._models.glob("*.json")]
        return sorted(found, key=lambda model: model.modified_at, reverse=True)

    def model(self, name: str) -> Model:
        """Return a model by its name; raise `Failure` with 404 where there is none."""
        path = self._path(name)
        if not path.exists():
            raise Failure(f"model '{name}' not found", 404)
        return _read(path)

    def keep(self, model: Model) -> None:
        """Write a model under its name, in the place of any that had it."""
        dated = replace(model, name=full_name(model.name), modified_at=now())
        path = self._path(model.name)
        before = _read(path).weights if path.exists() else None
        with whole(path) as aside:
            aside.write_text(json.dumps(asdict(dated)), "utf-8")
        self._drop(before)

    def remove(self, name: str) -> None:
        """Delete a model, and its weights where no other model has the same."""
        weights = self.model(name).weights
        self._path(name).unlink()
        self._drop(weights)

    def weights(self, digest: str) -> Path:
        """Return where the file with this hash is, or would be."""
        if not (found := _DIGEST.fullmatch(digest)):
            raise Failure("invalid digest format")
        return self._blobs / f"sha256-{found[1]}"

    async def receive(self, digest: str, body: AsyncIterable[bytes]) -> None:
        """Write an uploaded file, if its hash is the one that was promised."""
        path, found = self.weights(digest), hashlib.sha256()
        with whole(path) as aside:
            with aside.open("wb") as file:
                async for piece in body:
                    found.update(piece)
                    file.write(piece)
            if not path.name.endswith(found.hexdigest()):
                expected = f'expected "{digest}", got "sha256:{found.hexdigest()}"'
                raise Failure(f"digest mismatch, {expected}")

    def take(self, source: Path, digest: str) -> Iterator[int]:
        """Copy a file of ours, yielding the bytes that are there after each piece."""
        path, done = self.weights(digest), 0
        with whole(path) as aside, source.open("rb") as origin, aside.open("wb") as copy:
            while piece := origin.read(2**24):
                copy.write(piece)
                done += len(piece)
                yield done

    def new(self, name: str, digest: str) -> Model:
        """Return a model that runs the weights with this hash and was told nothing else."""
        path = self.weights(digest)
        if not path.exists():
            raise Failure(f'blob not found (digest "{digest}")')
        try:
            header, about = gguf.read_header(path), gguf.inspect(path)
        except InvalidModelFile:
            raise Failure("supplied file was not in GGUF format") from None
        return Model(
            name=name,
            weights=path.name,
            bytes=about.file_bytes,
            details={
                "parent_model": "",
                "format": "gguf",
                "family": about.architecture,
                "families": [about.architecture],
                "parameter_size": _human(about.parameters),
                "quantization_level": _file_type(header.metadata.get("general.file_type")),
                "context_length": about.context or 0,
            },
        )

    def _path(self, name: str) -> Path:
        return self._models / f"{quote(full_name(name).lower(), safe='')}.json"

    def _drop(self, weights: str | None) -> None:
        """Delete weights that a model had, unless another one has them too."""
        if weights and all(model.weights != weights for model in self.models()):
            (self._blobs / weights).unlink(missing_ok=True)


def full_name(name: str) -> str:
    """Return a name with its tag; raise `Failure` for one that no model can have."""
    if not _NAME.fullmatch(name):
        raise Failure("invalid model name")
    return name if ":" in name else f"{name}:latest"


def now() -> str:
    """Return the time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _read(path: Path) -> Model:
    return Model(**from_json(path.read_text("utf-8")))


def _human(parameters: int) -> str:
    if parameters >= 1e9:
        return f"{parameters / 1e9:.1f}B"
    return f"{parameters / 1e6:.2f}M" if parameters >= 1e6 else f"{parameters / 1e3:.2f}K"


def _file_type(number: object) -> str:
    from gguf.constants import LlamaFileType

    try:
        return LlamaFileType(number).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except ValueError:
        return "unknown"
