"""From messages to the tokens a model reads: its template, and what happens if they are many."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from slmlab.deployment.ollama_stand_in.failure import Failure
from slmlab.engines.engine import Engine
from slmlab.errors import first_line

Messages = list[dict[str, str]]

_ACTION = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
_JINJA = {
    "else": "{%<else>%}",
    "end": "{%<endif>%}",
    **{f".{name}": f"{{{{<{name}>}}}}" for name in ("System", "Prompt", "Response")},
    **{f"if .{name}": f"{{%<if {name}>%}}" for name in ("System", "Prompt", "Response")},
}
"""Each action of Go's templates that the stand-in knows, as Jinja; < and > stand for a dash."""


def tokens(
    engine: Engine, template: str, messages: Messages, options: dict[str, Any], truncate: bool
) -> list[int]:
    """Return the tokens of a chat, cut as Ollama cuts them where they do not fit.

    First the oldest messages go, but no system message and not the last one; what is still too
    long loses its middle (`cut`). Without `truncate` that is a `Failure` instead.
    """

    def read(kept: Messages) -> list[int]:
        text = chat_text(engine, template, kept)
        return engine.tokenize(text, special=True)

    found = read(messages)
    if truncate:
        for first in range(1, len(messages)):
            if len(found) <= engine.context:
                break
            system = [message for message in messages[:first] if message["role"] == "system"]
            found = read([*system, *messages[first:]])
    return cut(found, engine.context, options["num_keep"], truncate)


def chat_text(engine: Engine, template: str, messages: Messages) -> str:
    """Return the text of a chat by a Modelfile's template, or else by the model's own."""
    return go_text(template, messages) if template else engine.chat_prompt(messages)


def cut(found: Sequence[int], context: int, keep: int, truncate: bool) -> list[int]:
    """Return tokens that leave room to answer: too many become about half a context of them.

    The first `keep` stay and the last, and the middle goes: Ollama's `llm/llama_server.go` does
    it since llama-server runs its models. Without `truncate`, too many raise `Failure`.
    """
    if len(found) < context:
        return list(found)
    if not truncate:
        raise Failure(
            f"request ({len(found)} tokens) exceeds the available context size "
            f"({context} tokens), try increasing it"
        )
    keep = max(0, min(len(found) if keep < 0 else keep, context - 1))
    limit = context - max((context - keep) // 2, 1)
    return [*found[:keep], *found[len(found) - (limit - keep) :]]


def go_text(template: str, messages: Messages) -> str:
    """Return what a template with `.System`, `.Prompt` and `.Response` makes of a chat.

    The template is written once for each question with its answer; after the last question it
    ends where the response would be.
    """
    whole = go_template(template)
    open_ended = go_template(re.split(r"\{\{-?\s*\.Response", template)[0])
    text, turn = "", {"System": "", "Prompt": ""}
    for message in messages:
        if message["role"] == "assistant":
            text += whole(Response=message["content"], **turn)
            turn = {"System": "", "Prompt": ""}
        else:
            part = "System" if message["role"] == "system" else "Prompt"
            turn[part] = "\n\n".join(filter(None, [turn[part], message["content"]]))
    return text + open_ended(Response="", **turn)


def go_template(source: str) -> Callable[..., str]:
    """Return what fills in a Go template; raise `Failure` for what the stand-in does not know."""

    def translated(action: re.Match) -> str:
        before, words, after = action.groups()
        if " ".join(words.split()) not in _JINJA:
            raise Failure(f"template error: the stand-in does not know {{{{ {words} }}}}")
        jinja = _JINJA[" ".join(words.split())]
        return jinja.replace("<", f"{before} ").replace(">", f" {after}")

    if re.search(r"\{[%#]", source):
        raise Failure("template error: the stand-in knows no {% and no {#")
    sandbox = ImmutableSandboxedEnvironment(keep_trailing_newline=True)
    try:
        return sandbox.from_string(_ACTION.sub(translated, source)).render
    except (jinja2.TemplateError, SyntaxError, RecursionError) as problem:
        raise Failure(f"template error: {first_line(problem)}") from None
