"""The questions of lab 06: waiting arrays, losses, unequal frameworks, group sizes, and speed."""

import math
from collections.abc import Mapping
from typing import Any

from slmlab.lessons.question import Incorrect, Question, WrongAnswer, expect, number

_VOCABULARY = 49_152


class Waiting(Question):
    """Only what a wanted value needs is computed."""

    name = "q1"
    prompt = (
        "`a` is computed. Then come `b = a @ a`, `c = mx.exp(b)`, `d = b.sum()` and `print(d)`. "
        "Which of `b`, `c` and `d` has MLX computed now? Answer with a set of their names, such "
        'as `{"c"}`.'
    )
    hints = (
        "`print` needs the value of `d`. Follow the graph backwards from there.",
        "`d` cannot be computed without `b`. Does anything that was printed need `c`?",
    )
    solution_code = 'answer = {"b", "d"}'
    wrong_answers = (
        WrongAnswer('answer = {"d"}', "cannot be summed"),
        WrongAnswer('answer = {"b", "c", "d"}', "order of the lines"),
        WrongAnswer("answer = set()", "a number was printed"),
        WrongAnswer('answer = {"b"}', "What was printed"),
        WrongAnswer('answer = "b and d"', "a set of names"),
    )
    praise = "Right. `c` is still only a plan, and if nobody asks for it, it costs nothing."

    def judge(self, answer: Any) -> None:
        """Follow the graph back from what was printed."""
        names = set(answer) if isinstance(answer, set | frozenset | list | tuple) else None
        if names is None or not names <= {"b", "c", "d"}:
            raise Incorrect('Answer with a set of names out of b, c and d, such as {"c"}.')
        if names == {"b", "d"}:
            return
        if not names:
            raise Incorrect("Then nothing would have been shown, but a number was printed.")
        if "c" in names:
            raise Incorrect(
                "The order of the lines does not matter: nothing that was printed needs `c`."
            )
        if "d" not in names:
            raise Incorrect("What was printed is `d`, so it has a value.")
        raise Incorrect("`d` has a value, but an array that has none itself cannot be summed.")


class UntrainedLoss(Question):
    """A model that knows nothing spreads its probability evenly."""

    name = "q2"
    prompt = (
        "SmolLM2 chooses among 49,152 tokens. What loss, in nats per token, has a model with this "
        "vocabulary before training, while all its logits are 0?"
    )
    hints = (
        "Equal logits mean equal probabilities. How probable is each of the 49,152 tokens?",
        "The loss is minus the natural logarithm of the probability 1 / 49,152.",
    )
    solution_code = "import math\n\nanswer = math.log(49152)"
    wrong_answers = (
        WrongAnswer("answer = 0", "Logits of 0"),
        WrongAnswer("import math\n\nanswer = math.log(256)", "256 bytes"),
        WrongAnswer("import math\n\nanswer = math.log2(49152)", "in bits"),
        WrongAnswer("answer = 49152", "the perplexity"),
        WrongAnswer("answer = 1 / 49152", "the probability"),
        WrongAnswer("import math\n\nanswer = -math.log(49152)", "not negative"),
    )
    praise = (
        "Right: 10.8 nats, a perplexity of 49,152. A training run that starts far above it has a "
        "mistake before its first step."
    )

    def judge(self, answer: Any) -> None:
        """Accept ln(49,152) to within 1 %."""
        right = math.log(_VOCABULARY)
        expect(
            number(answer, "nats per token"),
            right,
            {
                0: "Logits of 0 are not a loss of 0: they make all tokens equally probable.",
                math.log(256): "That is the loss for the 256 bytes of our small model; here there "
                "are 49,152 tokens.",
                math.log2(_VOCABULARY): "That is the loss in bits; nats come from the natural "
                "logarithm.",
                _VOCABULARY: "That is the perplexity; the loss is its logarithm.",
                1 / _VOCABULARY: "That is the probability of each token; the loss is minus its "
                "logarithm.",
                -right: "A probability below 1 has a negative logarithm, so minus that is not "
                "negative.",
            },
            "Take minus the natural logarithm of the probability of one token.",
        )


class WhyUnequal(Question):
    """On the same tokens, frameworks that compute the same thing agree far within the error."""

    name = "q3"
    prompt = (
        "Two frameworks score the same 63 tokens with the same float32 weights. One finds a "
        "perplexity of 11.7 ± 3.4, the other 12.7 ± 3.8. What is the likeliest cause: "
        '`"chance"`, `"rounding"` or `"settings"`? Answer with one of the three words.'
    )
    hints = (
        "The ± says how much other text would change the value. Did the two score other text?",
        "Look at how closely llama.cpp and MLX agreed above, once both had the same base.",
    )
    solution_code = 'answer = "settings"'
    wrong_answers = (
        WrongAnswer('answer = "chance"', "the same tokens"),
        WrongAnswer('answer = "rounding"', "hundreds of times"),
        WrongAnswer('answer = "weights"', "one of the three words"),
    )
    praise = (
        "Right: they do not run the same model. Compare configuration, template and start token "
        "before you compare speed."
    )

    def judge(self, answer: Any) -> None:
        """Tell the three causes apart by their size."""
        word = answer.strip().lower() if isinstance(answer, str) else ""
        known = {
            "chance": "The ± is for the choice of the text, and both scored the same tokens: "
            "chance cannot favour one of them.",
            "rounding": "Float32 keeps about seven digits. Rounding moved the perplexity by less "
            "than 0.1 % above; this difference is hundreds of times larger.",
        }
        if word in known:
            raise Incorrect(known[word])
        if word != "settings":
            raise Incorrect('Answer with one of the three words, such as "chance".')


