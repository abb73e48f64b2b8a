"""Text of a given form: what a grammar allows is written, and nothing else."""

import json

import pytest

from slmlab.engines import grammar, llama_cpp
from slmlab.errors import EngineError, UsageError

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer"},
        "colour": {"enum": ["red", "green"]},
    },
    "required": ["name", "age", "colour"],
}
ASK = [{"role": "user", "content": "Tell me about a dog called Rex."}]


@pytest.fixture(scope="module")
def engine(smollm2):
    with llama_cpp.load(smollm2, context=256) as loaded:
        yield loaded


@pytest.mark.slow
def test_a_schema_gives_json_of_its_keys_and_types_in_its_order(engine):
    text = engine.generate_in_form(ASK, grammar.from_json_schema(SCHEMA), max_tokens=64)
    found = json.loads(text)
    assert list(found) == ["name", "age", "colour"]
    assert isinstance(found["name"], str)
    assert len(found["name"]) <= 12
    assert isinstance(found["age"], int)
    assert found["colour"] in ("red", "green")


@pytest.mark.slow
def test_only_the_allowed_words_come_out(engine):
    assert engine.generate_in_form(ASK, 'root ::= "yes" | "no"') in ("yes", "no")


@pytest.mark.slow
def test_an_answer_may_be_complete_with_the_last_token_allowed(engine):
    assert engine.generate_in_form(ASK, 'root ::= "a" | "b"', max_tokens=1) in ("a", "b")


@pytest.mark.slow
def test_a_grammar_that_allows_everything_changes_nothing(engine):
    ask = [{"role": "user", "content": "What is the capital of France? One word."}]
    free = engine.generate(ask, max_tokens=32)
    assert free.new_tokens < 32, "the model ends this answer by itself"
    assert engine.generate_in_form(ask, r"root ::= [\x00-\U0010FFFF]*", 32) == free.text


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["", "no rule at all", "root ::= missing", 'other ::= "a"'])
def test_a_wrong_grammar_is_refused_in_a_sentence(engine, wrong):
    with pytest.raises(UsageError, match="cannot read this grammar"):
        engine.generate_in_form("hello", wrong)


@pytest.mark.slow
def test_a_text_that_is_cut_off_is_never_given_out_as_whole(engine):
    with pytest.raises(EngineError, match="has not ended after 8 tokens"):
        engine.generate_in_form("hello", 'root ::= "a" root', max_tokens=8)


@pytest.mark.parametrize(
    "schema", [{"type": "no-such-type"}, {"$ref": "https://example.org/schema.json"}]
)
def test_a_schema_that_gives_no_grammar_is_refused(schema):
    with pytest.raises(UsageError, match="schema cannot become a grammar"):
        grammar.from_json_schema(schema)
