"""What tests of servers share: looking whether anything of one is left."""

import time

import psutil
import pytest

from slmlab.deployment.server import is_taken


@pytest.fixture
def family():
    """Return the process ids of a guard and of all that it has started."""

    def of(pid):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]

    return of


@pytest.fixture
def gone():
    """Say whether no process is alive and nobody listens on a port, at the latest in 10 s."""

    def within(pids, port, seconds=10.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end and (any(map(_alive, pids)) or is_taken(port)):
            time.sleep(0.1)
        return not any(map(_alive, pids)) and not is_taken(port)

    return within


def _alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
