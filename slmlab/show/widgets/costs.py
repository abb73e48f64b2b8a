"""What any model takes in memory and gives in speed, on this machine or on another device."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

from slmlab import machine, selection, show, tiers
from slmlab.errors import UsageError
from slmlab.measurement import Estimate, estimate
from slmlab.measurement.words import quantity
from slmlab.quantization import QUANTIZATIONS
from slmlab.show import COLOURS
from slmlab.show.widgets.panel import (
    MOST_TOKENS,
    Panel,
    View,
    dropdown,
    number,
    picture,
    sentence,
    table,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = "this machine"


@dataclass(frozen=True)
class _Device:
    """A machine with its memory in bytes and its bandwidth in bytes per second."""

    machine: machine.Machine
    memory_bytes: float
    bandwidth: float


def calculator(model: str = tiers.DEFAULT_MODEL) -> Panel:
    """Return a widget that estimates memory and speed of a model before it is downloaded.

    Raises `UnknownModel` where no card has this name.
    """
    tiers.card(model)
    titles = [(card.title, card.name) for card in tiers.cards().values()]
    controls = [
        dropdown("Model", titles, model, "Any model card"),
        dropdown("Quantisation", QUANTIZATIONS, "Q4_0", "How the weights are stored"),
        number("Context, tokens", 2048, 1, MOST_TOKENS, "Question and answer together"),
        dropdown("Device", devices(), HERE, "Whose memory and bandwidth to reckon with"),
    ]
    panel = Panel("Memory and speed calculator", controls)
    panel.follow(controls, cost_view)
    return panel


def cost_view(model: str, quant: str = "Q4_0", context: int = 2048, device: str = HERE) -> View:
    """Return memory and speed of a model in one quantisation, all computed.

    `context` is in tokens; `device` is one of `devices`. Raises `UsageError` for an unknown model,
    quantisation or device.
    """
    if device not in devices():
        raise UsageError(f"There is no device {device!r}; choose {', '.join(devices())}.")
    card, chosen = tiers.card(model), devices()[device]
    found = estimate(card, quant, context, chosen.machine, chosen.bandwidth)
    cache_bytes = tiers.kv_cache_bytes(card.architecture, context)
    parts = {
        "model file": found.file_bytes,
        "KV cache": cache_bytes,
        "program and copies": found.peak_memory_bytes - found.file_bytes - cache_bytes,
    }
    name = f"{card.title} in {quant}"
    verdict = _verdict(name, found, chosen.memory_bytes, device)
    words = ", ".join(f"{part} {quantity(size, 'bytes')}" for part, size in parts.items())
    limit = f"against {quantity(chosen.memory_bytes, 'bytes')} of {device}"
    drawn = picture(_bar(name, parts, chosen.memory_bytes, device), f"One bar, {limit}: {words}.")
    numbers = parts | {"peak memory": found.peak_memory_bytes}
    rows = {part: quantity(size, "bytes") for part, size in numbers.items()}
    rows["decode speed, at the start"] = quantity(found.decode_tokens_per_second, "tokens/s")
    listed = [{"quantity": part, "value": said, "how": "computed"} for part, said in rows.items()]
    view = sentence(verdict) + drawn + table(pd.DataFrame(listed), f"What {name} takes")
    if context > card.context:
        view += sentence(f"It was made for at most {card.context:,} tokens of context.")
    return view


@cache
def devices() -> dict[str, _Device]:
    """Return this machine and the devices of the course's briefs, by title.

    Browsers are left out: what a page reaches is no estimate from bandwidth.
    """
    here = machine.this_machine()
    others = {brief.device.title: brief.device for brief in selection.briefs().values()}
    return {HERE: _Device(here, here.memory_bytes, machine.read_bandwidth())} | {
        title: _Device(device.machine, device.memory_bytes, device.bandwidth)
        for title, device in others.items()
        if device.kind != "browser"
    }


def _verdict(name: str, found: Estimate, memory: float, device: str) -> str:
    peak = found.peak_memory_bytes
    fits = "fits" if peak <= memory else "does not fit"
    speed = f" and writes about {found.decode_tokens_per_second:.1f} tokens per second"
    return (
        f"{name} takes {quantity(peak, 'bytes')} of the {quantity(memory, 'bytes')} of {device}: "
        f"it {fits}{speed if peak <= memory else ''}."
    )


def _bar(name: str, parts: dict[str, float], memory: float, device: str) -> "Figure":
    """Draw the parts in bytes as one bar, and the device's memory as a line where it is near."""
    figure, ax = show.axes(f"Memory of {name}", "memory (GB)", height=2.4)
    left = 0.0
    for (part, size), colour in zip(parts.items(), ("blue", "orange", "sky"), strict=True):
        ax.barh(0, size / 1e9, left=left, color=COLOURS[colour], label=part)
        left += size / 1e9
    right = max(1.1 * left, min(1.1 * memory / 1e9, 4 * left))
    far = ", far to the right" if memory / 1e9 > right else ""
    label = f"{device}: {quantity(memory, 'bytes')}{far}"
    ax.axvline(memory / 1e9, linestyle="--", color=COLOURS["vermilion"], label=label)
    ax.set_xlim(0, right)
    ax.set_yticks([])
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
