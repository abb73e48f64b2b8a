"""One thing at a time: the sweeps measure what they say, whatever the speed."""

import pytest

from slmlab import gguf, tiers
from slmlab.engines import llama_cpp
from slmlab.measurement import sweeps

CARD = tiers.card("smollm2-135m-instruct")


def test_threads_worth_trying_go_beyond_the_cores():
    assert sweeps.thread_counts(1) == [1, 2]
    assert sweeps.thread_counts(2) == [1, 2, 4]
    assert sweeps.thread_counts(6) == [1, 2, 4, 6, 12]
    assert sweeps.thread_counts(8) == [1, 2, 4, 8, 16]


def test_the_fastest_repetition_counts(monkeypatch):
    engine = type("Engine", (), {"vocabulary": 9})()
    monkeypatch.setattr(sweeps, "repeat", lambda repetitions, engine, work: [5.0, 4.0])
    assert sweeps.reading(engine, [8]) == {8: 2.0}


@pytest.mark.slow
def test_a_sequence_has_as_many_tokens_as_the_others_in_its_batch(smollm2):
    with llama_cpp.load(smollm2, context=16, sequences=2) as engine:
        assert set(sweeps.writing(engine, [1, 2], tokens=2, repetitions=1)) == {1, 2}
        assert engine.kept_bytes() == pytest.approx(2 * 23_040, rel=0.05)


@pytest.mark.slow
def test_each_number_of_threads_has_its_rates(smollm2):
    rates = sweeps.by_threads(smollm2, [1, 2], prompt_tokens=8, tokens=2)
    assert list(rates) == [1, 2]
    assert all(read > 0 and write > 0 for read, write in rates.values())


@pytest.mark.slow
@pytest.mark.parametrize("kv_type", llama_cpp.KV_TYPES)
def test_the_cache_grows_as_computed(smollm2, kv_type):
    bytes_each = gguf.tensor_bytes(kv_type, (32,)) / 32
    for tokens, kept in sweeps.cache_growth(smollm2, [64, 160], kv_type).items():
        computed = tiers.kv_cache_bytes(CARD.architecture, tokens, bytes_each)
        assert kept == pytest.approx(computed, rel=0.01)


@pytest.mark.slow
def test_a_context_takes_its_memory_when_the_model_loads(smollm2):
    computed = tiers.kv_cache_bytes(CARD.architecture, 8192 - 256)
    assert sweeps.reserved_bytes(smollm2, 256, 8192) == pytest.approx(computed, rel=0.02)


@pytest.mark.slow
def test_an_f16_weight_gives_one_operation_a_byte_for_each_sequence(f16):
    assert sweeps.work(f16, 1, 1).intensity == pytest.approx(1, rel=0.001)
    assert sweeps.work(f16, 8, 8).intensity == pytest.approx(8, rel=0.001)
    assert sweeps.work(f16, 1, 1).operations == pytest.approx(2 * CARD.parameters, rel=0.01)


@pytest.mark.slow
def test_reading_a_prompt_needs_the_output_matrix_only_once(f16):
    architecture = CARD.architecture
    output = architecture.vocabulary * architecture.hidden
    saved = sweeps.work(f16, 512, 512).operations - sweeps.work(f16, 512, 1).operations
    assert saved == 2 * 511 * output


@pytest.mark.slow
def test_a_point_is_its_operations_times_its_rate(f16):
    points = sweeps.roofline_points(f16, {512: 1000.0}, {4: 100.0})
    intensity, speed = points["write 4"]
    assert intensity == pytest.approx(4, rel=0.001)
    assert speed == pytest.approx(100 * 2 * CARD.parameters, rel=0.01)
    assert points["read 512"][0] > 300


def test_a_peak_is_measured_in_operations_per_second():
    assert sweeps.peak_operations() > 1e8
