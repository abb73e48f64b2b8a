"""The process that calls llama.cpp's quantiser, started by `quantizing` once for each file.

llama.cpp ends the whole process where a check of its own fails, and cannot be interrupted from
Python; in a process of its own neither hurts the learner's kernel. The log goes to stderr and
the seconds to stdout.
"""

import ctypes
import sys
import time

MADE_FROM = "slmlab.made_from"
"""The metadata key that says which source and which llama.cpp a file was made from."""

_STRING = 3  # LLAMA_KV_OVERRIDE_TYPE_STR


def main(source: str, target: str, type: str, threads: str, made_from: str) -> int:
    """Quantise one GGUF file into another; return 0 if llama.cpp did."""
    import llama_cpp

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


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
