"""Energy, by CodeCarbon: read from the processor's own meter where there is one, else computed.

A meter is RAPL on Linux (where it may be read), the power controller of a Raspberry Pi, and the
Energy Meter Interface on Windows 11. A Mac's opens to administrators only, and CodeCarbon computes
there. That is, it multiplies the load that this process causes by the thermal design power it has
in its table for the processor: the right order of magnitude, and no more than that.
"""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Energy:
    """What some work took from the processor, in joules.

    Read from a meter it is that of the whole processor, other programs included; computed it is
    this process's share. Memory chips, screen and power supply are in neither, nor is a graphics
    card, although NVIDIA's has a meter: no engine of this course computes on one.
    """

    joules: float
    how: Literal["measured", "computed"]
    by: str


def energy(work: Callable[[], object]) -> Energy:
    """Return the energy that some work takes; of use from about a second of work on."""
    from codecarbon import OfflineEmissionsTracker

    logging.getLogger("codecarbon").disabled = True
    # The country sets only the carbon intensity of the electricity, which is not used here.
    tracker = OfflineEmissionsTracker(
        country_iso_code="DEU",
        output_methods=[],
        log_level="critical",
        measure_power_secs=1,
        tracking_mode="process",
        allow_multiple_runs=True,
    )
    tracker.start()
    try:
        work()
    finally:
        tracker.stop()
    used = tracker.final_emissions_data
    name = meter()
    return Energy(
        joules=used.cpu_energy * _JOULES_PER_KWH,
        how="measured" if name else "computed",
        by=f"{name or 'load and thermal design power'}, CodeCarbon {version('codecarbon')}",
    )


def meter() -> str | None:
    """Return the name of the processor's energy meter that can be read here, or None."""
    if sys.platform == "linux":
        from codecarbon.core import cpu

        if cpu.is_rapl_available():
            return "RAPL"
        return "Raspberry Pi power controller" if cpu.is_raspberry() else None
    if sys.platform == "win32":
        from codecarbon.core.windows_emi import is_emi_available

        return "Energy Meter Interface" if is_emi_available() else None
    return None
