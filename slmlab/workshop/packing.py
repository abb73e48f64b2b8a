"""The hand-out for a room with bad Wi-Fi: one folder, or archive, that installs without a network.

README.txt       what it is, and how to install it
CONTENTS.txt     every part with its size and licence
SHA256SUMS       of every other file
manifest.json    the same for programs; what install.py reads
install.py       needs Python alone
wheels/          the packages of requirements.lock
cache/           models, and what else the course would download
course/          the labs and all that belongs to them; .pristine/labs for `slmlab reset`
licences/        the licences of the packages, in their own words
"""

import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from email.parser import HeaderParser
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import slmlab
from slmlab.acquisition import ModelFile, source_tree
from slmlab.acquisition.mirror import ON_HUB, handed_on
from slmlab.deployment.browser import wllama
from slmlab.environments.guarded import finish
from slmlab.errors import NotPossibleHere
from slmlab.files import check_new, check_room, sha256, unpack, whole, whole_folder
from slmlab.notebooks.labs import LABS, all_labs
from slmlab.tiers import card
from slmlab.workshop import wheelhouse
from slmlab.workshop.handout import blank

DEFAULT_MODEL = "smollm2-135m-instruct"

_DOWNLOADS = ((source_tree, "03"), (wllama.fetch, "11"))
"""What labs would download besides models, and the first lab that does."""

_ROOT = LABS.parent
_TEMPLATES = Path(__file__).with_name("templates")
_COURSE = (
    *("labs", "slmlab", "data", "docs", "hub", "binder", "pyproject.toml", "environment.yml"),
    *("requirements.lock", "requirements-test.lock", "README.md", "CONTRIBUTING.md"),
    *("LICENSE", "LICENSE-PROSE.txt", "Makefile"),
)
_NOT_HANDED_OUT = (".ci", ".github", "tests")
_LICENCE = re.compile(r"\.dist-info/(licenses/.+|[^/]*(LICEN[CS]E|COPYING|NOTICE)[^/]*)$", re.I)
_COURSE_LICENCE = "MIT AND CC-BY-4.0; of the texts, see data/texts/README.md"
_PLATFORM_BYTES = 700_000_000
"""More than the wheels of any platform take; Linux on x86-64 took 560 MB on 2026-11-22."""


@dataclass(frozen=True)
class Part:
    """A part of a hand-out: what it is, its bytes, and its licence as its maker calls it."""

    kind: str
    name: str
    bytes: int
    licence: str


@dataclass(frozen=True)
class Pack:
    """A hand-out that was written, and what has to be said of it."""

    path: Path
    bytes: int
    parts: list[Part]
    remarks: list[str]


def pack(
    out: Path,
    models: Sequence[str] = (DEFAULT_MODEL,),
    platforms: Sequence[str] = (),
    pythons: Sequence[str] = (),
    archive: bool = False,
    accept_licence: bool = False,
) -> Pack:
    """Write the hand-out as the folder `out`, or as `out` with `.zip` at its end.

    Without `platforms` and `pythons` it is for machines like this one. The labs are those of the
    last commit, where the course is a clone. Raises `UsageError`, `NoRoom`, `LicenceNotAccepted`,
    and `FetchError` where something cannot be downloaded.
    """
    platforms, pythons = platforms or (wheelhouse.here(),), pythons or (wheelhouse.HERE,)
    wheelhouse.check(platforms)
    out = out.resolve()
    path = out.with_name(f"{out.name}.zip") if archive else out
    check_new(path)
    files = [handed_on(name, accept_licence) for name in dict.fromkeys(models)]
    room = sum(file.bytes for file in files) + _PLATFORM_BYTES * len(platforms) * len(pythons)
    check_room(room * (2 if archive else 1), out, "The hand-out")
    if not archive:
        with whole_folder(out) as aside:
            return _write(aside, path, files, platforms, pythons)
    with whole(path) as aside, TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        made = _write(Path(folder, out.name), path, files, platforms, pythons)
        _archive(Path(folder), aside)
    return made


def licence(wheel: Path) -> str:
    """Return what a wheel says its licence is, or where its text is, or `not said`."""
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        about = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(about).decode(errors="replace"))
    said = metadata["License-Expression"] or (metadata["License"] or "").strip()
    if said and "\n" not in said:
        return said
    classified = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier", [])
        if line.startswith("License :: ")
    ]
    has_text = any(map(_LICENCE.search, names))
    return ", ".join(classified) or ("its text is in licences/" if has_text else "not said")


def _write(
    folder: Path,
    path: Path,
    files: Sequence[ModelFile],
    platforms: Sequence[str],
    pythons: Sequence[str],
) -> Pack:
    """Write everything into `folder`, which will become `path`."""
    folder.mkdir(parents=True)
    _course(folder / "course", _ROOT)
    cached = [_model(file, folder / "cache") for file in files]
    lock, wheels = folder / "course" / "requirements.lock", folder / "wheels"
    remarks = wheelhouse.gather(lock, platforms, pythons, wheels)
    wheelhouse.allow_built(lock, wheels)
    for fetch, lab in _DOWNLOADS:
        try:
            cached.append(_download(fetch(), folder / "cache"))
        except NotPossibleHere as problem:
            remarks.append(f"Lab {lab} will not run as a whole without a network: {problem}")
    parts = sorted(_parts(folder, files), key=lambda part: (part.kind, -part.bytes))
    manifest = {
        "slmlab": slmlab.__version__,
        "made": date.today().isoformat(),
        "pythons": list(pythons),
        "platforms": list(platforms),
        "cache": cached,
        "remarks": remarks,
        "parts": [asdict(part) for part in parts],
    }
    _text(folder / "manifest.json", json.dumps(manifest, indent=1))
    _text(folder / "CONTENTS.txt", _contents(parts))
    _text(folder / "README.txt", _readme(manifest, parts))
    shutil.copyfile(_TEMPLATES / "install.py", folder / "install.py")
    _sums(folder)
    return Pack(path, _bytes(folder), parts, remarks)


