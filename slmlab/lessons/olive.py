"""The questions of lab 05: bits in blocks, fused nodes, calibrated ranges, and the choice."""

from collections.abc import Mapping
from typing import Any

from slmlab.lessons.question import Incorrect, Question, WrongAnswer, expect, number


class BitsInBlocks(Question):
    """The scale of a block costs bits as well, and more where it has 32 of them."""

    name = "q1"
    prompt = (
        "A graph stores a matrix in 4 bits with a block size of 64. Each block has one scale in "
        "32-bit floating point and no zero point. How many bits does a weight take?"
    )
    hints = (
        "How many bits does one whole block take, its scale included?",
        "64 weights of 4 bits and 32 bits of scale are 288 bits, shared by 64 weights.",
    )
    solution_code = "answer = (64 * 4 + 32) / 64"
    wrong_answers = (
        WrongAnswer("answer = 4", "forgets the scale"),
        WrongAnswer("answer = 4.25", "a scale of 16 bits"),
        WrongAnswer("answer = 5", "blocks of 32"),
        WrongAnswer("answer = 36", "a scale for each weight"),
    )
    praise = (
        "Right: 4.5 bits, as many as Q4_0 with its blocks of 32 and scales of 16 bits. "
        "With blocks of 32 and scales of 32 bits it is 5."
    )

    def judge(self, answer: Any) -> None:
        """Accept 4.5."""
        expect(
            number(answer, "bits"),
            4.5,
            {
                4: "That forgets the scale, which must be stored for each block.",
                4.25: "That is with a scale of 16 bits, as in GGUF; here it has 32.",
                5: "That is right for blocks of 32; these have 64 weights.",
                36: "That is with a scale for each weight; 64 weights share one.",
            },
            "Divide the bits of a block, with its scale, by its 64 weights.",
        )


class UnfusedNodes(Question):
    """A fused node stands for the nodes of its pattern."""

    name = "q2"
    prompt = (
        "A plain export writes an RMS norm as 7 nodes: Pow, ReduceMean, Add, Sqrt, Reciprocal, "
        "Mul, Mul. SimplifiedLayerNormalization stands for these 7; "
        "SkipSimplifiedLayerNormalization stands for them and the residual Add before them. "
        "The graph of a model of 30 layers has 1 of the first kind and 60 of the second. "
        "How many nodes would the same computation have without these fusions?"
    )
    hints = (
        "How many nodes does one SkipSimplifiedLayerNormalization stand for?",
        "One norm of 7 nodes, and 60 of 7 + 1 nodes.",
    )
    solution_code = "answer = 1 * 7 + 60 * 8"
    wrong_answers = (
        WrongAnswer("answer = 61 * 7", "residual Add"),
        WrongAnswer("answer = 61 * 8", "first norm"),
        WrongAnswer("answer = 61", "after the fusion"),
        WrongAnswer("answer = 487 - 61", "how many fewer"),
    )
    praise = (
        "Right: 61 nodes do the work of 487. Each node that is gone is one read and one write of "
        "all activations less."
    )

    def judge(self, answer: Any) -> None:
        """Accept 487."""
        expect(
            number(answer, "nodes"),
            487,
            {
                427: "That counts the norms; 60 of them also took in the residual Add before them.",
                488: "The first norm has no residual Add before it: it stands for 7 nodes, not 8.",
                61: "That is the number of nodes after the fusion.",
                426: "That is how many fewer there are after it; the question is how many before.",
            },
            "Multiply the number of each kind by the nodes that it stands for.",
            tolerance=0.0005,
        )


