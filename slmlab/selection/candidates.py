"""What could be chosen, and what each candidate would take, with where each number is from."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from slmlab.machine import this_machine
from slmlab.measurement import Estimate, Measurement, computed, estimate, recorded
from slmlab.selection import published
from slmlab.selection.briefs import Brief
from slmlab.tiers import DEFAULT_MODEL, ModelCard, breakdown, card, cards, kv_cache_bytes

FAR = 2.0
"""By what factor measured and estimated speed may differ before the measurement is not used."""

_GGUF = {name: name for name in ("Q4_0", "Q4_K_M", "Q5_1", "Q8_0", "F16")}
_ON_PROCESSORS = ("x86", "arm", "browser")
_SIXTEEN_BITS = ("F16", "bfloat16")
_UNROUNDED = {
    "F16": "16 bits: nothing is rounded",
    "TQ2_0": "trained in three values; what rounding the embedding costs was not measured",
}


@dataclass(frozen=True)
class Framework:
    """One that runs models: on which kinds of device, in which forms, for how many at once.

    `forms` gives for each quantisation the GGUF type that it is sized and judged as. A framework
    that answers users `together` reads the weights once for all of them. `file_limit` is in bytes.
    """

    name: str
    kinds: tuple[str, ...]
    forms: dict[str, str]
    together: bool = False
    file_limit: float = math.inf


FRAMEWORKS = {
    framework.name: framework
    for framework in (
        Framework("llama.cpp", ("x86", "arm", "apple", "nvidia"), _GGUF),
        Framework("mlx", ("apple",), {"4-bit": "Q4_0", "8-bit": "Q8_0", "bfloat16": "F16"}),
        Framework("onnx", ("x86", "arm"), {"int4": "Q4_0"}),
        Framework("vllm", ("x86", "nvidia"), {"bfloat16": "F16"}, together=True),
        Framework("transformers", ("x86", "nvidia"), {"bfloat16": "F16"}),
        # A page can load no more in one piece: the limit of its ArrayBuffer.
        Framework("wllama", ("browser",), _GGUF, file_limit=2e9),
    )
}

# Whose recorded speed is compared with whose, to say how much of llama.cpp's speed it reaches, by
# quantisation. Each pair was recorded with the same threads, one request at a time.
_SHARES = {
    "onnx": {"Q4_0": (("olive", "onnx INT4 in blocks"), ("mlx", "llama_cpp Q4_0"))},
    "vllm": {"F16": (("vllm", "vllm"), ("vllm", "llama_cpp"))},
    "transformers": {
        "F16": (("frameworks", "transformers bfloat16"), ("frameworks", "llama.cpp F16"))
    },
    "wllama": {
        name: (
            ("browser", f"{name} · WebAssembly, 2 threads"),
            ("browser", f"{name} · native, 2 threads"),
        )
        for name in ("Q8_0", "Q4_0")
    },
}


@dataclass(frozen=True)
class Evidence:
    """What the learner measured of one model in llama.cpp on this machine, by quantisation."""

    model: str
    speeds: dict[str, Measurement]
    perplexities: dict[str, Measurement]

    @classmethod
    def of(cls, measurements: Sequence[Measurement], model: str = DEFAULT_MODEL) -> "Evidence":
        """Take from many numbers those that count: measured, here, in llama.cpp."""
        found: dict[str, dict[str, Measurement]] = {"decode speed": {}, "perplexity": {}}
        for row in measurements:
            engine, _, quantization = row.subject.partition(" ")
            here = row.how == "measured" and row.machine == str(this_machine())
            if here and engine == "llama_cpp" and row.quantity in found:
                found[row.quantity][quantization] = row
        return cls(model, found["decode speed"], found["perplexity"])

    def ratios(self) -> dict[str, float]:
        """Return measured over estimated decode speed for each quantisation that was measured."""
        return {
            name: row.value / estimate(card(self.model), name).decode_tokens_per_second
            for name, row in self.speeds.items()
        }

    def reached(self, quantization: str) -> float | None:
        """Return the ratio that scales the estimate of a quantisation, or None to leave it alone.

        One that was not measured gets the median of the others. Where any ratio is beyond a factor
        of `FAR`, the machine was busy or is unlike the estimate, and none is used.
        """
        ratios = self.ratios()
        if not ratios or not all(1 / FAR <= ratio <= FAR for ratio in ratios.values()):
            return None
        return ratios.get(quantization, statistics.median(ratios.values()))

    def loss(self, quantization: str) -> float | None:
        """Return by what a quantisation multiplied perplexity, or None if it was not measured."""
        if not {quantization, "F16"} <= self.perplexities.keys():
            return None
        return self.perplexities[quantization].value / self.perplexities["F16"].value


@dataclass(frozen=True)
class Candidate:
    """One card in one quantisation and framework, with what it would take under a brief."""

    card: ModelCard
    quantization: str
    framework: Framework
    file: Measurement
    memory: Measurement
    decode: Measurement
    first_token: Measurement
    quality: Measurement | None
    loss: Measurement

    @property
    def score(self) -> float | None:
        """The published points divided by what quantisation multiplies perplexity with."""
        return self.quality and self.quality.value / self.loss.value

    @property
    def numbers(self) -> tuple[Measurement, ...]:
        """Every number of the candidate."""
        all_of_them = (self.file, self.memory, self.decode, self.first_token, self.loss)
        return all_of_them if self.quality is None else (*all_of_them, self.quality)


@cache
def layer_weights(model: ModelCard) -> int:
    """Return how many weights each token of a prompt is multiplied with."""
    parts = breakdown(model.architecture)
    return model.parameters - parts["embedding"] - parts["output"]


def candidates(brief: Brief, evidence: Evidence) -> Iterator[Candidate]:
    """Give every card in every form of every framework that runs on the brief's kind of device."""
    for model in map(card, brief.models or cards()):
        for framework in FRAMEWORKS.values():
            if brief.device.kind in framework.kinds:
                for quantization, sized_as in _forms(model, framework).items():
                    yield _candidate(brief, model, framework, quantization, sized_as, evidence)


