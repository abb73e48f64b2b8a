"""Energy is read from a meter where there is one, and otherwise computed and called so."""

import time

import pytest

from slmlab import measurement
from slmlab.measurement.energy import meter


def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.slow
def test_work_takes_more_energy_than_waiting():
    working = measurement.energy(lambda: busy(1.5))
    waiting = measurement.energy(lambda: time.sleep(0.2))
    assert working.joules > 2 * waiting.joules >= 0


@pytest.mark.slow
def test_it_says_how_it_was_got_and_by_what():
    used = measurement.energy(lambda: busy(0.2))
    assert used.how == ("measured" if meter() else "computed")
    assert "CodeCarbon" in used.by and (meter() or "thermal design power") in used.by


@pytest.mark.parametrize(
    ("rapl", "raspberry", "name"),
    [
        (True, False, "RAPL"),
        (False, True, "Raspberry Pi power controller"),
        (False, False, None),
    ],
)
def test_a_meter_counts_only_where_it_can_be_read(monkeypatch, rapl, raspberry, name):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("codecarbon.core.cpu.is_rapl_available", lambda: rapl)
    monkeypatch.setattr("codecarbon.core.cpu.is_raspberry", lambda: raspberry)
    assert meter() == name


def test_a_failure_of_the_work_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        measurement.energy(lambda: 1 / 0)
