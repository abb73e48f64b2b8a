"""The questions of lab 13: which comes first, what binds, what context costs, rules, margins."""

from collections.abc import Mapping
from typing import Any

from slmlab.lessons.question import Incorrect, Question, WrongAnswer, expect, number


class FirstChoice(Question):
    """Requirements leave out, and only then do points rank."""

    name = "q1"
    prompt = (
        "A brief allows 2.5 GB, wants 10 tokens per second, and 50 points. `A` has 80 points, "
        "takes 2.6 GB and writes 20 tokens per second; `B` 78 points, 1.1 GB and 25; `C` 90 "
        "points, 2.2 GB and 6; `D` 54 points, 0.9 GB and 60. Which comes first? Answer with its "
        "letter, as a string."
    )
    hints = (
        "First strike out whatever breaks a requirement, however good it is otherwise.",
        "Two of the four are left. Among these, the points decide.",
    )
    solution_code = 'answer = "B"'
    wrong_answers = (
        WrongAnswer('answer = "A"', "2.6 GB"),
        WrongAnswer('answer = "C"', "6 tokens"),
        WrongAnswer('answer = "D"', "more than was asked"),
        WrongAnswer("answer = 2", "one of the letters"),
    )
    praise = (
        "Right. The most points and the highest speed both belong to others; B meets the brief."
    )

    def judge(self, answer: Any) -> None:
        """Say which requirement the answer breaks, or that another has more points."""
        letter = answer.strip().upper() if isinstance(answer, str) else ""
        known = {
            "A": "A takes 2.6 GB and 2.5 are there: a little too much is too much.",
            "C": "C has the most points, but writes 6 tokens per second; 10 are wanted.",
            "D": "D meets the brief, and so does B, with more points. Being faster or smaller than "
            "needed earns nothing: that is more than was asked.",
        }
        if letter in known:
            raise Incorrect(known[letter])
        if letter != "B":
            raise Incorrect('Answer with one of the letters A to D, such as "A".')


class WhatBinds(Question):
    """The requirement that is broken most often need not be the one that decides."""

    name = "q2"
    prompt = (
        "A requirement **binds** if relaxing it alone gives another first choice. Which of these "
        'binds in the brief `classroom`: `"speed"`, `"languages"` or `"licence"`? Answer with one '
        "of the three words."
    )
    hints = (
        "How often a requirement is broken says little: whoever breaks it may break others, too.",
        "Print decisions['classroom'].would_change, and look which changes stand there.",
    )
    solution_code = 'answer = "licence"'
    wrong_answers = (
        WrongAnswer('answer = "speed"', "break something else"),
        WrongAnswer('answer = "languages"', "asks for English"),
        WrongAnswer('answer = "parameters"', "one of the three words"),
    )
    praise = (
        "Right. Most candidates are too slow, but at half the speed the same one comes first. What "
        "keeps a better one out is a sheet of terms that nobody there may accept."
    )

    def judge(self, answer: Any) -> None:
        """Tell what binds from what is often broken."""
        word = answer.strip().lower() if isinstance(answer, str) else ""
        if word == "speed":
            raise Incorrect(
                "Speed is broken most often, but those who break it break something else, too: at "
                "half the speed the same candidate comes first."
            )
        if word == "languages":
            raise Incorrect("The brief asks for English only, and every card has that.")
        if word != "licence":
            raise Incorrect('Answer with one of the three words, such as "speed".')


class LongerContext(Question):
    """What twice the context costs is arithmetic on the card."""

    name = "q3"
    prompt = (
        "Qwen3 4B has 36 layers, 32 attention heads, and 8 heads for keys and values, of 128 "
        "numbers each. By how many GB does its memory grow if the context grows from 8,192 to "
        "16,384 tokens? Keys and values are kept in 16 bits."
    )
    hints = (
        "Per token and layer: keys and values, for each of the KV heads, 2 bytes a number.",
        "36 x 2 x 8 x 128 x 2 bytes for a token, and 8,192 tokens more.",
    )
    solution_code = "answer = 36 * 2 * 8 * 128 * 2 * 8192 / 1e9"
    wrong_answers = (
        WrongAnswer("answer = 36 * 8 * 128 * 2 * 8192 / 1e9", "keys and values"),
        WrongAnswer("answer = 36 * 2 * 32 * 128 * 2 * 8192 / 1e9", "8 heads"),
        WrongAnswer("answer = 36 * 2 * 8 * 128 * 2 * 16384 / 1e9", "in all"),
        WrongAnswer("answer = 36 * 2 * 8 * 128 * 2 * 8192", "in bytes"),
        WrongAnswer("answer = 2 * 8 * 128 * 2 * 8192 / 1e9", "one layer"),
    )
    praise = "Right: 1.2 GB, more than many a whole model of this course takes."

    def judge(self, answer: Any) -> None:
        """Accept 1.208 GB to within 1 %."""
        right = 36 * 2 * 8 * 128 * 2 * 8192 / 1e9
        expect(
            number(answer, "GB"),
            right,
            {
                right / 2: "Something was counted half: both keys and values are kept, and each "
                "number takes 2 bytes.",
                4 * right: "That is for 32 heads; keys and values have only 8 heads.",
                2 * right: "That is what 16,384 tokens take in all; the question is how much more.",
                1e9 * right: "That is in bytes; the question asks for GB.",
                right / 36: "That is for one layer; there are 36.",
            },
            "Multiply layers, keys and values, KV heads, numbers a head, bytes and tokens.",
        )


