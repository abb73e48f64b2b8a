"""Rounding a trained model to three values afterwards, whatever it does to it."""

import numpy as np
import pytest

from slmlab import gguf, measurement
from slmlab.bitnet import checkpoint, export, rounding
from slmlab.errors import QuantizationError
from slmlab.files import lock_file


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    return export.export(checkpoint.load(ternary=False)[0], tmp_path / "small.gguf")


def test_each_matrix_keeps_three_values_and_the_rest_stays(small):
    rounded = rounding.rounded_copy(small)
    before, after = export.stored_weights(small), export.stored_weights(rounded)
    for name, weights in before.items():
        if name.startswith("blk.") and weights.ndim == 2:
            assert len(np.unique(after[name])) == 3
            scale = after[name].max()
            assert scale == pytest.approx(np.abs(weights).mean(), rel=1e-3)
            assert np.abs(after[name] - weights)[np.abs(weights) < scale].max() <= scale / 2 * 1.01
        else:
            assert np.array_equal(weights, after[name])


def test_the_file_is_made_once_and_as_large_as_before(small):
    rounded = rounding.rounded_copy(small)
    made = rounded.stat().st_mtime_ns
    assert rounding.rounded_copy(small).stat().st_mtime_ns == made
    assert rounded.stat().st_size == small.stat().st_size
    header = gguf.read_header(small).data_offset
    assert rounded.read_bytes()[:header] == small.read_bytes()[:header]


def test_what_is_made_serves_where_there_can_be_no_lock(small):
    rounded = rounding.rounded_copy(small)
    lock_file(rounded).unlink()
    lock_file(rounded).mkdir()
    assert rounding.rounded_copy(small) == rounded


def test_a_model_that_is_three_valued_already_is_not_harmed(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    model = checkpoint.load(ternary=True)[0]
    path = export.export(model, tmp_path / "three.gguf")
    before, after = (export.stored_weights(p) for p in (path, rounding.rounded_copy(path)))
    for name, weights in before.items():
        assert np.array_equal(np.sign(weights), np.sign(after[name]))


@pytest.mark.slow
def test_smollm2_does_not_survive_it(f16):
    prose = measurement.text("prose")
    base, rounded = (
        measurement.perplexity(path, prose, 1).value for path in (f16, rounding.rounded_copy(f16))
    )
    assert rounded > 1000 * base


@pytest.mark.slow
def test_only_f16_is_rounded(smollm2):
    with pytest.raises(QuantizationError, match="is not an F16 file"):
        rounding.rounded_copy(smollm2)
