"""The texts that quality is measured on; their sources and licences stand in `data/texts/`."""

from pathlib import Path

from slmlab.errors import UsageError
from slmlab.files import data_path


def text(name: str) -> str:
    """Return an evaluation text: `prose` (technical English), `code` (Python) or `verses` (KJV)."""
    path = data_path("texts", f"{name}.txt")
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in data_path("texts").glob("*.txt")))
        raise UsageError(f"There is no text {name!r}; choose one of: {known}.")
    return path.read_text("utf-8")


def text_file(path: Path) -> str:
    """Return what is in a text file; raise `UsageError` where that is not UTF-8."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8; give a text file.") from None
