"""What is wanted: a device, a task, and the limits that an answer must keep."""

import tomllib
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from slmlab.errors import UsageError
from slmlab.files import data_path
from slmlab.machine import Machine
from slmlab.selection.published import benchmarks
from slmlab.tiers import cards

KINDS = ("x86", "arm", "apple", "nvidia", "browser")
_FEATURES = {"x86": ("avx2",), "arm": ("asimd", "asimddp")}
_UNITS_OF_A_GRAPHICS_PROCESSOR = 10_000  # so many that unpacking weights costs no time


@dataclass(frozen=True)
class Device:
    """What a model would run on.

    `memory_bytes` is what model, conversation and program may take together; `bandwidth` is in
    bytes per second, `operations` in operations per second that reading a prompt really reaches,
    and `bandwidth_from` says where the figure is from. `fingerprint` names a real machine.
    """

    title: str
    kind: str
    memory_bytes: float
    bandwidth: float
    operations: float
    cores: int
    bandwidth_from: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(
                f"A device of kind {self.kind!r} is not known; choose {', '.join(KINDS)}."
            )
        for name in ("memory_bytes", "bandwidth", "operations", "cores"):
            _must_be_positive(f"The device's {name}", getattr(self, name))

    @property
    def machine(self) -> Machine:
        """The device as `estimate` wants it; on graphics processors unpacking takes no time."""
        graphics = self.kind in ("apple", "nvidia")
        return Machine(
            cpu=self.title,
            architecture=self.kind,
            system="",
            cores=_UNITS_OF_A_GRAPHICS_PROCESSOR if graphics else self.cores,
            memory_bytes=int(self.memory_bytes),
            python="",
            features=_FEATURES.get(self.kind, ()),
        )


@dataclass(frozen=True)
class Brief:
    """A device, a task, and what an answer must keep to.

    `languages` are ISO 639-1 codes. `quality_floor` is in points of `benchmark`; 0 also lets in
    models of which no number is published. `context` is for one of `users` conversations, in
    tokens; a prompt of `prompt_tokens` must give its first token within `first_token_seconds`, and
    each user gets `tokens_per_second`. `open_licence` wants a licence without conditions of use,
    `accepts_terms` says whether somebody may accept a publisher's terms, and `offline` that nothing
    comes over a network in use. `models` names the only cards to look at; empty, all.
    """

    name: str
    title: str
    task: str
    device: Device
    languages: tuple[str, ...] = ("en",)
    benchmark: str = "IFEval"
    quality_floor: float = 0
    context: int = 2048
    prompt_tokens: int = 128
    first_token_seconds: float = 10
    tokens_per_second: float = 5
    users: int = 1
    open_licence: bool = False
    accepts_terms: bool = True
    offline: bool = False
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("context", "prompt_tokens", "first_token_seconds", "tokens_per_second"):
            _must_be_positive(f"{name} of the brief {self.name!r}", getattr(self, name))
        _must_be_positive(f"users of the brief {self.name!r}", self.users)
        if not 0 <= self.quality_floor <= 100:
            raise UsageError(
                f"The quality floor is {self.quality_floor} points; a benchmark has 0 to 100."
            )
        if self.prompt_tokens > self.context:
            raise UsageError(
                f"A prompt of {self.prompt_tokens} tokens does not fit a context of "
                f"{self.context}; make the context longer."
            )
        if self.benchmark not in benchmarks():
            raise UsageError(
                f"There is no benchmark {self.benchmark!r}; choose {' or '.join(benchmarks())}."
            )
        if isinstance(self.languages, str) or not self.languages:
            raise UsageError('The languages are a tuple of codes, such as ("en", "de").')
        if isinstance(self.models, str):
            raise UsageError('The models are a tuple of names, such as ("qwen3-0.6b",).')
        if unknown := [name for name in self.models if name not in cards()]:
            raise UsageError(f"No model card is named {unknown[0]!r}; `slmlab models` lists them.")


@cache
def briefs() -> dict[str, Brief]:
    """Return the briefs of `data/briefs.toml` by name, in their order."""
    with data_path("briefs.toml").open("rb") as file:
        entries = tomllib.load(file)["brief"]
    return {entry["name"]: _read(entry) for entry in entries}


def brief(name: str) -> Brief:
    """Return one of the briefs; raises `UsageError` with the names there are."""
    if name not in briefs():
        raise UsageError(f"There is no brief {name!r}; choose {', '.join(briefs())}.")
    return briefs()[name]


def altered(brief: Brief, **changes: Any) -> Brief:
    """Return the brief with other values; names of the device's fields change the device."""
    of_device = {field.name for field in fields(Device)} - {"title"}
    device = {name: changes.pop(name) for name in list(changes) if name in of_device}
    return replace(brief, device=replace(brief.device, **device), **changes)


def _read(entry: dict[str, Any]) -> Brief:
    device = dict(entry["device"])
    device["memory_bytes"] = device.pop("memory_gb") * 1e9
    device["bandwidth"] = device.pop("bandwidth_gb") * 1e9
    device["operations"] = device.pop("tera_operations") * 1e12
    languages = tuple(entry["languages"])
    return Brief(**entry | {"device": Device(**device), "languages": languages})


def _must_be_positive(what: str, value: float) -> None:
    if not value > 0:
        raise UsageError(f"{what} is {value}; it must be more than 0.")
