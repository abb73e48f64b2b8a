"""vLLM on CPUs, in an environment of its own, and what its metrics say of its KV cache.

The KV cache lies in blocks of a few tokens; a sequence takes one more whenever its last is full.
"""

import json
import math
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from slmlab import environments
from slmlab.deployment import metrics
from slmlab.deployment.load import Summary
from slmlab.deployment.metrics import total
from slmlab.deployment.server import HOST, Launch, Server
from slmlab.environments import Environment
from slmlab.errors import UsageError
from slmlab.machine import available_memory_bytes, this_machine
from slmlab.measurement import Measurement, measured
from slmlab.quantization import file_bytes, huggingface_form
from slmlab.tiers import ModelCard, kv_cache_bytes

NEEDED_BYTES = 6_000_000_000
"""Free memory to start with: vLLM takes about 4 GB, and the machine must go on."""

BLOCK_TOKENS = 32
"""Tokens in a block of the KV cache; vLLM takes 128 on CPUs, coarse for short requests."""


@dataclass(frozen=True)
class Moment:
    """What a server was doing at one time, in seconds since the watch began."""

    seconds: float
    blocks: int
    running: int
    waiting: int


@dataclass(frozen=True)
class Prefixes:
    """Prompt tokens looked up in the cache of prefixes, and those of them that were there."""

    asked: int
    found: int

    def __sub__(self, earlier: "Prefixes") -> "Prefixes":
        return Prefixes(self.asked - earlier.asked, self.found - earlier.found)


@dataclass(frozen=True)
class Drafts:
    """What speculative decoding did: guesses made, tokens in them, and tokens that were right."""

    drafts: int
    drafted: int
    accepted: int

    def __sub__(self, earlier: "Drafts") -> "Drafts":
        return Drafts(
            self.drafts - earlier.drafts,
            self.drafted - earlier.drafted,
            self.accepted - earlier.accepted,
        )


@dataclass(frozen=True)
class Share:
    """What each GPU holds of a model that is split over several, in bytes; all is computed."""

    gpus: int
    weights: int
    cache: int

    @property
    def total(self) -> int:
        """Weights and KV cache together."""
        return self.weights + self.cache


def why_not() -> str | None:
    """Return why vLLM cannot run here and what to do, or None where it can.

    Its environment need not be there: `launch` makes it.
    """
    if sys.platform != "linux":
        return (
            "vLLM's build for CPUs is made for Linux; use a Linux machine, or WSL on Windows, to "
            "run it yourself."
        )
    here = this_machine()
    if here.architecture == "x86_64" and "avx2" not in here.features:
        return (
            "vLLM is compiled for processors with AVX2, and this one has no such instructions; use "
            "a newer machine."
        )
    free = available_memory_bytes()
    if free < NEEDED_BYTES:
        return (
            f"vLLM needs {NEEDED_BYTES / 1e9:.0f} GB of free memory and {free / 1e9:.1f} GB are "
            f"free; close programs, or use a larger machine."
        )
    return None


