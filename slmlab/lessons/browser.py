"""The questions of lab 11: the price of a page, headers, a download, and what fits into a tab."""

from collections.abc import Mapping
from typing import Any

from slmlab.lessons.question import Question, WrongAnswer, expect, number

_GIB = 2**30


class HowManyTimes(Question):
    """The price of the browser, out of one's own measurements."""

    name = "q1"
    prompt = (
        "With one thread and Q4_0, how many times as many tokens per second does the native "
        "llama.cpp write as the page? `speeds` holds the decode speed of each run, in tokens per "
        "second."
    )
    hints = (
        "Compare two runs that differ in nothing but the place.",
        "Divide speeds['Q4_0 · native, 1 thread'] by speeds['Q4_0 · WebAssembly, 1 thread'].",
    )
    solution_code = (
        "answer = speeds['Q4_0 · native, 1 thread'] / speeds['Q4_0 · WebAssembly, 1 thread']"
    )
    wrong_answers = (
        WrongAnswer(
            "answer = speeds['Q4_0 · WebAssembly, 1 thread'] / speeds['Q4_0 · native, 1 thread']",
            "the other way round",
        ),
        WrongAnswer(
            "answer = speeds['Q8_0 · native, 1 thread'] / speeds['Q8_0 · WebAssembly, 1 thread']",
            "for Q8_0",
        ),
        WrongAnswer(
            "answer = speeds['Q4_0 · native, 1 thread'] - speeds['Q4_0 · WebAssembly, 1 thread']",
            "a difference",
        ),
        WrongAnswer("answer = 1.0001", "Divide the native speed"),
    )
    praise = "Right. That is what the page costs on your machine, for this file."
    setup = (
        "speeds = {\n"
        '    "Q8_0 · WebAssembly, 1 thread": 12.0,\n'
        '    "Q4_0 · WebAssembly, 1 thread": 8.0,\n'
        '    "Q8_0 · native, 1 thread": 80.0,\n'
        '    "Q4_0 · native, 1 thread": 100.0,\n'
        "}"
    )
    needs = ("speeds",)

    def judge(self, answer: Any, speeds: Mapping[str, float]) -> None:
        """Accept the ratio of the learner's own speeds to within 2 %."""
        page, native = (speeds[f"Q4_0 · {where}, 1 thread"] for where in ("WebAssembly", "native"))
        other = speeds["Q8_0 · native, 1 thread"] / speeds["Q8_0 · WebAssembly, 1 thread"]
        expect(
            number(answer, "times"),
            native / page,
            {
                page / native: "That is the other way round: the part of the native speed that "
                "the page reaches.",
                other: "That is the ratio for Q8_0; the question is about Q4_0.",
                native - page: "That is a difference, in tokens per second; the question is how "
                "many times.",
            },
            "Divide the native speed of Q4_0 with one thread by that of the page.",
            tolerance=0.02,
        )


class HeadersAndThreads(Question):
    """Half an isolation is none."""

    name = "q2"
    prompt = (
        "A page is served with `Cross-Origin-Opener-Policy: same-origin`, but without "
        "`Cross-Origin-Embedder-Policy`. It asks wllama for 4 threads. How many compute?"
    )
    hints = (
        "Only a page that is cross-origin isolated may share memory between threads.",
        "Isolation takes both headers. What did wllama do above, where they were missing?",
    )
    solution_code = "answer = 1"
    wrong_answers = (
        WrongAnswer("answer = 4", "takes both headers"),
        WrongAnswer("answer = 2", "no half"),
        WrongAnswer("answer = 0", "still writes"),
        WrongAnswer("answer = 8", "1 to 4"),
    )
    praise = (
        "Right, and nothing warns: it is only slow. Look at `crossOriginIsolated` in the console "
        "of the browser before you look for any other reason."
    )

    def judge(self, answer: Any) -> None:
        """Accept one thread."""
        expect(
            number(answer, "threads"),
            1,
            {
                4: "Isolation takes both headers; with one, the page may not share memory.",
                2: "There is no half of an isolation: threads share memory, or they do not.",
                0: "Nothing fails: without shared memory the page still writes, in one thread.",
            },
            "The page asks for 4 threads and gets a number from 1 to 4.",
        )


