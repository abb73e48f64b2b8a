"""Windows and macOS, as far as they can be checked from here: names, texts, calls, branches."""

import ast
import importlib.util
import os
import platform
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest
import yaml

from slmlab import machine
from slmlab.deployment import offline
from slmlab.deployment import vllm as vllm_server
from slmlab.deployment.browser import chromium
from slmlab.engines import llama_cpp_tools, mlx
from slmlab.environments import guarded
from slmlab.measurement import alone
from slmlab.notebooks.labs import all_labs
from slmlab.tiers import cards
from slmlab.workshop import wheelhouse

ROOT = Path(__file__).parents[1]
PACKAGE = {
    path.relative_to(ROOT / "slmlab").as_posix(): path for path in ROOT.glob("slmlab/**/*.py")
}
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
    cwd=ROOT,
    capture_output=True,
    encoding="utf-8",
    check=True,
).stdout.split("\0")[:-1]
WORKFLOW = ROOT / ".github/workflows/ci.yml"
JOBS = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]
LONGEST_NAME = 100
"""Windows takes 260 characters unless told otherwise, and the clone's folder has some of them."""

ONLY_POSIX = {
    *(f"os.{name}" for name in ("fork", "forkpty", "getpgid", "getpgrp", "getuid", "geteuid")),
    *(f"os.{name}" for name in ("getgid", "getegid", "setsid", "setpgid", "killpg", "wait3")),
    *(f"os.{name}" for name in ("sched_getaffinity", "sched_setaffinity", "nice", "uname")),
    *(f"os.{name}" for name in ("getloadavg", "statvfs", "mkfifo", "chown", "sysconf", "pread")),
    *(f"signal.{name}" for name in ("SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2")),
    *(f"signal.{name}" for name in ("SIGQUIT", "SIGCHLD", "alarm", "setitimer", "pause")),
    *("resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix"),
}
GUARDED = {
    ("machine.py", "os.sched_getaffinity"): "asked for only where `os` has it",
    ("deployment/browser/chromium.py", "os.geteuid"): "asked for only where `os` has it",
    ("environments/guarded.py", "os.killpg"): "Windows has left the function: taskkill",
    ("environments/guarded.py", "signal.SIGKILL"): "Windows has left the function: taskkill",
    ("measurement/alone.py", "resource"): "Linux and Windows have left the function; macOS is left",
}
ENCODINGS = ("utf-8", "utf-8-sig", "ascii")
GUARD = re.compile(r"os\.name|sys\.platform|hasattr\(os,")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def functions_with(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Give every node with the innermost function around it, or the module."""
    waiting = [(tree, tree)]
    while waiting:
        node, around = waiting.pop()
        yield node, around
        inner = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else around
        waiting += [(child, inner) for child in ast.iter_child_nodes(node)]


def named(node: ast.AST) -> set[str]:
    """The modules that a node imports, or the attribute of a module that it uses."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return {f"{node.value.id}.{node.attr}"}
    return set()


def test_calls_that_only_posix_has_stand_behind_a_question_for_the_system():
    found = {}
    for name, path in PACKAGE.items():
        for node, around in functions_with(parsed(path)):
            for call in named(node) & ONLY_POSIX:
                found[name, call] = ast.unparse(around)
    assert found.keys() == GUARDED.keys()
    assert all(map(GUARD.search, found.values()))


@pytest.mark.parametrize("folder", ["slmlab", "tests", "data"])
def test_nothing_forks(folder):
    """A fork of a process with threads hangs, macOS advises against it, and Windows has none."""
    code = [
        path.read_text("utf-8") for path in ROOT.glob(f"{folder}/**/*.py") if path != Path(__file__)
    ]
    assert not [each for each in code if re.search(r"os\.fork\(|preexec_fn\s*=|ProcessPool", each)]
    methods = Counter(
        re.findall(r"get_context\((.*?)\)|multiprocessing\.(Process|Pool)", "".join(code))
    )
    assert methods.keys() <= {('"spawn"', "")}


def text_calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Give every call that reads or writes a text file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            owner = ast.unparse(getattr(node.func, "value", ast.Name("")))
            method = isinstance(node.func, ast.Attribute)
            if (method and name in ("read_text", "write_text")) or (
                name == "open" and owner not in ("tarfile", "archive", "opener") and is_text(node)
            ):
                yield node


def is_text(call: ast.Call) -> bool:
    mode = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
    return bool(mode) and isinstance(mode[-1], str) and re.fullmatch("[rwax]+[+]?", mode[-1])


def names_encoding(call: ast.Call) -> bool:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "encoding"]
    return any(
        isinstance(value, ast.Constant) and value.value in ENCODINGS
        for value in [*given, *call.args]
    )


