"""A load: every request has a reply, whatever became of it."""

import pytest

from slmlab.deployment import load
from slmlab.deployment.load import Reply
from slmlab.deployment.server import Launch, start
from slmlab.errors import UsageError

BEHAVES_BY_PROMPT = """
import http.server, json, sys, time

def event(**chunk):
    return b"data: " + json.dumps(chunk).encode() + b"\\n\\n"

def word(text):
    return event(choices=[{"delta": {"content": text}}])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = asked["messages"][0]["content"]
        if prompt == "refuse":
            self.send_error(503)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(word("one") + word(" two"))
        if prompt == "break off":
            return
        if prompt == "fail":
            self.wfile.write(event(error="out of memory"))
            return
        if prompt == "count":
            self.wfile.write(event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 9}))
        self.wfile.write(b"data: [DONE]\\n\\n")

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def server():
    import sys

    def launch(port):
        return Launch([sys.executable, "-c", BEHAVES_BY_PROMPT, str(port)], "/", "toy", "1")

    with start("toy", launch) as running:
        yield running


def reply(seconds, first=0.1, started=0.0, tokens=10, ok=True):
    return Reply(0, ok, "text", "" if ok else "no", 5, tokens, started, first, seconds)


def test_replies_come_in_the_order_of_the_prompts(server):
    replies = load.run(server, [f"prompt {number}" for number in range(20)], 4)
    assert [one.index for one in replies] == list(range(20))
    assert {(one.ok, one.text) for one in replies} == {(True, "one two")}


def test_tokens_are_the_servers_count_or_else_the_pieces(server):
    told, not_told = load.run(server, ["count", "do not"], 1)
    assert (told.prompt_tokens, told.new_tokens) == (5, 9)
    assert (not_told.prompt_tokens, not_told.new_tokens) == (0, 2)


@pytest.mark.parametrize(
    ("prompt", "error"),
    [("refuse", "503"), ("break off", "broke off"), ("fail", "out of memory")],
)
def test_what_fails_says_why_and_the_others_go_on(server, prompt, error):
    before, failed, after = load.run(server, ["fine", prompt, "fine"], 2)
    assert before.ok and after.ok
    assert not failed.ok and error in failed.error


def test_a_server_that_is_gone_is_an_error_of_each_reply(server):
    import copy

    gone = copy.copy(server)
    gone.base_url = "http://127.0.0.1:9/v1"
    assert [one.ok for one in load.run(gone, ["a", "b"], 2)] == [False, False]


def test_a_pause_comes_before_the_request_and_is_not_in_its_time(server):
    at_once, later = load.run(server, ["a", "b"], 2, pauses=[0.0, 0.5])
    assert at_once.started < 0.5 <= later.started
    assert later.seconds < later.started


@pytest.mark.parametrize(("prompts", "concurrency"), [([], 1), (["a"], 0)])
def test_a_load_of_nothing_is_refused(server, prompts, concurrency):
    with pytest.raises(UsageError, match="at least one prompt"):
        load.run(server, prompts, concurrency)


def test_the_rate_counts_all_tokens_over_the_whole_time():
    found = load.summary([reply(2.0, started=1.0), reply(2.0, started=2.0, tokens=20)])
    assert found.tokens_per_second == 30 / 3.0


def test_failed_requests_count_but_do_not_lower_the_latency():
    found = load.summary([reply(2.0), reply(0.001, ok=False), reply(4.0)])
    assert (found.requests, found.failed) == (3, 1)
    assert (found.latency_median, found.latency_p95) == (3.0, 4.0)


def test_where_nothing_succeeded_there_is_no_summary():
    with pytest.raises(UsageError, match="No request of this load succeeded: no"):
        load.summary([reply(1.0, ok=False)])


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 5), (95, 10), (90, 9), (100, 10)])
def test_a_percentile_is_the_nearest_rank(percent, value):
    assert load.percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == value
