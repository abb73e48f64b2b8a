"""The comparison: every engine on equal terms, one row an engine and precision."""

import pytest

from slmlab import engines, measurement
from slmlab.errors import InvalidModelFile, UsageError
from slmlab.measurement import Variant

FLOATS = (
    ("llama_cpp", "F16"),
    ("transformers", "float32"),
    ("onnx", "float32"),
    ("mlx", "float32"),
)
SMALL = {"chunks": 1, "prompt_tokens": 32, "decode_tokens": 8, "repetitions": 1}


@pytest.fixture(scope="module")
def rows(smollm2):
    here = {row["name"] for row in engines.overview() if row["runs"]}
    wanted = [*(pair for pair in FLOATS if pair[0] in here), ("onnx", "int4")]
    variants = [Variant(name, kind, engines.prepare(name, smollm2, kind)) for name, kind in wanted]
    return measurement.compare(variants, **SMALL)


@pytest.mark.slow
def test_float_perplexities_agree_across_frameworks_within_one_percent(rows):
    floats = [row.perplexity for row in rows if row.precision != "int4"]
    assert len(floats) >= 3
    assert max(floats) / min(floats) < 1.01


@pytest.mark.slow
def test_perplexity_is_that_of_the_one_protocol(rows, f16):
    alone = measurement.perplexity(f16, measurement.text("prose"), chunks=1)
    assert rows[0].perplexity == pytest.approx(alone.value, rel=1e-6)
    assert rows[0].perplexity_stderr == pytest.approx(alone.stderr, rel=1e-6)


@pytest.mark.slow
def test_each_row_holds_what_it_measured_and_under_which_conditions(rows):
    for row in rows:
        assert row.peak_memory_bytes > row.file_bytes * 0.9, str(row)
        assert row.prompt_tokens_per_second > 0 < row.decode_tokens_per_second
        assert row.seconds_to_first_token > 0 < row.joules_per_token
        assert (row.prompt_tokens, row.decode_tokens, row.chunks) == (32, 8, 1)


@pytest.mark.slow
def test_four_bits_are_smaller_in_the_same_engine(rows):
    by_name = {str(row): row for row in rows}
    small, large = by_name["onnx int4"], by_name["onnx float32"]
    assert small.file_bytes < large.file_bytes / 3
    assert small.peak_memory_bytes < large.peak_memory_bytes


@pytest.mark.slow
def test_every_number_is_told_with_its_conditions_and_versions(rows):
    numbers = measurement.as_measurements(rows)
    assert len(numbers) == 7 * len(rows)
    speed = next(one for one in numbers if one.quantity == "decode speed")
    assert speed.conditions == {"threads": rows[0].threads, "tokens": 8}
    assert "llama-cpp-python" in speed.versions
    energy = next(one for one in numbers if one.quantity == "energy a token")
    assert energy.how == rows[0].energy_how and "CodeCarbon" in energy.conditions["by"]


def test_comparing_nothing_is_refused():
    with pytest.raises(UsageError, match="nothing to compare"):
        measurement.compare([])


def test_a_variant_that_cannot_be_measured_is_named(tmp_path):
    broken = Variant("llama_cpp", "Q4_0", tmp_path / "missing.gguf")
    with pytest.raises(InvalidModelFile, match="Measuring llama_cpp Q4_0 failed"):
        measurement.compare([broken])


def test_the_size_of_a_folder_is_that_of_its_weights(tmp_path):
    for name, size in (("model.onnx", 10), ("model.onnx.data", 90), ("tokenizer.json", 5)):
        (tmp_path / name).write_bytes(bytes(size))
    assert measurement.file_bytes(tmp_path) == 100
    assert measurement.file_bytes(tmp_path / "model.onnx") == 10
