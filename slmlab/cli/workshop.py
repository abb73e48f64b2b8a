"""Learners and rooms of them: `pack`, `progress`, `handout`, `reset`, `nbgrader`."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from slmlab.cli.arguments import Work, add_json, add_labs, add_models
from slmlab.cli.printing import print_json, print_table, remark
from slmlab.errors import UsageError
from slmlab.measurement.words import quantity


def pack(parser: ArgumentParser) -> Work:
    """Write a hand-out that installs without a network."""
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="new or empty")
    add_models(parser, "names from `slmlab models` (default: the course's)", "--models")
    parser.add_argument(
        *("--licence-text", "--license-text"),
        metavar="MODEL=FILE",
        nargs="+",
        default=(),
        type=_named_file,
        help="the text of a licence that has to be handed on with its model",
    )
    parser.add_argument(
        "--platforms", metavar="P", nargs="+", default=(), help="as macos-arm64 (default: this one)"
    )
    parser.add_argument(
        "--pythons", metavar="V", nargs="+", default=(), help="as 3.12 (default: this one)"
    )
    parser.add_argument("--archive", action="store_true", help="write DIR.zip, not a folder")
    return _pack


def _named_file(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not (name and path):
        raise ArgumentTypeError(f"{text!r} is not of the form MODEL=FILE")
    return name, Path(path)


def _pack(options: Namespace) -> None:
    from slmlab import tiers
    from slmlab.workshop import packing

    made = packing.pack(
        options.out,
        options.models or [tiers.DEFAULT_MODEL],
        options.platforms,
        options.pythons,
        options.archive,
        options.accept_license,
        dict(options.licence_text),
    )
    for line in made.remarks:
        remark(line)
    remark(f"{quantity(made.bytes, 'bytes')} in {len(made.parts)} parts; README.txt says more")
    print(made.path)


def progress(parser: ArgumentParser) -> Work:
    """Show which questions have been answered."""
    add_json(parser)
    parser.add_argument(
        "--merge",
        metavar="FILE",
        nargs="+",
        help="of a room: its progress files, each FILE, LABEL=FILE or a folder of them",
    )
    parser.add_argument("--out", metavar="PAGE", type=Path, help="write what was merged as HTML")
    parser.add_argument("--anonymous", action="store_true", help="give learners numbers")
    return _progress


def _progress(options: Namespace) -> int | None:
    if options.merge:
        return _merged(options)
    if options.out or options.anonymous:
        raise UsageError("--out and --anonymous go with --merge; name the files to merge.")
    return _own_progress(options)


def _merged(options: Namespace) -> int:
    from slmlab.notebooks.labs import course
    from slmlab.workshop import merging

    room = merging.merge(options.merge, course())
    for sentence in room.left_out:
        remark(sentence)
    shown = merging.without_names(room) if options.anonymous else room
    if options.out:
        merging.write_page(shown, options.out)
    if options.json:
        print_json(merging.as_data(shown))
    elif options.out:
        print(options.out)
    else:
        print_table(
            ("learner", "last answer", ">correct"),
            [
                (one.label, one.where or "-", f"{one.correct(room.titles)} of {len(room.titles)}")
                for one in shown.learners
            ],
        )
        stopping = [f"{tally.question} ({tally.incorrect})" for tally in shown.stopping()]
        remark(f"stops people: {', '.join(stopping) or 'no question'}")
    return int(bool(room.left_out))


def _own_progress(options: Namespace) -> None:
    from slmlab.lessons import progress
    from slmlab.notebooks.labs import course

    found = progress.standing(title for titles in course().values() for title in titles)
    if options.json:
        return print_json(found)
    print_table(
        ("question", "outcome", ">attempts", "last"),
        [
            (title, entry["outcome"], entry["attempts"], entry["last"] or "-")
            for title, entry in found.items()
        ],
    )
    done = sum(entry["outcome"] == "correct" for entry in found.values())
    remark(f"{done} of {len(found)} correct; kept in {progress.progress_file()}")


def handout(parser: ArgumentParser) -> Work:
    """Write labs for learners, solved, and with notes."""
    add_labs(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="new or empty")
    parser.add_argument(
        "--executed", metavar="DIR", type=Path, help="of `slmlab run`: its numbers, for the notes"
    )
    return _handout


def _handout(options: Namespace) -> None:
    from slmlab.notebooks.labs import find_labs
    from slmlab.workshop.handout import hand_out

    hand_out(find_labs(options.labs), options.out, options.executed)
    remark(f"learner, solutions and instructor are in {options.out}")
    print(options.out)


def reset(parser: ArgumentParser) -> Work:
    """Give a lab back as the course has it; yours is kept."""
    parser.add_argument("lab", metavar="LAB", help="such as 03")
    return _reset


def _reset(options: Namespace) -> None:
    from slmlab.workshop import resetting

    done = resetting.reset(options.lab)
    if not done.changed:
        remark(f"{done.lab.stem} is as the course has it; there is nothing to do")
    elif done.kept:
        remark(f"yours is kept as {done.kept}")
    if done.changed:
        remark("where it is open in JupyterLab: File, Reload Notebook from Disk")
    print(done.lab)


def nbgrader(parser: ArgumentParser) -> Work:
    """Write labs as a course that nbgrader marks."""
    add_labs(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="new or empty")
    return _nbgrader


def _nbgrader(options: Namespace) -> None:
    from slmlab.notebooks.labs import find_labs
    from slmlab.workshop.grading import nbgrader_course

    nbgrader_course(find_labs(options.labs), options.out)
    print(options.out)
