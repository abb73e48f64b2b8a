"""Chat messages into the text a model was trained to read, by the model's own template."""

import json
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from slmlab.engines.engine import Messages
from slmlab.errors import EngineError, first_line

Template = str | list[dict[str, str]] | None
"""A Jinja template, or several by name; one of them is then called `default`."""


class _Generation(Extension):
    """The block `{% generation %}`, which marks an answer for training: here just what it holds."""

    tags = frozenset({"generation"})

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def render(template: Template, messages: Messages, name: str, **tokens: str) -> str:
    """Return what a Jinja chat template makes of the messages, up to where the answer begins.

    What a template may use is what transformers' `chat_template_utils` gives it, without tools
    and documents: a sandbox, trimmed blocks, and `tokens` such as `bos_token` by name. Raises
    `EngineError` where the model called `name` has no template or its template refuses the
    messages.
    """
    source = _default(template)
    if not source:
        raise EngineError(f"{name} has no chat template; give a plain string to continue instead.")
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    sandbox.filters["tojson"] = _to_json
    sandbox.globals |= {"raise_exception": _refuse, "strftime_now": datetime.now().strftime}
    try:
        return sandbox.from_string(source).render(
            messages=list(messages),
            tools=None,
            documents=None,
            add_generation_prompt=True,
            **tokens,
        )
    except Exception as problem:  # a template is a program, and this one came with the model
        raise EngineError(
            f"The chat template of {name} does not take these messages: {first_line(problem)}"
        ) from None


def _default(template: Template) -> str | None:
    if isinstance(template, list):
        named = (entry for entry in template if isinstance(entry, dict))
        return next((e.get("template") for e in named if e.get("name") == "default"), None)
    return template


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _refuse(reason: str) -> NoReturn:
    raise jinja2.TemplateError(reason)