class CalibratedRange(Question):
    """A static range clips what calibration did not see."""

    name = "q3"
    prompt = (
        "While calibration ran, an activation stayed between -8 and 8, so static INT8 chose the "
        "scale 8 / 127 and the steps -128 to 127. In use, a value of 20 arrives. Which value does "
        "the next node receive? Answer to the nearest whole number."
    )
    hints = (
        "Which step is nearest to 20, and is there such a step?",
        "The largest step is 127, and its value is 127 * 8 / 127.",
    )
    solution_code = "answer = min(round(20 / (8 / 127)), 127) * 8 / 127"
    wrong_answers = (
        WrongAnswer("answer = 20", "dynamic quantization"),
        WrongAnswer("answer = 127", "the step"),
        WrongAnswer("answer = -8", "wrap around"),
        WrongAnswer("answer = 0", "not dropped"),
    )
    praise = (
        "Right: 8. What calibration did not see is clipped, so it must see text like that in use; "
        "and one outlier in it makes the steps coarse for all that follows."
    )

    def judge(self, answer: Any) -> None:
        """Accept 8 to within a step and a half."""
        expect(
            number(answer, "the units of the activation"),
            8,
            {
                20: "That is nearly what dynamic quantization would give, for it takes the range "
                "from the values at hand; a static range does not move.",
                127: "That is the step; its value is the step times the scale.",
                -8: "Steps are clipped at the ends; they do not wrap around.",
                0: "A value out of range is clipped to the nearest end, not dropped.",
            },
            "Take the step nearest to 20 that exists, times the scale.",
        )


class Choice(Question):
    """The fastest variant that is still good enough, out of one's own search."""

    name = "q4"
    prompt = (
        "An application accepts a perplexity up to 1.3 times that of float32. Which of your "
        "candidates writes a token fastest among those it accepts? `candidates` holds latency, "
        "perplexity and bytes of each. Answer with its name, as a string."
    )
    hints = (
        "First leave out every candidate whose perplexity is above 1.3 * candidates['float32'][1].",
        "Of those that are left, take the one with the smallest candidates[name][0].",
    )
    solution_code = (
        "limit = 1.3 * candidates['float32'][1]\n"
        "good = [name for name in candidates if candidates[name][1] <= limit]\n"
        "answer = min(good, key=lambda name: candidates[name][0])"
    )
    wrong_answers = (
        WrongAnswer('answer = "INT8 dynamic"', "not accepted"),
        WrongAnswer('answer = "float32"', "takes 60.0 ms"),
        WrongAnswer("answer = 1.3 * candidates['float32'][1]", "name of a candidate"),
    )
    praise = "Right. The limit comes from the application; the search only shows what it costs."
    setup = (
        "candidates = {\n"
        '    "float32": (60.0, 29.2, 653.6e6),\n'
        '    "INT8 dynamic": (17.0, 47.1, 165.4e6),\n'
        '    "INT8 static": (40.0, 93.3, 250.4e6),\n'
        '    "INT8 in blocks": (30.0, 29.3, 185.4e6),\n'
        '    "INT4 in blocks": (20.0, 35.7, 104.2e6),\n'
        "}"
    )
    needs = ("candidates",)

    def judge(self, answer: Any, candidates: Mapping[str, tuple[float, float, int]]) -> None:
        """Compare with the fastest of the learner's own candidates within the limit."""
        names = {name.lower(): name for name in candidates}
        name = names.get(answer.strip().lower()) if isinstance(answer, str) else None
        if name is None:
            raise Incorrect(f"Answer with the name of a candidate: one of {', '.join(candidates)}.")
        limit = 1.3 * candidates["float32"][1]
        good = {n: point for n, point in candidates.items() if point[1] <= limit}
        best = min(good, key=lambda n: good[n][0])
        if name == best:
            return
        latency, perplexity, _ = candidates[name]
        if name not in good:
            raise Incorrect(
                f"{name} has a perplexity of {perplexity:.1f} and is not accepted: the limit is "
                f"{limit:.1f}."
            )
        raise Incorrect(
            f"{name} is accepted but takes {latency:.1f} ms for a token; another takes "
            f"{good[best][0]:.1f} ms."
        )


q1 = BitsInBlocks()
q2 = UnfusedNodes()
q3 = CalibratedRange()
q4 = Choice()
