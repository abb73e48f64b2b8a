"""Models by tier and size: how many parameters each has, and how many bytes in each type."""

from typing import Any, get_args

import pandas as pd

from slmlab import tiers
from slmlab.errors import UsageError
from slmlab.measurement.words import quantity
from slmlab.quantization import file_bytes
from slmlab.show import quantization as pictures
from slmlab.show.widgets.panel import (
    Panel,
    View,
    dropdown,
    number,
    picture,
    sentence,
    table,
)

TIERS = ("any", *get_args(tiers.Tier))
_TYPES = ("F16", "Q8_0", "Q6_K", "Q5_1", "Q4_K_M", "Q4_0", "Q2_K")
_LARGEST = tiers.BOUNDS[-1] / 1e9  # billion parameters


def tier_explorer(model: str = tiers.DEFAULT_MODEL) -> Panel:
    """Return a widget to choose a model by tier and size, and to see what it holds.

    Raises `UnknownModel` where no card has this name.
    """
    tiers.card(model)
    tier = dropdown("Tier", TIERS, "any", "Show the models of one tier, or of all")
    billions = number(
        "At most, billion parameters", _LARGEST, 0.1, _LARGEST, "Leave out larger models"
    )
    chosen = dropdown("Model", _names("any", _LARGEST).items(), model, "The model to look into")

    panel = Panel("Tier explorer", [tier, billions, chosen])

    def draw(_change: Any = None) -> None:
        panel.draw(tier_view, tier.value, billions.value, chosen.value)

    def narrow(_change: Any) -> None:
        before, names = chosen.value, _names(tier.value, billions.value)
        chosen.unobserve(draw, "value")  # new options select the first: draw once, at the end
        chosen.options = list(names.items())
        chosen.value = before if before in names.values() else next(iter(names.values()), None)
        chosen.observe(draw, "value")
        draw()

    tier.observe(narrow, "value")
    billions.observe(narrow, "value")
    chosen.observe(draw, "value")
    draw()
    return panel


def tier_view(tier: str = "any", billions: float = _LARGEST, model: str | None = None) -> View:
    """Return how many models a tier has up to a size, and what one of them holds.

    Without `model` that is the smallest. Raises `UsageError` where there is none, or `model` is not
    among them.
    """
    found = matching(tier, billions)
    if not found:
        raise UsageError(
            f"No model card of tier {tier!r} has at most {billions:g} billion parameters; "
            f"choose another tier or a larger number."
        )
    card = tiers.card(model) if model else found[0]
    if card not in found:
        raise UsageError(
            f"{card.title} is no model of tier {tier!r} with at most {billions:g} billion "
            f"parameters; choose one of those, or another tier or size."
        )
    first, last = found[0].title, found[-1].title
    count = f"1 model: {first}." if len(found) == 1 else f"{len(found)} models, {first} to {last}."
    return sentence(count) + _inside(card)


def matching(tier: str, billions: float) -> list[tiers.ModelCard]:
    """Return the cards of a tier with at most so many billion parameters, smallest first."""
    return [
        card
        for card in tiers.cards().values()
        if tier in ("any", tiers.tier(card.parameters)) and card.parameters <= 1e9 * billions
    ]


def _names(tier: str, billions: float) -> dict[str, str]:
    """Return the names of the matching cards by their titles."""
    return {card.title: card.name for card in matching(tier, billions)}


def _inside(card: tiers.ModelCard) -> View:
    a, parts = card.architecture, tiers.breakdown(card.architecture)
    sizes = {quant: file_bytes(card, quant) for quant in _TYPES}
    rows = [
        {
            "type": quant,
            "file": quantity(size, "bytes"),
            "bits per weight": f"{8 * size / card.parameters:.2f}",
            "how": "computed",
        }
        for quant, size in sizes.items()
    ]
    about = sentence(
        f"{card.title}: {card.parameters:,} parameters (published), tier "
        f"{tiers.tier(card.parameters) or 'none'}, {a.layers} layers, hidden size {a.hidden:,}, "
        f"vocabulary {a.vocabulary:,}; {parts['embedding'] / sum(parts.values()):.0%} of the "
        f"parameters are in the embedding. Licence {card.licence}."
    )
    words = ", ".join(f"{quant} {quantity(size, 'bytes')}" for quant, size in sizes.items())
    drawn = picture(pictures.sizes(sizes), f"Computed file sizes of {card.title}: {words}.")
    return about + drawn + table(pd.DataFrame(rows), f"Bytes of {card.title} in each type")
