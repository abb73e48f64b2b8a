"""Look for the packages of the locks among known vulnerabilities: `make audit`.

pip-audit asks the package index, which hands out the Python Packaging Advisory Database, for what a
lock installs on this system. Exit code 0: nothing is known that is not accepted below; 1: something
is; 3: not every package could be looked up.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = sorted([*ROOT.glob("requirements*.lock"), *ROOT.glob("slmlab/environments/*.txt")])
PIP_AUDIT = "pip-audit==2.10.1"
ACCEPTED = {
    "CVE-2025-69872": "diskcache unpickles what lies in its folder; llama-cpp-python uses it only "
    "for a cache of prompts on disk, which the course never makes",
}


def main(locks: Sequence[Path] = LOCKS) -> int:
    """Audit the locks, print what was found, and return the exit code."""
    codes = []
    for lock in locks:
        code, said = audit(lock)
        codes.append(code)
        print(f"{lock.name}: {said}", flush=True)
    return next(code for code in (1, 3, 0) if code in codes)


def audit(lock: Path) -> tuple[int, str]:
    """Return the exit code for one lock and what to say of it."""
    # Its own environment, for it brings a newer pip along.
    tool = [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--from", PIP_AUDIT, "pip-audit"]
    options = ["--requirement", lock, "--disable-pip", "--no-deps", "--format", "json"]
    done = subprocess.run([*tool, *options], capture_output=True, encoding="utf-8")
    return verdict(done.stdout, done.stderr)


def verdict(out: str, err: str) -> tuple[int, str]:
    """Return the exit code and what to say of what pip-audit wrote."""
    try:
        packages = json.loads(out)["dependencies"]
    except ValueError:
        reason = (err.strip().splitlines() or ["it said nothing"])[-1]
        return 3, f"pip-audit reached no database of vulnerabilities ({reason})."
    if not packages:
        return 3, "The lock names no package."
    audited = [package for package in packages if "vulns" in package]
    known = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, "
        f"mended in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for package in audited
        for vulnerability in package["vulns"]
        if not ACCEPTED.keys() & {vulnerability["id"], *vulnerability["aliases"]}
    ]
    count = f"{len(known) or 'no'} known {'vulnerability' if len(known) < 2 else 'vulnerabilities'}"
    said = [f"{len(audited)} of {len(packages)} packages looked up: {count}.", *known]
    missing = [package for package in packages if "vulns" not in package]
    if missing:
        first = missing[0]
        said.append(f"Not looked up: {len(missing)}, first {first['name']}, {first['skip_reason']}")
    return 1 if known else 3 if missing else 0, "\n".join(said)


if __name__ == "__main__":
    sys.exit(main())
