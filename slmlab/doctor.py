"""What each lab will do on this machine, said before anybody waits for it.

Nothing is downloaded. The minutes are those of the reference machine, which stand in each lab's
metadata, times this machine's slowness: found by writing a few tokens with the model if it is in
the cache, and by reading memory if it is not. `against` compares them with what a run took.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from slmlab import deployment, engines, environments, machine, tiers
from slmlab.acquisition import cached, is_here
from slmlab.deployment.browser import chromium
from slmlab.engines import llama_cpp
from slmlab.errors import NotPossibleHere, UsageError
from slmlab.files import cache_path, free_bytes, from_json
from slmlab.measurement import Measurement
from slmlab.notebooks.labs import Lab, find_labs

Status = Literal["runs", "runs smaller", "recorded", "not here"]

MODEL_BYTES = 98_362_432

PATIENCE_MINUTES = 20.0
"""Where the standard profile takes longer than this, a lab runs smaller: with quick only."""

_REFERENCE = {
    "how": "recorded",
    "machine": "AMD EPYC, 2 cores, 23.5 GiB, Linux (09cf3a35)",
    "versions": {"llama-cpp-python": "0.3.36"},
    "date": "2026-11-22",
}
REFERENCE_DECODE = Measurement(tiers.DEFAULT_MODEL, "decode speed", 115.0, "tokens/s", **_REFERENCE)
REFERENCE_BANDWIDTH = Measurement("memory", "read bandwidth", 31.0e9, "bytes/s", **_REFERENCE)
"""Speeds of the machine on which the minutes in the labs' metadata were taken."""

_REFERENCE_CORES = 2
_ONE_CORE_PENALTY = 0.2
"""How much longer a lab takes on one core than on two, as a share; writing tokens does not show it,
for that waits for memory. Recorded on 2026-11-22 with eight labs in a pod of one CPU: the longer of
their CPU time and of their time on two idle cores is, on average, 1.2 times the latter."""

_BANDWIDTH_BYTES = 2**29
"""Free memory below which reading memory is not timed: it takes half of that."""

CLOSE = 0.3
"""How far from what was measured an estimate may lie, as a share of it."""

CLOSE_SHARE = 0.75
"""Share of the estimates that have to be close for the doctor to be believed."""


@dataclass(frozen=True)
class LabCheck:
    """What one lab does here.

    It `runs`, it `runs smaller` (only its quick profile is worth waiting for), it shows what was
    `recorded` elsewhere for what it cannot measure here, or it is `not here`: it does not run at
    all. `why` says so in a sentence or two. `minutes` is the machine's time for the quick profile,
    the making of environments included, or for what is left of it beside what was recorded; None
    where the lab does not run.
    """

    lab: str
    status: Status
    why: str
    minutes: float | None

    @property
    def minutes_in_words(self) -> str:
        """The minutes to a tenth, as they are printed, or "-" where there are none."""
        return "-" if self.minutes is None else f"{self.minutes:.1f}"


@dataclass(frozen=True)
class Facts:
    """What the answer depends on.

    `memory_bytes` and `disk_bytes` are free now, the latter where the cache is; `cores` are those
    that may be used at once; `engines` are those that run here, environments among them, and
    `models` those here already; `download_bytes` is what the model still needs there,
    `environment_bytes` what each environment that is not ready needs; `engine_problems` and
    `server_problems` say of each engine and server that cannot run why; `slowness` is this
    machine's time divided by the reference machine's, and `pace` says in a sentence how that was
    found. `features` are the processor's instructions that make engines faster, for information
    only: where a server cannot do without one, that is among its problems.
    """

    memory_bytes: int
    disk_bytes: int
    download_bytes: int
    environment_bytes: dict[str, int]
    engine_problems: dict[str, str]
    server_problems: dict[str, str]
    slowness: float
    pace: str
    cores: int
    features: tuple[str, ...]
    engines: tuple[str, ...]
    models: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            (
                f"{self.cores} {'core' if self.cores == 1 else 'cores'}, "
                f"{self.memory_bytes / 1e9:.1f} GB of memory and {self.disk_bytes / 1e9:.0f} GB of "
                f"disk are free; its processor has {', '.join(self.features) or 'nothing extra'}.",
                f"Engines and environments that run: {', '.join(self.engines) or 'none'}.",
                f"Models that are here: {', '.join(self.models) or 'none'}.",
                self.pace,
            )
        )


