"""Side-by-side chat: two models, live rates, and a Stop that stops."""

import itertools
import threading
from functools import partial

import pytest

from slmlab.errors import InvalidModelFile, UsageError
from slmlab.show.widgets import chat, side_by_side
from slmlab.show.widgets.chatting import replies

WAIT = 60  # seconds, after which a test fails in place of hanging


class Scripted:
    """An engine that writes one word a token, for ever unless `limit` says otherwise."""

    open = 0
    context = 10**10

    def __init__(self, path, limit=10**9, pause=None):
        self.path, self.limit, self.pause = path, limit, pause or (lambda: None)
        self.asked = []

    def __enter__(self):
        Scripted.open += 1
        return self

    def __exit__(self, *_):
        Scripted.open -= 1

    def prompt_tokens(self, messages):
        self.asked.append(messages)
        return [1] * len(str(messages))

    def greedy(self, tokens, max_tokens):
        for token in itertools.islice(itertools.count(), min(max_tokens, self.limit)):
            self.pause()
            yield token

    def detokenize(self, tokens):
        return " ".join(f"{self.path}{token}" for token in tokens)


@pytest.fixture
def engines(monkeypatch):
    """Give each path the scripted engine that a test puts here."""
    found = {}
    monkeypatch.setattr("slmlab.engines.llama_cpp.load", lambda path: found[path])
    yield found
    assert Scripted.open == 0


@pytest.fixture
def two(engines):
    engines |= {"a": Scripted("a", 3), "b": Scripted("b", 2)}
    return chat({"A": "a", "B": "b"})


def ask(widget, message):
    widget.message.value = message
    widget.ask.click()
    widget.wait()


def said(engine):
    """What an engine was told last, message by message."""
    return [message["content"] for message in engine.asked[-1]]


def test_both_models_answer_the_same_message(two, engines):
    ask(two, "Hello?")
    assert "a0 a1 a2" in two.view.text and "b0 b1" in two.view.text
    assert "A: done, 3 tokens" in two.view.text and "B: done, 2 tokens" in two.view.text
    assert engines["a"].asked == engines["b"].asked == [[{"role": "user", "content": "Hello?"}]]


def test_a_conversation_goes_on_until_a_new_one_is_wanted(two, engines):
    ask(two, "one")
    ask(two, "two")
    assert said(engines["a"]) == ["one", "a0 a1 a2", "two"]
    assert said(engines["b"]) == ["one", "b0 b1", "two"]
    two.clear.click()
    assert "Nothing was said yet." in two.view.text
    ask(two, "three")
    assert said(engines["a"]) == ["three"]


def test_stop_ends_both_models_and_what_was_written_stays(engines):
    started = threading.Event()
    engines |= {"a": Scripted("a", pause=started.set), "b": Scripted("b")}
    widget = chat({"A": "a", "B": "b"}, max_tokens=10**9)
    widget.message.value = "For ever?"
    widget.ask.click()
    assert started.wait(WAIT)
    assert widget.ask.disabled and not widget.stop.disabled
    widget.stop.click()
    widget.wait()
    assert "A: stopped" in widget.view.text and "a0" in widget.view.text
    assert "B: stopped" in widget.view.text
    assert engines["b"].asked == []
    assert widget.stop.disabled and not widget.ask.disabled


def test_after_a_stop_both_models_are_told_the_same(two, engines):
    ask(two, "one")
    engines["a"].pause = two.stop.click
    ask(two, "two")
    assert "A: stopped" in two.view.text and "what the models are told next" in two.view.text
    engines["a"].pause = lambda: None
    ask(two, "three")
    assert said(engines["a"]) == ["one", "a0 a1 a2", "three"]
    assert said(engines["b"]) == ["one", "b0 b1", "three"]
    assert "You: two" in two.view.text


def test_a_stop_on_the_right_leaves_the_message_out_on_the_left_too(two, engines):
    engines["b"].pause = two.stop.click
    ask(two, "one")
    assert "A: done" in two.view.text and "B: stopped" in two.view.text
    engines["b"].pause = lambda: None
    ask(two, "two")
    assert said(engines["a"]) == said(engines["b"]) == ["two"]


def test_a_stop_while_the_file_is_loaded_comes_before_the_prompt_is_read(engines, monkeypatch):
    engine = Scripted("a")
    widget = chat({"A": "a"})

    def load(_path):
        widget.stop.click()
        return engine

    monkeypatch.setattr("slmlab.engines.llama_cpp.load", load)
    ask(widget, "Hello?")
    assert engine.asked == []
    assert "A: stopped" in widget.view.text


def test_nothing_is_loaded_after_a_stop(engines):
    *_, last = replies("A", "a", (), "Hello?", 8, stopped=lambda: True)
    assert last.state == "stopped"


