"""Numbers kept from one lab to the next: measured ones only, whole, and never in the way."""

import pytest

from slmlab.measurement import computed, keep, kept, measured, recorded
from slmlab.measurement.keeping import own_folder

ROW = measured("Q4_0", "decode speed", 181.0, "tokens/s", 2.0, threads=2)


def test_what_is_kept_comes_back_as_it_was():
    keep([ROW], "04_llama_cpp")
    assert kept() == {"04_llama_cpp": [ROW]}


def test_labs_come_in_order_and_a_lab_replaces_only_its_own():
    keep([ROW], "04_llama_cpp")
    keep([ROW, ROW], "03_quantization")
    keep([], "04_llama_cpp")
    keep([ROW], "04_llama_cpp")
    assert [(lab, len(rows)) for lab, rows in kept().items()] == [
        ("03_quantization", 2),
        ("04_llama_cpp", 1),
    ]


def test_only_measured_numbers_are_kept():
    keep([computed("a", "b", 1.0, "s"), ROW, recorded("mlx")[0]], "01_tiers")
    assert kept() == {"01_tiers": [ROW]}


def test_a_damaged_line_is_left_out():
    keep([ROW], "01_tiers")
    path = own_folder() / "measurements.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write("[" * 5000 + "]" * 5000 + "\n")
        file.write('{"lab": "02", "measurement": {"subject": "half a li')
    assert kept() == {"01_tiers": [ROW]}


def test_nothing_kept_is_nothing():
    assert kept() == {}


def test_where_nothing_can_be_written_a_lab_goes_on(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("SLMLAB_PROGRESS", str(blocked / "progress.json"))
    with pytest.warns(UserWarning, match="could not be kept"):
        keep([ROW], "01_tiers")
    assert kept() == {}
