"""Run a subcommand in this process, and read what it prints."""

import json

import pytest

from slmlab.cli import main


@pytest.fixture
def slmlab(capsys):
    """Run a subcommand; return its exit code, standard output and standard error."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def as_json(slmlab):
    def run(*arguments):
        code, out, _ = slmlab(*arguments, "--json")
        assert code == 0
        return json.loads(out)

    return run