def _course(folder: Path, root: Path) -> None:
    """Write the course as it was committed last, or as it lies there where it is no clone."""
    folder.mkdir()
    if not _committed(folder, root):
        for name in filter(lambda name: (root / name).exists(), _COURSE):
            _copy(root / name, folder / name)
        if (root / ".pristine").is_dir():
            _copy(root / ".pristine", folder)
        _blank_labs(folder / "labs")
    _copy(folder / "labs", folder / ".pristine" / "labs")


def _blank_labs(labs: Path) -> None:
    """Take the outputs out of copied labs; raise `LabError` where an answer is filled in."""
    import nbformat

    for lab in all_labs(labs):
        nbformat.write(blank(lab), lab.path)


def _committed(folder: Path, root: Path) -> bool:
    """Unpack what git has of the last commit, if it has the course."""
    if not shutil.which("git"):
        return False
    left_out = [f":!{name}" for name in _NOT_HANDED_OUT]
    with TemporaryDirectory(dir=folder.parent) as aside:
        packed = Path(aside, "course.tar")
        command = ["git", "-C", root, "archive", f"--output={packed}", "HEAD", "--", "."]
        if finish([*command, *left_out]).returncode:
            return False
        with tarfile.open(packed) as archive:
            for member in archive:
                unpack(archive, member, folder, member.name)
    return True


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        shutil.copyfile(source, target)
    else:
        made_here = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "mine")
        shutil.copytree(source, target, ignore=made_here, dirs_exist_ok=True)


def _model(file: ModelFile, cache: Path) -> dict[str, str]:
    """Put a model where a cache has it, with its record; return what the installer must know."""
    model, inside = card(file.name), f"models/{file.name}"
    (cache / inside).mkdir(parents=True)
    for path in (file.path, file.path.with_name("model.json")):
        shutil.copyfile(path, cache / inside / path.name)
    read = f"{ON_HUB}/{model.repository}" if model.licence_must_be_accepted else ""
    return {"folder": inside, "read": read}


def _download(found: Path, cache: Path) -> dict[str, str]:
    """Put beside the models what a lab would download."""
    shutil.copytree(found, cache / found.name)
    return {"folder": found.name, "read": ""}


def _parts(folder: Path, files: Sequence[ModelFile]) -> Iterator[Part]:
    """Yield every part of the hand-out; write the licences of the packages and models."""
    yield Part("course", "labs, package, data", _bytes(folder / "course"), _COURSE_LICENCE)
    for file in files:
        held = _bytes(folder / "cache" / "models" / file.name)
        yield Part("model", file.name, held, file.licence)
    for path in (folder / "cache").iterdir():
        if path.name != "models":
            yield Part("download", path.name, _bytes(path), "MIT")
    for path in (folder / "wheels").iterdir():
        said = licence(path) if path.suffix == ".whl" else "see inside"
        yield Part("package", path.name, path.stat().st_size, said)
    _licences(folder, files)
    yield Part("licences", "texts", _bytes(folder / "licences"), "not applicable")


def _licences(folder: Path, files: Sequence[ModelFile]) -> None:
    """Write the licences of each wheel in a file of its own, and where to read the models'."""
    home = folder / "licences"
    home.mkdir()
    for wheel in (folder / "wheels").glob("*.whl"):
        with ZipFile(wheel) as archive:
            texts = [
                f"===== {name}\n{archive.read(name).decode(errors='replace')}"
                for name in archive.namelist()
                if _LICENCE.search(name)
            ]
        if texts:
            _text(home / f"{'-'.join(wheel.name.split('-')[:2])}.txt", "\n".join(texts))
    models = [
        f"{file.name}: {file.licence}; read it on {ON_HUB}/{card(file.name).repository}"
        for file in files
    ]
    _text(home / "models.txt", "\n".join(models))
    shutil.copyfile(_TEMPLATES / "Apache-2.0.txt", home / "Apache-2.0.txt")


def _readme(manifest: dict, parts: Sequence[Part]) -> str:
    import jinja2

    template = (_TEMPLATES / "hand-out.txt.j2").read_text("utf-8")
    return jinja2.Template(template).render(
        manifest,
        kinds=[(kind, list(same)) for kind, same in groupby(parts, lambda part: part.kind)],
        total=sum(part.bytes for part in parts),
        gated=[item["folder"] for item in manifest["cache"] if item["read"]],
    )


def _contents(parts: Sequence[Part]) -> str:
    rows = [(part.kind, part.name, f"{part.bytes:,}", part.licence) for part in parts]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{kind:<{widths[0]}}  {name:<{widths[1]}}  {size:>{widths[2]}}  {licence}"
        for kind, name, size, licence in rows
    ]
    return "\n".join(["kind, name, bytes, licence", *lines])


def _archive(folder: Path, path: Path) -> None:
    """Write a ZIP file of all in a folder; wheels are compressed already, so it only stores."""
    with ZipFile(path, "w") as archive:
        for file in _files(folder):
            archive.write(file, file.relative_to(folder))


def _sums(folder: Path) -> None:
    lines = [f"{sha256(file)}  {file.relative_to(folder).as_posix()}" for file in _files(folder)]
    _text(folder / "SHA256SUMS", "\n".join(lines))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in _files(folder))


def _text(path: Path, text: str) -> None:
    path.write_text(f"{text}\n", "utf-8", newline="\n")
