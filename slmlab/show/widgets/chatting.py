"""The same conversation with two models, or two precisions of one, side by side."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import ipywidgets

from slmlab.engines import llama_cpp
from slmlab.errors import UsageError
from slmlab.show.widgets.panel import (
    Panel,
    View,
    beside,
    button,
    dropdown,
    failure,
    named,
    sentence,
)

SIDES = ("Left", "Right")
_SECONDS_BETWEEN_VIEWS = 0.1
_LEFT_OUT = "Only what both have answered to the end is part of what the models are told next."


@dataclass(frozen=True)
class Reply:
    """What a model has written so far to one message, and how fast.

    `tokens_per_second` counts the tokens after the first. `state` is "not asked", "loading",
    "reading" or "writing", and in the end "done", "stopped" or "failed".
    """

    model: str
    message: str
    text: str = ""
    tokens: int = 0
    seconds_to_first_token: float = 0.0
    tokens_per_second: float = 0.0
    state: str = "not asked"

    def __str__(self) -> str:
        said = f"{self.model}: {self.state}"
        if self.tokens > 1:
            said += (
                f", {self.tokens} tokens, the first after {self.seconds_to_first_token:.2f} s, "
                f"then {self.tokens_per_second:.1f} tokens/s"
            )
        return said


def side_by_side(files: Mapping[str, Path], message: str, max_tokens: int = 64) -> View:
    """Return what each model file answers to one message, and the rates measured meanwhile.

    A line is printed for each file that has answered. Raises `UsageError` where there is no file,
    and what loading and generating raise: `InvalidModelFile`, `NotPossibleHere`, `UsageError`.
    """
    _check(files)
    columns = {}
    for name, path in files.items():
        *_, last = replies(name, path, (), message, max_tokens)
        columns[name] = _conversation([last])
        print(f"{name} has answered, {len(columns)} of {len(files)}.")
    return beside(columns)


def replies(
    name: str,
    path: Path,
    earlier: Sequence[Reply],
    message: str,
    max_tokens: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Reply]:
    """Yield the growing reply of one model file, token by token, until it ends or is stopped.

    `stopped` is asked before the file is loaded, before the prompt is read, and after each token.
    Raises what loading and generating raise: `InvalidModelFile`, `NotPossibleHere`, `UsageError`.
    """
    messages = _messages(earlier, message)
    with closing(_growing(Reply(name, message), path, messages, max_tokens)) as growing:
        for reply in growing:
            if stopped():
                yield replace(reply, state="stopped")
                return
            yield reply
    yield replace(reply, state="done")


def _growing(
    reply: Reply, path: Path, messages: Sequence[dict[str, str]], max_tokens: int
) -> Iterator[Reply]:
    """Yield a reply before its file is loaded, before the prompt is read, and after each token."""
    yield replace(reply, state="loading")
    with llama_cpp.load(path) as engine:
        yield replace(reply, state="reading")
        new: list[int] = []
        start = first = time.perf_counter()
        tokens = engine.prompt_tokens(messages)
        _must_fit(len(tokens), max_tokens, engine.context, len(messages) > 1)
        for token in engine.greedy(tokens, max_tokens):
            now = time.perf_counter()
            first = first if new else now
            new.append(token)
            yield replace(
                reply,
                text=engine.detokenize(new).rstrip("\ufffd"),  # part of a character, as yet
                tokens=len(new),
                seconds_to_first_token=first - start,
                tokens_per_second=(len(new) - 1) / (now - first) if now > first else 0.0,
                state="writing",
            )


class Chat(Panel):
    """Two conversations with the same messages; each model is asked alone, the left one first.

    A message that not both have answered to the end, because one was stopped or failed, stays on
    view but is no part of what the models are told next.
    """

    def __init__(self, files: Mapping[str, Path], max_tokens: int = 128) -> None:
        self._files, self._max_tokens = dict(files), max_tokens
        self._turns: list[dict[str, Reply]] = []
        self._trouble: View | None = None
        self._worker: threading.Thread | None = None
        self._stopping = threading.Event()
        names = list(files)
        self.chosen = {
            side: dropdown(side, names, name, f"The model on the {side.lower()}")
            for side, name in zip(SIDES, (names[0], names[-1]), strict=True)
        }
        self.message = ipywidgets.Textarea(
            rows=2,
            continuous_update=False,  # one message to the kernel, which no click can overtake
            placeholder="Which planet is the largest?",
            **named("Message", "What both models are asked"),
        )
        self.ask = button("Ask both", "Send the message to both", button_style="primary")
        self.stop = button("Stop", "Stop both models now", disabled=True)
        self.clear = button("New conversation", "Forget what was said")
        self.ask.on_click(lambda _: self._begin())
        self.stop.on_click(lambda _: self._stopping.set())
        self.clear.on_click(lambda _: self._forget())
        self.message.layout.flex = "1 1 20em"
        buttons = (self.ask, self.stop, self.clear)
        super().__init__("Side by side", [*self.chosen.values(), self.message, *buttons])
        self._refresh()

    def wait(self) -> None:
        """Return when both models have answered, or have been stopped."""
        if self._worker:
            self._worker.join()

    def close(self) -> None:
        """Stop the models and take the widget off the page."""
        self._stopping.set()
        self.wait()
        super().close()

    def _begin(self) -> None:
        if self.ask.disabled:
            return
        message = self.message.value.strip()
        if not message:
            self._trouble = failure(UsageError("There is no message yet; write one, then ask."))
            self._refresh()
            return
        self._stopping.clear()
        self._busy(True)
        self._worker = threading.Thread(target=self._answer, args=(message,), name="chat")
        self._worker.start()

    def _answer(self, message: str) -> None:
        """Let both models reply, one after the other; this runs beside the notebook's cells."""
        turn = {side: Reply(self.chosen[side].value, message) for side in SIDES}
        self._turns.append(turn)
        self._trouble = None
        try:
            for side in SIDES:
                self._reply(side, turn)
        except Exception as problem:
            self._trouble = failure(problem)
        finally:
            self._refresh()
            self._busy(False)

    def _reply(self, side: str, turn: dict[str, Reply]) -> None:
        name, message, shown = turn[side].model, turn[side].message, 0.0
        earlier = [before[side] for before in self._turns if _is_whole(before)]
        path, most = self._files[name], self._max_tokens
        try:
            for reply in replies(name, path, earlier, message, most, self._is_stopped):
                turn[side] = reply
                if time.monotonic() - shown > _SECONDS_BETWEEN_VIEWS:
                    shown = time.monotonic()
                    self._refresh()
        except Exception:
            turn[side] = replace(turn[side], state="failed")
            raise

    def _is_stopped(self) -> bool:
        """Tell whether somebody asked to stop, or the kernel is about to end."""
        return self._stopping.is_set() or not threading.main_thread().is_alive()

    def _busy(self, busy: bool) -> None:
        self.stop.disabled = not busy
        for control in (self.ask, self.clear, *self.chosen.values()):
            control.disabled = busy

    def _forget(self) -> None:
        self._turns, self._trouble = [], None
        self._refresh()

    def _refresh(self) -> None:
        talks = {side: [turn[side] for turn in self._turns] for side in SIDES}
        view = beside({side: _conversation(talk) for side, talk in talks.items()})
        states = {reply.state for talk in talks.values() for reply in talk}
        if states & {"stopped", "failed"}:
            view += sentence(_LEFT_OUT)
        self.show(view + self._trouble if self._trouble else view)


