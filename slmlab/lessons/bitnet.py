"""The questions of lab 07: absmean, latent weights, bytes, what is rounded, and the embedding."""

import math
from typing import Any

from slmlab import tiers
from slmlab.gguf import tensor_bytes
from slmlab.lessons.question import Incorrect, Question, WrongAnswer, expect, number

_PARTS = tiers.breakdown(tiers.card("bitnet-b1.58-2b-4t").architecture)
_EMBEDDING, _NORMS = 2 * _PARTS["embedding"], 2 * _PARTS["norms"]
_LINEAR = _PARTS["attention"] + _PARTS["feed-forward"]


def _share(bits: float) -> float:
    """The embedding's percentage of the bytes, with that many bits for a linear weight."""
    return 100 * _EMBEDDING / (_EMBEDDING + _NORMS + _LINEAR * bits / 8)


class Absmean(Question):
    """One scale for the matrix, and nothing beyond it."""

    name = "q1"
    prompt = (
        "A matrix holds only the weights 0.6, -0.1, 1.3 and -0.4. After rounding by absmean, "
        "which number does the layer multiply by where 1.3 stood?"
    )
    hints = (
        "The scale is the mean of the four absolute values. Divide 1.3 by it and round.",
        "1.3 is more than twice the scale of 0.6, but the largest step is +1. "
        "A step is not yet a weight: multiply it by the scale.",
    )
    solution_code = (
        "import torch\n\n"
        "from slmlab.bitnet.ternary import rounded_weights\n\n"
        "answer = rounded_weights(torch.tensor([0.6, -0.1, 1.3, -0.4]))[2].item()"
    )
    wrong_answers = (
        WrongAnswer("answer = 1", "the step"),
        WrongAnswer("answer = 1.3", "the largest"),
        WrongAnswer("answer = 1.2", "no step +2"),
        WrongAnswer("answer = 0.35", "without their signs"),
    )
    praise = (
        "Right: 0.6. More than half of the largest weight is gone. A model that was not trained "
        "for that relies on its large weights."
    )

    def judge(self, answer: Any) -> None:
        """Accept the scale, 0.6, as far as half precision holds it."""
        expect(
            number(answer, "the unit of the weights"),
            0.6,
            {
                1: "That is the step. The layer multiplies by the step times the scale.",
                1.3: "You took the largest weight as the scale (absmax); absmean takes the mean.",
                1.2: "There is no step +2: beyond the scale, everything is clipped to it.",
                0.35: "That is the mean of the weights; the scale is the mean of their sizes, "
                "without their signs.",
            },
            "Find the mean of the absolute values first, then the step of 1.3, then multiply.",
        )


class Latent(Question):
    """A weight that is used as 0 moves under the surface."""

    name = "q2"
    prompt = (
        "A latent weight is 0.30, and the scale of its matrix stays at 0.80. Each training step "
        "adds 0.03 to it. After how many steps is the weight that the layer uses no longer 0?"
    )
    hints = (
        "The used weight is the latent weight divided by the scale, rounded. From which quotient "
        "on does that round to 1?",
        "The border lies at half the scale, 0.40. Count the steps from 0.30 to beyond it.",
    )
    solution_code = "answer = next(n for n in range(1, 100) if (0.30 + 0.03 * n) / 0.80 > 0.5)"
    wrong_answers = (
        WrongAnswer("answer = 1", "in small steps"),
        WrongAnswer("answer = 17", "reaches the scale"),
        WrongAnswer("answer = 7", "half of 1"),
        WrongAnswer("answer = 0", "still below"),
        WrongAnswer("answer = 3", "just short"),
    )
    praise = (
        "Right: 0.42 is the first beyond 0.40. For three steps the loss saw no change at all; "
        "the latent weight is a memory of where the gradient keeps pushing."
    )

    def judge(self, answer: Any) -> None:
        """The border is half the scale."""
        expect(
            number(answer, "steps"),
            4,
            {
                1: "The latent weight moves in small steps; what is used jumps, and only when "
                "the latent one crosses a border.",
                17: "That is when the latent weight reaches the scale; rounding goes up long "
                "before.",
                7: "You took half of 1 as the border; it is half of the scale.",
                0: "0.30 / 0.80 rounds to 0: the weight is still below the border.",
                3: "0.39 is just short of the border.",
            },
            "Divide by the scale, and find when that first rounds to 1.",
        )