class LeastMemory(Question):
    """The smallest file need not take the least memory."""

    name = "q4"
    prompt = (
        "The lesson recommends Q4_0 where everything must be as small as possible. Which of Q4_0, "
        "Q5_1 and Q8_0 takes the least memory while it runs on your machine? `measured` holds, for "
        "each quantisation, what you measured, by quantity. Answer with its name, as a string."
    )
    hints = (
        "The quantity is called 'peak memory'; 'file' is another matter.",
        "min(['Q4_0', 'Q5_1', 'Q8_0'], key=lambda name: measured[name]['peak memory'])",
    )
    solution_code = (
        "answer = min(['Q4_0', 'Q5_1', 'Q8_0'], key=lambda name: measured[name]['peak memory'])"
    )
    wrong_answers = (
        WrongAnswer('answer = "Q4_0"', "smallest file"),
        WrongAnswer('answer = "Q8_0"', "takes more memory"),
        WrongAnswer("answer = 213e6", "name of one"),
    )
    praise = (
        "Right, by your own numbers. llama.cpp keeps some types a second time, rearranged for the "
        "processor, so file and memory rank differently."
    )
    setup = (
        "measured = {\n"
        '    "Q4_0": {"file": 91.7e6, "peak memory": 253e6},\n'
        '    "Q5_1": {"file": 111.6e6, "peak memory": 213e6},\n'
        '    "Q8_0": {"file": 144.8e6, "peak memory": 247e6},\n'
        '    "F16": {"file": 270.9e6, "peak memory": 374e6},\n'
        "}"
    )
    needs = ("measured",)

    def judge(self, answer: Any, measured: Mapping[str, Mapping[str, float]]) -> None:
        """Accept the quantisation with the least peak memory on the learner's machine."""
        names = ("Q4_0", "Q5_1", "Q8_0")
        if answer not in names:
            raise Incorrect('Answer with the name of one of the three, such as "Q4_0".')
        right = min(names, key=lambda name: measured[name]["peak memory"])
        if answer == right:
            return
        if answer == min(names, key=lambda name: measured[name]["file"]):
            raise Incorrect(
                f"{answer} has the smallest file, but the question is what the process takes."
            )
        raise Incorrect(f"{answer} takes more memory than another; look at 'peak memory'.")


class Margin(Question):
    """A choice is defended with its distance from the limit."""

    name = "q5"
    prompt = (
        "By how many per cent may the speed of your choice fall before it no longer meets your "
        "brief? `promised` is what it writes and `wanted` what the brief asks for, in tokens per "
        "second."
    )
    hints = (
        "At the limit, the speed is `wanted`. Which share of `promised` is that?",
        "The rest, 1 - wanted / promised, is what may be lost; times 100 it is in per cent.",
    )
    solution_code = "answer = 100 * (1 - wanted / promised)"
    wrong_answers = (
        WrongAnswer("answer = 100 * wanted / promised", "must be left"),
        WrongAnswer("answer = 1 - wanted / promised", "not per cent"),
        WrongAnswer("answer = promised - wanted", "tokens per second"),
        WrongAnswer("answer = 100 * (promised / wanted - 1)", "share of what is wanted"),
    )
    praise = (
        "Right. A busy or hot machine, a longer conversation or a second user takes its part of "
        "this margin; lab 12 is about how much of it a service needs."
    )
    setup = "promised, wanted = 140.0, 5.0"
    needs = ("promised", "wanted")

    def judge(self, answer: Any, promised: float, wanted: float) -> None:
        """Accept 100 (1 - wanted / promised) to within 1 %."""
        right = 100 * (1 - wanted / promised)
        expect(
            number(answer, "per cent"),
            right,
            {
                100 - right: "That is the share that must be left; the question is what may go.",
                right / 100: "That is the share, not per cent: multiply it by 100.",
                promised - wanted: "That is in tokens per second; the question asks for per cent.",
                100 * (promised / wanted - 1): "That is the surplus as a share of what is wanted; "
                "speed falls from what is promised.",
            },
            "Divide what may be lost by what is promised, and multiply by 100.",
        )


q1, q2, q3, q4, q5 = FirstChoice(), WhatBinds(), LongerContext(), LeastMemory(), Margin()