def test_closing_stops_too_and_leaves_no_thread(engines):
    started = threading.Event()
    engines["a"] = Scripted("a", pause=started.set)
    before = set(threading.enumerate())
    widget = chat({"A": "a"}, max_tokens=10**9)
    widget.message.value = "For ever?"
    widget.ask.click()
    assert started.wait(WAIT)
    widget.close()
    assert set(threading.enumerate()) <= before


def test_asking_twice_while_a_model_writes_asks_once(engines):
    started = threading.Event()
    engines["a"] = Scripted("a", pause=started.set)
    widget = chat({"A": "a"}, max_tokens=10**9)
    widget.message.value = "For ever?"
    widget.ask.click()
    assert started.wait(WAIT)
    widget.ask.click()
    widget.close()
    assert len(engines["a"].asked) == 1


def test_a_failure_is_a_sentence_and_the_next_message_works(two, engines):
    whole = engines["b"]
    del engines["b"]
    ask(two, "Hello?")
    assert "This did not work (KeyError: 'b')." in two.view.text
    assert "B: failed" in two.view.text
    assert not two.ask.disabled
    engines["b"] = whole
    ask(two, "Again?")
    assert "did not work" not in two.view.text
    assert said(engines["a"]) == said(whole) == ["Again?"]


def test_after_a_failure_on_the_left_the_right_is_not_asked(two, engines):
    del engines["a"]
    ask(two, "Hello?")
    assert "A: failed" in two.view.text and "B: not asked" in two.view.text
    assert engines["b"].asked == []


def test_a_full_context_says_which_button_helps_and_it_does(two, engines):
    engines["b"].context = 300
    ask(two, "word " * 20)
    assert "do not fit" not in two.view.text
    ask(two, "word " * 20)
    assert 'do not fit a context of 300; press "New conversation".' in two.view.text
    two.clear.click()
    ask(two, "word " * 20)
    assert "B: done" in two.view.text and "do not fit" not in two.view.text


def test_a_first_message_that_is_too_long_has_to_be_shorter(two, engines):
    engines["a"].context = 2048
    ask(two, "word " * 500)
    assert "do not fit a context of 2048; write a shorter one." in two.view.text


@pytest.mark.parametrize("talk", [chat, partial(side_by_side, message="Hello?")])
def test_no_model_file_at_all_is_an_error_in_the_plain_call(talk):
    with pytest.raises(UsageError, match="no model file to talk with"):
        talk({})


def test_an_empty_message_is_not_asked(two, engines):
    ask(two, "  ")
    assert "write one" in two.view.text
    assert engines["a"].asked == []


def test_an_empty_message_leaves_the_conversation_on_view(two):
    ask(two, "Hello?")
    ask(two, "  ")
    assert "write one" in two.view.text and "a0 a1 a2" in two.view.text


def test_a_reply_grows_token_by_token_with_its_rate(engines):
    engines["a"] = Scripted("a", 3)
    grown = list(replies("A", "a", (), "Hello?", 8))
    assert [reply.tokens for reply in grown] == [0, 0, 1, 2, 3, 3]
    states = [reply.state for reply in grown]
    assert states == ["loading", "reading", *["writing"] * 3, "done"]
    assert grown[2].tokens_per_second == 0
    assert grown[-1].tokens_per_second > 0


def test_half_a_character_is_not_shown(engines, monkeypatch):
    engines["a"] = Scripted("a", 1)
    monkeypatch.setattr(engines["a"], "detokenize", lambda tokens: "caf\ufffd")
    *_, last = replies("A", "a", (), "Hello?", 8)
    assert last.text == "caf"


def test_the_plain_call_says_how_far_it_is(engines, capsys):
    engines |= {"a": Scripted("a", 3), "b": Scripted("b", 2)}
    side_by_side({"A": "a", "B": "b"}, "Hello?")
    assert capsys.readouterr().out == "A has answered, 1 of 2.\nB has answered, 2 of 2.\n"


@pytest.mark.slow
def test_the_plain_call_lets_real_models_answer(smollm2):
    view = side_by_side({"Q4_1": smollm2, "again": smollm2}, "Which planet is the largest?", 8)
    first, second = view.text.split("again:\n")
    assert "Q4_1: done, 8 tokens" in first
    assert first.splitlines()[2] == second.splitlines()[1]


@pytest.mark.slow
def test_a_real_model_stops_in_the_middle(smollm2):
    widget = chat({"Q4_1": smollm2}, max_tokens=1500)
    shown = threading.Event()
    widget.children[2].observe(lambda change: "writing" in change.new and shown.set(), "value")
    widget.message.value = "Count from 1 to 500, each number on its own line."
    widget.ask.click()
    assert shown.wait(10 * WAIT)
    widget.stop.click()
    widget.wait()
    assert "Q4_1: stopped" in widget.view.text


@pytest.mark.slow
def test_a_file_that_is_no_model_is_an_error_in_the_plain_call(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"nothing")
    with pytest.raises(InvalidModelFile):
        side_by_side({"broken": broken}, "Hello?")