class MatrixBytes(Question):
    """Two bits, and the scales of the blocks."""

    name = "q3"
    prompt = (
        "How many bytes does a matrix of 4,096 x 4,096 three-valued weights take in a GGUF file "
        "as TQ2_0?"
    )
    hints = (
        "TQ2_0 stores blocks of 256 weights: two bits for each, and something besides.",
        "64 bytes of weights and 2 of scale make a block of 66 bytes. How many blocks are there?",
    )
    solution_code = "answer = 4096 * 4096 // 256 * 66"
    wrong_answers = (
        WrongAnswer("answer = 4096 * 4096 * 2 // 8", "without the scales"),
        WrongAnswer("import math\nanswer = 4096 * 4096 * math.log2(3) / 8", "could be told in"),
        WrongAnswer("answer = 4096 * 4096 // 256 * 54", "TQ1_0"),
        WrongAnswer("answer = 4096 * 4096 * 2.0625", "those are bits"),
        WrongAnswer("answer = 4096 * 4096 * 2", "as F16"),
    )
    praise = (
        "Right. The 2 bytes of scale in each block are all the same number here, for the matrix "
        "has one scale: a general format cannot know that."
    )

    def judge(self, answer: Any) -> None:
        """Compare with the size that the type table gives."""
        weights = 4096 * 4096
        expect(
            number(answer, "bytes"),
            tensor_bytes("TQ2_0", (4096, 4096)),
            {
                weights / 4: "Those are the two bits each, without the scales.",
                weights * math.log2(3) / 8: "That is what three equally likely values could be "
                "told in at best; TQ2_0 spends two whole bits on each, and its scales.",
                tensor_bytes("TQ1_0", (4096, 4096)): "That is TQ1_0, which packs five values "
                "into a byte.",
                weights * 2.0625: "The rate is right, but those are bits; a byte has eight.",
                weights * 2: "That is the matrix as F16.",
            },
            "Count blocks of 256 weights, and 66 bytes for each.",
        )


class WhatIsRounded(Question):
    """The weights are the same; something else is not."""

    name = "q4"
    prompt = (
        "The TQ2_0 file holds the weights of the F16 file bit for bit, and yet its perplexity "
        "differs a little. What does llama.cpp round with the one and not with the other? Answer "
        "'weights', 'scales', 'embedding' or 'activations'."
    )
    hints = (
        "The cell that made the files compared every tensor. Which of the four are in a file, and "
        "so were compared?",
        "To add whole numbers, llama.cpp needs whole numbers on both sides of the product.",
    )
    solution_code = "answer = 'activations'"
    wrong_answers = (
        WrongAnswer("answer = 'weights'", "every tensor"),
        WrongAnswer("answer = 'scales'", "half precision"),
        WrongAnswer("answer = 'embedding'", "F16 in both"),
    )
    praise = (
        "Right: each 256 numbers that flow into a TQ2_0 matrix are rounded to 8 bits with one "
        "scale. Our model was trained with much the same rounding."
    )

    def judge(self, answer: Any) -> None:
        """One of four words."""
        if not isinstance(answer, str):
            raise Incorrect("Answer with one of the four words, such as 'weights'.")
        said = answer.strip().lower()
        known = {
            "weights": "They were compared in every tensor, and no value differs.",
            "scales": "They are in the file too; training rounds them to half precision already, "
            "so that the file can hold them exactly.",
            "embedding": "It is F16 in both files, and was compared too.",
        }
        if said in known:
            raise Incorrect(known[said])
        if said != "activations":
            raise Incorrect("Choose among 'weights', 'scales', 'embedding' and 'activations'.")


class Embedding(Question):
    """What stays in 16 bits soon weighs most."""

    name = "q5"
    prompt = (
        "The published file of BitNet b1.58 2B4T packs four weights of a linear layer in a byte "
        "and holds the rest in 16 bits. What percentage of its bytes is the embedding?"
    )
    hints = (
        "`tiers.breakdown(card.architecture)` counts the parameters of each part. The linear "
        "layers are attention and feed-forward.",
        "The embedding takes 2 bytes a parameter and a linear weight a quarter of a byte. "
        "Divide the embedding's bytes by all of them, and multiply by 100.",
    )
    solution_code = (
        "from slmlab import tiers\n\n"
        'counts = tiers.breakdown(tiers.card("bitnet-b1.58-2b-4t").architecture)\n'
        'linear = (counts["attention"] + counts["feed-forward"]) / 4\n'
        'rest = 2 * (counts["embedding"] + counts["norms"])\n'
        'answer = 100 * 2 * counts["embedding"] / (linear + rest)'
    )
    wrong_answers = (
        WrongAnswer("answer = 13.6", "of the parameters"),
        WrongAnswer("answer = 0.558", "as a fraction"),
        WrongAnswer("answer = 44.2", "the other part"),
        WrongAnswer("answer = 61.4", "1.58 bits"),
    )
    praise = (
        "Right: more than half. That is why the report gives the memory of its model without the "
        "embedding, and why small models with large vocabularies gain least."
    )

    def judge(self, answer: Any) -> None:
        """Accept the share to half a percentage point."""
        expect(
            number(answer, "percent"),
            _share(2),
            {
                _share(16): "That is its share of the parameters; they do not all take as many "
                "bytes.",
                _share(2) / 100: "Right as a fraction; give percent.",
                100 - _share(2): "That is the other part: the linear layers.",
                _share(math.log2(3)): "You counted 1.58 bits for a linear weight; four in a byte "
                "are two bits each.",
            },
            "Add up bytes, not parameters: 2 for each in the embedding, 1/4 for each linear one.",
        )


q1, q2, q3, q4, q5 = Absmean(), Latent(), MatrixBytes(), WhatIsRounded(), Embedding()
