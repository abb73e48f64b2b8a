"""The questions of lab 09: batches, blocks, prefixes, drafts, and models over several GPUs."""

from collections.abc import Mapping
from typing import Any

from slmlab.lessons.question import Incorrect, Question, WrongAnswer, expect, number


class Crossing(Question):
    """Where batching overtakes the faster single stream, out of one's own measurements."""

    name = "q1"
    prompt = (
        "On your machine, what is the smallest number of requests at once, of those measured, at "
        "which vLLM writes more tokens per second in all than llama.cpp one after another? `rates` "
        "holds vLLM's tokens per second by that number, `alone` llama.cpp's. Answer 0 if it never "
        "does."
    )
    hints = (
        "Compare each value of `rates` with `alone`.",
        "Of the numbers n with rates[n] > alone, take the smallest.",
    )
    solution_code = "answer = min((n for n in rates if rates[n] > alone), default=0)"
    wrong_answers = (
        WrongAnswer("answer = 1", "no more than llama.cpp's"),
        WrongAnswer("answer = 16", "already at 8"),
        WrongAnswer("answer = 0", "does overtake"),
        WrongAnswer("answer = rates[8]", "how many requests"),
    )
    praise = "Right. Below it the faster single stream wins, above it the batch."
    setup = "rates = {1: 32.0, 2: 58.0, 4: 110.0, 8: 190.0, 16: 260.0}\nalone = 115.0"
    needs = ("rates", "alone")

    def judge(self, answer: Any, rates: Mapping[int, float], alone: float) -> None:
        """Compare with the smallest of the learner's own numbers above llama.cpp's rate."""
        given = number(answer, "requests at once")
        right = min((n for n in rates if rates[n] > alone), default=0)
        if given == right:
            return
        if given == 0:
            raise Incorrect("vLLM does overtake: look for a rate above `alone`.")
        if given not in rates:
            raise Incorrect(f"The answer is how many requests at once: one of {list(rates)}, or 0.")
        if rates[given] <= alone:
            raise Incorrect(
                f"At {given:g} at once, vLLM writes {rates[given]:.0f} tokens/s, no more than "
                f"llama.cpp's {alone:.0f}."
            )
        raise Incorrect(f"At {given:g} it does, but already at {right} it did.")


class BlocksOfASequence(Question):
    """A block is taken whole, and only when it is needed."""

    name = "q2"
    prompt = (
        "A request has a prompt of 150 tokens and has written 60 so far, in a server with a "
        "context of 1,024 tokens and blocks of 32. No other request shares its prefix. How many "
        "blocks does it hold now?"
    )
    hints = (
        "The KV cache holds the prompt and what was written.",
        "210 tokens in blocks of 32: the last block may be only partly full.",
    )
    solution_code = "import math\n\nanswer = math.ceil((150 + 60) / 32)"
    wrong_answers = (
        WrongAnswer("answer = (150 + 60) / 32", "taken whole"),
        WrongAnswer("answer = (150 + 60) // 32", "do not fit"),
        WrongAnswer("answer = 1024 // 32", "the whole context"),
        WrongAnswer("answer = 5", "only the prompt"),
        WrongAnswer("answer = 150 + 60", "tokens, not blocks"),
    )
    praise = "Right. At most 31 places of a request are wasted, however long the context may be."

    def judge(self, answer: Any) -> None:
        """Round 210 / 32 up."""
        expect(
            number(answer, "blocks"),
            7,
            {
                210 / 32: "A block is taken whole, also for its first token.",
                6: "6 blocks hold 192 tokens; the other 18 do not fit.",
                32: "That would be room for the whole context; vLLM takes a block when it is "
                "needed.",
                5: "That is for only the prompt; what was written is in the cache, too.",
                210: "These are tokens, not blocks.",
            },
            "Divide all tokens of the request by those of a block, and round up.",
        )


