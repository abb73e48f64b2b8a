"""The pictures and tables of lab 02 say what they are given."""

import pandas as pd
import pytest

from slmlab.acquisition import compare
from slmlab.show import acquisition as pictures


def labels(picture):
    legends = [*picture.legends, *filter(None, [picture.axes[0].get_legend()])]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def rows(picture):
    return [text.get_text() for text in picture.axes[0].get_yticklabels()]


def test_a_table_for_people_has_units_and_says_what_is_missing():
    table = pd.DataFrame(
        {"file_bytes": [861_939_957, None], "embedding_share": [0.21, 0.5], "task": ["chat", None]}
    )
    shown = pictures.readable(table)
    assert list(shown.file_bytes) == ["861.9 MB", "not given"]
    assert list(shown.embedding_share) == ["21%", "50%"]
    assert list(shown.task) == ["chat", "not given"]
    assert table.file_bytes[0] == 861_939_957, "the table itself stays as it was"


def test_licences_are_counted_and_the_most_frequent_is_first():
    found = pd.DataFrame({"licence": ["mit", "apache-2.0", "apache-2.0"]})
    picture = pictures.licences(found, 3)
    assert rows(picture) == ["apache-2.0", "mit"]
    assert [bar.get_width() for bar in picture.axes[0].patches] == [2, 1]
    assert labels(picture) == ["your guess: 3 models"]
    assert labels(pictures.licences(found)) == []


def test_footprints_put_the_cache_after_the_weights():
    models = compare(["smollm2-135m-instruct"])
    weights, cache = pictures.footprints(models, 2e9).axes[0].patches
    assert weights.get_width() == models.f16_bytes.iloc[0] / 1e9
    assert cache.get_x() == weights.get_width()
    assert cache.get_width() == pytest.approx(models.kv_cache_bytes.iloc[0] / 1e9)


def test_hash_bits_counts_the_bits_that_differ():
    before, after = "0" * 64, "f" + "0" * 62 + "1"
    assert pictures.hash_bits(before, after).axes[0].get_title(loc="left") == "5 of 256 bits differ"
    guessed = pictures.hash_bits(before, after, 1).axes[0].get_title(loc="left")
    assert guessed == "5 of 256 bits differ (your guess: 1)"


def test_file_parts_are_in_megabytes_and_in_the_order_of_the_file():
    picture = pictures.file_parts({"header": 2_000_000, "layers, Q4_1": 60_000_000}, 20)
    assert rows(picture) == ["header", "layers, Q4_1"]
    assert [bar.get_width() for bar in picture.axes[0].patches] == [2, 60]
    assert labels(picture) == ["your guess: 20 MB"]
