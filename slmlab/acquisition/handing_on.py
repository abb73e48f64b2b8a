"""Which models may be given to others, and under which names a mirror serves them."""

import re
from collections.abc import Sequence
from pathlib import Path

from slmlab.acquisition.fetching import ModelFile, fetch
from slmlab.acquisition.mirror import Files
from slmlab.errors import LicenceNotAccepted, UsageError
from slmlab.tiers import card

ON_HUB = "https://huggingface.co"
"""Where a model's licence can be read, whatever `$HF_ENDPOINT` names."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def chosen(models: Sequence[str], accept_licence: bool = False) -> dict[str, Path | Files]:
    """Return what a mirror of these models serves, each file verified.

    A model is the name of a card, whose file is fetched if it is not here, or `OWNER/NAME=DIR` or
    a folder in Hugging Face's layout, which is then called `local/` and its name. Raises what
    `fetch` raises, and `UsageError` for a folder that cannot be served.
    """
    found: dict[str, Path | Files] = {}
    for name, held in (_chosen(model, accept_licence) for model in dict.fromkeys(models)):
        if name in found:
            raise UsageError(f"Two models are called {name}: name each with OWNER/NAME=DIR.")
        found[name] = held
    return found


def handed_on(name: str, accept_licence: bool = False) -> ModelFile:
    """Return the verified file of a model that is to be given to others, fetched if it is not here.

    A licence that must be accepted is asked for each time, also for a file that is here. Raises
    what `fetch` raises.
    """
    check_accepted(name, accept_licence)
    return fetch(name, accept_licence=accept_licence)


def check_accepted(name: str, accept_licence: bool) -> None:
    """Raise `LicenceNotAccepted` where a model's licence must be accepted, and is not."""
    model = card(name)
    if model.licence_must_be_accepted and not accept_licence:
        raise LicenceNotAccepted(
            f"{model.title} comes under the licence {model.licence!r}, which has to be accepted "
            f"and handed on with it: read it on {ON_HUB}/{model.repository}, then repeat with "
            f"--accept-license."
        )


def _chosen(model: str, accept_licence: bool) -> tuple[str, Path | Files]:
    name, named, folder = model.rpartition("=")
    if named or Path(folder).is_dir():
        name = name or f"local/{Path(folder).resolve().name}"
        if not (_NAME.fullmatch(name) and (Path(folder) / "config.json").is_file()):
            raise UsageError(
                f"{model!r} is no model folder that can be served: give a folder with a "
                f"config.json, or OWNER/NAME=DIR to name it."
            )
        return name, Path(folder)
    found, about = handed_on(model, accept_licence), card(model)
    repository = about.gguf_repository or f"slmlab/{about.name}"
    return repository, {about.gguf_file or found.path.name: found.path}
