"""What is left out and why, what ranks first, and what would change it."""

from dataclasses import replace

import pytest

from slmlab.errors import UsageError
from slmlab.selection import Brief, Choice, Device, brief, briefs, choose, decide, this_device
from slmlab.selection.candidates import FRAMEWORKS, Evidence, candidates
from slmlab.selection.choosing import alterations
from slmlab.tiers import card, kv_cache_bytes

ROOMY = Device("a large computer", "nvidia", 80e9, 1000e9, 100e12, 16)
ANYTHING = Brief("any", "Anything", "anything", ROOMY)
NONE = Evidence.of([])


def named(brief: Brief, model: str, quantization: str, framework: str = "llama.cpp"):
    found = candidates(replace(brief, models=(model,)), NONE)
    return next(
        one for one in found if (one.quantization, one.framework.name) == (quantization, framework)
    )


@pytest.mark.parametrize("name", briefs())
def test_every_choice_keeps_every_requirement_of_its_brief(name):
    one = brief(name)
    for choice in choose(one):
        model = card(choice.model)
        assert choice.peak_memory_bytes <= one.device.memory_bytes
        assert choice.decode_tokens_per_second >= one.tokens_per_second
        assert choice.seconds_to_first_token <= one.first_token_seconds
        assert choice.score >= one.quality_floor
        assert model.context >= one.context
        assert "multilingual" in model.languages or set(one.languages) <= set(model.languages)
        assert model.licence in ("Apache-2.0", "MIT") or not one.open_licence
        assert one.device.kind in FRAMEWORKS[choice.framework].kinds


@pytest.mark.parametrize("name", briefs())
def test_whoever_is_left_out_breaks_a_requirement_and_a_sentence_says_which(name):
    decision = decide(brief(name))
    assert decision.excluded
    for one in decision.excluded:
        assert one.broken
        assert all(sentence.endswith(".") for sentence in one.broken.values())


def test_nothing_is_lost_between_choices_and_excluded():
    decision = decide(brief("office"))
    total = sum(1 for _ in candidates(brief("office"), NONE))
    assert len(decision.choices) + len(decision.excluded) == total


@pytest.mark.parametrize("name", ["kiosk", "gateway"])
def test_some_briefs_have_no_answer(name):
    decision = decide(brief(name))
    assert decision.best is None
    assert decision.would_change
    with pytest.raises(UsageError, match=decision.would_change[0][:20]):
        decision.answer()


def test_the_same_brief_and_measurements_give_the_same_choices(measuring):
    rows = measuring(0.9)
    assert choose(brief("phone"), rows) == choose(brief("phone"), rows)


def test_ranks_count_from_one_and_points_fall():
    choices = choose(ANYTHING)
    assert [choice.rank for choice in choices] == list(range(1, len(choices) + 1))
    points = [-1 if choice.score is None else round(choice.score) for choice in choices]
    assert points == sorted(points, reverse=True)


def test_among_equal_points_the_least_memory_comes_first():
    decision = decide(replace(ANYTHING, models=("smollm3-3b",)))
    memory = [choice.peak_memory_bytes for choice in decision.choices if round(choice.score) == 77]
    assert len(memory) > 1
    assert memory == sorted(memory)


def test_a_model_of_which_nothing_is_published_ranks_last_and_fails_any_floor():
    unknown = replace(ANYTHING, models=("qwen3-0.6b", "llama-3-8b"))
    assert choose(unknown)[-1].model == "llama-3-8b"
    assert choose(unknown)[-1].quality is None
    decision = decide(replace(unknown, quality_floor=1))
    assert "no published IFEval" in " ".join(decision.why_not("llama-3-8b"))


def test_every_reason_with_a_number_says_how_it_was_got():
    for choice in choose(brief("laptop"))[:5]:
        for reason in choice.reasons[:-1]:
            assert "computed" in reason or "published" in reason, reason


def test_every_number_says_how_it_was_got():
    choice = choose(brief("phone"))[0]
    assert isinstance(choice, Choice)
    assert {row.quantity for row in choice.numbers} >= {"file", "peak memory", "decode speed"}
    assert all(row.how in ("computed", "published") for row in choice.numbers)
    assert choice.quality.source


def test_what_would_change_is_what_deciding_again_gives():
    one = brief("classroom")
    others = alterations(one)
    best = decide(one).best
    for change, other in others.items():
        winner = decide(other).best
        told = [line for line in decide(one).would_change if line.startswith(f"With {change}:")]
        assert bool(told) == (str(winner) != str(best)), change
        if told:
            assert str(winner or "nothing is left") in told[0]


