"""Measure Foundry Local against llama.cpp for lab 10 and keep it; run it on an idle machine.

python data/recorded/foundry_local.py
"""

import json
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from slmlab import engines
from slmlab.acquisition import fetch
from slmlab.deployment import foundry_local
from slmlab.measurement import Measurement, measured

STORY = [{"role": "user", "content": "Tell me a long story about a lighthouse."}]
TOKENS = 64


def numbers(source: Path, scratch: Path) -> list[Measurement]:
    """Return what loading takes, and the best decode speed of three runs of each, in turn."""
    import foundry_local_sdk as sdk

    folder = engines.prepare("onnx", source, "int4")
    manager = foundry_local.runtime(scratch)
    model = foundry_local.register(manager, folder, "smollm2-135m:1")
    began = time.perf_counter()
    model.load()
    loading = time.perf_counter() - began
    ours, theirs = [], []
    with engines.load(engines.prepare("llama_cpp", source, "Q4_0")) as engine:
        for _ in range(3):
            with sdk.ChatSession(model).set_streaming(True) as session:
                ours.append(foundry_local.ask(session, STORY, TOKENS).tokens_per_second)
            theirs.append(engine.generate(STORY, TOKENS).decode_tokens_per_second)
    manager.close()
    ort, llama = ("foundry-local-sdk", "onnxruntime", "onnxruntime-genai"), ("llama-cpp-python",)
    return [
        measured("Foundry Local, INT4", "loading", loading, "s", None, ort),
        measured("Foundry Local, INT4", "decode speed", max(ours), "tokens/s", None, ort),
        measured("llama.cpp, Q4_0", "decode speed", max(theirs), "tokens/s", None, llama),
    ]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = numbers(fetch("smollm2-135m-instruct").path, Path(folder))
    kept = [asdict(replace(number, how="recorded")) for number in found]
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