class FirstVisit(Question):
    """Bytes are paid before the first token."""

    name = "q3"
    prompt = (
        "A visitor with 20 Mbit per second opens your page with the Q4_0 file for the first time. "
        "How many seconds does the download take? `page_bytes` are the bytes of page, wllama and "
        "model together."
    )
    hints = (
        "A byte has 8 bits, and Mbit are millions of bits.",
        "Multiply page_bytes by 8 and divide by 20 million.",
    )
    solution_code = "answer = page_bytes * 8 / 20e6"
    wrong_answers = (
        WrongAnswer("answer = page_bytes / 20e6", "8 bits"),
        WrongAnswer("answer = page_bytes * 8 / 20", "Mega"),
        WrongAnswer("answer = page_bytes * 8 / (20 * 2**20)", "1,000,000"),
        WrongAnswer("answer = 0", "first time"),
        WrongAnswer("answer = 1.23", "Bits divided by"),
    )
    praise = (
        "Right. Before it, the page can only show its progress: so a smaller file is worth more "
        "in a page than on a disk."
    )
    setup = "page_bytes = 100_900_000"
    needs = ("page_bytes",)

    def judge(self, answer: Any, page_bytes: float) -> None:
        """Accept the seconds to within 1 %."""
        right = page_bytes * 8 / 20e6
        expect(
            number(answer, "seconds"),
            right,
            {
                right / 8: "The line carries bits and the file has bytes: a byte has 8 bits.",
                right * 1e6: "Mega stands for a million: 20 Mbit/s are 20,000,000 bits a second.",
                page_bytes * 8 / (20 * 2**20): "Networks count in powers of ten: 1 Mbit is "
                "1,000,000 bits.",
                0: "That is a later visit; for the first time, every byte must come.",
            },
            "Bits divided by bits per second give seconds.",
            tolerance=0.005,
        )


class FitsIntoATab(Question):
    """An upper limit from the size of the address space alone."""

    name = "q4"
    prompt = (
        "wllama 3.8 gives a model 4 GiB of WebAssembly memory. Q4_0 takes 4.5 bits per weight. "
        "How many billion weights fit at the very most, were there nothing else in that memory?"
    )
    hints = (
        "4 GiB are 4 · 2^30 bytes. How many bits is that?",
        "Divide 4 · 2^30 · 8 bits by 4.5 bits, and by a billion.",
    )
    solution_code = "answer = 4 * 2**30 * 8 / 4.5 / 1e9"
    wrong_answers = (
        WrongAnswer("answer = 4 * 8 / 4.5", "GiB"),
        WrongAnswer("answer = 4 * 2**30 * 8 / 4 / 1e9", "scale"),
        WrongAnswer("answer = 4 * 2**30 / 4.5 / 1e9", "8 bits"),
        WrongAnswer("answer = 4 * 2**30 * 8 / 4.5", "in billions"),
        WrongAnswer("answer = 3", "Divide the bits"),
    )
    praise = (
        "Right: 7.6 billion, before the KV cache and all else. A model of 7 or 8 billion weights "
        "at 4 bits is where this tab ends."
    )

    def judge(self, answer: Any) -> None:
        """Accept 7.64 billion to within 1 %."""
        bits = 4 * _GIB * 8
        expect(
            number(answer, "billion weights"),
            bits / 4.5 / 1e9,
            {
                4 * 8 / 4.5: "That counts 4 GB; 4 GiB are 4 · 2^30 bytes, 7 % more.",
                bits / 4 / 1e9: "That is 4 bits per weight; Q4_0 also keeps a scale for each block "
                "of 32, which makes 4.5.",
                bits / 8 / 4.5 / 1e9: "The memory is in bytes and the weights are in bits: a byte "
                "has 8 bits.",
                bits / 4.5: "That is the number of weights; the question asks for it in billions.",
            },
            "Divide the bits of 4 GiB by the bits of a weight.",
        )


q1, q2, q3, q4 = HowManyTimes(), HeadersAndThreads(), FirstVisit(), FitsIntoATab()
