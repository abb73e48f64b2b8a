"""The `slmlab` command: each subcommand is a thin call into a room of the package.

A subcommand is a function of its name, listed in `COMMANDS`. Its docstring is the help text; it
adds its arguments to a parser and returns what does the work: the function below it, of the same
name with an underscore, which imports rooms only when it is called, so that every command starts
at once.

JSON goes to standard output as one value, with plain numbers in bytes, seconds and tokens per
second; progress and remarks go to standard error. Exit codes: 0 done, 1 a check failed, 2 wrong
usage, 3 not possible on this machine.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import slmlab
from slmlab.cli import cache, labs, measuring, models, serving, workshop
from slmlab.errors import NotPossibleHere, SlmlabError

COMMANDS = (
    labs.doctor,
    models.models,
    models.fetch,
    models.inspect,
    models.estimate,
    models.quantize,
    measuring.measure,
    measuring.sweep,
    serving.engines,
    serving.serve,
    serving.mirror,
    workshop.pack,
    labs.run,
    labs.book,
    labs.verify,
    workshop.progress,
    workshop.handout,
    cache.cache,
    workshop.reset,
    workshop.nbgrader,
)
"""The subcommands, in the order of `slmlab --help`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        code = options.command(options) or 0
        sys.stdout.flush()
        return code
    except SlmlabError as problem:
        print(f"slmlab: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("slmlab: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as problem:
        if problem.filename is None:
            raise
        print(f"slmlab: {_unusable(problem)}", file=sys.stderr)
        return NotPossibleHere.exit_code


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands; `command` in what it parses does the work."""
    whole = argparse.ArgumentParser(
        prog="slmlab", description="Measure small language models on this machine."
    )
    whole.add_argument("--version", action="version", version=f"slmlab {slmlab.__version__}")
    subcommands = whole.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        help = command.__doc__
        added = subcommands.add_parser(command.__name__, help=help, description=help)
        added.set_defaults(command=command(added))
    return whole


def _unusable(problem: OSError) -> str:
    return (
        f"{problem.filename} cannot be used ({problem.strerror}): make room or get access there, "
        f"or name another."
    )
