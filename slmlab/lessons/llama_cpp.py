"""The questions of lab 04: waiting, batches, the roofline, the KV cache, and what a form is."""

from typing import Any

from slmlab.lessons.question import Incorrect, Question, WrongAnswer, expect, number

_KEYS_AND_VALUES = 2 * 32 * 8 * 128 * 8192  # of Llama 3 8B at 8,192 tokens


class Waiting(Question):
    """Reading and writing have speeds of their own."""

    name = "q1"
    prompt = (
        "A machine reads 600 tokens per second and writes 30. A chat has grown to a prompt of "
        "1,800 tokens, of which nothing was kept, and the answer has 120. After how many seconds "
        "is the whole answer there?"
    )
    hints = (
        "Two things happen one after the other, each at its own speed.",
        "Reading takes 1800 / 600 seconds. Add what writing 120 tokens at 30 per second takes.",
    )
    solution_code = "answer = 1800 / 600 + 120 / 30"
    wrong_answers = (
        WrongAnswer("answer = 1800 / 600", "only the first token"),
        WrongAnswer("answer = 120 / 30", "prompt must be read first"),
        WrongAnswer("answer = 1920 / 30", "reading speed of 600"),
        WrongAnswer("answer = 1920 / 600", "writing goes at 30"),
    )
    praise = (
        "Right: 3 s of silence and 4 s of writing. It takes 20 times more tokens of prompt to "
        "make you wait as long as one of the answer, and long chats have them."
    )

    def judge(self, answer: Any) -> None:
        """Accept 7 seconds to within 1 %."""
        expect(
            number(answer, "seconds"),
            7,
            {
                3: "After that time only the first token is there; 120 are to be written.",
                4: "That is the writing alone; the prompt must be read first.",
                64: "You let the machine read at the speed it writes with; it has a reading speed "
                "of 600.",
                3.2: "You let the machine write at the speed it reads with; writing goes at 30.",
            },
            "Add the seconds of reading and the seconds of writing.",
        )


class Together(Question):
    """The total of a batch is shared by all in it."""

    name = "q2"
    prompt = (
        "Alone, a text is written at 20 tokens per second. With eight texts in a batch, the "
        "machine writes 100 tokens per second in all. Eight people ask at the same moment, and "
        "each answer has 100 tokens. After how many seconds are all eight answers complete, if "
        "they are written in one batch?"
    )
    hints = (
        "How many tokens are to be written in all, and how many does the batch write per second?",
        "8 answers of 100 tokens are 800 tokens, and 100 of these are written each second.",
    )
    solution_code = "answer = 8 * 100 / 100"
    wrong_answers = (
        WrongAnswer("answer = 100 / 20", "as fast as if it were alone"),
        WrongAnswer("answer = 8 * 100 / 20", "one after the other"),
        WrongAnswer("answer = 100 / 100", "for all eight together"),
        WrongAnswer("answer = 100 / (8 * 20)", "eight times the speed"),
    )
    praise = (
        "Right. Each one waits 8 s instead of 5, but one after the other, the last would have "
        "waited 40 s."
    )

    def judge(self, answer: Any) -> None:
        """Accept 8 seconds to within 1 %."""
        expect(
            number(answer, "seconds"),
            8,
            {
                5: "In a batch no text is written as fast as if it were alone: 100 tokens per "
                "second for eight are 12.5 for each.",
                40: "That is how long the last one waits if they are written one after the other.",
                1: "The 100 tokens per second are for all eight together.",
                0.625: "Eight in a batch do not get eight times the speed of one; the machine "
                "writes 100 tokens per second in all.",
            },
            "Divide the tokens of all eight answers by the speed of the whole batch.",
        )


class Ridge(Question):
    """Where the roof of memory meets the roof of arithmetic."""

    name = "q3"
    prompt = (
        "A machine reads 50 GB/s and does 400 billion operations per second. A model with 1 "
        "billion weights has a file of 1 GB, and each weight takes 2 operations for a token. "
        "Looking only at the roof: from how many sequences in a batch on does arithmetic limit "
        "writing, and no longer memory?"
    )
    hints = (
        "How long does one pass over all weights take to read? And how long does one token take "
        "to compute?",
        "Reading takes 1 / 50 of a second, whatever the batch. Computing takes 2 / 400 of a "
        "second for each sequence. When is the second as long as the first?",
    )
    solution_code = "answer = (1 / 50) / (2 / 400)"
    wrong_answers = (
        WrongAnswer("answer = 400 / 50", "two operations for each"),
        WrongAnswer("answer = 1", "waiting for memory"),
        WrongAnswer("answer = 50", "how often all weights"),
        WrongAnswer("answer = 200", "if memory were"),
        WrongAnswer("answer = 0.25", "upside down"),
    )
    praise = (
        "Right: 4. Up to there, one more sequence costs almost nothing; beyond, each waits for "
        "the others."
    )

    def judge(self, answer: Any) -> None:
        """Accept 4 sequences to within 1 %."""
        expect(
            number(answer, "sequences"),
            4,
            {
                8: "400 / 50 is how many operations fit the reading of one byte; a byte is one "
                "weight here, and that takes two operations for each sequence.",
                1: "With one sequence the 20 ms of reading stand against 5 ms of arithmetic: most "
                "of the time goes into waiting for memory.",
                50: "That is how often all weights can be read in a second, so it is the speed of "
                "one sequence.",
                200: "That is how many tokens a second could be computed if memory were not a "
                "limit.",
                0.25: "That is the right ratio upside down.",
            },
            "Compare the time to read all weights once with the time to compute one token.",
        )


