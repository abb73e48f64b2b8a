"""Ask a model one question in a process of its own: FOLDER QUESTION MANNER; prints JSON.

The manner is `ours` (as the course sets the runtime up), `switched` (with the runtime's own switch
against telemetry) or `plain` (as it comes); the last two also look into the public catalogue.
"""

import json
import os
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from slmlab.deployment.foundry_local import ELSEWHERE, model_id_of, register, request, runtime

_PAGE = f"https://{ELSEWHERE}/simple/"
_MAX_TOKENS = 24


def main(folder: Path, question: str, manner: str) -> None:
    """Answer, and say on the way whether the web could be reached."""
    with tempfile.TemporaryDirectory(prefix="slmlab-foundry-") as scratch:
        began = time.perf_counter()
        ours = manner == "ours"
        manager = runtime(Path(scratch)) if ours else _theirs(Path(scratch), manner == "switched")
        said = _said(manager, folder, question)
        said["seconds"] = time.perf_counter() - began
        manager.close()
    print(json.dumps(said | {"network": _network()}))


def _theirs(folder: Path, switched: bool) -> Any:
    from foundry_local_sdk import Configuration, FoundryLocalManager

    os.environ.pop("ORT_DISABLE_TELEMETRY", None)  # the course sets it, they do not
    configuration = Configuration(
        app_name="slmlab",
        model_cache_dir=str(folder / "models"),
        logs_dir=str(folder / "logs"),
        disable_nonessential_telemetry=switched,
    )
    FoundryLocalManager.initialize(configuration)
    FoundryLocalManager.instance.catalog.list_models()
    return FoundryLocalManager.instance


def _said(manager: Any, folder: Path, question: str) -> dict[str, Any]:
    from foundry_local_sdk import ChatSession

    model = register(manager, folder, model_id_of(folder))
    model.load()
    message = {"role": "user", "content": question}
    with (
        ChatSession(model) as session,
        request([message], _MAX_TOKENS) as asked,
        session.process_request(asked) as response,
    ):
        answer = "".join(item.get_simple_text() for item in response)
        return {"answer": answer, "new_tokens": response.get_usage().completion_tokens}


def _network() -> str:
    try:
        with urllib.request.urlopen(_PAGE, timeout=5) as page:
            return f"{_PAGE} answered {page.status}"
    except OSError as problem:
        return f"{_PAGE}: {getattr(problem, 'reason', problem)}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
