"""Our side of `make bench`: each function runs in a process of its own and prints JSON.

So its time and its memory are its own, as those of a native tool are, and cProfile can watch it.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def speed(model: str, prompt: int, decode: int, repetitions: int) -> dict[str, float]:
    """Return prompt and decode speed in tokens per second."""
    from slmlab import measurement

    made = measurement.speed(Path(model), prompt, decode, repetitions)
    return {"prompt": made.prompt_tokens_per_second, "decode": made.decode_tokens_per_second}


def perplexity(model: str, text: str, chunks: int) -> dict[str, float]:
    """Return perplexity, and the seconds from the text to the value with the model loaded."""
    from slmlab import engines, measurement

    words = Path(text).read_text("utf-8")
    with engines.load(Path(model), context=512) as engine:
        made, seconds = timed(lambda: measurement.score(engine, words, chunks))
    return {"value": made.value, "seconds": seconds}


def divergence(model: str, base: str, text: str, chunks: int) -> float:
    """Return the mean KL divergence of a model from its base."""
    from slmlab import measurement

    words = Path(text).read_text("utf-8")
    return measurement.kl_divergence(Path(model), Path(base), words, chunks).mean


def quantise(source: str, type: str, folder: str) -> float:
    """Quantise a file and return the seconds, as llama-quantize counts them."""
    from slmlab.quantization import quantize

    (made,) = quantize(Path(source), [type], Path(folder))
    return made.seconds


def header(model: str) -> float:
    """Return the seconds that our reader takes for a header."""
    from slmlab import gguf

    return timed(lambda: gguf.read_header(Path(model)))[1]


def gguf_py_header(model: str) -> float:
    """Return the seconds that gguf-py's reader takes for a header."""
    from gguf import GGUFReader

    return timed(lambda: GGUFReader(model))[1]


def importing() -> float:
    """Return the milliseconds of `import slmlab`."""
    return 1000 * timed(lambda: __import__("slmlab"))[1]


def features() -> str:
    """Return what the installed llama.cpp says it was compiled with."""
    import llama_cpp

    return llama_cpp.llama_print_system_info().decode()


def nothing_loaded() -> None:
    """Import what a measurement needs, and load no model."""
    import llama_cpp  # noqa: F401
    import numpy  # noqa: F401

    from slmlab import measurement  # noqa: F401


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the seconds it took."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*json.loads(sys.argv[2]))))
