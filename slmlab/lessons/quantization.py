"""The questions of lab 03: blocks, fall-backs, published sizes, perplexity, and the choice."""

import math
from collections.abc import Mapping
from typing import Any

from slmlab.lessons.question import Incorrect, Question, WrongAnswer, diagnose, number

_FOUR_POINT_EIGHT = 2.4e9  # parameters: 4.8 GB at two bytes each


class Outlier(Question):
    """One large weight decides the steps of its whole block."""

    name = "q1"
    prompt = (
        "A block of 32 weights holds 31 that lie between -0.09 and 0.09, and one of -1.6. "
        "How many different values do the 31 have after Q4_0?"
    )
    hints = (
        "First find the scale. Which of the 32 weights decides it?",
        "The scale is -1.6 / -8 = 0.2: the values that Q4_0 can give back are multiples of 0.2. "
        "Which multiple is nearest to 0.09, and which to -0.09?",
    )
    solution_code = (
        "import numpy as np\n\n"
        "small = np.linspace(-0.09, 0.09, 31)\n"
        "answer = len(np.unique(np.floor(small / 0.2 + 8.5)))"
    )
    wrong_answers = (
        WrongAnswer("answer = 16", "for the whole block"),
        WrongAnswer("answer = 15", "one apart for the outlier"),
        WrongAnswer("answer = 3", "nearer to 0 than to 0.2"),
        WrongAnswer("answer = 31", "only 16 values"),
    )
    praise = (
        "Right: all 31 become 0. One outlier erases its block; that is why blocks are short, and "
        "why K-quants and others keep more than one scale."
    )

    def judge(self, answer: Any) -> None:
        """Only one multiple of 0.2 is within 0.1 of all 31 weights."""
        answer = number(answer, "values")
        diagnose(
            answer,
            {
                16: "Four bits give 16 values for the whole block, from -1.6 to 1.4. "
                "How many of these are near the 31 small weights?",
                15: "It is not one apart for the outlier: the 16 values are evenly spaced from "
                "-1.6 to 1.4, and most of them lie where there is no weight.",
                3: "-0.2, 0 and 0.2 are the nearest three, but a weight goes to the single nearest "
                "one, and 0.09 is nearer to 0 than to 0.2.",
                31: "Four bits can tell only 16 values apart, and those must also reach to -1.6.",
            },
        )
        if answer != 1:
            raise Incorrect("Divide -1.6 by -8 to get the distance between two values.")


class FallBack(Question):
    """A label is a recipe, and the row length decides."""

    name = "q2"
    prompt = (
        "In Gemma 3 1B the rows of `blk.0.attn_q.weight` are 1,152 weights long. "
        "The recipe Q4_K_M means the type Q4_K for this tensor. Which tensor type will the file "
        "really have there? Answer with its name, as a string."
    )
    hints = (
        "A Q4_K block is 256 weights long, and a row must be a whole number of blocks.",
        "1,152 / 256 is not whole. Look at what your own Q4_K_M file got instead of Q4_K: "
        "`files['Q4_K_M'].fell_back`.",
    )
    solution_code = 'answer = "Q5_0"'
    wrong_answers = (
        WrongAnswer('answer = "Q4_K"', "4.5 blocks"),
        WrongAnswer('answer = "Q4_0"', "not the next smaller"),
        WrongAnswer('answer = "Q4_K_M"', "a recipe"),
        WrongAnswer('answer = "Q8_0"', "falls back from Q6_K"),
    )
    praise = "Right: 5.5 bits a weight instead of 4.5, under a label that says 4."

    def judge(self, answer: Any) -> None:
        """Compare with llama.cpp's fall-back for Q4_K."""
        if not isinstance(answer, str):
            raise Incorrect('Answer with the name of a tensor type, such as "Q8_0".')
        known = {
            "Q4_K": "1,152 weights are 4.5 blocks of 256, so this tensor cannot be Q4_K.",
            "Q4_0": "The blocks would fit, but llama.cpp takes a type that loses less than Q4_K, "
            "not the next smaller one; Q4_0 is where Q2_K and Q3_K fall back to.",
            "Q4_K_M": "That is the label of the file, a recipe; a tensor has a type of its own.",
            "Q8_0": "That is what falls back from Q6_K; this tensor was to be Q4_K.",
        }
        name = answer.strip().upper()
        if name in known:
            raise Incorrect(known[name])
        if name != "Q5_0":
            raise Incorrect("Look for Q4_K on the left side of the arrows in `fell_back`.")


class ImpliedParameters(Question):
    """A published size says how many parameters it needs."""

    name = "q3"
    prompt = (
        "The published table gives 4.8 GB for Gemma 3 in F16. Leaving the header aside, "
        "how many parameters has a model whose F16 file takes 4.8 GB?"
    )
    hints = (
        "F16 spends 16 bits on each parameter. How many bytes is that?",
        "A GB is 10**9 bytes, and each parameter takes 2 of them.",
    )
    solution_code = "answer = 4.8e9 / 2"
    wrong_answers = (
        WrongAnswer("answer = 4.8e9 / 16", "16 bits are 2 bytes"),
        WrongAnswer("answer = 4.8e9", "one byte each"),
        WrongAnswer("answer = 4.8e9 * 2", "more parameters than bytes"),
        WrongAnswer("answer = 4.8 * 2**30 / 2", "a GiB"),
        WrongAnswer("answer = 2.4", "in billions"),
    )
    praise = (
        "Right: 2.4 billion. Now look through the cards, `slmlab models`, for a Gemma 3 with 2.4B "
        "parameters: there is none."
    )

    def judge(self, answer: Any) -> None:
        """Accept 2.4 billion to within 1 %."""
        answer = number(answer, "parameters")
        if math.isclose(answer, _FOUR_POINT_EIGHT, rel_tol=0.01):
            return
        diagnose(
            answer,
            {
                0.3e9: "You divided bytes by bits; 16 bits are 2 bytes.",
                4.8e9: "That would be one byte each; F16 takes two.",
                9.6e9: "That is more parameters than bytes; divide instead of multiplying.",
                4.8 * 2**29: "You took a GiB of 2**30 bytes; file sizes in GB count 10**9.",
                2.4: "The digits are right, but that is in billions; give the number itself.",
            },
        )
        raise Incorrect("Divide the bytes of the file by the bytes of one parameter.")


