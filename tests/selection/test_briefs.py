"""What a brief may say, and what is refused with a sentence."""

from dataclasses import replace

import pytest

from slmlab.errors import UsageError
from slmlab.selection import Device, brief, briefs, this_device
from slmlab.selection.briefs import altered

PHONE = brief("phone")


def test_there_are_eight_named_situations():
    assert set(briefs()) == {
        "phone",
        "tablet",
        "laptop",
        "workstation",
        "office",
        "kiosk",
        "gateway",
        "classroom",
    }


@pytest.mark.parametrize("name", briefs())
def test_each_says_where_its_bandwidth_comes_from_and_what_it_is_for(name):
    one = brief(name)
    assert "a second" in one.device.bandwidth_from
    assert one.task
    assert one.quality_floor > 0


def test_an_unknown_brief_is_refused_with_the_names_there_are():
    with pytest.raises(UsageError, match="gateway"):
        brief("toaster")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quality_floor": 101}, "0 to 100"),
        ({"quality_floor": -1}, "0 to 100"),
        ({"context": 0}, "more than 0"),
        ({"tokens_per_second": float("nan")}, "more than 0"),
        ({"users": 0}, "more than 0"),
        ({"prompt_tokens": 5000}, "does not fit"),
        ({"benchmark": "IQ"}, "IFEval or MMLU"),
        ({"languages": "en"}, "tuple of codes"),
        ({"languages": ()}, "tuple of codes"),
        ({"models": ("gpt-5",)}, "gpt-5"),
        ({"models": "qwen3-0.6b"}, "tuple of names"),
    ],
)
def test_a_brief_that_cannot_be_met_by_anything_is_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        replace(PHONE, **changes)


@pytest.mark.parametrize(
    ("changes", "words"), [({"kind": "toaster"}, "x86, arm"), ({"memory_bytes": 0}, "more than 0")]
)
def test_a_device_that_is_none_is_refused(changes, words):
    with pytest.raises(UsageError, match=words):
        replace(PHONE.device, **changes)


def test_altering_reaches_the_device_and_leaves_the_rest():
    other = altered(PHONE, memory_bytes=1e9, users=3)
    assert (other.device.memory_bytes, other.users) == (1e9, 3)
    assert other.device.bandwidth == PHONE.device.bandwidth
    assert PHONE.users == 1


def test_this_machine_is_a_device_that_reads_as_fast_as_was_measured(measuring):
    device = this_device(measuring())
    assert isinstance(device, Device)
    assert device.operations == pytest.approx(2 * 106_200_000 * 500, rel=0.01)
    assert device.fingerprint


def test_this_machine_cannot_be_described_without_a_prompt_speed():
    with pytest.raises(UsageError, match="measure it first"):
        this_device([])
