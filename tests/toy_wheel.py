"""Wheels that are written by hand, to be installed or downloaded without a package index."""

from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile


def write_wheel(
    folder: Path,
    name: str,
    files: Mapping[str, bytes | str],
    version: str = "1.0",
    metadata: str = "",
) -> Path:
    """Write a wheel with these files, by their paths in it, and more lines of metadata."""
    package = name.replace("-", "_")
    about = f"{package}-{version}.dist-info"
    described = {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{package}-{version}-py3-none-any.whl"
    with ZipFile(path, "w") as wheel:
        for inside, content in {**files, **described}.items():
            wheel.writestr(inside, content)
    return path
