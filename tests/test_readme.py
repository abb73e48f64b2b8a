"""What README.md and the other pages say can be done, can be done."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from slmlab import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [
    path for folder in ("", "data/**/", "docs/**/", "hub/") for path in ROOT.glob(f"{folder}*.md")
]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda it: it.relative_to(ROOT).as_posix())


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_column(table: str) -> list[str]:
    """The cells in backticks at the start of a table's rows."""
    return re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)


@every_page
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    for link in links:
        assert link.startswith("https://") or (page.parent / link).exists(), link


def commands_in(page: Path, program: str) -> set[str]:
    """What stands after a program's name in the code of a page; messages only begin like that."""
    text = page.read_text("utf-8").replace(section("Troubleshooting"), "")
    code = "".join(re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL))
    return set(re.findall(rf"(?:[\s`]|bin/){program} ([\w-]+)", code))


@every_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert commands_in(page, "make") <= targets


def test_make_targets_are_found_with_their_hyphens_and_variables():
    found = commands_in(ROOT / "CONTRIBUTING.md", "make")
    assert {"test-browser", "setup-browser", "fuzz"} <= found


@every_page
def test_subcommands_exist(page, capsys):
    for command in commands_in(page, "slmlab"):
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0, command


def test_the_table_of_commands_has_every_subcommand():
    told = {row.split()[1] for row in first_column(section("Commands"))}
    assert told == {command.__name__ for command in cli.COMMANDS}


def test_options_in_the_table_of_commands_exist(capsys):
    for row in first_column(section("Commands")):
        command = re.findall(r" ([a-z]+)", row.partition("[")[0])
        with pytest.raises(SystemExit):
            cli.main([*command, "--help"])
        described = capsys.readouterr().out
        for option in re.findall(r"--[\w-]+", row):
            assert option in described, row


def test_architecture_is_that_of_the_package():
    rows = re.findall(r"^\| (`.+?) \|", section("Architecture"), re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)(?:\.py|/)`", row)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = project["tool"]["importlinter"]["contracts"]
    assert named == re.findall(r"slmlab\.(\w+)", " ".join(contract["layers"]))
    modules = {path.stem for path in (ROOT / "slmlab").iterdir() if path.stem[0] not in "_."}
    assert set(named) == modules


def test_labs_that_are_ready_are_here():
    ready = re.findall(r"^\| (\d\d) .*\| ready \|$", section("The course"), re.MULTILINE)
    assert ready == sorted(path.name[:2] for path in (ROOT / "labs").glob("*.ipynb"))


def messages() -> str:
    """Every string in the package, with … for what is filled in when the program runs."""
    found = [(ROOT / "Makefile").read_text("utf-8")]
    for path in (ROOT / "slmlab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (getattr(part, "value", None) for part in node.values)
                found.append("".join(part if isinstance(part, str) else "…" for part in parts))
    return "\n".join(found)


def test_troubleshooting_quotes_our_own_messages():
    quoted = first_column(section("Troubleshooting"))
    assert len(quoted) >= 8
    known = messages()
    for message in quoted:
        assert message in known
