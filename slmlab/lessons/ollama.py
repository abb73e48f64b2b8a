"""The questions of lab 08: Modelfiles, nanoseconds, loads, switching, and lost tokens."""

import statistics
from collections.abc import Sequence
from typing import Any

from slmlab.lessons.question import Incorrect, Question, WrongAnswer, expect, number


class RefusedLines(Question):
    """A Modelfile has few instructions, and only Ollama's own parameters."""

    name = "q1"
    prompt = (
        "A Modelfile has five lines: (1) `FROM ./model.gguf`, (2) `PARAMETER temperature 0.2`, "
        "(3) `PARAMETER context_length 4096`, (4) `SYSTEM You answer in one sentence.`, "
        "(5) `FILE ./guidelines.txt`. Which of them does Ollama refuse? Answer with a set of line "
        "numbers, such as `{2}`."
    )
    hints = (
        "Compare each line with the table of instructions and with the errors above.",
        "One line has an instruction that there is none of, and one a parameter of that kind.",
    )
    solution_code = "answer = {3, 5}"
    wrong_answers = (
        WrongAnswer("answer = {5}", "not what Ollama calls the context"),
        WrongAnswer("answer = {3}", "no instruction that adds a document"),
        WrongAnswer("answer = {3, 4, 5}", "may stand without quotation marks"),
        WrongAnswer("answer = {1, 3, 5}", "a path relative to the Modelfile"),
        WrongAnswer("answer = set()", "Two of these lines"),
        WrongAnswer('answer = "3 and 5"', "a set of line numbers"),
    )
    praise = (
        "Right. `num_ctx` is the parameter's name, and what a model should know of a document "
        "must stand in the prompt."
    )

    def judge(self, answer: Any) -> None:
        """Name the line that was wrongly taken or wrongly refused."""
        lines = set(answer) if isinstance(answer, set | frozenset | list | tuple) else None
        if lines is None or not lines <= {1, 2, 3, 4, 5}:
            raise Incorrect("Answer with a set of line numbers from 1 to 5, such as {2}.")
        if not lines:
            raise Incorrect("Two of these lines come from a lesson and do not work.")
        if 1 in lines:
            raise Incorrect("FROM takes a path relative to the Modelfile, as in line 1.")
        if 2 in lines:
            raise Incorrect("The temperature of line 2 is one of Ollama's parameters.")
        if 4 in lines:
            raise Incorrect("A text of one line, as in line 4, may stand without quotation marks.")
        if 3 not in lines:
            raise Incorrect("Look at line 3 again: that is not what Ollama calls the context.")
        if 5 not in lines:
            raise Incorrect("Look at line 5 again: there is no instruction that adds a document.")


class TokensPerSecond(Question):
    """A rate is a count divided by the time that belongs to it."""

    name = "q2"
    prompt = (
        "The last part of an answer in Ollama's documentation says: `total_duration` "
        "10706818083, `load_duration` 6338219291, `prompt_eval_count` 26, `prompt_eval_duration` "
        "130079000, `eval_count` 259, `eval_duration` 4232710000. At how many tokens per second "
        "was the answer written?"
    )
    hints = (
        "Which count and which duration belong to writing? The duration is in nanoseconds.",
        "Divide 259 by 4232710000, and multiply by 10⁹.",
    )
    solution_code = "answer = 259 / 4232710000 * 1e9"
    wrong_answers = (
        WrongAnswer("answer = 259 / 10706818083 * 1e9", "also loaded the model"),
        WrongAnswer("answer = 26 / 130079000 * 1e9", "was read"),
        WrongAnswer("answer = (26 + 259) / 4232710000 * 1e9", "not written"),
        WrongAnswer("answer = 259 / 4232710000", "per nanosecond"),
        WrongAnswer("answer = 259 / 4232710000 * 1e6", "thousand"),
        WrongAnswer("answer = 4232710000 / 259", "the other way round"),
    )
    praise = "Right: 61 tokens per second, though the user waited for 10.7 seconds in all."

    def judge(self, answer: Any) -> None:
        """Accept 61.19 to within 1 %."""
        right = 259 / 4.23271
        expect(
            number(answer, "tokens per second"),
            right,
            {
                259 / 10.706818083: "In the whole time, the server also loaded the model and read "
                "the prompt.",
                26 / 0.130079: "At that rate the prompt was read.",
                285 / 4.23271: "The 26 tokens of the prompt were read, not written.",
                right / 1e9: "These are tokens per nanosecond.",
                right / 1e3: "A second has a thousand times as many nanoseconds as you took.",
                4232710000 / 259: "That is the other way round: nanoseconds per token.",
            },
            "Divide the tokens written by the seconds of writing.",
        )