def test_every_text_is_read_and_written_in_an_encoding_that_is_named():
    bare = {
        name: ast.unparse(call)
        for name, path in PACKAGE.items()
        for call in text_calls(parsed(path))
        if not names_encoding(call)
    }
    assert bare == {}


def test_a_call_without_encoding_is_noticed():
    calls = list(text_calls(ast.parse("path.read_text(); path.open('w'); path.open('rb')")))
    assert [names_encoding(call) for call in calls] == [False, False]


class TestFilesOfTheRepository:
    def test_have_names_that_windows_takes(self):
        for name in TRACKED:
            path = PureWindowsPath(name)
            assert not re.search(r'[<>:"|?*\\\x00-\x1f]', name), name
            assert not path.is_reserved(), name
            assert not [part for part in path.parts if part[-1] in ". "], name
            assert name.isascii(), name

    def test_have_names_short_enough_for_windows(self):
        assert max(map(len, TRACKED)) <= LONGEST_NAME

    def test_differ_in_more_than_upper_and_lower_case(self):
        folded = Counter(name.casefold() for name in TRACKED)
        assert [name for name, times in folded.items() if times > 1] == []

    def test_have_unix_line_ends_on_every_system(self):
        asked = ["git", "check-attr", "eol", "text", "--", *TRACKED]
        said = subprocess.run(asked, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
        eols = re.findall(r"^(.+): eol: (.+)$", said.stdout, re.M)
        binary = {
            name
            for name, value in re.findall(r"^(.+): text: (.+)$", said.stdout, re.M)
            if value == "unset"
        }
        assert {value for name, value in eols if name not in binary} == {"lf"}
        for name in set(TRACKED) - binary:
            path = ROOT / name
            assert not path.is_file() or b"\r\n" not in path.read_bytes(), name


@pytest.mark.parametrize("name", [card.name for card in cards().values()])
def test_folders_of_models_have_names_that_windows_takes(name):
    assert re.fullmatch(r"[a-z0-9.-]+[a-z0-9]", name) and not PureWindowsPath(name).is_reserved()


class TestBranches:
    """What is chosen elsewhere, chosen here by saying that we are there."""

    def test_windows_ends_a_process_with_all_that_it_started(self, monkeypatch):
        asked = []
        monkeypatch.setattr(guarded, "os", SimpleNamespace(name="nt"))
        monkeypatch.setattr(guarded.subprocess, "run", lambda command, **_: asked.append(command))
        guarded._end(4711)
        assert asked == [["taskkill", "/F", "/T", "/PID", "4711"]]

    def test_signals_that_windows_lacks_are_not_needed_to_import_the_guard(self, monkeypatch):
        for name in ("SIGKILL", "SIGHUP", "SIGALRM", "SIGCHLD", "SIGQUIT"):
            monkeypatch.delattr(signal, name, raising=False)
        monkeypatch.delattr(os, "killpg", raising=False)
        spec = importlib.util.spec_from_file_location("guard", guarded.__file__)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))

    def test_threads_are_counted_where_no_affinity_is_known(self, monkeypatch, tmp_path):
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 3)
        assert machine.usable_threads(tmp_path) == 3

    @pytest.mark.parametrize("system", ["darwin", "win32"])
    def test_no_one_is_root_where_nobody_asks(self, system, monkeypatch):
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.delattr(os, "geteuid", raising=False)
        assert "--no-sandbox" not in chromium.options()

    def test_edge_is_found_where_windows_puts_it(self, monkeypatch, tmp_path):
        edge = tmp_path / "Microsoft/Edge/Application/msedge.exe"
        edge.parent.mkdir(parents=True)
        edge.touch()
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setenv("ProgramFiles(x86)", str(tmp_path))
        assert str(edge) in chromium._elsewhere()

    @pytest.mark.parametrize(
        ("system", "processor", "expected"),
        [
            ("Darwin", "arm64", "macos-arm64"),
            ("Windows", "AMD64", "windows-x86_64"),
            ("Linux", "x86_64", "linux-x86_64"),
        ],
    )
    def test_wheels_are_those_of_the_system(self, system, processor, expected, monkeypatch):
        monkeypatch.setattr(platform, "system", lambda: system)
        monkeypatch.setattr(platform, "machine", lambda: processor)
        assert wheelhouse.here() == expected in wheelhouse.PLATFORMS

    def test_a_program_of_windows_has_its_ending(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "win32")
        assert llama_cpp_tools._executable("llama-bench") == "llama-bench.exe"

    def test_windows_is_asked_for_the_peak_of_its_working_set(self, monkeypatch):
        import psutil

        process = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=42))
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setattr(psutil, "Process", lambda: process)
        assert alone.peak_bytes() == 42

    @pytest.mark.parametrize("system", ["darwin", "win32"])
    def test_what_only_linux_has_says_so(self, system, monkeypatch):
        monkeypatch.setattr(sys, "platform", system)
        assert "Linux" in vllm_server.why_not()
        assert offline._own_network() == []

    def test_mlx_says_that_windows_has_none(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "win32")
        assert "Windows" in mlx.why_not()


