"""Start the stand-in as `ollama serve` starts Ollama: settings from the same variables."""

import os
from pathlib import Path

import uvicorn

from slmlab.deployment.ollama_stand_in.app import Settings, app
from slmlab.deployment.ollama_stand_in.runners import seconds
from slmlab.deployment.ollama_stand_in.store import Store


def main() -> None:
    """Serve until the process is ended."""
    told = os.environ
    host, _, port = told["OLLAMA_HOST"].partition(":")
    settings = Settings(
        context=int(told.get("OLLAMA_CONTEXT_LENGTH") or 0) or Settings.context,
        keep_alive=seconds(told.get("OLLAMA_KEEP_ALIVE") or Settings.keep_alive),
        loaded_models=int(told.get("OLLAMA_MAX_LOADED_MODELS") or 0) or Settings.loaded_models,
        queue=int(told.get("OLLAMA_MAX_QUEUE") or Settings.queue),
    )
    serving = app(Store(Path(told["OLLAMA_MODELS"])), settings)
    uvicorn.run(serving, host=host, port=int(port), log_level="info")


if __name__ == "__main__":
    main()
