"""`slmlab measure` gives what is asked for, under keys that stay."""

import pytest

from slmlab.measurement import Divergence, Perplexity, Speed

PERPLEXITY = ("perplexity", "perplexity_stderr")
DIVERGENCE = (
    *("kl_divergence_mean", "kl_divergence_stderr", "kl_divergence_median"),
    *("kl_divergence_percentile_99", "same_top_token"),
)
SPEED = (
    *("prompt_tokens_per_second", "prompt_spread_tokens_per_second"),
    *("decode_tokens_per_second", "decode_spread_tokens_per_second"),
    *("seconds_to_first_token", "threads"),
)


@pytest.mark.parametrize(
    ("asked", "keys"),
    [
        (["--perplexity", "prose"], PERPLEXITY),
        (["--against", "base.gguf"], DIVERGENCE),
        (["--speed"], SPEED),
        (["--speed", "--memory"], (*SPEED, "peak_memory_bytes")),
    ],
)
def test_each_measurement_has_keys_that_stay(as_json, monkeypatch, asked, keys):
    perplexity = Perplexity(20.5, 0.5, 2560, 20, 512, 60.0)
    divergence = Divergence(0.2, 0.02, 0.1, 1.5, 0.9, 2560, 20, 512)
    speed = Speed(100.0, 1.0, 20.0, 0.5, 5.12, 512, 128, 5, 2)
    monkeypatch.setattr("slmlab.gguf.inspect", lambda _: None)
    monkeypatch.setattr("slmlab.measurement.perplexity", lambda *_: perplexity)
    monkeypatch.setattr("slmlab.measurement.kl_divergence", lambda *_: divergence)
    monkeypatch.setattr("slmlab.measurement.speed", lambda _: speed)
    monkeypatch.setattr("slmlab.measurement.peak_memory", lambda _: 10**8)
    assert tuple(as_json("measure", "model.gguf", *asked)) == keys


@pytest.mark.slow
def test_measure_gives_only_what_was_asked_for(as_json, smollm2, f16, tmp_path):
    assert as_json("measure", smollm2).keys() == {"file_bytes", "bits_per_weight"}
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 30, "utf-8")
    scored = ["--perplexity", text, "--chunks", 2, "--context", 64]
    found = as_json("measure", smollm2, *scored, "--against", f16)
    assert found["perplexity"] > 1
    assert found["perplexity_stderr"] > 0
    assert found["kl_divergence_mean"] >= 0
    assert "decode_tokens_per_second" not in found


@pytest.mark.slow
def test_measure_speed_and_memory(as_json, smollm2, monkeypatch):
    from slmlab import measurement

    real = measurement.speed
    monkeypatch.setattr("slmlab.measurement.speed", lambda file: real(file, 16, 4, 1))
    found = as_json("measure", smollm2, "--speed", "--memory")
    assert found["prompt_tokens_per_second"] > 0
    assert found["decode_tokens_per_second"] > 0
    assert found["peak_memory_bytes"] > 98_362_432