def test_a_later_choice_says_what_would_make_it_first():
    decision = decide(brief("workstation"))
    told = [choice for choice in decision.choices[1:] if choice.would_change]
    assert any("open licences only" in line for choice in told for line in choice.would_change)


def test_twice_the_context_takes_exactly_its_keys_and_values_more():
    short, long = (
        named(replace(ANYTHING, context=context), "qwen3-4b", "Q8_0").memory.value
        for context in (8192, 16384)
    )
    assert long - short == 36 * 2 * 8 * 128 * 2 * 8192


def test_each_user_has_keys_and_values_of_his_own():
    one, three = (
        named(replace(ANYTHING, users=users), "qwen3-4b", "Q8_0").memory.value for users in (1, 3)
    )
    assert three - one == 2 * kv_cache_bytes(card("qwen3-4b").architecture, ANYTHING.context)


def test_one_after_another_shares_the_speed_and_together_loses_little():
    alone, ten = ANYTHING, replace(ANYTHING, users=10)
    after = [named(one, "qwen3-4b", "F16").decode.value for one in (alone, ten)]
    together = [named(one, "qwen3-4b", "bfloat16", "vllm").decode.value for one in (alone, ten)]
    assert after[1] == pytest.approx(after[0] / 10)
    assert together[0] / 2 < together[1] < together[0]


def test_together_reads_the_keys_and_values_of_every_full_conversation():
    one, users = card("qwen3-4b"), 10
    alone, ten = (
        named(replace(ANYTHING, users=n), "qwen3-4b", "bfloat16", "vllm").decode for n in (1, users)
    )
    operations = (users - 1) * 2 * one.parameters / ROOMY.operations
    reading = users * kv_cache_bytes(one.architecture, ANYTHING.context) / ROOMY.bandwidth
    assert 1 / ten.value - 1 / alone.value == pytest.approx(operations + reading)
    assert "full conversations" in ten.conditions["by"]


def test_the_first_token_of_many_users_waits_for_all_their_prompts():
    one, ten = (named(replace(ANYTHING, users=n), "qwen3-4b", "Q8_0") for n in (1, 10))
    assert ten.first_token.value == pytest.approx(10 * one.first_token.value)
    assert ten.first_token.conditions["users"] == 10


@pytest.mark.parametrize(
    ("quantization", "share"), [("Q8_0", 21.57 / 96.79), ("Q4_0", 12.51 / 112)]
)
def test_a_page_is_compared_with_llama_cpp_in_the_same_form_and_threads(quantization, share):
    page = named(
        replace(ANYTHING, device=brief("kiosk").device), "qwen3-0.6b", quantization, "wllama"
    )
    assert f"x {share:.2f}, wllama over llama.cpp" in page.decode.conditions["by"]


def test_a_form_that_no_page_was_recorded_with_gets_the_median():
    device = brief("kiosk").device
    ways = [
        named(replace(ANYTHING, device=device), "qwen3-0.6b", name, "wllama").decode
        for name in ("Q4_0", "Q5_1", "Q8_0")
    ]
    low, middle, high = (
        float(way.conditions["by"].rpartition("x ")[2].split(",")[0]) for way in ways
    )
    assert middle == pytest.approx((low + high) / 2, abs=0.01)


def test_what_was_never_rounded_says_so_and_what_was_not_measured_too():
    assert named(ANYTHING, "qwen3-4b", "F16").loss.conditions["by"] == "16 bits: nothing is rounded"
    ternary = named(ANYTHING, "bitnet-b1.58-2b-4t", "TQ2_0").loss
    assert "was not measured" in ternary.conditions["by"]


def test_a_reason_names_publisher_and_protocol():
    assert "tables 16, 18 and 20; strict prompt" in decide(brief("phone")).best.reasons[0]


def test_a_model_trained_in_three_values_comes_in_no_other_few_bits():
    one = replace(ANYTHING, models=("bitnet-b1.58-2b-4t",), device=brief("phone").device)
    assert {choice.quantization for choice in choose(one)} <= {"TQ2_0", "F16", "bfloat16"}


def test_a_page_loads_no_file_above_its_limit():
    kiosk = brief("kiosk")
    big = replace(kiosk, device=replace(kiosk.device, memory_bytes=64e9))
    [sentence] = {
        one.broken["memory"].partition(" of ")[0]
        for one in decide(big).excluded
        if "memory" in one.broken
    }
    assert sentence == "Its file"


