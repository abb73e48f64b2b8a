"""The process that calls llama.cpp's quantiser, started by `quantizing` once for each file.

llama.cpp ends the whole process where a check of its own fails, and cannot be interrupted from
Python; in a process of its own neither hurts the learner's kernel. The log goes to stderr and
the seconds to stdout. It is run as a script and imports nothing of slmlab, to be a small process.
"""

import ctypes
import importlib
import sys
import time
from importlib.util import find_spec
from types import ModuleType

MADE_FROM = "slmlab.made_from"
"""The metadata key that says which source and which llama.cpp a file was made from."""

_STRING = 3  # LLAMA_KV_OVERRIDE_TYPE_STR


def main(source: str, target: str, type: str, threads: str, made_from: str) -> int:
    """Quantise one GGUF file into another; return 0 if llama.cpp did."""
    llama_cpp = _bindings()
    overrides = (llama_cpp.llama_model_kv_override * 2)()  # an empty one ends the list
    overrides[0].tag = _STRING
    overrides[0].key = MADE_FROM.encode()
    overrides[0].value.val_str = made_from.encode()

    wanted = llama_cpp.llama_model_quantize_default_params()
    wanted.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{type}")
    wanted.nthread = int(threads)
    wanted.allow_requantize = True
    wanted.kv_overrides = overrides

    start = time.perf_counter()
    failed = llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(wanted))
    print(time.perf_counter() - start)
    return int(failed)


def _bindings() -> ModuleType:
    """Return llama-cpp-python's low-level module without the rest of its package.

    The package would import numpy and the high-level classes: 23 MB, and most of the start.
    """
    package = ModuleType("llama_cpp")
    package.__path__ = find_spec("llama_cpp").submodule_search_locations
    sys.modules["llama_cpp"] = package
    return importlib.import_module("llama_cpp.llama_cpp")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
