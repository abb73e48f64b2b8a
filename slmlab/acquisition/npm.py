"""Packages of npm, from the registry that this machine is set to use, pinned by their hash."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

from slmlab.acquisition.arrival import Unavailable
from slmlab.acquisition.patience import patiently
from slmlab.environments.guarded import finish
from slmlab.errors import FetchError, VerificationError, first_line

_VARIABLES = ("npm_config_registry", "NPM_CONFIG_REGISTRY")
_PUBLIC = "https://registry.npmjs.org/"
_LARGEST_DOWNLOAD = 20_000_000
_SILENCE = 10.0  # seconds after which a registry that sends nothing is asked again
_IN_NPMRC = re.compile(r"^\s*registry\s*=\s*[\"']?(https?://[^\s\"']+)", re.MULTILINE)


def download(name: str, version: str, integrity: str) -> bytes:
    """Return the package of this name, such as `@wllama/wllama`, as the registry packed it.

    `integrity` is what npm's own lock files say of that version. Raises `FetchError` where no
    registry can be reached, and `VerificationError` where it gives another package.
    """
    source = registry()
    package = _get(f"{source}{name}/-/{name.rpartition('/')[2]}-{version}.tgz", name, source)
    digest = base64.b64encode(hashlib.sha512(package).digest()).decode()
    if f"sha512-{digest}" != integrity:
        raise VerificationError(
            f"The package {name} {version} that came is not the one that is pinned here; use "
            f"another npm registry (npm_config_registry)."
        )
    return package


def registry() -> str:
    """Return the npm registry that this machine is set to use, with a slash at its end.

    That is `$npm_config_registry`, else what `~/.npmrc` says, else npm itself where it is
    installed, else the public one.
    """
    named = [os.environ.get(name) for name in _VARIABLES]
    found = next(filter(None, named), None) or _in_npmrc() or _said_by_npm() or _PUBLIC
    return found.rstrip("/") + "/"


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


def _get(address: str, name: str, source: str) -> bytes:
    import httpx2

    try:
        return patiently(partial(_ask, address), "The npm registry")
    except (Unavailable, httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as problem:
        raise FetchError(
            f"{name} could not be fetched from {source} ({first_line(problem).rstrip('.')}); "
            f"connect to a network, or name an npm registry that can be reached in "
            f"npm_config_registry."
        ) from None


def _ask(address: str) -> bytes:
    """Return what one request brings, at most little more than a package may have.

    Raises `Unavailable` where nobody is there who could be asked again.
    """
    import httpx2

    package = bytearray()
    plain = {"Accept-Encoding": "identity"}
    asking = httpx2.stream("GET", address, headers=plain, timeout=_SILENCE, follow_redirects=True)
    try:
        with asking as answer:
            answer.raise_for_status()
            for piece in answer.iter_raw():
                package += piece
                if len(package) > _LARGEST_DOWNLOAD:
                    break
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as problem:
        raise Unavailable(first_line(problem)) from problem
    return bytes(package)
