"""wllama, which is llama.cpp in WebAssembly: fetched once from the npm registry, then kept."""

import base64
import hashlib
import http.client
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from pathlib import Path

from slmlab.environments.guarded import finish
from slmlab.errors import FetchError, VerificationError
from slmlab.files import cache_path, check_room, locked, whole_folder

VERSION = "3.8.1"
INTEGRITY = (
    "sha512-Pl7BEJhPU8OHnV/yhn3DFZYhLLOdSHh+4TND79WCftHnlUAdQPAsyc/CfIOY+4mV"
    "xvf5VW3Xw3Uf7BBfotS1gw=="
)
"""What npm's own lock files would say of the package of this version."""

_VARIABLES = ("npm_config_registry", "NPM_CONFIG_REGISTRY")
_PUBLIC = "https://registry.npmjs.org/"
_UNPACKED_BYTES = 26_000_000
_LARGEST_DOWNLOAD = 20_000_000
_IN_NPMRC = re.compile(r"^\s*(?:@wllama:)?registry\s*=\s*[\"']?(https?://[^\s\"']+)", re.MULTILINE)


def fetch() -> Path:
    """Return the folder of the package, fetched once (5.8 MB) and then kept in the cache.

    Raises `FetchError` where no registry can be reached, `VerificationError` where it gives
    another package, and `NoRoom`.
    """
    home = cache_path(f"wllama-{VERSION}")
    with locked(home):
        if not home.is_dir():
            check_room(_UNPACKED_BYTES, home, "wllama")
            package = _download(registry())
            with whole_folder(home) as folder:
                unpack(package, folder)
    return home


def registry() -> str:
    """Return the npm registry that this machine is set to use, with a slash at its end.

    That is `$npm_config_registry`, else what `~/.npmrc` says, else npm itself where it is
    installed, else the public one.
    """
    named = [os.environ.get(name) for name in _VARIABLES]
    return (next(filter(None, named), None) or _in_npmrc() or _said_by_npm() or _PUBLIC).rstrip(
        "/"
    ) + "/"


def check_package(package: bytes, name: str, integrity: str) -> None:
    """Raise `VerificationError` where a package of npm is not the one with this integrity."""
    digest = base64.b64encode(hashlib.sha512(package).digest()).decode()
    if f"sha512-{digest}" != integrity:
        raise VerificationError(
            f"The package {name} that came is not the one that is pinned here; use another npm "
            f"registry (npm_config_registry)."
        )


def unpack(package: bytes, folder: Path) -> None:
    """Unpack a package of npm, whose files lie in `package/`, as `folder`.

    Raises `VerificationError` where it is not the one that is pinned here.
    """
    check_package(package, f"wllama {VERSION}", INTEGRITY)
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for member in archive:
            inside = member.name.removeprefix("package/")
            archive.extract(member.replace(name=inside), folder, filter="data")


def _in_npmrc() -> str | None:
    try:
        found = _IN_NPMRC.search((Path.home() / ".npmrc").read_text("utf-8"))
    except OSError:
        return None
    return found[1] if found else None


def _said_by_npm() -> str | None:
    npm = shutil.which("npm")
    if npm is None:
        return None
    try:
        done = finish([npm, "config", "get", "registry"], timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout.strip()
    return said if said.startswith(("https://", "http://")) else None


def _download(registry: str) -> bytes:
    address = f"{registry}@wllama/wllama/-/wllama-{VERSION}.tgz"
    print(f"Fetching wllama {VERSION} from {registry} (5.8 MB, once).", file=sys.stderr)
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.read(_LARGEST_DOWNLOAD)
    except (OSError, ValueError, http.client.HTTPException) as problem:
        reason = getattr(problem, "reason", None) or problem
        raise FetchError(
            f"wllama {VERSION} could not be fetched from {registry} ({reason}); connect to a "
            f"network, or name an npm registry that can be reached in npm_config_registry."
        ) from None
