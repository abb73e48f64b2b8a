"""The explorers and the calculator: what they show is what the package computes or was given."""

import pytest

from slmlab import machine, tiers
from slmlab.errors import UnknownModel, UsageError
from slmlab.measurement import estimate
from slmlab.measurement.words import quantity
from slmlab.quantization import file_bytes
from slmlab.show.widgets import (
    Form,
    calculator,
    costs,
    form_view,
    quantization_explorer,
    tier_explorer,
)
from slmlab.show.widgets.costs import HERE, cost_view, devices
from slmlab.show.widgets.tiers import matching, tier_view

MODEL = "qwen3-0.6b"
FORMS = {
    "F16": Form(271_000_000, 11.6, 0.4, 117.0, 3.0, "The sky is blue because of air."),
    "Q8_0": Form(145_000_000, 11.7, 0.4, 135.0, 2.0, "The sky is blue because of air."),
    "Q4_0": Form(92_000_000, 14.3, 0.5, 181.0, 5.0, "The sky is a <blue> thing."),
}


@pytest.fixture(autouse=True)
def bandwidth(monkeypatch):
    """A machine whose memory reads 30 GB/s, so that nothing has to be measured."""
    for module in ("slmlab.machine", "slmlab.show.widgets.quantization"):
        monkeypatch.setattr(f"{module}.read_bandwidth", lambda: 30e9)
    devices.cache_clear()
    yield
    devices.cache_clear()


def controls(panel):
    return {control.description: control for control in panel.children[1].children}


def test_a_tier_narrows_the_models_to_choose_from():
    panel = tier_explorer(MODEL)
    fields = controls(panel)
    fields["Tier"].value = "small"
    offered = [tiers.card(name) for _, name in fields["Model"].options]
    assert offered == matching("small", 30)
    assert {tiers.tier(card.parameters) for card in offered} == {"small"}
    assert offered[0].title in panel.view.text


def test_every_tier_that_there_is_can_be_chosen():
    offered = controls(tier_explorer(MODEL))["Tier"].options
    assert offered == ("any", *map(tiers.tier, tiers.BOUNDS[:-1]))


def test_a_model_that_still_matches_stays_chosen():
    fields = controls(tier_explorer(MODEL))
    fields["At most, billion parameters"].value = 1.0
    assert fields["Model"].value == MODEL
    fields["Tier"].value = "micro"
    assert fields["Model"].value == MODEL


def test_no_model_so_small_is_a_sentence_and_not_a_traceback():
    panel = tier_explorer(MODEL)
    fields = controls(panel)
    fields["Tier"].value = "medium"
    fields["At most, billion parameters"].value = 0.5
    assert "choose another tier" in panel.view.text
    fields["At most, billion parameters"].value = 30
    assert "parameters (published)" in panel.view.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Tier", "small"),  # another model is chosen
        ("Tier", "micro"),  # the same one stays
        ("At most, billion parameters", 1.0),
        ("At most, billion parameters", 0.1),  # none is left
        ("Model", "llama-3-8b"),
    ],
)
def test_one_change_draws_once(field, value):
    panel = tier_explorer(MODEL)
    drawn = []
    panel.show = drawn.append
    controls(panel)[field].value = value
    assert len(drawn) == 1


def test_without_a_model_the_smallest_is_shown():
    smallest = matching("small", 30)[0]
    assert tier_view("small") == tier_view("small", 30, smallest.name)


def test_a_model_that_is_not_among_those_counted_is_an_error_in_the_plain_call():
    with pytest.raises(UsageError, match="Llama 3 8B Instruct is no model of tier 'micro'"):
        tier_view("micro", 30, "llama-3-8b")
    with pytest.raises(UsageError, match=r"with at most 0\.2 billion parameters; choose"):
        tier_view("any", 0.2, MODEL)


def test_parameters_and_bytes_per_type_are_those_of_the_card():
    card, view = tiers.card(MODEL), tier_view("any", 30, MODEL)
    assert f"{card.parameters:,} parameters" in view.text
    for quant in ("F16", "Q4_0"):
        assert quantity(file_bytes(card, quant), "bytes") in view.text
    assert "alt=" in view.html


