"""llama.cpp's own tools, built on request from the source that the runtime was built from.

Lessons print names that these tools had once. `COMMANDS` puts each beside the one that works now.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from slmlab.acquisition.llama_cpp_source import PACKAGE, source_tree
from slmlab.environments.guarded import finish, guarded, last_words
from slmlab.errors import EngineError, NotPossibleHere, UsageError
from slmlab.files import cache_path, locked, use, whole

_OPTIONS = (
    "CMAKE_BUILD_TYPE=Release",
    "BUILD_SHARED_LIBS=OFF",  # so that a tool is one file, which is there whole or not at all
    "LLAMA_BUILD_TESTS=OFF",
    "LLAMA_BUILD_EXAMPLES=OFF",
    "LLAMA_BUILD_TOOLS=ON",
    "LLAMA_BUILD_APP=OFF",
    "LLAMA_USE_PREBUILT_UI=OFF",  # the server's web page would be fetched from elsewhere
    "LLAMA_OPENSSL=OFF",
)
_STEP = re.compile(r"\[(\d+)/(\d+)\]")


@dataclass(frozen=True)
class Command:
    """A command as lessons print it, the one that works now, and what has changed."""

    then: str
    now: str
    change: str


COMMANDS = (
    Command(
        "python convert.py DIR",
        "python convert_hf_to_gguf.py DIR",
        "one converter for every architecture",
    ),
    Command(
        "./quantize IN.gguf OUT.gguf q4_0",
        "llama-quantize IN.gguf OUT.gguf Q4_0",
        "the prefix llama-, since June 2024",
    ),
    Command(
        './main -m MODEL.gguf -p "text"',
        'llama-completion -m MODEL.gguf -no-cnv -p "text"',
        "became llama-cli, which has since become a chat; llama-completion continues a text",
    ),
    Command(
        'llama-bench -m MODEL.gguf -p "text"',
        "llama-bench -m MODEL.gguf -p 512 -n 128",
        "-p was never a text: it is how many tokens to read, and -n how many to write",
    ),
    Command(
        "./perplexity -m MODEL.gguf -f TEXT",
        "llama-perplexity -m MODEL.gguf -f TEXT",
        "the prefix llama-",
    ),
    Command("./server -m MODEL.gguf", "llama-server -m MODEL.gguf", "the prefix llama-"),
)


def today(name: str) -> str:
    """Return what a tool of llama.cpp is called now; a name that still works is its own answer.

    `main`, `./main` and `main.exe` are the same tool. Raises `UsageError` for an unknown name.
    """
    names = {_tool(command.then): _tool(command.now) for command in COMMANDS}
    wanted = _bare(name)
    if wanted in names.values():
        return wanted
    if wanted not in names:
        raise UsageError(f"{name!r} is no tool of llama.cpp known here; try {', '.join(names)}.")
    return names[wanted]


def find(name: str) -> Path | None:
    """Return the path of a tool that was built, or None."""
    home = _home()
    use(home)
    path = home / _executable(name)
    return path if path.is_file() else None


def build(names: Sequence[str]) -> dict[str, Path]:
    """Build tools such as `llama-bench`, where they are not there yet, and return their paths.

    The first one takes some minutes, for all of llama.cpp is built with it. Progress goes to
    stderr. Raises `NotPossibleHere` where a program to build with is missing, and `EngineError`
    where the build fails.
    """
    home = _home()
    with locked(home):
        missing = [name for name in names if not find(name)]
        if missing:
            _compile(missing, home / "build")
        for name in missing:
            with whole(home / _executable(name)) as aside:
                shutil.copy2(home / "build" / "bin" / _executable(name), aside)
    return {name: home / _executable(name) for name in names}


def run(name: str, *arguments: str | int | Path) -> str:
    """Run a tool that was built and return what it wrote to stdout.

    Raises `NotPossibleHere` for a tool that was not built, and `EngineError` where it fails.
    """
    path = find(name)
    if not path:
        raise NotPossibleHere(
            f"{name} is not built; build it with: llama_cpp_tools.build([{name!r}])"
        )
    done = finish([str(part) for part in (path, *arguments)])
    if done.returncode:
        raise EngineError(f"{name} failed: {last_words(done.returncode, done.stderr)}")
    return done.stdout


def _home() -> Path:
    return cache_path(f"llama.cpp-{version(PACKAGE)}-tools")


def _compile(names: Sequence[str], folder: Path) -> None:
    """Configure and build; what was compiled before is used again, so a stopped build goes on."""
    print(f"Building {', '.join(names)}: a few minutes, once.", file=sys.stderr)
    options = [f"-D{option}" for option in _OPTIONS]
    _cmake("-S", source_tree(), "-B", folder, "-G", "Ninja", *options)
    _cmake("--build", folder, "--target", *names)


def _cmake(*arguments: str | Path) -> None:
    """Run cmake, printing a line at each tenth of a build."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    programs = {name: shutil.which(name, path=search) for name in ("cmake", "ninja")}
    if not all(programs.values()):
        raise NotPossibleHere(
            "llama.cpp's tools are built with cmake and ninja; install them with: "
            "pip install cmake ninja"
        )
    command = [programs["cmake"], *arguments]
    lines, shown = [], 0
    with guarded(command, os.environ | {"PATH": search}, stderr=subprocess.STDOUT) as child:
        for line in child.stdout:
            lines.append(line.strip())
            if step := _STEP.match(line):
                tenth = 10 * int(step[1]) // int(step[2])
                if tenth > shown:
                    print(f"{10 * tenth} % built", file=sys.stderr)
                    shown = tenth
        child.wait()
    if child.returncode:
        raise EngineError(f"llama.cpp's tools could not be built: {_reason(lines)}")


def _reason(lines: Sequence[str]) -> str:
    """Return the line that says why: the compiler's, else the one after cmake's first error."""
    errors = [line for line in lines if re.search(r"\berror:", line)]
    after = [lines[i + 1] for i in range(len(lines) - 1) if lines[i].startswith("CMake Error")]
    said = [*errors, *filter(None, after), *filter(None, reversed(lines))]
    return said[0] if said else "cmake gave no reason"


def _executable(name: str) -> str:
    return f"{name}.exe" if sys.platform == "win32" else name


def _tool(command: str) -> str:
    """Return the tool in a command line, without the program that runs it."""
    return _bare(command.removeprefix("python ").split()[0])


def _bare(name: str) -> str:
    return Path(name).name.removesuffix(".exe")
