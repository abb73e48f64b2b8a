"""The comparison's table and picture: every variant named, every number with its conditions."""

from dataclasses import replace

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from slmlab import show
from slmlab.measurement import Row
from slmlab.show import comparison

ROW = Row(
    engine="llama_cpp",
    precision="Q4_0",
    file_bytes=91_700_000,
    peak_memory_bytes=250_000_000,
    prompt_tokens_per_second=700.0,
    decode_tokens_per_second=150.0,
    seconds_to_first_token=0.5,
    joules_per_token=0.05,
    energy_how="computed",
    energy_by="load and thermal design power, CodeCarbon 3.3.2",
    perplexity=31.0,
    perplexity_stderr=1.5,
    prompt_tokens=256,
    decode_tokens=32,
    chunks=2,
    context=512,
    threads=2,
)
ROWS = [ROW, replace(ROW, engine="onnx", precision="int4", decode_tokens_per_second=60.0)]


@pytest.fixture
def shown():
    InteractiveShell.instance()
    with capture_output() as captured:
        comparison.table(ROWS)
    [output] = captured.outputs
    return output.data


def test_the_table_names_engine_precision_and_unit(shown):
    for words in ("llama_cpp", "int4", "91.70 MB", "decode (tokens/s)", "0.05, computed"):
        assert words in shown["text/html"] and words in shown["text/plain"]


def test_the_conditions_stand_below_it_once(shown):
    assert shown["text/plain"].count("a prompt of 256 tokens") == 1
    assert "threads: 2" in shown["text/html"] and "CodeCarbon 3.3.2" in shown["text/html"]


def test_the_numbers_travel_with_the_output(shown):
    quantities = {number["quantity"] for number in shown[show.MEASUREMENTS_MIME]}
    assert {"decode speed", "peak memory", "perplexity", "energy a token"} <= quantities


def test_the_picture_names_every_point_and_its_axes():
    [ax] = comparison.picture(ROWS).axes
    assert ax.get_xlabel() == "peak memory (MB)" and ax.get_ylabel() == "decode speed (tokens/s)"
    labels = [text.get_text() for text in ax.texts]
    assert labels == ["Q4_0: 31.0", "int4: 31.0"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["llama_cpp", "onnx"]