class SharedPrefix(Question):
    """Only whole blocks from the very beginning are found again."""

    name = "q3"
    prompt = (
        "The cache holds the KV of an earlier prompt of 500 tokens, in blocks of 32. A new prompt "
        "of 500 tokens has the same first 300 tokens, another 301st, and the same tokens as before "
        "from the 302nd on. For how many of its tokens need nothing be computed?"
    )
    hints = (
        "A key depends on all tokens before it. What does one changed token do to those after it?",
        "Only full blocks count: how many whole blocks of 32 lie within the first 300 tokens?",
    )
    solution_code = "answer = 300 // 32 * 32"
    wrong_answers = (
        WrongAnswer("answer = 300", "whole blocks"),
        WrongAnswer("answer = 499", "all that came before"),
        WrongAnswer("answer = 320", "differs within"),
        WrongAnswer("answer = 0", "need not be equal"),
        WrongAnswer("answer = 9", "blocks; the question asks"),
    )
    praise = (
        "Right: 9 whole blocks. So put what all requests share first, and what differs (a name, "
        "the date) last."
    )

    def judge(self, answer: Any) -> None:
        """Accept nine blocks of 32."""
        expect(
            number(answer, "tokens"),
            288,
            {
                300: "Only whole blocks are found again, and 300 is not a multiple of 32.",
                499: "Keys and values depend on all that came before: after the changed token, "
                "none is the same.",
                320: "The tenth block differs within: its tokens 289 to 320 are not all equal.",
                0: "The prompts need not be equal to the end; the same beginning is enough.",
                9: "These are blocks; the question asks for tokens.",
            },
            "Count the whole blocks before the first difference.",
            tolerance=0.001,
        )


class TokensOfDrafts(Question):
    """A step gives what was accepted, and one token of the model's own."""

    name = "q4"
    prompt = (
        "In 20 steps of one request, vLLM guessed 4 tokens each time, and 57 of the 80 were "
        "accepted. How many tokens did these 20 steps write?"
    )
    hints = (
        "What does a step write if none of its guesses is right?",
        "Each step writes its accepted tokens, and the model's own token after them.",
    )
    solution_code = "answer = 57 + 20"
    wrong_answers = (
        WrongAnswer("answer = 57", "its own token"),
        WrongAnswer("answer = 80", "guessed"),
        WrongAnswer("answer = 100", "as if all"),
        WrongAnswer("answer = 20", "without speculation"),
        WrongAnswer("answer = 57 / 80", "acceptance rate"),
    )
    praise = "Right: 77 tokens, where 20 steps without guesses write 20."

    def judge(self, answer: Any) -> None:
        """Add a token a step to those accepted."""
        expect(
            number(answer, "tokens"),
            77,
            {
                57: "Each step also writes its own token, the one after those accepted.",
                80: "These were guessed; a wrong guess is thrown away.",
                100: "That is as if all guesses had been accepted.",
                20: "That is what 20 steps write without speculation.",
                57 / 80: "That is the acceptance rate; the question asks for tokens.",
            },
            "Add to the accepted tokens those that the model wrote by itself.",
            tolerance=0.001,
        )


class BytesOnAGpu(Question):
    """Weights and KV cache are both divided."""

    name = "q5"
    prompt = (
        "A model has 8.0 GB of weights, 8 KV heads, and takes 131,072 bytes of KV cache for a "
        "token. It serves 32 sequences of 4,096 tokens, with tensor parallelism over 4 GPUs. How "
        "many bytes of weights and KV cache does each GPU hold?"
    )
    hints = (
        "First the bytes of the whole: weights, and the cache of 32 x 4,096 tokens.",
        "Each of the 4 GPUs holds a quarter of every matrix, and 2 of the 8 KV heads.",
    )
    solution_code = "answer = (8.0e9 + 32 * 4096 * 131072) / 4"
    wrong_answers = (
        WrongAnswer("answer = 8.0e9 + 32 * 4096 * 131072", "on one GPU"),
        WrongAnswer("answer = 8.0e9 / 4", "cache is missing"),
        WrongAnswer("answer = 8.0e9 / 4 + 32 * 4096 * 131072", "also divided"),
        WrongAnswer("answer = 8.0e9 + 32 * 4096 * 131072 / 4", "every matrix"),
        WrongAnswer("answer = (8.0e9 + 4096 * 131072) / 4", "one sequence"),
    )
    praise = "Right: 6.3 GB, and more than two thirds of it cache. Memory decides the batch."

    def judge(self, answer: Any) -> None:
        """Accept a quarter of weights and cache to within 1 %."""
        weights, cache = 8.0e9, 32 * 4096 * 131_072
        expect(
            number(answer, "bytes"),
            (weights + cache) / 4,
            {
                weights + cache: "That is what it takes on one GPU.",
                weights / 4: "The KV cache is missing.",
                weights / 4 + cache: "The cache is also divided: each GPU has 2 of the 8 KV heads.",
                weights + cache / 4: "The weights are divided, too: a quarter of every matrix.",
                (weights + cache / 32) / 4: "That is the cache of one sequence; there are 32.",
            },
            "Divide the sum of weights and cache by the GPUs.",
        )


q1, q2, q3 = Crossing(), BlocksOfASequence(), SharedPrefix()
q4, q5 = TokensOfDrafts(), BytesOnAGpu()
