"""The first use of a model file, in a process of its own: llama.cpp ends the process that loads it.

A file may be sound as GGUF and still trip one of the checks with which llama.cpp aborts, or one
that it lacks. So a file that nobody has verified is loaded and read with once, elsewhere, before it
is loaded here; a file that came through is remembered and not tried again.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from slmlab import gguf
from slmlab.acquisition import trust
from slmlab.environments.guarded import KILLED, finish, has_crashed, last_words
from slmlab.errors import InvalidModelFile, NotPossibleHere, SlmlabError
from slmlab.machine import usable_threads

_TEXT = "One model, 2 words:\n\n  naïve ☃"
_NO_ROOM = 30  # no code with which any system ends a process that crashed
_WHERE_BUILT = re.compile(r"\S*/(?=[\w.-]+\.(?:c|cpp|h):\d)")
_SECONDS, _BYTES_PER_SECOND = 120, 20e6  # far slower than any disk, to end what would never end


def must_survive(path: Path) -> None:
    """Raise `InvalidModelFile` for a damaged file, and where llama.cpp crashes or never ends.

    Raises `NotPossibleHere` where it is killed, as systems do that run out of memory, and where it
    could not be run. A file that is trusted already is not tried.
    """
    path = Path(path)
    mark = trust.mark(path)
    if not trust.is_trusted(path) and _came_through(path):
        trust.trust(mark)


def _came_through(path: Path) -> bool:
    """Try a file; return False where there is no room to, for then it cannot be loaded here too."""
    gguf.read_header(path)
    seconds = _SECONDS + path.stat().st_size / _BYTES_PER_SECOND
    quiet = os.environ | {"GGML_NO_BACKTRACE": "1"}
    try:
        child = finish([sys.executable, "-m", __name__, path], quiet, timeout=seconds)
    except subprocess.TimeoutExpired:
        how = f"it had not read a line of text after {seconds:.0f} s"
    else:
        if child.returncode in (0, _NO_ROOM):
            return child.returncode == 0
        how = _WHERE_BUILT.sub("", last_words(child.returncode, child.stderr))
        if child.returncode == KILLED:
            raise NotPossibleHere(f"{path.name} could not be loaded: {how}; close other programs.")
        if not has_crashed(child.returncode):
            raise NotPossibleHere(
                f"{path.name} could not be tried in a process of its own: {how}; mend that, or "
                f"install what requirements.lock says, and try again."
            )
    raise InvalidModelFile(
        f"{path.name} is not a usable model file: llama.cpp tried it in a process of its own, and "
        f"{how}; fetch or make it again."
    )


def _main(path: str) -> None:
    """Do with the model what a caller will do; what it refuses in words, the caller learns too."""
    from slmlab.engines.llama_cpp import LlamaCpp

    try:
        with LlamaCpp(Path(path), 64, usable_threads()) as engine:
            tokens = engine.tokenize(_TEXT)
            engine.detokenize(tokens)
            engine.ends(int(engine.read(tokens[:8])[-1].argmax()))
            engine.chat_prompt([{"role": "user", "content": _TEXT}])
    except NotPossibleHere:
        os._exit(_NO_ROOM)
    except SlmlabError:
        pass
    os._exit(0)


if __name__ == "__main__":
    _main(sys.argv[1])
