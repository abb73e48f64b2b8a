"""wllama, which is llama.cpp in WebAssembly: fetched once from the npm registry, then kept."""

import io
import sys
import tarfile
from pathlib import Path

from slmlab.acquisition import npm
from slmlab.files import cache_path, check_room, made_once, unpack, whole_folder

VERSION = "3.8.1"
INTEGRITY = (
    "sha512-Pl7BEJhPU8OHnV/yhn3DFZYhLLOdSHh+4TND79WCftHnlUAdQPAsyc/CfIOY+4mV"
    "xvf5VW3Xw3Uf7BBfotS1gw=="
)
"""What npm's own lock files would say of the package of this version."""

_UNPACKED_BYTES = 26_000_000


def fetch() -> Path:
    """Return the folder of the package, fetched once (5.8 MB) and then kept in the cache.

    Raises `FetchError` where no registry can be reached, `VerificationError` where it gives
    another package, and `NoRoom`.
    """
    return made_once(cache_path(f"wllama-{VERSION}"), _make)


def _make(home: Path) -> None:
    check_room(_UNPACKED_BYTES, home, "wllama")
    print(f"Fetching wllama {VERSION} (5.8 MB, once).", file=sys.stderr)
    package = npm.download("@wllama/wllama", VERSION, INTEGRITY)
    with whole_folder(home) as folder:
        _unpack(package, folder)


def _unpack(package: bytes, folder: Path) -> None:
    """Unpack a package of npm, whose files lie in `package/`, as `folder`."""
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for member in archive:
            unpack(archive, member, folder, member.name.removeprefix("package/"))
