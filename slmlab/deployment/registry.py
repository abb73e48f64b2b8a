"""Models on a device and in a central place, synchronised, with nothing lost on the way.

The central place is anything that fsspec can reach: a folder, a web share, object storage.

    models/NAME/VERSION.json    a manifest: the files, and the chunks each consists of
    chunks/SHA256               at most 8 MB, named by their content

A manifest is written last and never replaced, so a version is there whole or not at all: in a
folder, and elsewhere as far as the store keeps to fsspec's mode `create`. A chunk
is the same whoever writes it, so an interrupted transfer goes on with the first missing one, and a
new version brings only the chunks that changed. On the device, a version is a folder
`NAME/VERSION` with the model's files and its manifest.
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from slmlab.deployment.roles import Access
from slmlab.errors import Conflict, FetchError, InvalidModelFile, UsageError, VerificationError
from slmlab.files import check_room, from_json, is_plain_name, locked, whole, whole_folder

CHUNK_BYTES = 8_000_000
_MANIFEST = "registry.json"
_LONGEST_PATH = 400
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Progress = Callable[[str, int], None]
"""Called after each chunk that was moved, with `up` or `down` and its bytes."""


@dataclass(frozen=True)
class Chunk:
    """A piece of a file: the SHA-256 of its content, and its length in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class StoredFile:
    """A file of a model: its path in the model's folder, with `/`, and its chunks in order."""

    path: str
    chunks: tuple[Chunk, ...]

    @property
    def size(self) -> int:
        """The file's length in bytes."""
        return sum(chunk.size for chunk in self.chunks)


@dataclass(frozen=True)
class Version:
    """A version of a model: a name, a number that grows, and its files."""

    name: str
    number: int
    files: tuple[StoredFile, ...]

    @property
    def digest(self) -> str:
        """The SHA-256 over all paths and contents: equal for equal models, whatever the name."""
        return _digest(self.files)

    @property
    def size(self) -> int:
        """The length of all files in bytes."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Synchronised:
    """What a synchronisation moved: version numbers, and the bytes that had to travel."""

    pulled: tuple[int, ...]
    pushed: tuple[int, ...]
    bytes_down: int
    bytes_up: int


def folder_digest(folder: Path) -> str:
    """Return the digest that a model's folder has in a registry."""
    return _digest(_files(Path(folder)))


