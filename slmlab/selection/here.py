"""The learner's own machine as a device that a brief can name."""

from collections.abc import Sequence

from slmlab.errors import UsageError
from slmlab.machine import available_memory_bytes, read_bandwidth, this_machine
from slmlab.measurement import Measurement
from slmlab.selection.briefs import Device
from slmlab.selection.candidates import layer_weights
from slmlab.tiers import DEFAULT_MODEL, card


def this_device(measurements: Sequence[Measurement], model: str = DEFAULT_MODEL) -> Device:
    """Return this machine as a device: half of the memory that is free now, speeds as measured.

    The operations come from the fastest prompt speed among `measurements`, which are of `model`.
    Raises `UsageError` where there is none.
    """
    speeds = [row.value for row in measurements if row.quantity == "prompt speed" and row.value > 0]
    if not speeds:
        raise UsageError("There is no prompt speed among the measurements; measure it first.")
    machine = this_machine()
    return Device(
        title=f"this machine: {machine}",
        kind="x86" if machine.architecture in ("x86_64", "AMD64") else "arm",
        memory_bytes=available_memory_bytes() / 2,
        bandwidth=read_bandwidth(),
        operations=2 * layer_weights(card(model)) * max(speeds),
        cores=machine.cores,
        bandwidth_from="measured by reading 256 MiB",
        fingerprint=machine.fingerprint,
    )
