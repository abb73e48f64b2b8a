"""The questions of lab 01: tiers, parameters, bytes, speed and the memory of a conversation."""

import math
from typing import Any

from slmlab import tiers
from slmlab.lessons.question import Incorrect, Question, WrongAnswer, diagnose, number

_PHI_4_BYTES = tiers.card("phi-4").parameters * 4.5 / 8
_EIGHT_GIB = 8 * 2**30


class CutOffs(Question):
    """What the two cut-offs mean for real models."""

    name = "q1"
    prompt = (
        "One source calls every model of up to 10B parameters small, another every model of up "
        "to 30B. How many of the course's models are small for the second source and not for "
        "the first? Let Python count: `tiers.cards().values()` gives the cards and "
        "`tiers.is_small(parameters, cut_off)` applies a line."
    )
    hints = (
        "The lines of the sources and the borders of the tiers are different numbers. "
        "Look in the picture for the marks between the two dotted lines.",
        "For each card, ask is_small with 30e9 and is_small with 10e9, and count those where "
        "the first is true and the second is not.",
    )
    solution_code = (
        "counts = [card.parameters for card in tiers.cards().values()]\n"
        "answer = sum(tiers.is_small(n, 30e9) and not tiers.is_small(n, 10e9) for n in counts)"
    )
    wrong_answers = (
        WrongAnswer(
            "counts = [card.parameters for card in tiers.cards().values()]\n"
            "answer = sum(tiers.tier(count) == 'medium' for count in counts)",
            "the medium tier begins at 14B",
        ),
        WrongAnswer(
            "answer = sum(tiers.is_small(c.parameters, 30e9) for c in tiers.cards().values())",
            "small for both sources",
        ),
        WrongAnswer(
            "answer = sum(tiers.is_small(c.parameters, 10e9) for c in tiers.cards().values())",
            "small for the first source",
        ),
    )
    setup = "from slmlab import tiers"
    praise = "Right. The word small says little without the line that goes with it."

    def judge(self, answer: Any) -> None:
        """Compare with a count over the cards."""
        answer = number(answer, "models")
        sizes = [card.parameters for card in tiers.cards().values()]
        first, second = (sum(tiers.is_small(n, line) for n in sizes) for line in tiers.CUT_OFFS)
        if answer == second - first:
            return
        if answer == sum(tiers.tier(n) == "medium" for n in sizes):
            raise Incorrect(
                "That is the medium tier, and the medium tier begins at 14B: models from 10B to "
                "13.9B are in the tier called small, and still too large for the first source."
            )
        if answer == second:
            raise Incorrect(
                "That counts every model up to 30B; "
                "leave out those that are small for both sources."
            )
        if answer == first:
            raise Incorrect(
                "Those are small for the first source, and so for both; "
                "count the ones that only the second calls small."
            )
        raise Incorrect("Count the models with more than 10B and at most 30B parameters.")


