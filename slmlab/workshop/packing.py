"""The hand-out for a room with bad Wi-Fi: one folder, or archive, that installs without a network.

README.txt       what it is, and how to install it
CONTENTS.txt     every part with its size and licence
SHA256SUMS       of every other file
manifest.json    the same for programs; what install.py reads
install.py       needs Python alone
wheels/          the packages of requirements.lock
cache/           models, and what else the course would download
course/          the labs and all that belongs to them; .pristine/labs for `slmlab reset`
licences/        the licences of packages and models, in their own words
"""

import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import slmlab
from slmlab.acquisition import ModelFile, source_tree
from slmlab.acquisition.handing_on import check_accepted, handed_on
from slmlab.deployment.browser import wllama
from slmlab.environments.guarded import finish
from slmlab.errors import NotPossibleHere
from slmlab.files import check_new, check_room, sha256, unpack, whole, whole_folder
from slmlab.notebooks.labs import LABS, all_labs
from slmlab.tiers import DEFAULT_MODEL, card
from slmlab.workshop import licences, wheelhouse
from slmlab.workshop.handout import blank

_DOWNLOADS = ((source_tree, "03", "MIT"), (wllama.fetch, "11", "MIT"))
"""What labs would download besides models, the first lab that does, and its licence."""

_ROOT = LABS.parent
_TEMPLATES = Path(__file__).with_name("templates")
_COURSE = (
    *("labs", "slmlab", "data", "docs", "hub", "binder", "pyproject.toml", "environment.yml"),
    *("requirements.lock", "requirements-test.lock", "README.md", "CONTRIBUTING.md"),
    *("LICENSE", "LICENSE-PROSE.txt", "Makefile"),
)
_NOT_HANDED_OUT = (".ci", ".github", "tests")
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
    licence_texts: Mapping[str, Path] | None = None,
) -> Pack:
    """Write the hand-out as the folder `out`, or as `out` with `.zip` at its end.

    Without `platforms` and `pythons` it is for machines like this one. The labs are those of the
    last commit, where the course is a clone. `licence_texts` are files by the names of models: of
    all whose licence must be accepted, and of any other. Raises `UsageError`, `NoRoom`,
    `LicenceNotAccepted`, and `FetchError` where something cannot be downloaded.
    """
    platforms, pythons = platforms or (wheelhouse.here(),), pythons or (wheelhouse.HERE,)
    wheelhouse.check(platforms)
    out = out.resolve()
    path = out.with_name(f"{out.name}.zip") if archive else out
    check_new(path)
    models, texts = list(dict.fromkeys(models)), licence_texts or {}
    for name in models:
        check_accepted(name, accept_licence)
    licences.check_texts(models, texts)
    files = [handed_on(name, accept_licence) for name in models]
    room = sum(file.bytes for file in files) + _PLATFORM_BYTES * len(platforms) * len(pythons)
    check_room(room * (2 if archive else 1), out, "The hand-out")
    if not archive:
        with whole_folder(out) as aside:
            return _write(aside, path, files, texts, platforms, pythons)
    with whole(path) as aside, TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        made = _write(Path(folder, out.name), path, files, texts, platforms, pythons)
        _archive(Path(folder), aside)
    return made


def _write(
    folder: Path,
    path: Path,
    files: Sequence[ModelFile],
    texts: Mapping[str, Path],
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
    downloads = {}
    for fetch, lab, licence in _DOWNLOADS:
        try:
            cached.append(_download(found := fetch(), folder / "cache"))
            downloads[found.name] = licence
        except NotPossibleHere as problem:
            remarks.append(f"Lab {lab} will not run as a whole without a network: {problem}")
    licences.write(folder / "licences", wheels, files, texts)
    parts = sorted(_parts(folder, files, downloads), key=lambda part: (part.kind, -part.bytes))
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
    read = f"licences/{file.name}.txt" if model.licence_must_be_accepted else ""
    return {"folder": inside, "read": read}


def _download(found: Path, cache: Path) -> dict[str, str]:
    """Put beside the models what a lab would download."""
    shutil.copytree(found, cache / found.name)
    return {"folder": found.name, "read": ""}


def _parts(
    folder: Path, files: Sequence[ModelFile], downloads: Mapping[str, str]
) -> Iterator[Part]:
    """Yield every part of the hand-out; `downloads` are licences by the names of folders."""
    yield Part("course", "labs, package, data", _bytes(folder / "course"), _COURSE_LICENCE)
    for file in files:
        held = _bytes(folder / "cache" / "models" / file.name)
        yield Part("model", file.name, held, file.licence)
    for name, licence in downloads.items():
        yield Part("download", name, _bytes(folder / "cache" / name), licence)
    for path in (folder / "wheels").iterdir():
        said = licences.of_wheel(path) if path.suffix == ".whl" else "see inside"
        yield Part("package", path.name, path.stat().st_size, said)
    yield Part("licences", "texts", _bytes(folder / "licences"), "not applicable")


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
