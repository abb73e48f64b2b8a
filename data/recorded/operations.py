"""Record what lab 12 tells of servers that it does not start: python data/recorded/operations.py

Run it on an idle machine with 6 GB of free memory; it builds llama.cpp's own server and makes
vLLM's environment where they are not there, and then takes about three minutes. Name one of
`llama-server` and `vllm` to record only that.
"""

import json
import secrets
import sys
import tempfile
import urllib.request
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from slmlab import engines
from slmlab.acquisition import fetch
from slmlab.deployment import load, vllm
from slmlab.deployment.server import HOST, Launch, Server, start
from slmlab.engines import llama_cpp_tools
from slmlab.machine import installed_version, this_machine, usable_threads
from slmlab.measurement import measured

MODEL = "smollm2-135m-instruct"
SLOTS = 4
TOKENS, BEST_OF = 32, 3
HERE = Path(__file__).parent


def llama_server(model: Path, key_file: Path, port: int) -> Launch:
    """Say how to start llama.cpp's own server, as the manifests of lab 12 do."""
    arguments = {
        "--host": HOST,
        "--port": port,
        "--model": model,
        "--ctx-size": SLOTS * 512,
        "--parallel": SLOTS,
        "--threads": usable_threads(),
        "--cache-ram": 0,
        "--api-key-file": key_file,
    }
    parts = [str(part) for pair in arguments.items() for part in pair]
    return Launch(
        command=[llama_cpp_tools.find("llama-server"), *parts, "--metrics", "--no-ui", "--offline"],
        health="/health",
        metrics="/metrics",
        model=model.stem,
        version=installed_version("llama-cpp-python"),
        api_key=key_file.read_text("utf-8"),
    )


def keep_page(server: Server, source: str) -> None:
    """Write a server's metrics page beside this file, with a line that says where it is from."""
    request = urllib.request.Request(f"{server.url}/metrics", headers=server.headers())
    with urllib.request.urlopen(request) as answer:
        page = answer.read().decode()
    today = datetime.now(UTC).date().isoformat()
    head = f"# Recorded {today} on {this_machine()}, from {source}\n"
    (HERE / f"metrics_{server.name}.txt").write_text(head + page, "utf-8")


def record_llama_server() -> None:
    """Write its page, and the tokens per second in all with 1, 2 and 4 requests at a time."""
    llama_cpp_tools.build(["llama-server"])
    model = engines.prepare("llama_cpp", fetch(MODEL).path, "Q4_0")
    prompts = [f"Name {number} things that float on the sea." for number in range(2, 10)]
    with tempfile.TemporaryDirectory() as folder:
        key_file = Path(folder, "api-key")
        key_file.write_text(secrets.token_urlsafe(24), "utf-8")
        with start("llama-server", partial(llama_server, model, key_file)) as server:
            load.run(server, prompts, SLOTS)
            rates = {
                together: max(
                    load.summary(load.run(server, prompts, together, TOKENS)).tokens_per_second
                    for _ in range(BEST_OF)
                )
                for together in (1, 2, SLOTS)
            }
            keep_page(server, f"llama-server of llama-cpp-python {server.version}")
    conditions = {"tokens": TOKENS, "best_of": BEST_OF, "threads": usable_threads()}
    named = ("llama-server Q4_0", "tokens in all")
    kept = [
        measured(*named, rate, "tokens/s", requests=together, **conditions)
        for together, rate in rates.items()
    ]
    rows = [asdict(replace(row, how="recorded")) for row in kept]
    (HERE / "operations.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def record_vllm() -> None:
    """Write its page."""
    launch = partial(vllm.launch, fetch(MODEL).path, context=512, max_seqs=SLOTS)
    with start("vllm", launch, patience=1200) as server:
        load.run(server, ["Name three things that float on the sea."] * 4, SLOTS)
        keep_page(server, f"vLLM {server.version}")


RECORDS = {"llama-server": record_llama_server, "vllm": record_vllm}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or RECORDS:
        RECORDS[wanted]()