def _forms(model: ModelCard, framework: Framework) -> dict[str, str]:
    """A model trained with three values per weight needs no other form than TQ2_0 and 16 bits."""
    if model.architecture.kind != "bitnet":
        return framework.forms
    sixteen = {name: of for name, of in framework.forms.items() if name in _SIXTEEN_BITS}
    return sixteen | ({"TQ2_0": "TQ2_0"} if framework.name in ("llama.cpp", "wllama") else {})


def _candidate(
    brief: Brief,
    model: ModelCard,
    framework: Framework,
    quantization: str,
    sized_as: str,
    evidence: Evidence,
) -> Candidate:
    device = brief.device
    expected = estimate(model, sized_as, brief.context, device.machine, device.bandwidth)
    subject = f"{model.name} {quantization} in {framework.name}"
    speed = _speed(subject, brief, model, framework, sized_as, expected, evidence)
    others = brief.users - 1
    memory = expected.peak_memory_bytes + others * kv_cache_bytes(model.architecture, brief.context)
    decode = _of_each(speed, brief, model, framework)
    reading = brief.prompt_tokens * 2 * layer_weights(model) / device.operations
    sizes = {"context": brief.context, "users": brief.users, "sized_as": sized_as}
    return Candidate(
        card=model,
        quantization=quantization,
        framework=framework,
        file=computed(subject, "file", expected.file_bytes, "bytes", sized_as=sized_as),
        memory=computed(subject, "peak memory", memory, "bytes", **sizes),
        decode=decode,
        first_token=computed(
            subject,
            "time to first token",
            brief.users * reading + 1 / decode.value,
            "s",
            prompt_tokens=brief.prompt_tokens,
            users=brief.users,
        ),
        quality=published.quality(model.name, brief.benchmark),
        loss=_loss(model, sized_as, evidence),
    )


