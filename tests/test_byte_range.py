"""A Range header names a part of a file, or it counts for nothing."""

import pytest

from slmlab import byte_range


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=90-", 90, 99),
        ("bytes=90-9999", 90, 99),
        ("bytes=-5", 95, 99),
        ("bytes=-9999", 0, 99),
        (" bytes=5-5 ", 5, 5),
    ],
)
def test_a_part(header, first, last):
    assert byte_range.asked(header, 100) == (first, last)


@pytest.mark.parametrize(
    "header",
    [
        *("", "bytes=-", "bytes=9-3", "bytes=0-1,5-6", "lines=1-2", "bytes=0-9\n0", "bytes=٣-٤"),
        *("bytes=" + "9" * 5000 + "-", "bytes=-" + "9" * 5000),
    ],
)
def test_what_is_no_range_asks_for_all(header):
    assert byte_range.asked(header, 100) == (0, 99)


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_what_lies_behind_the_end_is_not_there(header):
    first, _ = byte_range.asked(header, 100)
    assert first >= 100


@pytest.mark.parametrize("header", ["", "bytes=0-", "bytes=-5", "bytes=3-4"])
def test_an_empty_file_comes_whole(header):
    assert byte_range.asked(header, 0) == (0, -1)