class StoredTwice(Question):
    """Why a published count and a card may differ."""

    name = "q2"
    prompt = (
        "The Hugging Face Hub shows 751,632,384 parameters for Qwen3-0.6B; our count, and the "
        "card, say 596,049,920. The Hub counts the numbers in the weight file, and that file "
        "holds one tensor twice. Which one? Answer with its name in "
        "`tiers.tensors(tiers.card('qwen3-0.6b').architecture)`, as a string."
    )
    hints = (
        "Subtract the two counts, and look for a tensor with exactly that many numbers.",
        "The card says tied_embeddings = true: input and output use the same matrix. "
        "A program that ignores this writes the matrix once for each use.",
        "The difference is 155,582,464 = 1,024 x 151,936: hidden size times vocabulary.",
    )
    solution_code = 'answer = "token_embd.weight"'
    wrong_answers = (
        WrongAnswer('answer = "output.weight"', "has no tensor of that name"),
        WrongAnswer('answer = "blk.0.attn_q.weight"', "155,582,464 are missing"),
        WrongAnswer("answer = 751_632_384 - 596_049_920", "the name of the tensor"),
    )
    praise = (
        "Right: the tied embedding, written once as input and once more as lm_head, the output."
    )

    def judge(self, answer: Any) -> None:
        """Compare with the one tensor of that size."""
        if not isinstance(answer, str):
            raise Incorrect(
                "The question asks for the name of the tensor, as a string; "
                "the difference tells you its size."
            )
        shapes = dict(tiers.tensors(tiers.card("qwen3-0.6b").architecture))
        if answer.strip() not in shapes:
            raise Incorrect(
                f"Our list for qwen3-0.6b has no tensor of that name ({answer.strip()!r}); the "
                f"output projection has no tensor of its own here. Whose weights does it use?"
            )
        rows, columns = (*shapes[answer.strip()], 1)[:2]
        if rows * columns != 751_632_384 - 596_049_920:
            raise Incorrect(
                f"That tensor holds {rows * columns:,} numbers, and 155,582,464 are missing."
            )


class BytesLeft(Question):
    """Gigabytes, gibibytes, and bits per weight that are not the label's."""

    name = "q3"
    prompt = (
        "Phi-4 has 14,659,507,200 parameters; take 4.5 bits for each, as Q4_0 stores them. A "
        "machine has 8 GiB free for the model. How many bytes are left when the file is loaded? "
        "(A negative number says that it does not fit.)"
    )
    hints = (
        "Three units are in play: bits and bytes (8 to 1), and the GiB of memory, which is not "
        "the GB of a disk.",
        "8 GiB are 8 * 2**30 bytes. The file has parameters * 4.5 / 8 bytes.",
    )
    solution_code = "answer = 8 * 2**30 - 14_659_507_200 * 4.5 / 8"
    wrong_answers = (
        WrongAnswer("answer = 8e9 - 14_659_507_200 * 4.5 / 8", "a GiB is 2**30"),
        WrongAnswer("answer = 8 * 2**30 - 14_659_507_200 * 4 / 8", "4.5 bits, and not 4"),
        WrongAnswer("answer = 8 * 2**30 - 14_659_507_200 * 4.5", "8 bits in a byte"),
        WrongAnswer("answer = 14_659_507_200 * 4.5 / 8", "the size of the file"),
    )
    praise = "Right: it fits, with 344 MB to spare. Counted in GB, it would not have."

    def judge(self, answer: Any) -> None:
        """Accept the number of bytes to within a megabyte."""
        answer = number(answer, "bytes")
        if math.isclose(answer, _EIGHT_GIB - _PHI_4_BYTES, rel_tol=0.01):
            return
        diagnose(
            answer,
            {
                8e9 - _PHI_4_BYTES: "You took 8 GB of 10^9 bytes each, and a GiB is 2**30 bytes: "
                "7.4 % more. Here that decides whether the model fits.",
                _EIGHT_GIB - _PHI_4_BYTES * 4 / 4.5: "The label says 4, but a weight takes "
                "4.5 bits, and not 4: every 32 weights share a scale of 16 bits.",
                _EIGHT_GIB - _PHI_4_BYTES * 8: "You took bits from bytes; "
                "there are 8 bits in a byte.",
                _PHI_4_BYTES: "That is the size of the file; the question is what it leaves free.",
            },
        )
        raise Incorrect(
            "Take the bytes of the file, parameters * 4.5 / 8, "
            "from the bytes of the memory, 8 * 2**30."
        )