def _speed(
    subject: str,
    brief: Brief,
    model: ModelCard,
    framework: Framework,
    sized_as: str,
    expected: Estimate,
    evidence: Evidence,
) -> Measurement:
    """Return the speed for one user: as measured where this very form was measured, or computed."""
    device = brief.device
    here = device.fingerprint == this_machine().fingerprint
    if here and model.name == evidence.model and framework.name == "llama.cpp":
        own = evidence.speeds.get(sized_as)
        if own:
            return replace(own, subject=subject)
    rate = expected.decode_tokens_per_second
    how = [f"{device.bandwidth / 1e9:.0f} GB/s and the estimate of lab 01"]
    on_processor = device.kind in _ON_PROCESSORS
    if on_processor and (reached := evidence.reached(sized_as)):
        rate *= reached
        how.append(f"x {reached:.2f}, measured over estimated here")
    if on_processor and (share := _share(framework.name, sized_as)):
        rate *= share
        how.append(f"x {share:.2f}, {framework.name} over llama.cpp as recorded")
    elif framework.name != "llama.cpp":
        how.append(f"{framework.name} on {device.kind} was not measured in this course")
    return computed(subject, "decode speed", rate, "tokens/s", by="; ".join(how))


@cache
def _share(framework: str, quantization: str) -> float | None:
    """Return a framework's speed over llama.cpp's, or None where neither was recorded.

    A quantisation that was not recorded gets the median of the others.
    """
    pairs = _SHARES.get(framework, {})
    shares = {name: _recorded_speed(*a) / _recorded_speed(*b) for name, (a, b) in pairs.items()}
    return shares.get(quantization, statistics.median(shares.values())) if shares else None


def _recorded_speed(file: str, subject: str) -> float:
    """Return the first speed recorded of a subject: for servers, that with one request at once."""
    rows = [row for row in recorded(file) if row.subject == subject]
    return next(row.value for row in rows if row.quantity in ("decode speed", "throughput"))


def _of_each(
    speed: Measurement, brief: Brief, model: ModelCard, framework: Framework
) -> Measurement:
    """Return what each of the brief's users gets if all write at once.

    One after another, each gets a share. Together, a step reads the weights once for all, reads
    the keys and values of every full conversation, and does two operations with each weight for
    every further user.
    """
    users, device = brief.users, brief.device
    if users == 1:
        return speed
    if framework.together:
        further = (users - 1) * 2 * model.parameters / device.operations
        further += users * kv_cache_bytes(model.architecture, brief.context) / device.bandwidth
        rate, how = 1 / (1 / speed.value + further), "together, with full conversations"
    else:
        rate, how = speed.value / users, "one after another"
    by = f"{speed.conditions.get('by', 'measured on this machine')}; {users} users {how}"
    return computed(speed.subject, speed.quantity, rate, speed.unit, users=users, by=by)


def _loss(model: ModelCard, sized_as: str, evidence: Evidence) -> Measurement:
    """Return by what quantising multiplies perplexity.

    Between the small model that the learner measured and the large one whose numbers are published,
    its logarithm is taken to fall in proportion to the logarithm of the parameters.
    """
    subject, quantity = f"{model.name} {sized_as}", "perplexity against F16"
    if sized_as in _UNROUNDED:
        return computed(subject, quantity, 1.0, "times", by=_UNROUNDED[sized_as])
    large = published.loss(sized_as)
    small = evidence.loss(sized_as)
    if small is None:
        return large
    low, high = math.log(card(evidence.model).parameters), math.log(published.LARGE)
    place = min(1.0, max(0.0, (math.log(model.parameters) - low) / (high - low)))
    ratio = math.exp((1 - place) * math.log(small) + place * math.log(large.value))
    by = f"{small:.3f} measured for {evidence.model}, {large.value:.3f} published for Llama 3 8B"
    return computed(subject, quantity, ratio, "times", by=by)