class HowManyLoads(Question):
    """With room for one model, each change of model is a load."""

    name = "q3"
    prompt = (
        "A server has room for one model in memory, and no model's time runs out. Requests come "
        "for A, B, B, A, C and A, in this order. How many times is a model loaded?"
    )
    hints = (
        "Go through the requests, and note after each which model is in memory.",
        "The second B finds its model in memory. Does any other request?",
    )
    solution_code = "answer = 5"
    wrong_answers = (
        WrongAnswer("answer = 6", "still there"),
        WrongAnswer("answer = 4", "at the start"),
        WrongAnswer("answer = 3", "as if they all stayed"),
        WrongAnswer("answer = 1", "only one of them at a time"),
    )
    praise = "Right. With room for three it would be three loads, whatever the order."

    def judge(self, answer: Any) -> None:
        """Count the changes of model and the first load."""
        expect(
            number(answer, "loads"),
            5,
            {
                6: "One request finds its model still there, from the request before.",
                4: "You counted the changes; at the start nothing is loaded either.",
                3: "You counted the models, as if they all stayed in memory.",
                1: "Room for one model means only one of them at a time, not one for ever.",
            },
            "Follow, request by request, which model is in memory.",
        )


class SwitchingCost(Question):
    """What a habit costs, out of one's own measurement."""

    name = "q4"
    prompt = (
        "An application asks the two models in turn, 100 requests in all, and its server has room "
        "for one. How many seconds does it spend loading, at the mean of your own measurements? "
        "`load_ms` holds them, in milliseconds a request."
    )
    hints = (
        "With room for one and two models in turn, how many of the 100 requests load a model?",
        "Take the mean of load_ms, times 100 requests, divided by 1,000 ms a second.",
    )
    solution_code = "answer = sum(load_ms) / len(load_ms) * 100 / 1000"
    wrong_answers = (
        WrongAnswer("answer = sum(load_ms) / len(load_ms) * 100", "milliseconds"),
        WrongAnswer("answer = sum(load_ms) * 100 / 1000", "the sum"),
        WrongAnswer("answer = sum(load_ms) / len(load_ms) * 50 / 1000", "every request"),
        WrongAnswer("answer = sum(load_ms) / len(load_ms) / 1000", "one request"),
    )
    praise = "Right. Room for a second model, or asking them in batches, saves nearly all of it."
    setup = "load_ms = [210.0, 250.0, 230.0, 245.0, 228.0, 251.0]"
    needs = ("load_ms",)

    def judge(self, answer: Any, load_ms: Sequence[float]) -> None:
        """Accept the mean times 100 to within 2 %."""
        mean = statistics.fmean(load_ms)
        expect(
            number(answer, "seconds"),
            mean / 10,
            {
                mean * 100: "That is in milliseconds.",
                sum(load_ms) / 10: "You multiplied the sum of your measurements, not their mean.",
                mean / 20: "The models take turns, so every request finds the other one in memory.",
                mean / 1000: "That is for one request.",
            },
            "Multiply the mean time to load by the number of requests that load.",
            tolerance=0.02,
        )


class LostTokens(Question):
    """What does not fit is cut to about half the context."""

    name = "q5"
    prompt = (
        "A question of 6,000 tokens reaches Ollama with its defaults: `num_ctx` 4096 and "
        "`num_keep` 4. How many tokens of it does the model read?"
    )
    hints = (
        "It is not the whole context: the answer needs room as well. See how the cut is made.",
        "Set the 4 kept tokens aside. Half of the other 4,092 stay free; the model reads the rest.",
    )
    solution_code = "answer = 4096 - (4096 - 4) // 2"
    wrong_answers = (
        WrongAnswer("answer = 6000", "does not fit"),
        WrongAnswer("answer = 4096", "no room to answer"),
        WrongAnswer("answer = 4096 // 2", "the 4 kept tokens"),
        WrongAnswer("answer = (4096 - 4) // 2", "what stays free"),
        WrongAnswer("answer = 4", "also the end"),
    )
    praise = "Right: 2,050 of 6,000, and no error. Only `prompt_eval_count` tells who looks at it."

    def judge(self, answer: Any) -> None:
        """Compute the limit of Ollama's `contextShiftPromptLimit`."""
        expect(
            number(answer, "tokens"),
            2050,
            {
                6000: "That does not fit a context of 4,096 tokens.",
                4096: "Then there would be no room to answer.",
                2048: "Almost: the 4 kept tokens are set aside before the rest is halved.",
                2046: "That is what stays free for the answer.",
                4: "The first 4 tokens are kept, but also the end of the question.",
            },
            "Set the kept tokens aside, halve the rest of the context, and count what is read.",
            tolerance=1e-4,
        )


q1, q2, q3 = RefusedLines(), TokensPerSecond(), HowManyLoads()
q4, q5 = SwitchingCost(), LostTokens()