def launch(
    model: Path,
    port: int,
    context: int = 2048,
    max_seqs: int = 16,
    cache_tokens: int = 8192,
    prefix_caching: bool = True,
    speculative: int = 0,
) -> Launch:
    """Say how to serve a GGUF file, or a Hugging Face directory.

    A GGUF file becomes a directory in bfloat16, once. A sequence may have up to `context` tokens;
    up to `max_seqs` are written at once, and their KV caches share `cache_tokens`. With
    `speculative`, up to that many tokens at a time are guessed from what came before. Makes the
    environment where there is none; raises `EnvironmentFailed` and `NoRoom` as that does, and the
    errors of `huggingface_form`.
    """
    environment = environments.ensure("vllm")
    folder = model if model.is_dir() else huggingface_form(model, "bfloat16")
    command: list[str | Path] = [environment.python, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--host", HOST, "--port", str(port)]
    command += ["--model", folder, "--served-model-name", model.stem, "--dtype", "bfloat16"]
    command += ["--max-model-len", str(context), "--max-num-seqs", str(max_seqs)]
    command += ["--block-size", str(BLOCK_TOKENS)]
    command += ["--num-gpu-blocks-override", str(math.ceil(cache_tokens / BLOCK_TOKENS))]
    command += ["--enable-prefix-caching" if prefix_caching else "--no-enable-prefix-caching"]
    command += ["--enforce-eager", "--no-enable-log-requests", "--disable-uvicorn-access-log"]
    if speculative:
        method = {"method": "ngram", "num_speculative_tokens": speculative, "prompt_lookup_max": 4}
        command += ["--speculative-config", json.dumps(method)]
    key = secrets.token_urlsafe(24)
    return Launch(
        command=command,
        env=_variables(environment) | {"VLLM_API_KEY": key},
        health="/health",
        metrics="/metrics",
        model=model.stem,
        version=environments.version("vllm"),
        api_key=key,
    )


def blocks(server: Server) -> int:
    """Return how many blocks the server's KV cache has."""
    [info] = [one for one in server.metrics() if one.name == "vllm:cache_config_info"]
    return int(info.labels["num_gpu_blocks"])


@contextmanager
def watching(server: Server, every: float = 0.1) -> Iterator[list[Moment]]:
    """Give a list that holds, after the block, a `Moment` for every so many seconds of it."""
    seen: list[Moment] = []
    pool = blocks(server)
    with metrics.watch(server, every) as pages:
        yield seen
    seen += [_moment(page, pool) for page in pages]


def prefixes(server: Server) -> Prefixes:
    """Return what the cache of prefixes did since the server began."""
    found = server.metrics()
    names = ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total")
    return Prefixes(*(int(total(found, name)) for name in names))


def drafts(server: Server) -> Drafts:
    """Return what speculative decoding did since the server began; zeros without it."""
    found = server.metrics()
    names = ("drafts", "draft_tokens", "accepted_tokens")
    return Drafts(*(int(total(found, f"vllm:spec_decode_num_{name}_total")) for name in names))


def share(card: ModelCard, gpus: int, sequences: int, context: int) -> Share:
    """Return what each of `gpus` holds of a model in 16 bits, split by tensor parallelism.

    The KV cache is that of `sequences` of `context` tokens. A KV head is never split: with more
    GPUs than KV heads, some hold the same one. Raises `UsageError` where the attention heads
    cannot be shared out evenly, as vLLM does.
    """
    a = card.architecture
    if gpus < 1 or a.heads % gpus:
        raise UsageError(
            f"{card.name} has {a.heads} attention heads, which {gpus} GPUs cannot share evenly; "
            f"take a number that divides {a.heads}."
        )
    cache = sequences * kv_cache_bytes(a, context)
    heads_each = math.ceil(a.kv_heads / gpus)
    return Share(gpus, file_bytes(card, "F16") // gpus, cache * heads_each // a.kv_heads)


def as_measurements(
    server: Server, by_concurrency: Mapping[int, Summary], tokens: int
) -> list[Measurement]:
    """Label what loads came to, by requests at once, with `tokens` written for each request."""
    versions = {server.name: server.version}
    return [
        replace(row, versions=row.versions | versions)
        for at_once, found in by_concurrency.items()
        for row in (
            measured(
                server.name, quantity, value, unit, packages=(), at_once=at_once, tokens=tokens
            )
            for quantity, value, unit in (
                ("throughput", found.tokens_per_second, "tokens/s"),
                ("first token, median", found.first_token_median, "s"),
                ("whole answer, median", found.latency_median, "s"),
                ("whole answer, 95th percentile", found.latency_p95, "s"),
            )
        )
    ]


def recorded_rates(rows: Iterable[Measurement]) -> tuple[dict[int, float], float]:
    """Return recorded tokens per second: vLLM's by requests at once, and llama.cpp's with one."""
    found = {
        (row.subject, row.conditions["at_once"]): row.value
        for row in rows
        if row.quantity == "throughput"
    }
    rates = {at_once: rate for (name, at_once), rate in found.items() if name == "vllm"}
    return rates, found["llama_cpp", 1]


def _moment(page: metrics.Moment, pool: int) -> Moment:
    return Moment(
        seconds=page.seconds,
        blocks=round((pool - 1) * total(page.samples, "vllm:kv_cache_usage_perc")),
        running=int(total(page.samples, "vllm:num_requests_running")),
        waiting=int(total(page.samples, "vllm:num_requests_waiting")),
    )


def _variables(environment: Environment) -> dict[str, str]:
    """Return the variables for vLLM: nothing of ours leaks in, and nothing leaves the machine."""
    return environment.variables() | {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_HOST_IP": HOST,  # else it opens a socket to find out its address
        "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB at most; the number of blocks stands in the command
    }
