"""The same conversation with two models, or two precisions of one, side by side."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Reply:
    """What a model has written so far to one message, and how fast.

    `tokens_per_second` counts the tokens after the first; `state` says whether more will come.
    """

    model: str
    message: str
    text: str = ""
    tokens: int = 0
    seconds_to_first_token: float = 0.0
    tokens_per_second: float = 0.0
    state: str = "loading and reading"

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

    Raises `UsageError` where there is no file, and what loading and generating raise:
    `InvalidModelFile`, `NotPossibleHere`, `UsageError`.
    """
    _check(files)
    columns = {}
    for name, path in files.items():
        *_, last = replies(name, path, (), message, max_tokens)
        columns[name] = _conversation([last])
    return beside(columns)


def replies(
    name: str,
    path: Path,
    earlier: Sequence[Reply],
    message: str,
    max_tokens: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Reply]:
    """Yield the growing reply of one model file, token by token, until it ends or is stopped."""
    reply = Reply(name, message)
    yield reply
    with llama_cpp.load(path) as engine:
        new: list[int] = []
        start = first = time.perf_counter()
        tokens = engine.prompt_tokens(_messages(earlier, message))
        for token in engine.greedy(tokens, max_tokens):
            now = time.perf_counter()
            first = first if new else now
            new.append(token)
            text = engine.detokenize(new).rstrip("\ufffd")  # part of a character, as yet
            rate = (len(new) - 1) / (now - first) if now > first else 0.0
            reply = Reply(name, message, text, len(new), first - start, rate, "writing")
            if stopped():
                break
            yield reply
    state = "stopped" if stopped() else "done"
    yield Reply(**vars(reply) | {"state": state})


class Chat(Panel):
    """Two conversations with the same messages; each model is asked alone, the left one first."""

    def __init__(self, files: Mapping[str, Path], max_tokens: int = 128) -> None:
        self._files, self._max_tokens = dict(files), max_tokens
        self._talks: dict[str, list[Reply]] = {side: [] for side in SIDES}
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
            self.show(failure(UsageError("There is no message yet; write one, then ask.")))
            return
        self._stopping.clear()
        self._busy(True)
        self._worker = threading.Thread(target=self._answer, args=(message,), name="chat")
        self._worker.start()

    def _answer(self, message: str) -> None:
        """Let both models reply, one after the other; this runs beside the notebook's cells."""
        self._trouble = None
        try:
            for side in SIDES:
                if not self._is_stopped():
                    self._reply(side, self.chosen[side].value, message)
        except Exception as problem:
            self._trouble = failure(problem)
        finally:
            self._refresh()
            self._busy(False)

    def _reply(self, side: str, name: str, message: str) -> None:
        earlier, shown = self._talks[side], 0.0
        path, most = self._files[name], self._max_tokens
        try:
            for reply in replies(name, path, earlier, message, most, self._is_stopped):
                self._talks[side] = [*earlier, reply]
                if time.monotonic() - shown > _SECONDS_BETWEEN_VIEWS:
                    shown = time.monotonic()
                    self._refresh()
        except Exception:
            self._talks[side] = earlier  # without half a reply
            raise

    def _is_stopped(self) -> bool:
        """Tell whether somebody asked to stop, or the kernel is about to end."""
        return self._stopping.is_set() or not threading.main_thread().is_alive()

    def _busy(self, busy: bool) -> None:
        self.stop.disabled = not busy
        for control in (self.ask, self.clear, *self.chosen.values()):
            control.disabled = busy

    def _forget(self) -> None:
        self._talks, self._trouble = {side: [] for side in SIDES}, None
        self._refresh()

    def _refresh(self) -> None:
        view = beside({side: _conversation(talk) for side, talk in self._talks.items()})
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
