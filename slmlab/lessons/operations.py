"""The questions of lab 12: buckets, queues, Little's law, replicas, and what to scale on."""

import math
from typing import Any

from slmlab.deployment.operations.capacity import Load
from slmlab.lessons.question import Incorrect, Question, WrongAnswer, expect, number

_USERS, _REQUESTS = 1_000_000, 2


class Percentile(Question):
    """A histogram knows how many, not which."""

    name = "q1"
    prompt = (
        "A server has counted 100 requests: 60 took at most 0.8 s, 90 at most 1.6 s, and all at "
        "most 3.2 s. Which p95 does `histogram_quantile` give, in seconds?"
    )
    hints = (
        "The 95th request lies in the bucket from 1.6 to 3.2 s, which holds 10 requests.",
        "It is the 5th of these 10, so half of the way from 1.6 to 3.2.",
    )
    solution_code = "answer = 1.6 + (3.2 - 1.6) * (95 - 90) / (100 - 90)"
    wrong_answers = (
        WrongAnswer("answer = 3.2", "upper end"),
        WrongAnswer("answer = 1.6", "lower end"),
        WrongAnswer("answer = 0.95 * 3.2", "of the longest time"),
        WrongAnswer("answer = 1.6 + 0.95 * 1.6", "95 of the 100, not"),
    )
    praise = "Right. No request need have taken 2.4 s: finer buckets would say more."

    def judge(self, answer: Any) -> None:
        """Interpolate within the third bucket."""
        expect(
            number(answer, "seconds"),
            2.4,
            {
                3.2: "That is the upper end of the bucket; only the 100th request need be there.",
                1.6: "That is the lower end of the bucket, which 90 of 100 do not exceed.",
                0.95 * 3.2: "That is 95 % of the longest time; the p95 is the time that 95 % of "
                "the requests do not exceed.",
                1.6 + 0.95 * 1.6: "The 95th is 95 of the 100, not 95 % of those in this bucket.",
            },
            "Find the bucket of the 95th request, and go as far into it as its place is in there.",
        )


class HowMuchLonger(Question):
    """Half as many again can be four times as long."""

    name = "q2"
    prompt = (
        "A replica takes 0.3 s for a request on average, and the mean time there is 0.3 s divided "
        "by its idle share, as in the M/M/1 queue. Arrivals go up from 2 to 3 per second. How "
        "many times as long is the mean time then?"
    )
    hints = (
        "At 2 per second it is busy for 2 times 0.3 s = 0.6 of the time, and idle for 0.4.",
        "Divide 0.3 / 0.1 by 0.3 / 0.4.",
    )
    solution_code = "answer = (0.3 / (1 - 3 * 0.3)) / (0.3 / (1 - 2 * 0.3))"
    wrong_answers = (
        WrongAnswer("answer = 3 / 2", "as arrivals do"),
        WrongAnswer("answer = 0.3 / 0.1", "in seconds"),
        WrongAnswer("answer = (0.9 / 0.1) / (0.6 / 0.4)", "waiting alone"),
        WrongAnswer("answer = 1", "does not wait"),
        WrongAnswer("answer = 0.25", "the other way round"),
    )
    praise = (
        "Right: half as many again, and four times as long. It was idle for 40 %, now for 10 %."
    )

    def judge(self, answer: Any) -> None:
        """Compare the idle shares."""
        expect(
            number(answer, "times"),
            4,
            {
                1.5: "That is how much more arrives. Time does not grow as arrivals do.",
                3: "That is the mean time at 3 per second, in seconds; the question is how many "
                "times as long as before.",
                6: "That is for waiting alone; the service is part of the time, too.",
                1: "Only a request that finds nobody does not wait.",
                0.25: "That is the other way round.",
            },
            "Work out the idle share before and after; the time goes with its inverse.",
        )