@dataclass(frozen=True)
class Comparison:
    """An estimate beside what a run of the lab took, both in minutes."""

    lab: str
    estimated: float
    measured: float

    @property
    def is_close(self) -> bool:
        """Whether the estimate lies within `CLOSE` of what was measured."""
        return abs(self.estimated - self.measured) <= CLOSE * self.measured


def doctor(facts: Facts | None = None, labs: Sequence[Lab] | None = None) -> list[LabCheck]:
    """Return whether and how each lab runs here; looks at this machine and the course's labs."""
    facts = facts or look()
    return [_check(lab, facts) for lab in (find_labs() if labs is None else labs)]


def report() -> dict[str, Any]:
    """Return the machine and every check as plain data: what `slmlab doctor --json` prints."""
    here, facts = machine.this_machine(), look()
    return {
        "machine": {**asdict(here), "fingerprint": here.fingerprint, "free": asdict(facts)},
        "labs": [asdict(check) for check in doctor(facts)],
    }


def against(report: Path, checks: Sequence[LabCheck]) -> list[Comparison]:
    """Compare estimates with what the labs took whose executed notebooks are in a report's folder.

    Those that passed with the quick profile count, and that the doctor had an estimate of. Where
    the run made an environment, that took its time, and is in no estimate made afterwards. Raises
    `UsageError` where there are none.
    """
    minutes = {check.lab: check.minutes for check in checks if check.minutes}
    took = {path.stem: _minutes(path) for path in sorted(report.glob("*.ipynb"))}
    found = [Comparison(lab, minutes[lab], took[lab]) for lab in minutes if took.get(lab)]
    if not found:
        raise UsageError(
            f"{report} has no labs that ran here with the quick profile; run `slmlab run` first."
        )
    return found


def is_reliable(found: Sequence[Comparison]) -> bool:
    """Return whether at least `CLOSE_SHARE` of the estimates are close."""
    return sum(one.is_close for one in found) >= CLOSE_SHARE * len(found)


def _minutes(executed: Path) -> float | None:
    """Return the minutes of an executed notebook; None unless it passed with the quick profile."""
    try:
        about = from_json(executed.read_text("utf-8"))["metadata"].get("papermill", {})
        passed = about.get("exception") is None and about.get("duration")
        quick = about.get("parameters", {}).get("profile") == "quick"
        return about["duration"] / 60 if passed and quick else None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None  # damaged


def look() -> Facts:
    """Find out what matters about this machine, in seconds."""
    here, model = machine.this_machine(), cached(tiers.DEFAULT_MODEL)
    rows = engines.overview()
    lacking = {row["name"]: row["why_not"] for row in rows if not row["runs"]}
    slowness, pace = _slowness(model.path if model and "llama_cpp" not in lacking else None)
    return Facts(
        memory_bytes=machine.available_memory_bytes(),
        disk_bytes=free_bytes(cache_path()),
        download_bytes=0 if model else MODEL_BYTES,
        environment_bytes={
            name: recipe.bytes for name, recipe in environments.RECIPES.items() if name in lacking
        },
        engine_problems={name: why for name, why in lacking.items() if name in engines.NAMES},
        server_problems=_server_problems(),
        slowness=slowness,
        pace=pace,
        cores=here.cores,
        features=here.features,
        engines=tuple(row["name"] for row in rows if row["runs"]),
        models=tuple(filter(is_here, tiers.cards())),
    )


def _server_problems() -> dict[str, str]:
    found = {name: deployment.why_not(name) for name in deployment.NAMES}
    found["browser"] = chromium.why_not()
    return {name: why for name, why in found.items() if why}


def _check(lab: Lab, facts: Facts) -> LabCheck:
    if obstacle := _obstacle(lab, facts):
        if not lab.has_recorded:
            return LabCheck(lab.name, "not here", obstacle, None)
        left = lab.minutes["recorded"] * facts.slowness
        return LabCheck(lab.name, "recorded", obstacle, left)
    quick = lab.minutes["quick"] * facts.slowness + _making_minutes(lab, facts)
    standard = lab.minutes["standard"] * facts.slowness
    first = _what_comes_first(lab, facts)
    if standard > PATIENCE_MINUTES:
        why = f"The standard profile would take about {standard:.0f} minutes; keep to quick."
        return LabCheck(lab.name, "runs smaller", f"{why} {first}".rstrip(), quick)
    here = f"Everything it needs is here; the standard profile takes about {standard:.1f} minutes."
    return LabCheck(lab.name, "runs", first or here, quick)