class Registry:
    """The models in a folder of this device, and their central place.

    `central` is a URL of fsspec, such as `file:///srv/models`, `s3://bucket/models` or
    `memory://models`; `options` are those of its file system, such as credentials. With `access`,
    a model is added only if its accounts let `who` register it.
    """

    def __init__(
        self,
        device: Path,
        central: str,
        access: Access | None = None,
        who: str = "",
        **options: Any,
    ) -> None:
        import fsspec

        self.device = Path(device)
        self.access = access
        self.who = who
        self._store, self._root = fsspec.core.url_to_fs(central, **options)

    def add(self, folder: Path, name: str) -> Version:
        """Copy a model's folder into the device's registry as the next version of `name`.

        What is the newest version already is not added again. Raises `UsageError` for a name that
        is none, `InvalidModelFile` for an empty folder or a file that cannot be kept, and
        `NotAllowed` for who may not register models.
        """
        version = Version(_name(name), 1, _files(Path(folder)))
        if self.access:
            self.access.require(self.who, "register", version.digest)
        with locked(self.device / name):
            here = self.local(name)
            if here and (newest := here[max(here)]).digest == version.digest:
                return newest
            version = replace(version, number=max(here, default=0) + 1)
            check_room(version.size, self.device, name)
            with whole_folder(self._folder(version)) as aside:
                for file in version.files:
                    _copy(Path(folder, file.path), aside / file.path, file)
                _write_manifest(aside / _MANIFEST, version)
        return version

    def local(self, name: str) -> dict[int, Version]:
        """Return the versions of a model that are on the device, by number."""
        folders = [path for path in self.device.glob(f"{_name(name)}/*") if path.name.isdecimal()]
        return _by_number(
            replace(_version((path / _MANIFEST).read_bytes(), name), number=int(path.name))
            for path in folders
        )

    def central(self, name: str) -> dict[int, Version]:
        """Return the versions of a model that are in the central place, by number."""
        self._store.invalidate_cache()
        folder = f"{self._root}/models/{_name(name)}"
        if not self._store.exists(folder):
            return {}
        paths = [path for path in self._store.ls(folder, detail=False) if path.endswith(".json")]
        found = (_version(self._store.cat_file(path), name, PurePath(path).stem) for path in paths)
        return _by_number(found)

    def path(self, name: str, number: int | None = None) -> Path:
        """Return the folder of a version on the device, by default the newest.

        Raises `UsageError` where it is not there.
        """
        found = self.local(name)
        chosen = max(found, default=0) if number is None else number
        if chosen not in found:
            wanted = name if number is None else f"version {number} of {name}"
            raise UsageError(f"{wanted} is not on this device; synchronise first.")
        return self._folder(found[chosen])

    def synchronise(self, name: str, progress: Progress | None = None) -> Synchronised:
        """Bring every version of a model to where it is missing, on either side.

        Where it was interrupted, call it again. Raises `Conflict` where one number stands for
        different files on the two sides; nothing is moved then. Raises `VerificationError` where
        what arrives, or what was registered, is not what its manifest says.
        """
        moved = {"up": 0, "down": 0}

        def count(way: str, size: int) -> None:
            moved[way] += size
            if progress:
                progress(way, size)

        with locked(self.device / _name(name)):
            here, there = self.local(name), self.central(name)
            for number in sorted(here.keys() & there.keys()):
                _must_agree(here[number], there[number])
            pulled = sorted(there.keys() - here.keys())
            pushed = sorted(here.keys() - there.keys())
            for number in pulled:
                self._pull(there[number], count)
            for number in pushed:
                self._push(here[number], count)
        return Synchronised(tuple(pulled), tuple(pushed), moved["down"], moved["up"])

    def renumber(self, name: str, old: int, new: int) -> Version:
        """Give a version on the device another number, which is how a conflict is settled.

        Raises `Conflict` where the new number is taken on either side.
        """
        with locked(self.device / _name(name)):
            here = self.local(name)
            if old not in here:
                raise UsageError(f"Version {old} of {name} is not on this device.")
            if new < 1 or new in here.keys() | self.central(name).keys():
                raise Conflict(f"{name} cannot have another version {new}; choose a free number.")
            moved = replace(here[old], number=new)
            self._folder(here[old]).rename(self._folder(moved))
        return moved

    def _folder(self, version: Version) -> Path:
        return self.device / version.name / str(version.number)

    def _manifest_path(self, version: Version) -> str:
        return f"{self._root}/models/{version.name}/{version.number}.json"

    def _chunk_path(self, chunk: Chunk) -> str:
        return f"{self._root}/chunks/{chunk.digest}"

    def _push(self, version: Version, count: Progress) -> None:
        self._store.makedirs(f"{self._root}/chunks", exist_ok=True)
        self._store.makedirs(f"{self._root}/models/{version.name}", exist_ok=True)
        for file in version.files:
            with self._folder(version).joinpath(file.path).open("rb") as source:
                for chunk in file.chunks:
                    content = _verified(source.read(chunk.size), chunk, file.path)
                    if not self._has(chunk):
                        self._store.pipe_file(self._chunk_path(chunk), content)
                        count("up", chunk.size)
        path = self._manifest_path(version)
        try:
            _create(self._store, path, _manifest(version))
        except FileExistsError:
            there = _version(self._store.cat_file(path), version.name, str(version.number))
            _must_agree(version, there)

    def _has(self, chunk: Chunk) -> bool:
        """Return whether a chunk is there whole: some stores keep what a broken upload left."""
        path = self._chunk_path(chunk)
        return self._store.exists(path) and self._store.size(path) == chunk.size

    def _pull(self, version: Version, count: Progress) -> None:
        """Fetch into a partial folder, which goes on where it ended and is renamed when whole."""
        partial = self.device / ".partial" / version.name / f"{version.number}-{version.digest}"
        check_room(max(0, version.size - _bytes_in(partial)), self.device, version.name)
        for file in version.files:
            target = partial / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("ab+") as out:
                out.truncate(_whole_bytes(out, file.chunks))
                for chunk in _after(file.chunks, out.seek(0, os.SEEK_END)):
                    out.write(self._fetch(chunk, file.path, version))
                    out.flush()
                    count("down", chunk.size)
                os.fsync(out.fileno())
        _write_manifest(partial / _MANIFEST, version)
        self._folder(version).parent.mkdir(parents=True, exist_ok=True)
        partial.rename(self._folder(version))

    def _fetch(self, chunk: Chunk, path: str, version: Version) -> bytes:
        where = self._chunk_path(chunk)
        then = "there and synchronise a device that has this version."
        manifest = self._manifest_path(version)
        try:
            content = self._store.cat_file(where)
        except FileNotFoundError:
            raise FetchError(
                f"The central registry has lost a piece of {path}; delete {manifest} {then}"
            ) from None
        if not _is(content, chunk):
            raise VerificationError(
                f"A piece of {path} in the central registry is not what its manifest says; delete "
                f"{where} and {manifest} {then}"
            )
        return content


def _files(folder: Path) -> tuple[StoredFile, ...]:
    """Return a model's files by name: paths are compared otherwise on Windows than elsewhere."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = sorted({path.relative_to(folder).as_posix() for path in paths} - {_MANIFEST})
    if not names:
        raise InvalidModelFile(f"{folder} holds no files; give the folder of a model.")
    for name in names:
        if not _is_safe(name):
            raise InvalidModelFile(f"A registry cannot keep a file called {name!r}; rename it.")
    return tuple(StoredFile(name, tuple(_chunks(folder / name))) for name in names)


def _chunks(path: Path) -> Iterator[Chunk]:
    with path.open("rb") as file:
        while content := file.read(CHUNK_BYTES):
            yield Chunk(hashlib.sha256(content).hexdigest(), len(content))


def _copy(source: Path, target: Path, file: StoredFile) -> None:
    """Copy a file, and make sure that it is still the one whose digests were taken."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, target.open("wb") as write:
        for chunk in file.chunks:
            write.write(_verified(read.read(chunk.size), chunk, file.path))


