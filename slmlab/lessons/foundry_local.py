"""The questions of lab 10: sessions, what needs a network, old logs, and conflicts."""

from typing import Any

from slmlab.lessons.question import Incorrect, Question, WrongAnswer, expect, number

_STEPS = {"download", "register", "load", "chat"}


class SecondTurn(Question):
    """The prompt of a turn is the whole conversation."""

    name = "q1"
    prompt = (
        "The first turn of a chat session had a prompt of 37 tokens and an answer of 40. The next "
        "message, with the marks that the template puts around it, has 15 tokens. How many prompt "
        "tokens does the second turn have?"
    )
    hints = (
        "The model itself remembers nothing. What must it be given so that it can refer back?",
        "All that was said so far, by both sides, and the new message.",
    )
    solution_code = "answer = 37 + 40 + 15"
    wrong_answers = (
        WrongAnswer("answer = 15", "would not know what was said"),
        WrongAnswer("answer = 37 + 15", "own answer"),
        WrongAnswer("answer = 40 + 15", "first question"),
        WrongAnswer("answer = 37 + 40", "new message"),
        WrongAnswer("answer = 8192", "the context can hold"),
    )
    praise = "Right: 92. Each turn carries all before it, so a long chat grows slower and slower."

    def judge(self, answer: Any) -> None:
        """Accept 92."""
        expect(
            number(answer, "tokens"),
            92,
            {
                15: "With the new message alone, the model would not know what was said before.",
                52: "The model's own answer is part of the conversation, too.",
                55: "The first question is part of the conversation, too.",
                77: "That is all up to the first answer; the new message is still missing.",
                8192: "That is how much the context can hold, not what is in it.",
            },
            "Add up what was said so far, by both sides, and the new message.",
            tolerance=1e-6,
        )


class WhatNeedsANetwork(Question):
    """Only bringing a model here needs a network."""

    name = "q2"
    prompt = (
        "A laptop with this runtime and a folder with a model is taken on board a plane. Which of "
        '`"download"` (another model, from the catalogue), `"register"`, `"load"` and `"chat"` '
        "fail there? Answer with a set of these words."
    )
    hints = (
        "Which of them did the process without a network do, a few cells above?",
        "It registered, loaded and answered. One step is left that brings bytes from elsewhere.",
    )
    solution_code = 'answer = {"download"}'
    wrong_answers = (
        WrongAnswer('answer = {"download", "register"}', "kept in a file on this device"),
        WrongAnswer('answer = {"download", "load"}', "from the disk"),
        WrongAnswer('answer = {"download", "chat"}', "on this processor"),
        WrongAnswer("answer = set()", "no bytes from elsewhere"),
        WrongAnswer('answer = "download"', "a set of words"),
    )
    praise = "Right. What was brought here before works; that is what offline-first means."

    def judge(self, answer: Any) -> None:
        """Accept the one step that brings bytes from elsewhere."""
        if not isinstance(answer, set | frozenset) or not answer <= _STEPS:
            raise Incorrect('Answer with a set of words out of the four, such as {"chat"}.')
        if "register" in answer:
            raise Incorrect("A registration is kept in a file on this device; nobody is asked.")
        if "load" in answer:
            raise Incorrect("To load is to read files from the disk of this device.")
        if "chat" in answer:
            raise Incorrect("The answer is computed on this processor; no prompt leaves it.")
        if "download" not in answer:
            raise Incorrect("Without a network, no bytes from elsewhere can arrive.")


class PutBack(Question):
    """An old log with its old head is in order in itself."""

    name = "q3"
    prompt = (
        "Somebody who may write every file on the device, but does not know the log's key, puts "
        "the audit log and its head back to yesterday's copies of both. What shows it: the "
        '`"seals"` of the lines, the `"head"` beside the log, or a head that was `"kept"` '
        "elsewhere this morning? Answer with one of the three words."
    )
    hints = (
        "Were yesterday's lines sealed with the right key? Does yesterday's head belong to them?",
        "Everything on the device is as it was yesterday. Who knows that there was a today?",
    )
    solution_code = 'answer = "kept"'
    wrong_answers = (
        WrongAnswer('answer = "seals"', "were sealed with the right key"),
        WrongAnswer('answer = "head"', "belongs to yesterday's lines"),
        WrongAnswer('answer = "nothing"', "one of the three words"),
    )
    praise = "Right. A device cannot prove by itself that it has not forgotten: somebody must know."

    def judge(self, answer: Any) -> None:
        """Accept the head that is out of reach."""
        if answer == "kept":
            return
        if answer == "seals":
            raise Incorrect("Yesterday's lines were sealed with the right key, and still are.")
        if answer == "head":
            raise Incorrect("Yesterday's head belongs to yesterday's lines, and was put back too.")
        raise Incorrect('Answer with one of the three words: "seals", "head" or "kept".')


class SameNumber(Question):
    """Two models under one number are a conflict, whatever comes after."""

    name = "q4"
    prompt = (
        "The central registry holds versions 1, 2 and 3 of a model. A device that was offline has "
        "the same version 1, and a version 2 of its own, made there. What does synchronising do: "
        '`"pull"` version 3, `"push"` its version 2, or report a `"conflict"`? Answer with one of '
        "the three words."
    )
    hints = (
        "Compare the two sides number by number. Where do they not agree?",
        "Version 2 is two different models. Either move would leave them under one number.",
    )
    solution_code = 'answer = "conflict"'
    wrong_answers = (
        WrongAnswer('answer = "pull"', "could not tell"),
        WrongAnswer('answer = "push"', "would overwrite"),
        WrongAnswer('answer = "merge"', "one of the three words"),
    )
    praise = (
        "Right. Nothing moves until somebody decides; here, by giving the own version number 4."
    )

    def judge(self, answer: Any) -> None:
        """Accept the conflict."""
        if answer == "conflict":
            return
        if answer == "pull":
            raise Incorrect(
                "Then two models would be called version 2, and whoever ran version 2 could not "
                "tell which."
            )
        if answer == "push":
            raise Incorrect("That would overwrite the version 2 which others have fetched already.")
        raise Incorrect('Answer with one of the three words: "pull", "push" or "conflict".')


q1 = SecondTurn()
q2 = WhatNeedsANetwork()
q3 = PutBack()
q4 = SameNumber()
