"""What is chosen: a model, its quantisation, the framework that runs it, and why."""

from dataclasses import dataclass

from slmlab.measurement import Measurement


@dataclass(frozen=True)
class Choice:
    """One answer to a brief; `rank` 1 is the best of those that meet every requirement.

    `model` is a card's name and `framework` one of "llama.cpp", "vllm", "onnx", "mlx",
    "transformers" and "wllama". `context` is in tokens and for one conversation;
    `peak_memory_bytes` is with that context for each of the brief's users, and
    `decode_tokens_per_second` what each of them gets. `quality` is the published number that the
    choice was ranked by, or None where none was found. `score` is what the ranking compares: that
    number divided by what the quantisation multiplies perplexity with. `numbers` are all of them,
    each saying how it was got; `reasons` are sentences with the numbers behind them, and
    `would_change` says what the answer would be after one requirement has changed.
    """

    rank: int
    model: str
    quantization: str
    framework: str
    context: int
    file_bytes: int
    peak_memory_bytes: int
    decode_tokens_per_second: float
    seconds_to_first_token: float
    quality: Measurement | None
    score: float | None
    numbers: tuple[Measurement, ...] = ()
    reasons: tuple[str, ...] = ()
    would_change: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.model} {self.quantization} in {self.framework}"