class BitsPerWeight(Question):
    """A group shares a scale and a bias, and they cost bits too."""

    name = "q4"
    prompt = (
        "MLX can also quantise to 3 bits in groups of 128 weights. With a scale and a bias of 16 "
        "bits each, how many bits per weight does such a matrix take?"
    )
    hints = (
        "Count the bits of one whole group: its weights, its scale and its bias.",
        "128 weights of 3 bits, and 16 + 16 bits more, are shared by 128 weights.",
    )
    solution_code = "answer = 3 + (16 + 16) / 128"
    wrong_answers = (
        WrongAnswer("answer = 3", "without scale and bias"),
        WrongAnswer("answer = 3 + 16 / 128", "only one of the two"),
        WrongAnswer("answer = 3 + (32 + 32) / 128", "16 bits each"),
        WrongAnswer("answer = 3 + 16 + 16", "shared by 128"),
    )
    praise = "Right: 3.25. Longer groups cost less and fit each weight less well."

    def judge(self, answer: Any) -> None:
        """Count the bits of one group of 128."""
        expect(
            number(answer, "bits per weight"),
            3.25,
            {
                3: "These are the steps alone, without scale and bias.",
                3.125: "A group has a scale and a bias; you counted only one of the two.",
                3.5: "That is for scale and bias of 32 bits each in groups of 128, or of 16 in "
                "groups of 64; here they have 16 bits each, and a group 128 weights.",
                35: "Scale and bias are shared by 128 weights, not stored for each.",
            },
            "Add up the bits of a group, and divide by its 128 weights.",
        )


class HowManyTimes(Question):
    """The price of an untuned CPU backend, out of one's own measurements."""

    name = "q5"
    prompt = (
        "On your machine, how many times as many tokens per second does llama.cpp with Q4_0 write "
        "as MLX with 4 bits? `speeds` holds, for each row of the table, the prompt speed and the "
        "decode speed, in tokens per second."
    )
    hints = (
        "Writing is decoding: the second number of each pair.",
        "Divide speeds['llama_cpp Q4_0'][1] by speeds['mlx 4-bit'][1].",
    )
    solution_code = "answer = speeds['llama_cpp Q4_0'][1] / speeds['mlx 4-bit'][1]"
    wrong_answers = (
        WrongAnswer(
            "answer = speeds['mlx 4-bit'][1] / speeds['llama_cpp Q4_0'][1]", "the other way round"
        ),
        WrongAnswer(
            "answer = speeds['llama_cpp Q4_0'][0] / speeds['mlx 4-bit'][0]", "reading the prompt"
        ),
        WrongAnswer(
            "answer = speeds['llama_cpp Q4_0'][1] - speeds['mlx 4-bit'][1]", "a difference"
        ),
        WrongAnswer("answer = 1.0001", "Divide the decode speed"),
    )
    praise = (
        "Right. The file format and the 4 bits are much alike: this is what kernels are worth on "
        "your machine."
    )
    setup = (
        "speeds = {\n"
        '    "mlx float32": (11.0, 9.0),\n'
        '    "mlx 4-bit": (10.0, 8.0),\n'
        '    "llama_cpp F16": (570.0, 117.0),\n'
        '    "llama_cpp Q4_0": (750.0, 181.0),\n'
        "}"
    )
    needs = ("speeds",)

    def judge(self, answer: Any, speeds: Mapping[str, tuple[float, float]]) -> None:
        """Accept the ratio of the learner's own decode speeds to within 2 %."""
        slow, fast = speeds["mlx 4-bit"], speeds["llama_cpp Q4_0"]
        right = fast[1] / slow[1]
        expect(
            number(answer, "times"),
            right,
            {
                1 / right: "That is the other way round: how many times as fast MLX is.",
                fast[0] / slow[0]: "That is for reading the prompt; writing is the second number.",
                fast[1] - slow[1]: "That is a difference, in tokens per second; the question is "
                "how many times.",
            },
            "Divide the decode speed of llama.cpp by that of MLX.",
            tolerance=0.02,
        )


q1, q2, q3, q4, q5 = Waiting(), UntrainedLoss(), WhyUnequal(), BitsPerWeight(), HowManyTimes()
