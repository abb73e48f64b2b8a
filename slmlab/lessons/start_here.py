"""Questions of lab 00: what fits a context, and what an answer costs in seconds."""

from typing import ClassVar

from slmlab.lessons.question import Question, WrongAnswer, expect, number

_CONTEXT, _FOR_THE_ANSWER = 2048, 200
_TO_READ, _TO_WRITE = 1000, 100
_CLOSE = 0.03


class _WordsThatFit(Question):
    name = "q1"
    prompt = (
        "A context of 2,048 tokens holds your text and the model's answer together. You keep 200 "
        "tokens for the answer. With your `tokens_per_word`, about how many English words may "
        "your text have?"
    )
    hints = (
        "Work in tokens first: how many are left for your text once the answer has its room?",
        "One word takes `tokens_per_word` tokens, so from tokens to words you divide.",
    )
    solution_code = "answer = (2048 - 200) / tokens_per_word"
    wrong_answers: ClassVar = (
        WrongAnswer("answer = 2048", "as if a word were a token"),
        WrongAnswer("answer = 2048 - 200", "still tokens"),
        WrongAnswer("answer = 2048 / tokens_per_word", "no room for the answer"),
        WrongAnswer("answer = (2048 - 200) * tokens_per_word", "divide, not multiply"),
    )
    praise = "That is right: in English, a context holds fewer words than tokens."
    setup = "tokens_per_word = 1.3"
    needs = ("tokens_per_word",)

    def judge(self, answer: float, tokens_per_word: float) -> None:
        words = number(answer, "words")
        tokens = _CONTEXT - _FOR_THE_ANSWER
        expect(
            words,
            tokens / tokens_per_word,
            {
                _CONTEXT: "That counts as if a word were a token, and keeps no room to answer.",
                tokens: "The answer has its room, but these are still tokens; turn to words.",
                _CONTEXT / tokens_per_word: "That fills the context: no room for the answer.",
                tokens * tokens_per_word: "A word takes more than a token: divide, not multiply.",
            },
            "First take the answer's 200 tokens away, then turn tokens into words.",
            _CLOSE,
        )


class _SecondsToAnswer(Question):
    name = "q2"
    prompt = (
        "Somebody pastes a report of 1,000 tokens and asks for a summary, which takes 100 tokens. "
        "With your `prompt_rate` and `decode_rate`, how many seconds pass before the summary is "
        "complete?"
    )
    hints = (
        "Two things happen one after the other: the model reads the report, then it writes.",
        "Each part takes its tokens divided by its own rate, in tokens per second; add the two.",
    )
    solution_code = "answer = 1000 / prompt_rate + 100 / decode_rate"
    wrong_answers: ClassVar = (
        WrongAnswer("answer = 100 / decode_rate", "reads the report first"),
        WrongAnswer("answer = 1000 / prompt_rate", "only until the first word"),
        WrongAnswer("answer = 1100 / decode_rate", "read at the speed of writing"),
        WrongAnswer("answer = 1100 / (prompt_rate + decode_rate)", "rates do not add up"),
        WrongAnswer("answer = 1000 / decode_rate + 100 / prompt_rate", "the wrong way round"),
    )
    praise = "That is right. A long question can cost more than a short answer."
    setup = "prompt_rate, decode_rate = 700.0, 150.0"
    needs = ("prompt_rate", "decode_rate")

    def judge(self, answer: float, prompt_rate: float, decode_rate: float) -> None:
        seconds = number(answer, "seconds")
        reading, writing = _TO_READ / prompt_rate, _TO_WRITE / decode_rate
        tokens = _TO_READ + _TO_WRITE
        expect(
            seconds,
            reading + writing,
            {
                writing: "That is the writing alone; the model reads the report first.",
                reading: "That is only until the first word; the other tokens follow.",
                tokens / decode_rate: "That lets the report be read at the speed of writing.",
                tokens / (prompt_rate + decode_rate): "The rates do not add up: the model reads "
                "first, and writes then.",
                _TO_READ / decode_rate + _TO_WRITE / prompt_rate: "The two rates are the wrong "
                "way round: prompt_rate is for reading.",
            },
            "Add two times: 1,000 tokens at the reading rate, 100 at the writing rate.",
            _CLOSE,
        )


q1 = _WordsThatFit()
q2 = _SecondsToAnswer()
