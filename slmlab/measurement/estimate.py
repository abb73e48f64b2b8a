"""What running a model will take, from its card alone, before anything is downloaded.

The file is arithmetic (`quantization.file_bytes`). Memory and speed are small models of what
llama.cpp does on a CPU; their constants below were recorded, not derived.
"""

import functools
from collections import Counter
from dataclasses import dataclass
from math import prod

from slmlab.errors import UsageError
from slmlab.gguf import tensor_bytes
from slmlab.machine import Machine, read_bandwidth, this_machine
from slmlab.quantization import file_bytes, tensor_types
from slmlab.tiers import Architecture, ModelCard, kv_cache_bytes, tensors

# Recorded on 2026-11-22 with llama-cpp-python 0.3.36 and CPython 3.11 on an AMD EPYC with
# AVX-512 and two threads: memory from SmolLM2-135M in thirteen quantisations, the seconds fitted
# to the same and to a model of 276 million random weights whose rows suit the K-quants.
PROCESS_BYTES = 47_000_000
VOCABULARY_ENTRY_BYTES = 500
BATCH_TOKENS = 512
LAYER_SECONDS = 97e-6
UNPACKING_SECONDS = {  # for one weight on one core
    "F16": 28e-12,
    "Q8_0": 28e-12,
    "Q6_K": 23e-12,
    "Q5_1": 61e-12,
    "Q5_0": 49e-12,
    "Q5_K": 42e-12,
    "Q4_1": 58e-12,
    "Q4_0": 6e-12,
    "Q4_K": 11e-12,
    "Q3_K": 33e-12,
    "Q2_K": 12e-12,
    "TQ2_0": 20e-12,
    "TQ1_0": 40e-12,
}


@dataclass(frozen=True)
class Estimate:
    """What to expect of one model in one quantisation; every number is computed.

    `peak_memory_bytes` is for a process of its own with the whole context;
    `decode_tokens_per_second` is at the start of the context.
    """

    file_bytes: int
    peak_memory_bytes: int
    decode_tokens_per_second: float


def estimate(
    card: ModelCard,
    quant: str,
    context: int = 2048,
    machine: Machine | None = None,
    bandwidth: float | None = None,
) -> Estimate:
    """Estimate file, memory and decode speed of a model on this machine, or on another one.

    Of `machine` only the cores and features count; `bandwidth` is in bytes per second. Raises
    `UsageError` for an unknown quantisation or a context of nothing.
    """
    if context < 1:
        raise UsageError(f"A context of {context} tokens holds nothing; ask for 1 or more.")
    machine = machine or this_machine()
    weights = _weights(card, quant)
    reading = weights.read_bytes / (bandwidth or read_bandwidth())
    unpacking = weights.unpacking_seconds / machine.cores
    return Estimate(
        file_bytes=weights.file_bytes,
        peak_memory_bytes=_peak_memory(card.architecture, weights, context, machine),
        decode_tokens_per_second=1
        / (reading + unpacking + card.architecture.layers * LAYER_SECONDS),
    )


@dataclass(frozen=True)
class _Weights:
    """What the weights alone take: on any machine the same.

    `read_bytes` are read for each token, unpacking takes `unpacking_seconds` on one core, and
    `bytes_by_type` are those that may be rearranged.
    """

    file_bytes: int
    read_bytes: int
    unpacking_seconds: float
    bytes_by_type: dict[str, int]


@functools.cache
def _weights(card: ModelCard, quant: str) -> _Weights:
    """Count what reading every weight once takes.

    The embedding is read whole only where it is also the output layer, and is never rearranged.
    """
    types = tensor_types(tensors(card.architecture), quant)
    read_bytes, unpacking, by_type = 0, 0.0, Counter()
    for name, shape in tensors(card.architecture):
        type, size = types[name], tensor_bytes(types[name], shape)
        if name != "token_embd.weight":
            by_type[type] += size
        if name != "token_embd.weight" or card.architecture.tied_embeddings:
            read_bytes += size
            unpacking += prod(shape) * UNPACKING_SECONDS.get(type, 0.0)
    return _Weights(file_bytes(card, quant), read_bytes, unpacking, by_type)


def _peak_memory(
    architecture: Architecture, weights: _Weights, context: int, machine: Machine
) -> int:
    """File, KV cache, tokenizer, one batch's activations, and the weights llama.cpp repacks."""
    batch = min(context, BATCH_TOKENS)
    activations = batch * 4 * (2 * architecture.feed_forward + 4 * architecture.hidden)
    copies = sum(weights.bytes_by_type.get(type, 0) for type in _repacked_types(machine))
    return (
        PROCESS_BYTES
        + VOCABULARY_ENTRY_BYTES * architecture.vocabulary
        + weights.file_bytes
        + copies
        + kv_cache_bytes(architecture, context)
        + activations
    )


def _repacked_types(machine: Machine) -> set[str]:
    """Return the tensor types that llama.cpp keeps a second time, rearranged for this processor.

    ggml/src/ggml-cpu/repack.cpp, `ggml_repack_get_optimal_repack_type`.
    """
    if "avx2" in machine.features:
        return {"Q4_0", "Q4_K", "IQ4_NL", *(["Q2_K"] if "avx512f" in machine.features else [])}
    if "asimddp" in machine.features:
        return {"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL"}
    return set()
