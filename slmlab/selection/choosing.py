"""A brief and measurements in; ranked choices, the excluded, and what would change it all out."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from slmlab.errors import UsageError
from slmlab.measurement import Measurement
from slmlab.selection.briefs import Brief, altered
from slmlab.selection.candidates import FRAMEWORKS, Candidate, Evidence, candidates
from slmlab.selection.choice import Choice
from slmlab.selection.published import benchmarks
from slmlab.tiers import DEFAULT_MODEL

OPEN_LICENCES = ("Apache-2.0", "MIT")
"""Licences on our cards that set no conditions on what a model is used for."""


@dataclass(frozen=True)
class Excluded:
    """A candidate that does not meet a brief: which requirements, and the sentence for each."""

    model: str
    quantization: str
    framework: str
    broken: dict[str, str]


@dataclass(frozen=True)
class Decision:
    """The answer to a brief: choices, best first, and everything that was left out.

    `would_change` says what the answer becomes after each change that makes it another one.
    """

    brief: Brief
    choices: tuple[Choice, ...]
    excluded: tuple[Excluded, ...]
    would_change: tuple[str, ...]

    @property
    def best(self) -> Choice | None:
        """The first choice, or None where nothing meets the brief."""
        return self.choices[0] if self.choices else None

    def answer(self) -> Choice:
        """Return the first choice; raises `UsageError` with what would help where there is none."""
        if self.best is None:
            helps = " ".join(self.would_change) or "No change of one requirement helps."
            raise UsageError(
                f"Nothing meets the brief {self.brief.name!r}; most candidates break "
                f"{next(iter(self.broken()), 'nothing')}. {helps}"
            )
        return self.best

    def broken(self) -> dict[str, int]:
        """Return how many candidates break each requirement, the most broken one first."""
        return dict(Counter(name for one in self.excluded for name in one.broken).most_common())

    def why_not(self, model: str) -> list[str]:
        """Return why a model is not among the choices; nothing where it is."""
        if any(choice.model == model for choice in self.choices):
            return []
        left_out = [one for one in self.excluded if one.model == model]
        nearest = min(left_out, key=lambda one: len(one.broken), default=None)
        return list(nearest.broken.values()) if nearest else [f"{model} was not looked at."]


def choose(
    brief: Brief, measurements: Sequence[Measurement] = (), measured_model: str = DEFAULT_MODEL
) -> list[Choice]:
    """Return the choices that meet every requirement of a brief, best first.

    `measurements` are the learner's own, of `measured_model`, as `measurement.as_measurements`
    gives them; those made on this machine calibrate what is estimated.
    """
    return list(decide(brief, measurements, measured_model).choices)


def decide(
    brief: Brief, measurements: Sequence[Measurement] = (), measured_model: str = DEFAULT_MODEL
) -> Decision:
    """Return the choices as `choose` does, with what was left out and what would change them."""
    evidence = Evidence.of(measurements, measured_model)
    meeting, excluded = _divide(brief, evidence)
    winners = {
        change: _first(_divide(other, evidence)[0]) for change, other in alterations(brief).items()
    }
    best = _first(meeting)
    changing = {change: winner for change, winner in winners.items() if _key(winner) != _key(best)}
    choices = tuple(
        _choice(rank, one, brief, _would_change(one, best, changing))
        for rank, one in enumerate(meeting, 1)
    )
    return Decision(brief, choices, tuple(excluded), _sentences(changing))


def alterations(brief: Brief) -> dict[str, Brief]:
    """Return the brief with one requirement altered at a time, named in words."""
    memory, speed = brief.device.memory_bytes, brief.tokens_per_second
    bandwidth = brief.device.bandwidth
    [other_benchmark] = set(benchmarks()) - {brief.benchmark}
    found = {
        f"twice the memory ({_size(2 * memory)})": altered(brief, memory_bytes=2 * memory),
        f"half the memory ({_size(memory / 2)})": altered(brief, memory_bytes=memory / 2),
        f"twice the bandwidth ({2 * bandwidth / 1e9:.0f} GB/s)": altered(
            brief, bandwidth=2 * bandwidth, fingerprint=""
        ),
        f"twice the context ({2 * brief.context:,} tokens)": replace(
            brief, context=2 * brief.context
        ),
        f"twice the speed ({2 * speed:.3g} tokens/s)": replace(brief, tokens_per_second=2 * speed),
        f"half the speed ({speed / 2:.3g} tokens/s)": replace(brief, tokens_per_second=speed / 2),
        f"{other_benchmark} as the benchmark, with the same floor": replace(
            brief, benchmark=other_benchmark
        ),
    }
    if brief.quality_floor:
        found["no floor for quality"] = replace(brief, quality_floor=0)
    if brief.open_licence or not brief.accepts_terms:
        found["any licence"] = replace(brief, open_licence=False, accepts_terms=True)
    else:
        found["open licences only"] = replace(brief, open_licence=True, accepts_terms=False)
    if brief.languages != ("en",):
        found["English only"] = replace(brief, languages=("en",))
    if brief.device.kind == "browser":
        found["a program in place of a page"] = altered(brief, kind="arm")
    if brief.users > 1:
        found["one user at a time"] = replace(brief, users=1)
    else:
        found["ten users at once"] = replace(brief, users=10)
    return found


def _divide(brief: Brief, evidence: Evidence) -> tuple[list[Candidate], list[Excluded]]:
    """Return the candidates that meet the brief, best first, and the others with why."""
    meeting, excluded = [], []
    for one in candidates(brief, evidence):
        broken = dict(_broken(one, brief))
        if broken:
            excluded.append(Excluded(one.card.name, one.quantization, one.framework.name, broken))
        else:
            meeting.append(one)
    return sorted(meeting, key=_order), excluded


def _order(one: Candidate) -> tuple:
    """The most points first, whole points counting as equal; then the least memory."""
    points = 0 if one.score is None else round(one.score)
    frameworks = list(FRAMEWORKS)
    return (
        -points,
        one.memory.value,
        frameworks.index(one.framework.name),
        -one.decode.value,
        one.card.name,
    )


def _broken(one: Candidate, brief: Brief) -> Iterator[tuple[str, str]]:
    """Give the requirements of the brief that a candidate breaks, each with a sentence."""
    model, device = one.card, brief.device
    if brief.open_licence and model.licence not in OPEN_LICENCES:
        yield "licence", f"Its licence, {model.licence}, sets conditions on use."
    elif model.licence_must_be_accepted and not brief.accepts_terms:
        yield "licence", f"Somebody must accept the terms of its licence, {model.licence}."
    if lacking := _lacking(model.languages, brief.languages):
        yield "languages", f"Its card does not name {', '.join(lacking)}."
    if brief.offline and one.framework.name == "wllama":
        yield "offline", "A page and its model come over a network."
    if model.context < brief.context:
        yield (
            "context",
            f"It was made for {model.context:,} tokens, {brief.context:,} are needed.",
        )
    if one.file.value > one.framework.file_limit:
        limit = _size(one.framework.file_limit)
        yield "memory", f"Its file of {_size(one.file.value)} is above a page's limit of {limit}."
    elif one.memory.value > device.memory_bytes:
        yield (
            "memory",
            f"It takes {_size(one.memory.value)} ({one.memory.how}), there are "
            f"{_size(device.memory_bytes)}.",
        )
    if one.decode.value < brief.tokens_per_second:
        yield (
            "speed",
            f"Each user gets {one.decode.value:.1f} tokens/s ({one.decode.how}), wanted are "
            f"{brief.tokens_per_second:.3g}.",
        )
    if one.first_token.value > brief.first_token_seconds:
        yield (
            "first token",
            f"The first token takes {one.first_token.value:.1f} s (computed), allowed are "
            f"{brief.first_token_seconds:g}.",
        )
    if brief.quality_floor:
        if one.quality is None:
            yield "quality", f"We found no published {brief.benchmark} for it."
        elif one.score < brief.quality_floor:
            yield (
                "quality",
                f"Its {one.quality.value:g} points in {brief.benchmark} (published) are "
                f"{one.score:.1f} after quantisation, below the floor of "
                f"{brief.quality_floor:g}.",
            )


def _lacking(spoken: Sequence[str], wanted: Sequence[str]) -> list[str]:
    return [] if "multilingual" in spoken else [code for code in wanted if code not in spoken]


def _choice(rank: int, one: Candidate, brief: Brief, would_change: tuple[str, ...]) -> Choice:
    return Choice(
        rank=rank,
        model=one.card.name,
        quantization=one.quantization,
        framework=one.framework.name,
        context=brief.context,
        file_bytes=int(one.file.value),
        peak_memory_bytes=int(one.memory.value),
        decode_tokens_per_second=one.decode.value,
        seconds_to_first_token=one.first_token.value,
        quality=one.quality,
        score=one.score,
        numbers=one.numbers,
        reasons=tuple(_reasons(one, brief)),
        would_change=would_change,
    )


def _reasons(one: Candidate, brief: Brief) -> Iterator[str]:
    """Say of each requirement how the candidate meets it, with the number and where it is from."""
    if one.quality is None:
        yield f"No {brief.benchmark} was found published for it, and the brief sets no floor."
    else:
        yield (
            f"{one.quality.value:g} points in {brief.benchmark} (published: "
            f"{one.quality.source}; {one.quality.conditions['protocol']}), {one.score:.1f} after "
            f"division by {one.loss.value:.3f}, what quantising multiplies perplexity with "
            f"({_origin(one.loss)})."
        )
    everybody = f"for each of {brief.users} users" if brief.users > 1 else "for one user"
    yield (
        f"{_size(one.memory.value)} of {_size(brief.device.memory_bytes)} memory, of it "
        f"{_size(one.file.value)} the file, with {brief.context:,} tokens {everybody} (computed as "
        f"for llama.cpp in {one.memory.conditions['sized_as']})."
    )
    yield (
        f"{one.decode.value:.1f} tokens/s {everybody}, wanted {brief.tokens_per_second:.3g} "
        f"({_origin(one.decode)})."
    )
    yield (
        f"{one.first_token.value:.1f} s to the first token after a prompt of "
        f"{brief.prompt_tokens:,} {everybody}, allowed {brief.first_token_seconds:g} "
        f"(computed from {brief.device.operations / 1e12:.2g} x 10^12 operations a second)."
    )
    named = set(brief.languages) <= set(one.card.languages)
    languages = f"its card names {', '.join(brief.languages)}" if named else "multilingual"
    yield f"Licence {one.card.licence}; {languages}."


def _origin(number: Measurement) -> str:
    """Return how a number was got: in words that a sentence can hold."""
    if number.how == "published":
        return f"published for Llama 3 8B: {number.source}"
    return f"{number.how}: {number.conditions.get('by', 'on this machine')}"


def _would_change(
    one: Candidate, best: Candidate | None, changing: dict[str, Candidate | None]
) -> tuple[str, ...]:
    """For the best, what another answer takes; for any other, what would make it the best."""
    if one is best:
        return _sentences(changing)
    mine = [change for change, winner in changing.items() if _key(winner) == _key(one)]
    return tuple(f"With {change} it comes first." for change in mine)


def _sentences(changing: dict[str, Candidate | None]) -> tuple[str, ...]:
    return tuple(f"With {change}: {_name(winner)}." for change, winner in changing.items())


def _first(meeting: Sequence[Candidate]) -> Candidate | None:
    return meeting[0] if meeting else None


def _key(one: Candidate | None) -> tuple[str, ...] | None:
    return one and (one.card.name, one.quantization, one.framework.name)


def _name(one: Candidate | None) -> str:
    return "nothing is left" if one is None else "{} {} in {}".format(*_key(one))


def _size(bytes: float) -> str:
    return f"{bytes / 1e9:.2f} GB" if bytes >= 1e9 else f"{bytes / 1e6:.0f} MB"