def chat(files: Mapping[str, Path], max_tokens: int = 128) -> Chat:
    """Return a widget to talk with two of the model files at once, by their names.

    Raises `UsageError` where there is no file.
    """
    _check(files)
    return Chat(files, max_tokens)


def _check(files: Mapping[str, Path]) -> None:
    if not files:
        raise UsageError("There is no model file to talk with; give at least one, by its name.")


def _must_fit(tokens: int, max_tokens: int, context: int, goes_on: bool) -> None:
    """Raise `UsageError`, with what helps here, where a conversation has grown too long."""
    if tokens + max_tokens > context:
        advice = 'press "New conversation"' if goes_on else "write a shorter one"
        raise UsageError(
            f"A message that makes {tokens} tokens with all before it, and an answer of up to "
            f"{max_tokens}, do not fit a context of {context}; {advice}."
        )


def _is_whole(turn: Mapping[str, Reply]) -> bool:
    """Tell whether both sides have answered a message to the end."""
    return all(reply.state == "done" for reply in turn.values())


def _messages(earlier: Sequence[Reply], message: str) -> list[dict[str, str]]:
    """Return a conversation as a chat template wants it."""
    said = []
    for reply in earlier:
        said += [("user", reply.message), ("assistant", reply.text)]
    return [{"role": role, "content": text} for role, text in [*said, ("user", message)]]


def _conversation(talk: Sequence[Reply]) -> View:
    view = View("", "")
    for reply in talk:
        view += sentence(f"You: {reply.message}") + sentence(reply.text) + sentence(str(reply))
    return view if talk else sentence("Nothing was said yet.")
