"""An environment that is made offline in two seconds: one small wheel, written here by hand."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from slmlab.environments import making


def _write_wheel(folder: Path, version: str = "1.0") -> None:
    """Write a wheel of the package `tiny`, whose module says its version and where it is."""
    about = f"tiny-{version}.dist-info"
    files = {
        "tiny/__init__.py": f"VERSION = {version!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    folder.mkdir(exist_ok=True)
    with ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as wheel:
        for name, contents in files.items():
            wheel.writestr(name, contents)


@pytest.fixture
def write_wheel():
    """Give the function that writes a wheel."""
    return _write_wheel


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> making.Recipe:
    """The recipe of an environment named `tiny`; pip finds its one package in a local folder."""
    wheels = tmp_path / "wheels"
    _write_wheel(wheels)
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    requirements = tmp_path / "tiny.txt"
    requirements.write_text("# made by hand\ntiny==1.0\n")
    recipe = making.Recipe(requirements, package="tiny", module="tiny", bytes=20_000_000, minutes=1)
    monkeypatch.setitem(making.RECIPES, "tiny", recipe)
    return recipe