class InFlight(Question):
    """Little's law."""

    name = "q3"
    prompt = (
        "In the busiest hour 36,000 requests come, and each takes 1.5 s from question to whole "
        "answer. How many requests are in the system at a time, on average?"
    )
    hints = (
        "How many come per second? There are 3,600 seconds in an hour.",
        "Little's law: the number in the system is arrivals per second times seconds there.",
    )
    solution_code = "answer = 36_000 / 3600 * 1.5"
    wrong_answers = (
        WrongAnswer("answer = 36_000 * 1.5", "in an hour"),
        WrongAnswer("answer = 36_000 / 3600 / 1.5", "you divided"),
        WrongAnswer("answer = 36_000 / 3600", "arrive in a second"),
        WrongAnswer("answer = 36_000 / 60 * 1.5", "per minute"),
    )
    praise = (
        "Right: 15. The law asks nothing of how they arrive, or in which order they are served."
    )

    def judge(self, answer: Any) -> None:
        """Multiply rate and time."""
        expect(
            number(answer, "requests"),
            15,
            {
                54_000: "You multiplied with the requests in an hour; the time is in seconds.",
                10 / 1.5: "Here you divided: the longer each stays, the more are there.",
                10: "That many arrive in a second; each stays for longer than that.",
                900: "That is with the requests per minute; the time is in seconds.",
            },
            "Multiply the requests per second by the seconds that each stays.",
        )


class Replicas(Question):
    """From a million users to replicas like one's own machine."""

    name = "q4"
    prompt = (
        "A million users each ask 2 requests in the busiest hour. How many replicas like your "
        "machine keep the target? `best` is the highest load of one replica that keeps it; its "
        "requests per second are `best.rate`."
    )
    hints = (
        "How many requests come per second, in all?",
        "Divide 2,000,000 / 3,600 by `best.rate`, and round up.",
    )
    solution_code = "import math\n\nanswer = math.ceil(1_000_000 * 2 / 3600 / best.rate)"
    wrong_answers = (
        WrongAnswer("answer = 1_000_000 * 2 / 3600", "requests per second"),
        WrongAnswer("answer = 1_000_000 * 2 / best.rate", "in an hour"),
        WrongAnswer("answer = 1_000_000 / 3600 / best.rate", "2 requests"),
        WrongAnswer("answer = 1_000_000 * 2 / 3600 / best.rate * best.running", "all the time"),
        WrongAnswer("answer = 1_000_000 * 2 / 86_400 / best.rate", "a whole day"),
    )
    praise = "Right. And this is only the hour that you expected."
    setup = (
        "from slmlab.deployment.operations.capacity import Load\n\n"
        "best = Load(rate=2.2, latency_mean=0.6, latency_p95=1.5, running=0.66, waiting=0.7)"
    )
    needs = ("best",)

    def judge(self, answer: Any, best: Load) -> None:
        """Divide the arrivals among replicas at the learner's own highest load."""
        arrivals = _USERS * _REQUESTS / 3600
        expect(
            number(answer, "replicas"),
            math.ceil(arrivals / best.rate),
            {
                arrivals: "That is how many requests per second come; divide by what one replica "
                "can take.",
                3600 * arrivals / best.rate: "These are the requests in an hour; `best.rate` is "
                "per second.",
                arrivals / best.rate / 2: "Each user asks 2 requests.",
                arrivals / best.rate * best.running: "So many replicas would be busy all the time, "
                "and the queue would have no end.",
                arrivals / best.rate / 24: "You spread them over a whole day; they come in an "
                "hour.",
            },
            "Divide the requests per second by `best.rate`, and round up.",
        )


class ScaleOn(Question):
    """Processors are as busy with one request as with many."""

    name = "q5"
    prompt = (
        "One request is being answered, on all cores. Then three more come and wait. What happens "
        'to the processor use that an autoscaler sees: does it become `"higher"`, `"lower"`, '
        'or does it stay `"equal"`? Answer with one of the three words.'
    )
    hints = (
        "What do the three requests compute while they wait?",
        "All cores were busy before they came.",
    )
    solution_code = 'answer = "equal"'
    wrong_answers = (
        WrongAnswer('answer = "higher"', "were busy before"),
        WrongAnswer('answer = "lower"', "goes on as before"),
        WrongAnswer('answer = "four times"', "one of the three words"),
    )
    praise = "Right: from the processors, a queue cannot be seen. The metric must be the queue."

    def judge(self, answer: Any) -> None:
        """Tell work from waiting."""
        word = answer.strip().lower() if isinstance(answer, str) else ""
        known = {
            "higher": "All cores were busy before, and a request that waits computes nothing.",
            "lower": "The first request goes on as before.",
        }
        if word in known:
            raise Incorrect(known[word])
        if word != "equal":
            raise Incorrect('Answer with one of the three words, such as "higher".')


q1, q2, q3, q4, q5 = Percentile(), HowMuchLonger(), InFlight(), Replicas(), ScaleOn()
