"""Chat messages into the text a model was trained to read, by the model's own template."""

import json
from datetime import datetime
from typing import Any, NoReturn

from slmlab.engines.engine import Messages
from slmlab.errors import EngineError


def render(template: str | None, messages: Messages, name: str, **tokens: str) -> str:
    """Return what a Jinja chat template makes of the messages, up to where the answer begins.

    The rules are those of transformers' `chat_template_utils`: a sandbox, trimmed blocks, and
    `tokens` such as `bos_token` by name. Raises `EngineError` where the model called `name` has
    no template or its template refuses the messages.
    """
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if not template:
        raise EngineError(f"{name} has no chat template; give a plain string to continue instead.")
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    sandbox.filters["tojson"] = _to_json
    sandbox.globals |= {"raise_exception": _refuse, "strftime_now": datetime.now().strftime}
    try:
        return sandbox.from_string(template).render(
            messages=list(messages), add_generation_prompt=True, **tokens
        )
    except jinja2.TemplateError as problem:
        raise EngineError(
            f"The chat template of {name} does not take these messages: {problem}"
        ) from None


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(reason: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(reason)
