"""The questions of lab 02: licences, what fits, labels, hashes, and what is in a file."""

import math
from typing import TYPE_CHECKING, Any

from slmlab import tiers
from slmlab.gguf import TYPES
from slmlab.lessons.question import Incorrect, Question, WrongAnswer, diagnose, number

if TYPE_CHECKING:
    from pandas import DataFrame

_FREE = ("apache-2.0", "mit")

CANDIDATES = (
    "smollm2-135m-instruct",
    "gemma-3-270m",
    "smollm2-360m-instruct",
    "qwen3-0.6b",
    "gemma-3-1b",
    "llama-3.2-1b-instruct",
)
"""The models that lab 02 compares, and question 2 chooses from."""


class LargestWithLicence(Question):
    """A licence belongs to one repository, not to a family."""

    name = "q1"
    prompt = (
        "A company wants to build a text model of at most 3.5B parameters into a product, and its "
        "lawyers let only `apache-2.0` and `mit` through. Which repository in your table `found` "
        "is the largest that is left? Answer with its name, as a string or by an expression."
    )
    hints = (
        "Leave only the rows with one of the two licences, then look at the parameters.",
        'found[found.licence.isin(["apache-2.0", "mit"])] keeps those rows; the table is '
        "sorted, smallest first.",
    )
    solution_code = (
        'free = found[found.licence.isin(["apache-2.0", "mit"])]\nanswer = free.repository.iloc[-1]'
    )
    wrong_answers = (
        WrongAnswer("answer = found.repository.iloc[-1]", "neither of the two"),
        WrongAnswer('answer = "Qwen/Qwen2.5-3B-Instruct"', "'qwen-research'"),
        WrongAnswer('answer = found[found.licence == "mit"].repository.iloc[0]', "not the largest"),
        WrongAnswer('answer = "apache-2.0"', "no repository"),
    )
    praise = "Right. Next, somebody reads the licence itself: the tag is only its name."
    setup = (
        "from slmlab.acquisition import search_models\n"
        "found = search_models(max_parameters=3.5e9, offline=True)"
    )
    needs = ("found",)

    def judge(self, answer: Any, found: "DataFrame") -> None:
        """Compare with the largest row of the learner's own table that has such a licence."""
        rows = found.set_index("repository")
        if not isinstance(answer, str) or answer not in rows.index:
            raise Incorrect(f"There is no repository {answer!r} in your table; copy a whole name.")
        licence = rows.licence[answer]
        if licence not in _FREE:
            raise Incorrect(
                f"{answer} comes under {licence!r}, neither of the two that may be used. Look at "
                f"the row itself: models of one family can differ in their licence."
            )
        if rows.parameters[answer] < rows.parameters[rows.licence.isin(_FREE)].max():
            raise Incorrect(
                f"{answer} may be used, but it is not the largest that may; look further down."
            )


class LargestThatFits(Question):
    """Weights take two bytes each in F16, and the conversation comes on top."""

    name = "q2"
    prompt = (
        "A device has 2 GB (2e9 bytes) for the weights in F16 and the KV cache of 4,096 tokens "
        "together, and its maker takes no model whose licence must be accepted first. Which of "
        "the six models in your table is the largest that is left? Answer with its name in the "
        "first column, as a string."
    )
    hints = (
        "Two columns are in bytes and belong together; another one rules models out.",
        "Add f16_bytes and kv_cache_bytes, keep what is at most 2e9 and need not be accepted, "
        "and take the one with the most parameters.",
    )
    solution_code = 'answer = "Qwen3 0.6B"'
    wrong_answers = (
        WrongAnswer('answer = "Llama 3.2 1B Instruct"', "2 bytes each"),
        WrongAnswer('answer = "Gemma 3 1B"', "with the cache"),
        WrongAnswer('answer = "Gemma 3 270M"', "must be accepted"),
        WrongAnswer('answer = "SmolLM2 360M Instruct"', "a larger one fits"),
    )
    praise = "Right: 1.19 GB of weights and 0.47 GB of conversation."

    def judge(self, answer: Any) -> None:
        """Compute both sizes of the model named, and say which of them is in the way."""
        models = {tiers.card(name).title: tiers.card(name) for name in CANDIDATES}
        if not isinstance(answer, str) or answer.strip() not in models:
            raise Incorrect(f"{answer!r} is none of the six; copy a name from the first column.")
        model = models[answer.strip()]
        weights = 2 * tiers.count_parameters(model.architecture)
        cache = tiers.kv_cache_bytes(model.architecture, 4096)
        if weights > 2e9:
            raise Incorrect(
                f"Its parameters take 2 bytes each in F16, so that the weights alone need "
                f"{weights / 1e9:.2f} GB."
            )
        if weights + cache > 2e9:
            raise Incorrect(
                f"The weights alone fit by a hair, but with the cache it is "
                f"{(weights + cache) / 1e9:.3f} GB; its licence would be in the way too."
            )
        if model.licence_must_be_accepted:
            raise Incorrect(f"It fits, but its licence, {model.licence!r}, must be accepted first.")
        if model.name != "qwen3-0.6b":
            raise Incorrect("It fits and may be used, but a larger one fits too.")