def test_the_plain_call_gives_the_same_view():
    panel = tier_explorer(MODEL)
    assert panel.view == tier_view("any", 30.0, MODEL)
    panel = calculator(MODEL)
    assert panel.view == cost_view(MODEL, "Q4_0", 2048)
    panel = quantization_explorer(FORMS)
    assert panel.view == form_view(FORMS, "Q4_0")


def test_costs_are_those_of_the_estimate():
    here = machine.this_machine()
    found = estimate(tiers.card(MODEL), "Q8_0", 4096, here, 30e9)
    view = cost_view(MODEL, "Q8_0", 4096)
    assert quantity(found.peak_memory_bytes, "bytes") in view.text
    assert quantity(found.decode_tokens_per_second, "tokens/s") in view.text


def test_another_device_has_its_own_memory_and_bandwidth():
    device = next(title for title in devices() if "300 are free" in title)
    assert "it does not fit" in cost_view(MODEL, "Q8_0", 4096, device).text
    assert "it fits" in cost_view("smollm2-135m-instruct", "Q4_0", 512, device).text
    assert HERE in devices() and not any("browser" in title for title in devices())


def test_a_context_beyond_what_a_model_was_made_for_is_said():
    panel = calculator("smollm2-135m-instruct")
    controls(panel)["Context, tokens"].value = 100_000
    assert "made for at most 8,192 tokens" in panel.view.text
    controls(panel)["Context, tokens"].value = 8192
    assert "made for at most" not in panel.view.text


def test_an_unknown_model_device_or_form_is_an_error_in_the_plain_call():
    with pytest.raises(UnknownModel):
        cost_view("no-such-model")
    with pytest.raises(UsageError, match="no device 'toaster'"):
        cost_view(MODEL, device="toaster")
    with pytest.raises(UsageError, match="was not measured"):
        form_view(FORMS, "Q5_1")
    for explorer in (tier_explorer, tier_view, calculator):
        with pytest.raises(UnknownModel):
            explorer(model="no-such-model")


def test_another_picture_or_no_form_at_all_is_an_error_in_the_plain_call():
    with pytest.raises(UsageError, match="no picture of 'qualty'; choose quality or speed"):
        form_view(FORMS, "Q4_0", against="qualty")
    with pytest.raises(UsageError, match="'Q4_0' was not measured; measure it first"):
        form_view({}, "Q4_0")
    with pytest.raises(UsageError, match="no measured file to show"):
        quantization_explorer({})


def test_a_selected_file_is_marked_and_read_beside_the_base():
    panel = quantization_explorer(FORMS)
    fields = controls(panel)
    assert fields["File"].value == "Q4_0"
    assert "The sky is a &lt;blue&gt; thing." in panel.view.html
    assert FORMS["F16"].text in panel.view.text
    assert "differ from word 4 on" in panel.view.text
    fields["File"].value = "Q8_0"
    assert "word for word" in panel.view.text
    assert "marked is Q8_0: 145 MB, perplexity 11.70, 135 tokens per second" in panel.view.text


def test_the_other_picture_draws_speed():
    panel = quantization_explorer(FORMS)
    before = panel.view.html
    controls(panel)["Picture"].value = "speed"
    assert "Size against speed" in panel.view.text
    assert panel.view.html != before


def test_every_number_of_a_form_is_in_the_table():
    text = form_view(FORMS, "Q4_0").text
    for said in ("92 MB", "14.30 ± 0.50", "181.0 ± 5.0", "measured"):
        assert said in text


def test_memory_parts_add_up_to_the_peak(monkeypatch):
    drawn = {}
    draw = costs._bar
    monkeypatch.setattr(
        costs, "_bar", lambda name, parts, *rest: drawn.update(parts) or draw(name, parts, *rest)
    )
    cost_view(MODEL, "Q4_0", 2048)
    peak = estimate(tiers.card(MODEL), "Q4_0", 2048, None, 30e9).peak_memory_bytes
    assert sum(drawn.values()) == peak
    assert min(drawn.values()) > 0
