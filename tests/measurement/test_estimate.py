"""What a card predicts, against the real files of SmolLM2."""

import statistics

import pytest

from slmlab import measurement
from slmlab.errors import UsageError
from slmlab.machine import Machine, read_bandwidth
from slmlab.measurement.estimate import _repacked_types
from slmlab.quantization import QUANTIZATIONS, quantize
from slmlab.tiers import card

CARD = card("smollm2-135m-instruct")


def machine(*features: str) -> Machine:
    return Machine("a cpu", "any", "Linux", 2, 2**33, "3.11", features)


def test_fewer_bits_take_less_memory_and_decode_faster():
    sixteen, eight = (measurement.estimate(card("qwen3-4b"), quant) for quant in ("F16", "Q8_0"))
    assert eight.file_bytes < sixteen.file_bytes
    assert eight.peak_memory_bytes < sixteen.peak_memory_bytes
    assert eight.decode_tokens_per_second > sixteen.decode_tokens_per_second


def test_a_longer_context_takes_exactly_its_kv_cache_more():
    short, long = (measurement.estimate(CARD, "F16", context) for context in (1024, 2048))
    assert long.peak_memory_bytes - short.peak_memory_bytes == 1024 * 2 * 30 * 3 * 64 * 2


def test_an_unknown_quantisation_is_refused():
    with pytest.raises(UsageError, match="Q4_0"):
        measurement.estimate(CARD, "Q4_00")


def test_a_context_of_nothing_is_refused():
    with pytest.raises(UsageError, match="context of -5"):
        measurement.estimate(CARD, "Q4_0", context=-5)


def test_another_machine_is_described_by_its_cores_features_and_bandwidth():
    def speed(bandwidth):
        on = machine("avx2")
        return measurement.estimate(CARD, "Q8_0", 512, on, bandwidth).decode_tokens_per_second

    assert speed(1e9) < speed(2e9) < 2 * speed(1e9)
    plain, repacking = (
        measurement.estimate(CARD, "Q4_0", 512, machine(*features), 1e9).peak_memory_bytes
        for features in ((), ("avx2",))
    )
    assert repacking > plain


def test_what_llama_cpp_keeps_twice_depends_on_the_processor():
    assert "Q4_0" in _repacked_types(machine("avx2"))
    assert "Q2_K" in _repacked_types(machine("avx2", "avx512f"))
    assert "Q8_0" in _repacked_types(machine("asimd", "asimddp"))
    assert _repacked_types(machine()) == set()


@pytest.mark.slow
def test_every_file_size_is_within_one_percent(f16):
    for made in quantize(f16, list(QUANTIZATIONS)):
        predicted = measurement.estimate(CARD, made.type).file_bytes
        assert predicted == pytest.approx(made.bytes, rel=0.01), made.type


@pytest.mark.slow
@pytest.mark.parametrize("context", [512, 4096])
def test_peak_memory_is_within_ten_percent(f16, context):
    for made in quantize(f16, ["F16", "Q8_0", "Q5_1", "Q4_0", "Q4_K_M", "TQ1_0"]):
        predicted = measurement.estimate(CARD, made.type, context).peak_memory_bytes
        assert predicted == pytest.approx(measurement.peak_memory(made.path, context), rel=0.1), (
            made.type
        )


def decode_ratio(files) -> float:
    """Predicted over measured decode speed: the median over the files, bandwidth read anew."""
    read_bandwidth.cache_clear()
    ratios = []
    for made in files:
        predicted = measurement.estimate(CARD, made.type).decode_tokens_per_second
        measured = measurement.speed(made.path, prompt_tokens=8, decode_tokens=32)
        ratios.append(predicted / measured.decode_tokens_per_second)
    return statistics.median(ratios)


@pytest.mark.slow
def test_decode_speed_is_within_a_quarter(f16):
    """Up to three tries: another program on the machine can spoil one."""
    files = quantize(f16, ["F16", "Q8_0", "Q5_1", "Q4_0", "Q4_K_M"])
    assert any(decode_ratio(files) == pytest.approx(1, abs=0.25) for _ in range(3))