class TestContinuousIntegration:
    def test_is_a_workflow_that_github_takes(self):
        schema = "vendor.github-workflows"
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, WORKFLOW]
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stdout

    def test_runs_on_three_systems_and_every_python_that_we_support(self):
        matrix = JOBS["quick"]["strategy"]["matrix"]
        assert {os.partition("-")[0] for os in matrix["os"]} == {"ubuntu", "macos", "windows"}
        assert matrix["python"] == ["3.11", "3.12", "3.13"]

    def test_takes_each_action_at_a_commit(self):
        for step in (step for job in JOBS.values() for step in job["steps"]):
            assert re.search(r"@[0-9a-f]{40}$", step.get("uses", "@" + 40 * "0"))

    @pytest.mark.parametrize(
        ("job", "commands", "folders"),
        [
            ("whole", ["make run", "make book"], ["build/report", "build/book"]),
            ("browser", ["make setup-browser", "make test-browser"], ["build/browser"]),
        ],
    )
    def test_keeps_what_was_made_even_where_something_failed(self, job, commands, folders):
        steps = JOBS[job]["steps"]
        ran = [command for step in steps for command in commands if command in step.get("run", "")]
        assert ran == commands
        upload = next(
            step for step in steps if step.get("with", {}).get("path", "").split() == folders
        )
        assert upload["uses"].startswith("actions/upload-artifact@")
        assert upload["if"] == "always()"
        assert steps.index(upload) == len(steps) - 1

    def test_installs_what_is_locked_and_asks_for_no_make_on_windows(self):
        commands = [step.get("run", "") for step in JOBS["quick"]["steps"]]
        assert any("-r requirements-test.lock" in command for command in commands)
        assert 'python -m pytest -m "not slow"' in commands
        assert not [command for command in commands if re.search(r"\b(make|bash|sh)\b", command)]


def test_labs_open_no_file_that_only_one_system_has():
    for lab in all_labs():
        assert not re.search(r'["\'](/tmp|/proc|/dev|/usr|C:)', lab.path.read_text("utf-8")), (
            lab.name
        )
