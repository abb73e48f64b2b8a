"""llama.cpp's tools: names that work today, built whole or not at all."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from slmlab import cache as kept
from slmlab import marks
from slmlab.acquisition.llama_cpp_source import source_tree
from slmlab.engines import llama_cpp_tools as tools
from slmlab.errors import EngineError, NotPossibleHere, UsageError

posix = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")

CMAKE = """#!/bin/sh
if [ "$1" = "--build" ]; then
    mkdir -p "$2/bin"
    echo "[1/2] Compiling"
    echo "[2/2] Linking $4"
    printf '#!/bin/sh\\necho "made of $1"\\n' > "$2/bin/$4"
    chmod +x "$2/bin/$4"
fi
"""
NO_COMPILER = """#!/bin/sh
echo "CMake Error at CMakeLists.txt:2 (project):"
echo "  No CMAKE_CXX_COMPILER could be found."
exit 1
"""


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tools, "source_tree", lambda: tmp_path / "source")
    return tmp_path / "cache"


def programs(monkeypatch, folder: Path, cmake: str) -> None:
    """Let cmake and ninja be found in `folder` only, and cmake do what the script says."""
    folder.mkdir()
    for name in ("cmake", "ninja"):
        (folder / name).write_text(cmake)
        (folder / name).chmod(0o755)
    monkeypatch.setattr(
        tools.shutil, "which", lambda name, path=None: str(folder / name), raising=True
    )


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("main", "llama-completion"),
        ("./main", "llama-completion"),
        ("main.exe", "llama-completion"),
        ("convert.py", "convert_hf_to_gguf.py"),
        ("quantize", "llama-quantize"),
        ("server", "llama-server"),
        ("perplexity", "llama-perplexity"),
        ("llama-bench", "llama-bench"),
        ("llama-quantize", "llama-quantize"),
    ],
)
def test_an_old_name_leads_to_the_one_of_today(then, now):
    assert tools.today(then) == now


def test_an_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(UsageError, match=r"'ollama' is no tool.*convert\.py, quantize, main"):
        tools.today("ollama")


@pytest.mark.slow
@pytest.mark.parametrize("command", tools.COMMANDS, ids=lambda command: command.now.split()[0])
def test_what_works_now_is_in_the_source_of_this_version(command):
    source, name = source_tree(), tools.today(command.then.removeprefix("python ").split()[0])
    if name.endswith(".py"):
        assert (source / name).is_file()
    else:
        lists = [path.read_text("utf-8") for path in (source / "tools").glob("*/CMakeLists.txt")]
        assert any(re.search(rf"set\(TARGET {name}\)\s+add_executable", text) for text in lists)


@pytest.mark.slow
def test_the_bench_really_takes_a_number_of_tokens():
    text = (source_tree() / "tools" / "llama-bench" / "llama-bench.cpp").read_text("utf-8")
    assert "-p, --n-prompt <n>" in text
    assert "-n, --n-gen <n>" in text


@posix
def test_a_tool_is_built_once_and_runs(cache, tmp_path, monkeypatch, capsys):
    programs(monkeypatch, tmp_path / "bin", CMAKE)
    built = tools.build(["llama-bench"])
    assert built == {"llama-bench": tools.find("llama-bench")}
    assert tools.run("llama-bench", 512) == "made of 512\n"
    assert "100 % built" in capsys.readouterr().err
    (tmp_path / "bin" / "cmake").write_text(NO_COMPILER)
    assert tools.build(["llama-bench"]) == built, "what is there is not built again"


@posix
def test_a_tool_that_was_found_is_not_pruned_before_it_runs(cache, tmp_path, monkeypatch):
    programs(monkeypatch, tmp_path / "bin", CMAKE)
    tools.build(["llama-bench"])
    shutil.rmtree(cache / marks.FOLDER)  # as if another process had built it
    assert kept.items()[0].used_by == ()
    tools.find("llama-bench")
    assert kept.prune(0).removed == ()


@posix
def test_a_build_that_fails_says_why_and_leaves_no_tool(cache, tmp_path, monkeypatch):
    programs(monkeypatch, tmp_path / "bin", NO_COMPILER)
    with pytest.raises(EngineError, match="could not be built: No CMAKE_CXX_COMPILER"):
        tools.build(["llama-bench"])
    assert tools.find("llama-bench") is None


def test_without_cmake_it_says_what_to_install(cache, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(NotPossibleHere, match="pip install cmake ninja"):
        tools.build(["llama-bench"])


def test_a_tool_that_was_not_built_says_how_to(cache):
    with pytest.raises(NotPossibleHere, match=r"build it with: .*build\(\['llama-bench'\]\)"):
        tools.run("llama-bench")


@posix
def test_a_tool_that_fails_gives_its_last_words(cache):
    path = cache / f"llama.cpp-{tools.version(tools.PACKAGE)}-tools" / "llama-bench"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\necho 'invalid parameter for argument: -p' >&2\nexit 1\n")
    path.chmod(0o755)
    with pytest.raises(EngineError, match="llama-bench failed: invalid parameter for argument: -p"):
        tools.run("llama-bench", "-p", "text")