class Nats(Question):
    """Perplexity is the exponential of the mean loss."""

    name = "q4"
    prompt = (
        "On some text a file has a perplexity of 15, and a larger file of the same model 12. "
        "By how many nats per token is the mean loss of the larger file lower?"
    )
    hints = (
        "Perplexity is exp(mean loss). How do you get back from a perplexity to the loss?",
        "The mean losses are ln(15) and ln(12).",
    )
    solution_code = "import math\n\nanswer = math.log(15) - math.log(12)"
    wrong_answers = (
        WrongAnswer("answer = 15 - 12", "difference of the perplexities"),
        WrongAnswer("import math\n\nanswer = math.log2(15 / 12)", "in bits"),
        WrongAnswer("answer = 15 / 12 - 1", "25 % more perplexity"),
        WrongAnswer("import math\n\nanswer = math.log(12 / 15)", "how much lower"),
        WrongAnswer("import math\n\nanswer = math.log10(15 / 12)", "natural logarithm"),
    )
    praise = (
        "Right, 0.22 nats. Equal ratios of perplexity are equal steps of loss, so compare "
        "perplexities by their ratio."
    )

    def judge(self, answer: Any) -> None:
        """Accept ln(15 / 12) to within 2 %."""
        answer = number(answer, "nats per token")
        right = math.log(15 / 12)
        if math.isclose(answer, right, rel_tol=0.02):
            return
        diagnose(
            answer,
            {
                3: "That is the difference of the perplexities; the losses are their logarithms.",
                math.log2(15 / 12): "That is the difference in bits; nats come from the natural "
                "logarithm.",
                0.25: "25 % more perplexity is a ratio; the loss is its logarithm.",
                -right: "The question is how much lower it is: a positive number.",
                math.log10(15 / 12): "That is to base 10; nats come from the natural logarithm.",
            },
        )
        raise Incorrect("Take the natural logarithm of both perplexities, and subtract.")


class Choice(Question):
    """The best file that fits, out of one's own measurements."""

    name = "q5"
    prompt = (
        "A device has room for a file of at most 45 % of the size of your F16 file. Which of your "
        "files do you choose, if perplexity is all that counts besides? `points` holds the bytes, "
        "perplexity and standard error of each. Answer with the label, as a string."
    )
    hints = (
        "First leave out what does not fit: compare points[type][0] with 0.45 * points['F16'][0].",
        "Of those that are left, take the one with the smallest points[type][1]. "
        "A larger file is not always a better one.",
    )
    solution_code = (
        "limit = 0.45 * points['F16'][0]\n"
        "fitting = [type for type in points if points[type][0] <= limit]\n"
        "answer = min(fitting, key=lambda type: points[type][1])"
    )
    wrong_answers = (
        WrongAnswer('answer = "F16"', "does not fit"),
        WrongAnswer('answer = "Q4_0"', "is the smallest"),
        WrongAnswer('answer = "Q5_1"', "is the largest that fits"),
        WrongAnswer("answer = 0.45 * points['F16'][0]", "label of a file"),
    )
    praise = "Right. Every choice on the front is right for somebody; the limit says for whom."
    setup = (
        "points = {\n"
        '    "F16": (270.9e6, 11.6, 0.4),\n'
        '    "Q8_0": (144.8e6, 11.7, 0.4),\n'
        '    "Q5_1": (111.6e6, 13.1, 0.5),\n'
        '    "Q4_K_M": (105.5e6, 12.4, 0.5),\n'
        '    "Q4_0": (91.7e6, 14.3, 0.5),\n'
        "}"
    )
    needs = ("points",)

    def judge(self, answer: Any, points: Mapping[str, tuple[float, float, float]]) -> None:
        """Compare with the lowest perplexity among the learner's own files that fit."""
        limit = 0.45 * points["F16"][0]
        name = answer.strip().upper() if isinstance(answer, str) else ""
        if name not in points:
            raise Incorrect(f"Answer with the label of a file: one of {', '.join(points)}.")
        fitting = {type: point for type, point in points.items() if point[0] <= limit}
        best = min(fitting, key=lambda type: fitting[type][1])
        if name == best:
            return
        if name not in fitting:
            raise Incorrect(
                f"{name} has {points[name][0] / 1e6:.0f} MB and does not fit into "
                f"{limit / 1e6:.0f} MB."
            )
        by_size = sorted(fitting, key=lambda type: fitting[type][0])
        place = {by_size[0]: "is the smallest", by_size[-1]: "is the largest that fits"}
        raise Incorrect(
            f"{name} {place.get(name, 'fits')}, and has a perplexity of {points[name][1]:.2f}; "
            f"another file that fits has {points[best][1]:.2f}."
        )


q1, q2, q3, q4, q5 = Outlier(), FallBack(), ImpliedParameters(), Nats(), Choice()