class UpperBound(Question):
    """Memory bandwidth as the limit of decode speed."""

    name = "q4"
    prompt = (
        "Llama 3 8B as a Q4_0 file has `llama_bytes` bytes. With the `bandwidth` that your "
        "machine just showed, how many tokens per second can it write at most?"
    )
    hints = (
        "For each token it writes, the machine reads every weight once.",
        "`bandwidth` is in bytes per second and `llama_bytes` in bytes per token: "
        "which way must they be divided to give tokens per second?",
    )
    solution_code = "answer = bandwidth / llama_bytes"
    wrong_answers = (
        WrongAnswer("answer = llama_bytes / bandwidth", "seconds per token"),
        WrongAnswer("answer = bandwidth / 8_030_261_248", "bytes, not parameters"),
        WrongAnswer("answer = 8 * bandwidth / llama_bytes", "no bits"),
    )
    praise = (
        "Right. No program, however clever, reads the weights faster than the memory gives them."
    )
    setup = "bandwidth = 40e9\nllama_bytes = 4_661_000_000"
    needs = ("bandwidth", "llama_bytes")

    def judge(self, answer: Any, bandwidth: float, llama_bytes: float) -> None:
        """Compare with bandwidth divided by bytes per token, both of this machine."""
        answer = number(answer, "tokens per second")
        bound = bandwidth / llama_bytes
        if math.isclose(answer, bound, rel_tol=0.02):
            return
        diagnose(
            answer,
            {
                1 / bound: "That is seconds per token: turn the division round.",
                bandwidth / tiers.card("llama-3-8b").parameters: "What is read is bytes, not "
                "parameters: at 4.5 bits and a little more, a weight takes about 0.6 of a byte.",
                8 * bound: "Both numbers are in bytes already; there are no bits to convert.",
            },
        )
        raise Incorrect("Divide the bytes per second by the bytes that one token needs.")


class LongestConversation(Question):
    """What grouped-query attention does to the KV cache."""

    name = "q5"
    prompt = (
        "Llama 3 8B has 32 layers, 32 heads, 8 KV heads and a head size of 128; its KV cache "
        "holds 16-bit values. After loading the file, 1 GiB is left for the cache. How many "
        "tokens can a conversation have, questions and answers together?"
    )
    hints = (
        "First find the bytes for one token, then see how often they go into 2**30.",
        "One token keeps, in each of the 32 layers, a key and a value for each KV head: "
        "2 x 8 x 128 numbers of 2 bytes.",
    )
    solution_code = "answer = 2**30 // (32 * 2 * 8 * 128 * 2)"
    wrong_answers = (
        WrongAnswer("answer = 2**30 // (32 * 2 * 32 * 128 * 2)", "four heads share"),
        WrongAnswer("answer = 2**30 // (32 * 8 * 128 * 2)", "a factor of 2"),
        WrongAnswer("answer = 2**30 // (2 * 8 * 128 * 2)", "every layer"),
        WrongAnswer("answer = 10**9 // (32 * 2 * 8 * 128 * 2)", "1 GiB is 2**30"),
    )
    praise = (
        "Right: 128 KiB a token, so 8,192 of them: exactly the context this model was made for."
    )

    def judge(self, answer: Any) -> None:
        """Compare with 1 GiB divided by the bytes per token."""
        answer = number(answer, "tokens")
        right = 2**30 // tiers.kv_cache_bytes(tiers.card("llama-3-8b").architecture, context=1)
        if math.isclose(answer, right, rel_tol=0.001):
            return
        diagnose(
            answer,
            {
                right / 4: "You counted all 32 heads, but in this model four heads share one pair "
                "of key and value: the cache holds 8 KV heads.",
                right * 2: "You lost a factor of 2: there are keys and values, and each number "
                "takes 2 bytes.",
                right * 4: "You lost two factors of 2: there are keys and values, and each number "
                "takes 2 bytes.",
                right * 32: "That is the cache of one layer; every layer keeps its own.",
                right * 10**9 / 2**30: "You took 10^9 bytes; 1 GiB is 2**30.",
            },
        )
        raise Incorrect(
            "Bytes for one token: layers x 2 (key and value) x KV heads x head size x 2 bytes."
        )


q1, q2, q3, q4, q5 = CutOffs(), StoredTwice(), BytesLeft(), UpperBound(), LongestConversation()
