"""Ask a server again, a limited number of times, when it is busy or the connection breaks.

What it says in Retry-After is honoured.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from slmlab.acquisition.arrival import Unavailable

if TYPE_CHECKING:
    import httpx2

Answer = TypeVar("Answer")

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try, where the server does not say how long."""

LONGEST = 60.0
"""Seconds that we wait at most where the server says how long."""

_BUSY = {408, 429, 500, 502, 503, 504}


def patiently(ask: Callable[[], Answer], server: str = "The Hub") -> Answer:
    """Return what `ask` returns, asking again after a pause where the server cannot answer now.

    It is asked once more than there are `PAUSES`; what it raises then is raised. Raises
    `Unavailable` where the server's Retry-After is further away than `LONGEST` seconds.
    """
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    for pause in PAUSES:
        try:
            return ask()
        except httpx2.TransportError:
            wait = pause
        except (httpx2.HTTPStatusError, HfHubHTTPError) as refusal:
            if refusal.response.status_code not in _BUSY:
                raise
            wait = _asked_for(refusal.response, pause)
        print(f"{server} cannot answer now; asking again in {wait:.0f} s.", file=sys.stderr)
        time.sleep(wait)
    return ask()


def _asked_for(response: "httpx2.Response", pause: float) -> float:
    """Return the seconds to wait: what Retry-After says, or `pause` where it says nothing."""
    said = response.headers.get("Retry-After", "").strip()
    wait = float(said) if said.isdecimal() else _until(said, pause)
    if wait > LONGEST:
        raise Unavailable(f"it is busy and asks to be left alone for {wait:,.0f} s; try again then")
    return wait


def _until(date: str, pause: float) -> float:
    try:
        return max(0.0, (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a time zone
        return pause
