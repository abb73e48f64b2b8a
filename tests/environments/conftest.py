"""An environment that is made offline in two seconds: one small wheel, written here by hand."""

import pytest
from toy_wheel import write_wheel

from slmlab.environments import making


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> making.Recipe:
    """The recipe of an environment named `tiny`; pip finds its one package in a local folder."""
    wheels = tmp_path / "wheels"
    write_wheel(wheels, "tiny", {"tiny/__init__.py": "VERSION = '1.0'\n"})
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    requirements = tmp_path / "tiny.txt"
    requirements.write_text("# made by hand\ntiny==1.0\n")
    recipe = making.Recipe(requirements, package="tiny", module="tiny", bytes=20_000_000, minutes=1)
    monkeypatch.setitem(making.RECIPES, "tiny", recipe)
    return recipe
