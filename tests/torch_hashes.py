"""Let the locks take PyTorch's builds for CPUs too, which are not on PyPI; `make lock` runs this.

`torch-cpu.sha256` has their hashes, as PyTorch's own index gives them.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LISTED = ROOT / "torch-cpu.sha256"
INDEX = "https://download.pytorch.org/whl/cpu/torch/"
PIN = re.compile(
    r"^torch==(?P<version>\S+)(?P<marker>.*?)(?P<hashes>( \\\n {4}--hash=\S+)+)$", re.M
)


def hashes(version: str) -> list[str]:
    """Return the SHA-256 of each build of a version; exit with a sentence where there is none."""
    lines = [line.split("  ") for line in LISTED.read_text("utf-8").splitlines()]
    found = [sha256 for sha256, wheel in lines if wheel.startswith(f"torch-{version}+cpu-")]
    if not found:
        sys.exit(f"{LISTED.name} has no build of torch {version}: write there what {INDEX} has.")
    return found


def allow(pin: re.Match[str]) -> str:
    """Return the lines of torch in a lock with the hashes of its builds for CPUs among them."""
    known = re.findall("sha256:(.+?)(?: |$)", pin["hashes"], re.M)
    every = sorted({*known, *hashes(pin["version"])})
    lines = [f"torch=={pin['version']}{pin['marker']}", *(f"--hash=sha256:{one}" for one in every)]
    return " \\\n    ".join(lines)


def main(locks: list[str]) -> None:
    """Write the hashes into each of the locks that names torch."""
    for lock in map(Path, locks):
        lock.write_text(PIN.sub(allow, lock.read_text("utf-8")), "utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
