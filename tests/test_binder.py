"""Binder's image, built without Docker: its postBuild in a clean environment, then labs offline.

It compiles llama.cpp, so it is `make test-binder` and not part of `make test`.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LABS = ("00", "01", "02", "03")
LARGEST_IMAGE = 3_000_000_000
"""Bytes that postBuild may add: it says how many it does."""

OFFLINE = [
    "unshare",
    "--map-root-user",
    "--net",
    "sh",
    "-c",
    'ip link set lo up && exec "$@"',
    "sh",
]

pytestmark = pytest.mark.skipif(
    not os.environ.get("BINDER"), reason="it takes ten minutes or more: make test-binder"
)


@dataclass(frozen=True)
class Image:
    """What Binder would have: the repository, an environment, and a home with the cache."""

    repository: Path
    environment: Path
    home: Path

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command as it would there, with the environment's programs first."""
        ours = ("SLMLAB_", "XDG_", "VIRTUAL_ENV", "PYTHON")
        env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        # PyTorch's index, where it cannot be reached, is not asked five times for each package.
        env |= {"PIP_RETRIES": "1", "PIP_DEFAULT_TIMEOUT": "60"}
        env |= {"HOME": str(self.home), "PATH": f"{self.environment / 'bin'}:{env['PATH']}"}
        return subprocess.run(
            command,
            env=env,
            cwd=self.repository,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Image:
    """The image after postBuild, which must succeed."""
    folder = tmp_path_factory.mktemp("binder")
    made = Image(folder / "repository", folder / "environment", folder / "home")
    made.home.mkdir()
    _copy_tracked(made.repository)
    subprocess.run([sys.executable, "-m", "venv", made.environment], check=True)
    built = made.run("bash", "binder/postBuild")  # not a login shell, which would reset PATH
    assert built.returncode == 0, built.stdout[-3000:]
    yield made
    shutil.rmtree(folder)


def _copy_tracked(folder: Path) -> None:
    """Copy the files that a clone would have, as they are here now."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def test_the_image_has_the_default_model_and_stays_small(image):
    files = [path.name for path in (image.home / ".cache" / "slmlab" / "models").rglob("*.gguf")]
    sizes = {"environment": _bytes(image.environment), "home": _bytes(image.home)}
    print(sizes)
    assert files == ["SmolLM2-135M-Instruct.Q4_1.gguf"]
    assert sum(sizes.values()) < LARGEST_IMAGE


def test_its_llama_cpp_runs_on_other_processors_than_the_builder(image):
    """Compiled for every x86-64 processor with AVX2, it does not need the AVX-512 found here."""
    code = "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())"
    said = image.run("python", "-c", code)
    assert said.returncode == 0, said.stdout
    assert "AVX512 = 1" not in said.stdout


def test_the_first_labs_run_there_without_a_network(image, tmp_path):
    if subprocess.run([*OFFLINE, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets us make no network namespace")
    done = image.run(*OFFLINE, "slmlab", "run", *LABS, "--out", tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(": passed after") == len(LABS)