def test_what_was_measured_here_scales_the_estimates_for_processors(measuring):
    rows, office = measuring(0.8), brief("office")
    plain = next(candidates(replace(office, models=("qwen3-4b",)), NONE))
    scaled = next(candidates(replace(office, models=("qwen3-4b",)), Evidence.of(rows)))
    assert scaled.decode.value == pytest.approx(0.8 * plain.decode.value, rel=0.01)
    assert "measured over estimated" in scaled.decode.conditions["by"]


def test_it_scales_nothing_on_graphics_processors(measuring):
    one = replace(ANYTHING, models=("qwen3-4b",))
    assert choose(one)[0].decode_tokens_per_second == pytest.approx(
        choose(one, measuring(0.8))[0].decode_tokens_per_second
    )


@pytest.mark.parametrize("share", [0.03, 5.0])
def test_ratios_that_tell_of_a_busy_machine_are_not_used(measuring, share):
    assert Evidence.of(measuring(share)).reached("Q8_0") is None
    assert Evidence.of(measuring(1.0, Q4_0=share)).reached("Q8_0") is None


def test_a_form_that_was_not_measured_gets_the_median(measuring):
    reached = Evidence.of(measuring(0.9, Q4_0=0.7)).reached
    assert reached("Q4_K_M") == pytest.approx(0.9, rel=0.01)
    assert reached("Q4_0") == pytest.approx(0.7, rel=0.01)


def test_numbers_from_another_machine_count_for_nothing(measuring):
    elsewhere = [replace(row, machine="another") for row in measuring(0.8)]
    assert choose(brief("office"), elsewhere) == choose(brief("office"))


def test_quantising_costs_a_small_model_what_was_measured_and_a_large_one_what_is_published(
    measuring,
):
    evidence = Evidence.of(measuring())

    def loss(model):
        found = candidates(replace(ANYTHING, models=(model,)), evidence)
        return next(one.loss for one in found if one.quantization == "Q4_0")

    assert loss("smollm2-135m-instruct").value == pytest.approx(14.3 / 11.6)
    assert loss("qwen3-14b").value == pytest.approx(6.700147 / 6.233160)
    assert loss("qwen3-14b").value < loss("qwen3-0.6b").value < 14.3 / 11.6
    assert "published for Llama 3 8B" in loss("qwen3-0.6b").conditions["by"]


def test_without_a_measurement_the_published_loss_stands_for_all():
    small = named(ANYTHING, "smollm2-135m-instruct", "Q4_0").loss
    assert small.how == "published"


def test_on_this_machine_the_measured_model_has_its_measured_speed(measuring):
    rows = measuring(0.9)
    mine = Brief(
        "mine", "Mine", "a test", this_device(rows), models=("smollm2-135m-instruct",), context=512
    )
    best = decide(mine, rows).best
    speed = next(
        row.value
        for row in rows
        if (row.subject, row.quantity) == (f"llama_cpp {best.quantization}", "decode speed")
    )
    assert best.decode_tokens_per_second == speed
    assert any("(measured: on this machine)" in reason for reason in best.reasons)


def test_a_speed_that_was_measured_is_not_called_computed(measuring):
    rows = measuring(0.9)
    mine = Brief("mine", "Mine", "a test", this_device(rows), tokens_per_second=1e6)
    decision = decide(replace(mine, models=("smollm2-135m-instruct",)), rows)
    said = {one.quantization: one.broken["speed"] for one in decision.excluded}
    assert "(measured)" in said["Q8_0"]
    assert "(computed)" in said["Q4_K_M"]


def test_what_the_lab_says_of_the_kiosk_and_the_workstation_is_so():
    page = decide(brief("kiosk"))
    assert not any("a program" in sentence for sentence in page.would_change)
    best = decide(brief("workstation")).best
    assert best.model == "gemma-3-4b"
    assert "by Google" in best.quality.conditions["protocol"]


def test_what_the_lab_and_its_questions_say_of_the_classroom_is_so(measuring):
    for rows in ([], measuring(0.8)):
        decision = decide(brief("classroom"), rows)
        changing = " ".join(decision.would_change)
        assert next(iter(decision.broken())) == "speed"
        assert "With any licence" in changing
        assert "half the speed" not in changing
        assert decision.best.framework == "vllm"
