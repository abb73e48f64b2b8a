"""Speed follows llama-bench, memory is a process of its own."""

import pytest

from slmlab import measurement
from slmlab.errors import InvalidModelFile, UsageError
from slmlab.measurement import memory, throughput


class Clocked:
    """Stands for an engine whose work is counted instead of done."""

    def __init__(self):
        self.calls = []

    def clear(self):
        self.calls.append("clear")


def test_one_run_warms_up_and_memory_is_cleared_before_each():
    engine = Clocked()
    seconds = throughput.repeat(3, engine, lambda: engine.calls.append("work"))
    assert len(seconds) == 3
    assert engine.calls == ["clear", "work"] * 4


def test_the_prompt_is_the_same_random_tokens_every_time():
    assert throughput.random_tokens(100, 8) == throughput.random_tokens(100, 8)
    assert len(set(throughput.random_tokens(49152, 100))) > 90


def test_speed_of_nothing_is_refused():
    with pytest.raises(UsageError, match="at least one"):
        measurement.clock(Clocked(), decode_tokens=0)


@pytest.mark.slow
def test_speed_reports_rates_spread_and_conditions(smollm2):
    made = measurement.speed(smollm2, prompt_tokens=32, decode_tokens=4, repetitions=2)
    assert made.prompt_tokens_per_second > 0 < made.decode_tokens_per_second
    fastest = 32 / (made.prompt_tokens_per_second + made.prompt_spread)
    assert made.seconds_to_first_token > fastest
    assert (made.prompt_tokens, made.decode_tokens, made.repetitions) == (32, 4, 2)


@pytest.mark.slow
def test_peak_memory_holds_the_file_and_grows_with_the_context(smollm2):
    small = measurement.peak_memory(smollm2, context=64)
    large = measurement.peak_memory(smollm2, context=4096)
    kv_cache = (4096 - 64) * 2 * 30 * 3 * 64 * 2
    assert small > smollm2.stat().st_size
    assert large - small == pytest.approx(kv_cache, rel=0.2)


@pytest.mark.parametrize("context", [0, 8])
def test_memory_with_no_context_to_speak_of_is_refused(tmp_path, context):
    with pytest.raises(UsageError, match=f"a context of {context} tokens; ask for more than 8"):
        memory.peak_memory(tmp_path / "any.gguf", context)


def test_a_failure_in_the_child_is_one_sentence(tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(InvalidModelFile, match=r"broken\.gguf failed: .*not a usable model file"):
        memory.peak_memory(path)
