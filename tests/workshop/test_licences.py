"""A wheel says its licence in one of several places."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from slmlab.workshop import licences

LONG = "License: Copyright\n        All rights\n        reserved."
CLASSIFIED = "Classifier: License :: OSI Approved :: MIT License"


@pytest.mark.parametrize(
    ("said", "text", "expected"),
    [
        ("License-Expression: BSD-3-Clause", "LICENSE", "BSD-3-Clause"),
        ("License: MIT", "LICENSE", "MIT"),
        (f"{LONG}\n{CLASSIFIED}", "LICENSE", "MIT License"),
        (CLASSIFIED, "LICENSE", "MIT License"),
        (LONG, "LICENSE", "its text is in licences/"),
        ("Summary: nothing", "licenses/AUTHORS", "its text is in licences/"),
        ("Summary: nothing", "README", "not said"),
    ],
)
def test_a_wheel_says_its_licence(tmp_path: Path, said, text, expected):
    wheel = tmp_path / "first-1.0-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        archive.writestr("first-1.0.dist-info/METADATA", f"Name: first\n{said}\n")
        archive.writestr(f"first-1.0.dist-info/{text}", "The terms.")
    assert licences.of_wheel(wheel) == expected
