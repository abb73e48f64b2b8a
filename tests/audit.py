"""Look for the packages of the lock among known vulnerabilities: `make audit`.

pip-audit asks the package index, which hands out the Python Packaging Advisory Database. Exit code
0: nothing is known that is not accepted below; 1: something is; 3: there is no database here.
"""

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
PIP_AUDIT = "pip-audit==2.10.1"
ACCEPTED = {
    "CVE-2025-69872": "diskcache unpickles what lies in its folder; llama-cpp-python uses it only "
    "for a cache of prompts on disk, which the course never makes",
}


def main(lock: Path = LOCK) -> int:
    """Audit a lock, print what was found, and return the exit code."""
    # Its own environment, for it brings a newer pip along.
    tool = [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--from", PIP_AUDIT, "pip-audit"]
    options = ["--requirement", lock, "--disable-pip", "--no-deps", "--format", "json"]
    done = subprocess.run([*tool, *options], capture_output=True, encoding="utf-8")
    code, said = verdict(done.stdout, done.stderr)
    print(said)
    return code


def verdict(out: str, err: str) -> tuple[int, str]:
    """Return the exit code and what to say of what pip-audit wrote."""
    try:
        packages = json.loads(out)["dependencies"]
    except ValueError:
        reason = (err.strip().splitlines() or ["it said nothing"])[-1]
        return 3, f"pip-audit reached no database of vulnerabilities ({reason})."
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        reason = packages[0]["skip_reason"] if packages else "the lock names no package"
        return 3, f"The package index here has no database of vulnerabilities ({reason})."
    lines = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, "
        f"mended in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for package in audited
        for vulnerability in package["vulns"]
        if not ACCEPTED.keys() & {vulnerability["id"], *vulnerability["aliases"]}
    ]
    known = f"{len(lines) or 'no'} known {'vulnerability' if len(lines) < 2 else 'vulnerabilities'}"
    lines.append(f"{len(audited)} of {len(packages)} packages looked up: {known}.")
    return int(len(lines) > 1), "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
