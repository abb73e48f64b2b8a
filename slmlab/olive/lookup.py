"""Say which names the Olive of this environment has: run there, with the names as arguments.

A name is `module:Object`, `module:Class.member`, `pass:Pass` or `pass:Pass.setting`.
"""

import importlib
import json
import sys


def exists(key: str) -> bool:
    """Return whether Olive has a name."""
    place, _, name = key.partition(":")
    owner, _, member = name.partition(".")
    found = _pass(owner) if place == "pass" else _object(place, owner)
    return found is not None and (not member or member in _members(found))


def _pass(name: str):
    from olive.package_config import OlivePackageConfig

    try:
        return OlivePackageConfig.load_default_config().import_pass_module(name)
    except (ValueError, KeyError):
        return None


def _object(module: str, name: str):
    return getattr(importlib.import_module(module), name, None)


def _members(found) -> set[str]:
    from olive.hardware import DEFAULT_CPU_ACCELERATOR
    from olive.passes import Pass

    if issubclass(found, Pass):
        return set(found._default_config(DEFAULT_CPU_ACCELERATOR))
    return {*dir(found), *getattr(found, "model_fields", {})}


if __name__ == "__main__":
    print(json.dumps([exists(key) for key in sys.argv[1:]]))