def _what_comes_first(lab: Lab, facts: Facts) -> str:
    """Return in a sentence what a lab brings here before it begins; empty where that is nothing."""
    parts = [f"{what}, {bytes / 1e6:,.0f} MB" for what, bytes in _missing(lab, facts).items()]
    making = _making_minutes(lab, facts)
    long = f"; about {making:.0f} of its minutes go into making that environment" if making else ""
    return f"It first fetches {' and '.join(parts)}{long}." if parts else ""


def _making_minutes(lab: Lab, facts: Facts) -> float:
    """Return what making the environments takes that a lab needs and that are not ready.

    It is the network's time more than the machine's, so slowness does not count.
    """
    missing = facts.environment_bytes.keys() & set(lab.needs_environments)
    return sum(environments.RECIPES[name].minutes for name in missing)


def _missing(lab: Lab, facts: Facts) -> dict[str, int]:
    """Return the bytes of whatever a lab still has to bring here, by what it is."""
    needed = {
        f"the {name} environment": facts.environment_bytes.get(name, 0)
        for name in lab.needs_environments
    }
    if lab.needs_model:
        needed = {"the model": facts.download_bytes} | needed
    return {what: bytes for what, bytes in needed.items() if bytes}


def _obstacle(lab: Lab, facts: Facts) -> str | None:
    """Return in one sentence what keeps a lab from running here, or None."""
    if facts.memory_bytes < lab.memory_bytes:
        return (
            f"It needs {lab.memory_bytes / 1e9:.1f} GB of free memory and "
            f"{facts.memory_bytes / 1e9:.1f} GB is free; close other programs."
        )
    for engine in (*["llama_cpp"] * lab.needs_model, *lab.needs_engines):
        if engine in facts.engine_problems:
            return f"It runs a model, but {facts.engine_problems[engine]}."
    for server in lab.needs_servers:
        if server in facts.server_problems:
            return facts.server_problems[server]
    written = _missing(lab, facts) | {"what it makes": lab.disk_bytes}
    needed = sum(written.values())
    if facts.disk_bytes < needed:
        what = " and ".join(name for name, size in written.items() if size)
        return (
            f"It needs {needed / 1e6:,.0f} MB of disk for {what}, and "
            f"{facts.disk_bytes / 1e6:,.0f} MB is free; make room, or point SLMLAB_CACHE elsewhere."
        )
    return None


def _slowness(model: Path | None) -> tuple[float, str]:
    """Return this machine's time over the reference machine's, and how it was found."""
    try:
        ratio, pace = _writing(model) if model else _reading()
    except NotPossibleHere as problem:
        return 1.0, f"Minutes are those of the reference machine, untested: {problem}"
    alone = 1 + _ONE_CORE_PENALTY * max(0, _REFERENCE_CORES / machine.usable_threads() - 1)
    if alone > 1:
        pace += f" With one core, a lab takes {alone:.1f} times as long as with two."
    return alone * ratio, pace


def _writing(model: Path) -> tuple[float, str]:
    with llama_cpp.load(model, context=64) as engine:
        tries = [engine.generate("One, two, three, four,", max_tokens=24) for _ in range(3)]
    rate = max(generation.decode_tokens_per_second for generation in tries)
    return REFERENCE_DECODE.value / rate, (
        f"Minutes are scaled by how fast the model writes: {rate:.0f} tokens per second here, "
        f"{REFERENCE_DECODE.value:.0f} on the reference machine."
    )


def _reading() -> tuple[float, str]:
    machine.check_memory(_BANDWIDTH_BYTES, "Timing how fast memory is read")
    rate = machine.read_bandwidth()
    return REFERENCE_BANDWIDTH.value / rate, (
        f"Minutes are scaled by how fast memory is read: {rate / 1e9:.1f} GB/s here, "
        f"{REFERENCE_BANDWIDTH.value / 1e9:.1f} GB/s on the reference machine."
    )
