"""What the workshop guide says can be done, and its minutes are those of the labs."""

import re
import shlex
from pathlib import Path

import pytest

from slmlab import cli
from slmlab.notebooks.labs import all_labs

GUIDE = (Path(__file__).parents[2] / "docs" / "workshop.md").read_text("utf-8")
LABS = {lab.name[:2]: lab for lab in all_labs()}
ROUTES = re.findall(r"^### ([\w ]+): (\d+) minutes\n(.+?)(?=^##)", GUIDE, re.MULTILINE | re.DOTALL)
COMMANDS = sorted(
    set(re.findall(r"^slmlab .+$", GUIDE, re.MULTILINE)) | set(re.findall(r"`(slmlab .+?)`", GUIDE))
)

every_route = pytest.mark.parametrize(
    ("name", "minutes", "text"), ROUTES, ids=[route[0] for route in ROUTES]
)


def rows(text):
    """Return the parts of a route: what, the minutes in the room, and what else the row says."""
    return re.findall(r"^\| (\w.*?) \| (\d+) \|(.*)\|$", text, re.MULTILINE)


def test_there_is_a_route_for_half_a_day_one_day_and_two():
    assert [name for name, _, _ in ROUTES] == ["Half a day", "One day", "Two days"]
    assert [part[:2] for part, _, _ in rows(ROUTES[-1][2]) if part[0].isdigit()] == list(LABS)


@every_route
def test_a_route_is_as_long_as_its_parts(name, minutes, text):
    assert sum(int(room) for _, room, _ in rows(text)) == int(minutes)


@every_route
def test_machine_minutes_are_those_of_the_labs(name, minutes, text):
    for part, room, rest in rows(text):
        if lab := LABS.get(part[:2]):
            told = f" {lab.minutes['quick']:g} | {lab.minutes['standard']:g} "
            assert rest == told, f"{part}: the guide says {rest!r}, the lab {told!r}"
            assert 30 <= int(room) <= 60, part


@every_route
def test_labs_come_in_teaching_order(name, minutes, text):
    labs = [part[:2] for part, _, _ in rows(text) if part[:2] in LABS]
    assert labs == sorted(set(labs))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_understood(command):
    options = cli.parser().parse_args(shlex.split(command)[1:])
    assert callable(options.command)


def test_the_tools_of_a_workshop_are_all_in_it():
    named = {command.split()[1] for command in COMMANDS}
    assert named >= {"doctor", "run", "pack", "mirror", "handout", "progress", "reset"}