def _is(content: bytes, chunk: Chunk) -> bool:
    return len(content) == chunk.size and hashlib.sha256(content).hexdigest() == chunk.digest


def _verified(content: bytes, chunk: Chunk, path: str) -> bytes:
    if not _is(content, chunk):
        raise VerificationError(
            f"A piece of {path} is not what its manifest says: it was changed or damaged."
        )
    return content


def _whole_bytes(file: Any, chunks: Iterable[Chunk]) -> int:
    """Return how many bytes at the start of a file are whole chunks, as they should be."""
    file.seek(0)
    size = 0
    for chunk in chunks:
        if not _is(file.read(chunk.size), chunk):
            break
        size += chunk.size
    return size


def _after(chunks: Iterable[Chunk], start: int) -> Iterator[Chunk]:
    at = 0
    for chunk in chunks:
        if at >= start:
            yield chunk
        at += chunk.size


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _create(store: Any, path: str, content: bytes) -> None:
    """Write a file that nobody has written before, or raise `FileExistsError`.

    In a folder it is there whole or not at all and, where the disk knows hard links, one of two
    writers is refused. Other stores are only as exclusive as their mode `create`.
    """
    from fsspec.implementations.local import LocalFileSystem

    if isinstance(store, LocalFileSystem):
        _create_file(Path(path), content)
    else:
        store.pipe_file(path, content, mode="create")


def _create_file(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with aside.open("xb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        _link(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _link(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except FileExistsError:
        raise
    except OSError:  # the disk knows no hard links
        if path.exists():
            raise FileExistsError(path) from None
        aside.replace(path)


def _must_agree(here: Version, there: Version) -> None:
    if here.digest != there.digest:
        raise Conflict(
            f"Version {here.number} of {here.name} is one model on this device and another in the "
            f"central registry; nothing was overwritten. Keep both: renumber yours."
        )


def _by_number(versions: Iterable[Version]) -> dict[int, Version]:
    return {version.number: version for version in sorted(versions, key=lambda one: one.number)}


def _digest(files: Iterable[StoredFile]) -> str:
    listed = [[file.path, [chunk.digest for chunk in file.chunks]] for file in files]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _manifest(version: Version) -> bytes:
    return json.dumps(asdict(version) | {"digest": version.digest}, indent=1).encode()


def _write_manifest(path: Path, version: Version) -> None:
    with whole(path) as aside:
        aside.write_bytes(_manifest(version))


def _version(manifest: bytes, name: str, number: str | None = None) -> Version:
    """Read a manifest, of this version where a number is given.

    It came from elsewhere, so nothing in it may lead out of its folder.
    """
    try:
        read = from_json(manifest)
        files = tuple(
            StoredFile(file["path"], tuple(Chunk(**chunk) for chunk in file["chunks"]))
            for file in read["files"]
        )
        version = Version(read["name"], read["number"], files)
        good = version.name == name and str(version.number) == (number or str(version.number))
        good = good and type(version.number) is int and version.number > 0
        good = good and version.digest == read["digest"] and _are_files(files)
    except (ValueError, TypeError, KeyError, AttributeError):
        good = False
    if not good:
        what = f"version {number} of {name}" if number else name
        raise VerificationError(
            f"The manifest of {what} was changed or damaged; nothing was taken from it."
        )
    return version


def _name(name: str) -> str:
    if not (_NAME.fullmatch(name) and is_plain_name(name)):
        raise UsageError(
            f"{name!r} is no name for a model: use a-z, 0-9, '.', '_' and '-', with no '.' at the "
            f"end and not a name that Windows keeps for itself, such as con."
        )
    return name


def _are_files(files: tuple[StoredFile, ...]) -> bool:
    paths = [file.path for file in files]
    chunks = [chunk for file in files for chunk in file.chunks]
    folders = {folder.as_posix() for path in paths for folder in PurePosixPath(path).parents}
    unique = len(set(paths)) == len(paths) and folders.isdisjoint(paths)
    return unique and all(map(_is_safe, paths)) and all(map(_is_chunk, chunks))


def _is_safe(path: str) -> bool:
    """Return whether a path stays inside its folder, on every system, and off our manifest."""
    normal = PurePosixPath(path)
    parts = normal.parts
    if not parts or path != normal.as_posix() or len(path) > _LONGEST_PATH:
        return False
    return parts[0].lower() != _MANIFEST and all(map(is_plain_name, parts))


def _is_chunk(chunk: Chunk) -> bool:
    sized = type(chunk.size) is int and 0 < chunk.size <= CHUNK_BYTES
    return sized and _DIGEST.fullmatch(chunk.digest) is not None
