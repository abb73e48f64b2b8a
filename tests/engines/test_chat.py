"""Chat templates: what transformers' own renderer makes of them, and clear words when it cannot."""

import pytest

from slmlab.engines.chat import render
from slmlab.errors import EngineError

ASK = [{"role": "user", "content": "Größe?"}]
TEMPLATES = {
    "tools are none": "{% if tools is none and documents is none %}none{% endif %}",
    "a block to train on": "{% for m in messages %}{% generation %}\n{{ m.content }}"
    "{% set m = 1 %}{% endgeneration %}{{ m.role }}{% endfor %}",
    "JSON": "{{ messages | tojson(separators=(',', ':'), sort_keys=true) }}",
    "a marker": "{{ bos_token }}{{ messages[0]['content'] }}",
    "loop controls": "{% for m in messages %}{% break %}{% endfor %}end",
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_gives_what_it_gives_in_transformers(template):
    from transformers.utils.chat_template_utils import render_jinja_template

    options = {"add_generation_prompt": True, "bos_token": "<s>"}
    [expected], _ = render_jinja_template([ASK], chat_template=template, **options)
    assert render(template, ASK, "tiny", bos_token="<s>") == expected != ""


def test_of_several_templates_the_default_one_is_taken():
    named = [
        {"name": "tool_use", "template": "tools"},
        {"name": "default", "template": "{{ messages[0].content }}"},
    ]
    assert render(named, ASK, "tiny") == "Größe?"


@pytest.mark.parametrize(
    "template", [None, "", [], [1], [{"name": "rag"}], [{"name": "tool_use", "template": "tools"}]]
)
def test_without_a_default_template_it_says_what_works(template):
    with pytest.raises(EngineError, match="tiny has no chat template; give a plain string"):
        render(template, ASK, "tiny")


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content + 'x' }}",
        "{{ raise_exception('no parts') }}",
        "{{ messages[0].content.strip() }}",
        "{{ ''.__class__.__mro__ }}",
        "{% generation %}",
        5,
    ],
)
def test_what_a_template_does_not_take_is_said_in_a_sentence(template):
    parts = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    with pytest.raises(EngineError, match="The chat template of tiny does not take these messages"):
        render(template, parts, "tiny")


@pytest.mark.parametrize(
    "template",
    [
        "{{ 1 // 0 }}",
        "{{ messages[0].content.nothing.at.all }}",
        "{{ messages['a']['b'] }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{% if a %}" * 200 + "{% endif %}" * 200,
    ],
    ids=["a division", "no attribute", "no key", "without end", "too deep"],
)
def test_whatever_a_models_template_does_is_said_in_a_sentence(template):
    with pytest.raises(EngineError, match="The chat template of tiny does not take") as refused:
        render(template, ASK, "tiny")
    assert "\n" not in str(refused.value)
