"""A number never travels without where it comes from."""

import pytest

from slmlab import measurement
from slmlab.machine import this_machine


def test_a_measured_number_names_machine_versions_and_date():
    made = measurement.measured("m", "decode speed", 12.0, "tok/s", 0.5, threads=2)
    assert made.how == "measured"
    assert this_machine().fingerprint in made.machine
    assert made.versions["llama-cpp-python"] and made.date
    assert made.conditions == {"threads": 2} and made.spread == 0.5


def test_a_number_from_an_unknown_build_says_so():
    made = measurement.measured("m", "speed", 1.0, "tok/s", packages=("no-such-package",))
    assert made.versions["no-such-package"] == "unknown"


def test_a_computed_number_needs_no_machine():
    assert measurement.computed("m", "size", 1.0, "GB").how == "computed"


def test_a_published_number_names_its_source():
    assert measurement.published("m", "size", 1.0, "GB", source="a table").source == "a table"
    with pytest.raises(ValueError, match="source"):
        measurement.published("m", "size", 1.0, "GB", source="")


@pytest.mark.parametrize("how", ["measured", "recorded"])
def test_a_number_from_a_machine_cannot_hide_which(how):
    with pytest.raises(ValueError, match="machine and date"):
        measurement.Measurement("m", "speed", 1.0, "tok/s", how)


def test_recorded_numbers_say_that_they_were_not_measured_here_and_now():
    kept = measurement.recorded("mlx")
    assert {number.how for number in kept} == {"recorded"}
    assert all(number.machine and number.date and number.versions for number in kept)
    assert {number.subject for number in kept} >= {"mlx float32", "mlx 4-bit", "llama_cpp F16"}
