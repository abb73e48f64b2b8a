"""Rules of thumb that lessons give, held against measurements and against the briefs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from slmlab.measurement import Measurement, estimate
from slmlab.selection.briefs import brief
from slmlab.selection.choosing import Decision
from slmlab.selection.pareto import pareto_front
from slmlab.tiers import card

SOURCE = (
    "https://github.com/microsoft/edgeai-for-beginners/blob/main/Module03/01.SLMAdvancedLearning.md"
)
"""The lesson that gives all of them, in words of its own."""

_NEAR = 1.02
_QUANTIZED = ("Q4_0", "Q5_1", "Q8_0")


@dataclass(frozen=True)
class Finding:
    """A rule, whether it holds, the numbers that say so, and how these were got.

    `holds` is None where the numbers cannot decide.
    """

    rule: str
    holds: bool | None
    why: str
    how: str

    @property
    def verdict(self) -> str:
        """Whether it holds, in words."""
        return {True: "holds", False: "fails", None: "not decided"}[self.holds]


def check(decisions: Mapping[str, Decision], measurements: Sequence[Measurement]) -> list[Finding]:
    """Hold every rule against the decisions on the briefs and the learner's measurements.

    `measurements` are of one model in llama.cpp as Q4_0, Q5_1, Q8_0 and F16. Raises `KeyError`
    where one of these or a brief is missing.
    """
    return [*_of_quantization(measurements), *_of_sizes(), *_of_models(decisions)]


def by_quantization(measurements: Sequence[Measurement]) -> dict[str, dict[str, float]]:
    """Return the values measured in llama.cpp: for each quantisation, by quantity."""
    found: dict[str, dict[str, float]] = {}
    for row in measurements:
        engine, _, quantization = row.subject.partition(" ")
        if engine == "llama_cpp":
            found.setdefault(quantization, {})[row.quantity] = row.value
    return found


def _of_quantization(measurements: Sequence[Measurement]) -> Iterator[Finding]:
    values = by_quantization(measurements)
    memory = {name: values[name]["peak memory"] for name in _QUANTIZED}
    files = {name: values[name]["file"] for name in _QUANTIZED}
    yield Finding(
        "Q4_0 for the smallest",
        min(files, key=files.get) == min(memory, key=memory.get) == "Q4_0",
        f"Smallest file: {_all(files)}. Least memory: {_all(memory)}.",
        "measured",
    )
    points = [
        {
            "name": name,
            "memory": memory[name],
            "perplexity": values[name]["perplexity"],
            "slowness": -values[name]["decode speed"],
        }
        for name in _QUANTIZED
    ]
    front = [point["name"] for point in pareto_front(points, ["memory", "perplexity", "slowness"])]
    yield Finding(
        "Q5_1 for balance",
        "Q5_1" in front,
        f"Not beaten in memory, perplexity and speed together: {', '.join(front)}. Tokens/s: "
        + ", ".join(f"{name} {values[name]['decode speed']:.0f}" for name in _QUANTIZED)
        + ".",
        "measured",
    )
    ratio = values["Q8_0"]["perplexity"] / values["F16"]["perplexity"]
    yield Finding(
        "Q8_0 is near the original",
        ratio <= _NEAR,
        f"Its perplexity is {ratio:.4f} times that of F16.",
        "measured",
    )


def _of_sizes() -> Iterator[Finding]:
    """What the lesson says of memory, against files and peaks computed for a plain x86 device."""
    device = brief("office").device
    sizes = {
        (name, quant): estimate(card(name), quant, 2048, device.machine, device.bandwidth)
        for name in ("qwen3-0.6b", "phi-4-mini")
        for quant in _QUANTIZED
    }
    small = [sizes["qwen3-0.6b", quant].peak_memory_bytes for quant in _QUANTIZED]
    yield Finding(
        "Qwen3 0.6B, quantised, takes less than 1 GB",
        max(small) < 1e9,
        f"With 2,048 tokens it takes {min(small) / 1e9:.2f} to {max(small) / 1e9:.2f} GB.",
        "computed",
    )
    files = [sizes["phi-4-mini", quant].file_bytes for quant in _QUANTIZED]
    yield Finding(
        "Phi-4-mini, quantised, takes 3 to 4 GB",
        min(files) >= 3e9 and max(files) <= 4e9,
        f"Its files have {min(files) / 1e9:.2f} GB (Q4_0) to {max(files) / 1e9:.2f} GB (Q8_0), "
        f"and memory comes on top.",
        "computed",
    )
    ternary = estimate(
        card("bitnet-b1.58-2b-4t"), "TQ2_0", 2048, device.machine, device.bandwidth
    ).file_bytes
    yield Finding(
        "BitNet gets below 500 MB",
        ternary < 5e8,
        f"In TQ2_0 the file of BitNet b1.58 2B4T has {ternary / 1e6:.0f} MB: the embedding does "
        f"not become ternary.",
        "computed",
    )


def _of_models(decisions: Mapping[str, Decision]) -> Iterator[Finding]:
    for where, models, rule in (
        ("phone", ("qwen3-0.6b",), "Qwen3 0.6B for a chatbot on a phone"),
        ("tablet", ("gemma-3-1b", "gemma-3-4b"), "Gemma 3 for teaching on a tablet"),
        ("laptop", ("phi-4-mini",), "Phi-4-mini for developers' tools"),
        ("workstation", ("qwen3-4b",), "Qwen3 4B for document analysis on a workstation"),
    ):
        yield _of_model(decisions[where], models, rule)
    best = [decisions[name].best for name in ("phone", "tablet", "office")]
    names = [str(choice) if choice else "nothing" for choice in best]
    yield Finding(
        "llama.cpp for processors",
        None,
        f"First on phone, tablet and office computer: {'; '.join(names)}. But that is so by "
        f"assumption: other frameworks are sized as llama.cpp.",
        "computed",
    )


def _of_model(decision: Decision, models: Sequence[str], rule: str) -> Finding:
    best = decision.best
    said = f"First comes {best}." if best else "Nothing meets the brief."
    return Finding(
        rule,
        best is not None and best.model in models,
        " ".join([said, *filter(None, (_place(decision, model) for model in models))]),
        "computed",
    )


def _place(decision: Decision, model: str) -> str:
    """Say at which place a model's best form comes, or the first reason why it does not."""
    mine = [choice for choice in decision.choices if choice.model == model]
    if not mine:
        return f"{model} is left out: {' '.join(decision.why_not(model))}"
    if mine[0].rank == 1:
        return ""
    return (
        f"{model} comes at place {mine[0].rank} with {mine[0].score:.1f} points, not "
        f"{decision.best.score:.1f}."
        if mine[0].score is not None
        else f"{model} comes at place {mine[0].rank}: no {decision.brief.benchmark} was found."
    )


def _all(values: Mapping[str, float]) -> str:
    ranked = sorted(values, key=values.get)
    return ", ".join(f"{name} {values[name] / 1e6:.0f} MB" for name in ranked)
