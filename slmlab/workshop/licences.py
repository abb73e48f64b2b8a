"""The licences of what is handed out: their names, and their texts in a folder."""

import re
import shutil
from collections.abc import Mapping, Sequence
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

from slmlab.acquisition import ModelFile
from slmlab.acquisition.handing_on import ON_HUB
from slmlab.errors import UsageError
from slmlab.tiers import card

_TEXT = re.compile(r"\.dist-info/(licenses/.+|[^/]*(LICEN[CS]E|COPYING|NOTICE)[^/]*)$", re.I)
_APACHE = Path(__file__).with_name("templates") / "Apache-2.0.txt"


def check_texts(models: Sequence[str], texts: Mapping[str, Path]) -> None:
    """Raise `UsageError` unless there is a text for each licence that must be handed on in words.

    That is so where a licence has to be accepted; `texts` are files, by the model's name.
    """
    for name in texts.keys() - set(models):
        raise UsageError(f"A licence's text is given for {name}, which is not among the models.")
    for name in models:
        model = card(name)
        if name not in texts and model.licence_must_be_accepted:
            raise UsageError(
                f"{model.title} may only be handed on with the text of its licence: save it from "
                f"{ON_HUB}/{model.repository}, then repeat with --licence-text {name}=FILE."
            )
    for path in texts.values():
        if not path.is_file():
            raise UsageError(f"{path}, the text of a licence, is no file: name one that is there.")


def of_wheel(wheel: Path) -> str:
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
    has_text = any(map(_TEXT.search, names))
    return ", ".join(classified) or ("its text is in licences/" if has_text else "not said")


def write(home: Path, wheels: Path, files: Sequence[ModelFile], texts: Mapping[str, Path]) -> None:
    """Write into the new folder `home` the licences of each wheel, and those of the models."""
    home.mkdir()
    for wheel in wheels.glob("*.whl"):
        if said := _texts(wheel):
            _write(home / f"{'-'.join(wheel.name.split('-')[:2])}.txt", said)
    for name, text in texts.items():
        shutil.copyfile(text, home / f"{name}.txt")
    _write(home / "models.txt", [_about(file, texts) for file in files])
    shutil.copyfile(_APACHE, home / _APACHE.name)


def _texts(wheel: Path) -> list[str]:
    with ZipFile(wheel) as archive:
        return [
            f"===== {name}\n{archive.read(name).decode(errors='replace')}"
            for name in archive.namelist()
            if _TEXT.search(name)
        ]


def _about(file: ModelFile, texts: Mapping[str, Path]) -> str:
    here = f"its text is in {file.name}.txt; " if file.name in texts else ""
    return f"{file.name}: {file.licence}; {here}read it on {ON_HUB}/{card(file.name).repository}"


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join([*lines, ""]), "utf-8", newline="\n")
