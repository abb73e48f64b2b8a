"""pip is quiet, asks nothing, and leaves nothing outside the folder that it is given."""

import sys

from slmlab.environments import pip

TOLD = """
import os, pathlib, sys
pathlib.Path(os.environ["TMPDIR"], "left").touch()
print([os.environ[name] for name in sys.argv[1:]])
"""


def test_its_temporary_files_go_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pip, "command", lambda *names: [sys.executable, "-c", TOLD, *names])
    monkeypatch.setenv("PIP_PROGRESS_BAR", "on")
    done = pip.run(["PIP_NO_INPUT", "PIP_PROGRESS_BAR"], tmp_path)
    assert done.stdout.strip() == "['1', 'off']"
    assert list(tmp_path.iterdir()) == []


def test_it_is_the_pip_of_our_python_and_knows_its_options(tmp_path):
    done = pip.run(["download", "--dest", tmp_path, "--no-index", "no-such-package"], tmp_path)
    assert done.returncode == 1
    assert pip.why(1, done.stderr) == (
        "no package index gives no-such-package, or it cannot answer now"
    )
