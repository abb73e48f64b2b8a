"""A server that cannot answer now is asked again when it says, and not for ever."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from slmlab.acquisition import patience
from slmlab.acquisition.arrival import Unavailable

pytestmark = pytest.mark.usefixtures("waits")


def refusal(status: int, after: str = "") -> HfHubHTTPError:
    asked = httpx2.Request("GET", "http://hub.invalid")
    answer = httpx2.Response(status, headers={"Retry-After": after}, request=asked)
    return HfHubHTTPError(f"it says {status}", response=answer)


def plain_refusal(status: int, after: str) -> httpx2.HTTPStatusError:
    """What another server than the Hub is refused with."""
    answer = refusal(status, after).response
    return httpx2.HTTPStatusError(f"it says {status}", request=answer.request, response=answer)


def asking(*problems: Exception):
    """A question that meets these problems first, and is answered then."""
    left = list(problems)

    def ask() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return ask


def test_an_answer_is_returned_at_once(waits):
    assert patience.patiently(asking()) == "answer"
    assert waits == []


@pytest.mark.parametrize("problem", [refusal(503), refusal(429), httpx2.ReadTimeout("timed out")])
def test_pauses_grow_where_the_hub_does_not_say(problem, waits, capsys):
    assert patience.patiently(asking(problem, problem)) == "answer"
    assert waits == [1, 2]
    assert "The Hub cannot answer now; asking again in 2 s." in capsys.readouterr().err


def test_another_server_is_named_and_asked_again_when_it_says(waits, capsys):
    ask = asking(plain_refusal(429, "7"))
    assert patience.patiently(ask, "The npm registry") == "answer"
    assert waits == [7]
    assert "The npm registry cannot answer now; asking again in 7 s." in capsys.readouterr().err


@pytest.mark.parametrize("problem", [refusal(503), httpx2.ConnectError("refused")])
def test_in_the_end_what_the_hub_says_is_raised(problem, waits):
    with pytest.raises(type(problem)):
        patience.patiently(asking(*[problem] * 9))
    assert waits == list(patience.PAUSES)


@pytest.mark.parametrize("status", [401, 403, 404, 416])
def test_a_plain_no_is_not_asked_again(status, waits):
    with pytest.raises(HfHubHTTPError):
        patience.patiently(asking(refusal(status)))
    assert waits == []


@pytest.mark.parametrize(
    ("after", "wait"),
    [
        ("7", 7),
        ("0", 0),
        ("soon", 1),
        ("-3", 1),
        ("Sun, 22 Nov 2020 08:00:00 GMT", 0),
        ("Sun, 22 Nov 2020 08:00:00", 1),  # of which time zone?
    ],
)
def test_retry_after_is_seconds_or_a_date(after, wait, waits):
    assert patience.patiently(asking(refusal(429, after))) == "answer"
    assert waits == [wait]


def test_a_date_to_come_is_waited_for(waits):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    assert patience.patiently(asking(refusal(503, later))) == "answer"
    assert 30 < waits[0] <= 40


def test_a_hub_that_asks_for_too_long_is_left_alone(waits):
    with pytest.raises(Unavailable, match="asks to be left alone for 3,600 s; try again then"):
        patience.patiently(asking(refusal(503, "3600")))
    assert waits == []