class Cache(Question):
    """A KV cache from an architecture, and in another type."""

    name = "q4"
    prompt = (
        "Llama 3 8B has 32 layers, 32 heads, 8 KV heads and a head size of 128. How many bytes "
        "does its KV cache take for 8,192 tokens, with keys and values in Q8_0?"
    )
    hints = (
        "Per layer and token there are keys and values of every KV head. How many bits has each "
        "number in Q8_0, its share of the scale included?",
        "2 * 32 * 8 * 128 numbers a token, 8,192 tokens, and 8.5 bits a number. Or ask "
        "tiers.kv_cache_bytes, with the architecture of the card llama-3-8b.",
    )
    solution_code = "answer = 2 * 32 * 8 * 128 * 8192 * 8.5 / 8"
    wrong_answers = (
        WrongAnswer("answer = 2 * 32 * 8 * 128 * 8192 * 2", "that is F16"),
        WrongAnswer("answer = 2 * 32 * 8 * 128 * 8192", "left the scales out"),
        WrongAnswer("answer = 2 * 32 * 32 * 128 * 8192 * 8.5 / 8", "all 32 heads"),
        WrongAnswer("answer = 32 * 8 * 128 * 8192 * 8.5 / 8", "keys and values"),
        WrongAnswer("answer = 2 * 32 * 8 * 128 * 8192 * 8.5", "in bits"),
        WrongAnswer("answer = 2 * 8 * 128 * 8192 * 8.5 / 8", "one layer"),
    )
    praise = (
        "Right: 0.57 GB beside a file of some gigabytes. With all 32 heads it would be four times "
        "that; sharing keys and values among heads is done for this."
    )

    def judge(self, answer: Any) -> None:
        """Accept the computed bytes to within 1 %."""
        right = _KEYS_AND_VALUES * 8.5 / 8
        expect(
            number(answer, "bytes"),
            right,
            {
                2 * _KEYS_AND_VALUES: "With two bytes a number that is F16; Q8_0 takes 8.5 bits.",
                _KEYS_AND_VALUES: "You left the scales out: in Q8_0, 32 numbers of 8 bits share "
                "one of 16.",
                4 * right: "You counted all 32 heads; only the 8 KV heads have keys and values of "
                "their own.",
                right / 2: "There are keys and values: two numbers where you counted one.",
                8 * right: "The digits are right, but that is in bits.",
                right / 32: "That is for one layer, and each of the 32 keeps its own.",
            },
            "Multiply 2, layers, KV heads, head size, tokens, and the bytes of one number.",
        )


class Guaranteed(Question):
    """A grammar sees the form of a text, and not what it says."""

    name = "q5"
    prompt = (
        'A schema allows {"year": ...} with an integer, and your program lets the model write '
        "at most 40 tokens by its grammar. A text came back whole. What is certain? "
        "(a) json.loads reads it. (b) The year is the right one. (c) The year is an integer. "
        "(d) Without the grammar the model would have given the same year. "
        'Answer with the letters in a string, such as "bd".'
    )
    hints = (
        "The grammar rules out tokens by how the text would look. Does it know what is asked?",
        "Two of the four speak of the form. And when the most likely token is ruled out, what "
        "the model goes on with is another text.",
    )
    solution_code = 'answer = "ac"'
    wrong_answers = (
        WrongAnswer('answer = "abc"', "not what is true"),
        WrongAnswer('answer = "a"', "the schema says integer"),
        WrongAnswer('answer = "c"', "every text that the grammar allows"),
        WrongAnswer('answer = "acd"', "leads to another text"),
        WrongAnswer('answer = "abcd"', "only the form"),
    )
    praise = "Right: the form is certain, and the content is as good as the model."

    def judge(self, answer: Any) -> None:
        """Compare the set of letters with a and c."""
        letters = set(answer.lower()) - set(" ,") if isinstance(answer, str) else set()
        if not letters or not letters <= set("abcd"):
            raise Incorrect('Answer with letters out of a, b, c and d, in a string, such as "bd".')
        known = {
            "abc": "The grammar knows what is well formed, and not what is true.",
            "a": "It is more than well formed: the schema says integer, and nothing else passes.",
            "c": "If the year can be relied on to be an integer, so can the braces around it: "
            "every text that the grammar allows is JSON.",
            "acd": "A token that is ruled out is replaced, and each token leads to another text.",
            "abcd": "Of these four, a grammar guarantees only the form.",
        }
        chosen = "".join(sorted(letters))
        if chosen != "ac":
            raise Incorrect(known.get(chosen, "Ask of each: is it about the form of the text?"))


q1, q2, q3, q4, q5 = Waiting(), Together(), Ridge(), Cache(), Guaranteed()