class BitsBehindALabel(Question):
    """Bits per weight from a catalogue's numbers."""

    name = "q3"
    prompt = (
        "The catalogue's file of Qwen2.5 0.5B for CPUs has 861,939,957 bytes, and its folder is "
        "called `cpu-int4-rtn-block-32`. The model has 494,032,768 parameters. How many bits does "
        "a weight take on average?"
    )
    hints = (
        "Forget the folder's name and divide what you were given.",
        "Bytes per weight first; a byte has 8 bits.",
    )
    solution_code = "answer = 861_939_957 * 8 / 494_032_768"
    wrong_answers = (
        WrongAnswer("answer = 4", "That is the label"),
        WrongAnswer("answer = 4.5", "if all weights were"),
        WrongAnswer("answer = 861_939_957 / 494_032_768", "in bytes"),
        WrongAnswer("answer = 494_032_768 * 8 / 861_939_957", "upside down"),
    )
    praise = "Right: nearly 14 bits a weight in a file that is labelled 4."

    def judge(self, answer: Any) -> None:
        """Compare with eight times the bytes over the parameters."""
        bits = 861_939_957 * 8 / 494_032_768
        answer = number(answer, "bits per weight")
        if math.isclose(answer, bits, rel_tol=0.02):
            return
        diagnose(
            answer,
            {
                4: "That is the label. Divide the bits of the file by its weights instead.",
                4.5: "It would be 4.5 if all weights were 4-bit with a scale for every 32. The "
                "size of the file says that they are not.",
                bits / 8: "That is the average in bytes; a byte has 8 bits.",
                64 / bits: "That is upside down: bits of the file per weight.",
            },
        )
        raise Incorrect("Multiply the bytes by 8 and divide by the number of parameters.")


class WhatAHashProves(Question):
    """A hash proves as much as the place it comes from."""

    name = "q4"
    prompt = (
        "Somebody controls a mirror that you use. They changed a model file, and put the changed "
        "file's size and SHA-256 into the metadata that the mirror serves. Which check notices? "
        "**a** compare the file's size with the metadata; **b** compare its SHA-256 with the "
        "metadata; **c** compare its SHA-256 with our model card; **d** load the file and see "
        "whether it answers. Answer with one letter, as a string."
    )
    hints = (
        "Ask of each check: who wrote the value that the file is compared with?",
        "Only one of the four compares with something that the mirror never touched.",
    )
    solution_code = 'answer = "c"'
    wrong_answers = (
        WrongAnswer('answer = "a"', "of any content"),
        WrongAnswer('answer = "b"', "the same hand"),
        WrongAnswer('answer = "d"', "answers as fluently"),
        WrongAnswer('answer = "SHA-256"', "one letter"),
    )
    praise = "Right. A hash is worth as much as the place you have it from."

    def judge(self, answer: Any) -> None:
        """Say of each other letter why that check passes."""
        letter = answer.strip().lower() if isinstance(answer, str) else ""
        if letter == "c":
            return
        raise Incorrect(
            {
                "a": "A file of any content can have that size, and the metadata was changed too.",
                "b": "It will agree: the same hand wrote the file and the hash next to it. This "
                "check finds damage on the way, and no intention.",
                "d": "A model with changed weights answers as fluently as before; you would have "
                "to know what was changed to ask for it.",
            }.get(letter, "Answer with one letter, such as 'a'.")
        )


class SmallerEmbedding(Question):
    """Bytes of a tensor from its type."""

    name = "q5"
    prompt = (
        "In this file the embedding's 576 x 49,152 weights are Q8_0, the other matrices Q4_1. By "
        "how many MB (1e6 bytes) would the file shrink if the embedding were Q4_1 too? "
        "`gguf.TYPES` says of each type how many weights make a block, and how many bytes the "
        "block takes."
    )
    hints = (
        "Both types have blocks of 32 weights: how many blocks does the embedding have?",
        "A block of Q8_0 takes 34 bytes, one of Q4_1 takes 20; multiply the difference by the "
        "number of blocks.",
    )
    solution_code = "answer = 576 * 49_152 / 32 * (34 - 20) / 1e6"
    wrong_answers = (
        WrongAnswer("answer = 576 * 49_152 * (8 - 4) / 8 / 1e6", "8.5 and 5 bits"),
        WrongAnswer("answer = 576 * 49_152 / 32 * (34 - 20)", "in bytes"),
        WrongAnswer("answer = 576 * 49_152 / 32 * (34 - 20) / 2**20", "MiB"),
        WrongAnswer("answer = 576 * 49_152 / 32 * 34 / 1e6", "what the embedding takes now"),
        WrongAnswer("answer = 576 * 49_152 / 32 * 20 / 1e6", "what the embedding would take"),
    )
    praise = "Right: an eighth of the file. What it would cost in quality, lab 03 measures."

    def judge(self, answer: Any) -> None:
        """Compare with the difference of two block sizes over all blocks."""
        answer = number(answer, "MB")
        weights = 576 * 49_152
        now, then = (weights * TYPES[kind][1] / TYPES[kind][0] / 1e6 for kind in ("Q8_0", "Q4_1"))
        if math.isclose(answer, now - then, rel_tol=0.01):
            return
        diagnose(
            answer,
            {
                weights * 4 / 8 / 1e6: "A block also holds its scale, Q4_1 a minimum besides: the "
                "types take 8.5 and 5 bits a weight, and not 8 and 4.",
                (now - then) * 1e6: "That is in bytes; the question asks for MB.",
                (now - then) * 1e6 / 2**20: "That is in MiB, of 2**20 bytes; a MB has 10**6.",
                now: "That is what the embedding takes now; how much less would it be?",
                then: "That is what the embedding would take; how much less is that than now?",
            },
        )
        raise Incorrect("Count the blocks of 32 weights; each would be 14 bytes smaller.")


q1 = LargestWithLicence()
q2 = LargestThatFits()
q3 = BitsBehindALabel()
q4 = WhatAHashProves()
q5 = SmallerEmbedding()
