"""Where models are found: the Hugging Face Hub, the Azure AI Foundry catalogue, and our cards.

A row of a catalogue says how it was got: `published` is what the catalogue says now, `recorded`
comes from the dated snapshot in `data/snapshots`, which stands in where the catalogue cannot be
asked.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import islice
from math import ceil, inf
from typing import TYPE_CHECKING

from slmlab.acquisition import hub
from slmlab.acquisition.arrival import Unavailable
from slmlab.errors import FetchError, NotPossibleHere, first_line
from slmlab.files import data_path
from slmlab.tiers import breakdown, card, count_parameters, kv_cache_bytes, tier

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from pandas import DataFrame


def search_models(
    text: str = "",
    *,
    task: str = "text-generation",
    min_parameters: float = 0,
    max_parameters: float = inf,
    licence: str | None = None,
    limit: int = 20,
    offline: bool | None = None,
) -> "DataFrame":
    """Return models on the Hugging Face Hub, smallest first.

    `text` is a part of the repository's name, `task` and `licence` are the Hub's words for them
    (`text-generation`, `apache-2.0`). Of more than `limit` models, the most downloaded are kept;
    the snapshot, which knows no downloads, keeps the smallest. `offline` is `fetch`'s, and with
    `offline=False` a Hub that does not answer, or not as it should, raises `FetchError`; otherwise
    the snapshot stands in for it.

    Columns: repository, parameters, licence, task, how, date, source.
    """
    import pandas as pd

    def fits(row: dict) -> bool:
        return (
            text.lower() in row["repository"].lower()
            and row["task"] == task
            and min_parameters <= row["parameters"] <= max_parameters
            and licence in (None, row["licence"])
        )

    def first(rows: Iterable[dict]) -> list[dict]:
        return list(islice(filter(fits, rows), limit))

    rows = first(_recorded("hugging-face-hub"))
    if offline is False or (offline is None and hub.online()):
        try:
            rows = first(_ask_hub(text, task, max_parameters, licence, most=50 * limit))
        except Unavailable as reason:
            if offline is False:
                raise FetchError(
                    f"No models could be searched for: {reason}; offline=True shows what was "
                    f"recorded."
                ) from reason
            print(f"Shown is what was recorded, for {reason}.")
    found = pd.DataFrame(rows, columns=_HUB_COLUMNS)
    return found.sort_values("parameters", ignore_index=True)


def azure_models(
    text: str = "",
    *,
    registry: str = "azureml",
    limit: int = 20,
    offline: bool | None = None,
    client: "MLClient | None" = None,
) -> "DataFrame":
    """Return models of the Azure AI Foundry catalogue whose name contains `text`.

    The catalogue is asked with Microsoft's `azure-ai-ml`, as whoever is signed in with `az login`.
    Where that library or the sign-in is missing, the snapshot answers and says so;
    `offline=False` raises `NotPossibleHere` instead, and `offline=True` does not ask at all.

    Columns: name, registry, version, task, licence, context (tokens), file_bytes, how, date,
    source. The catalogue leaves some out, and its own listing never has the file's size.
    """
    import pandas as pd

    rows = _recorded("azure-ai-foundry")
    if not offline:
        try:
            rows = list(islice(_ask_azure(text, registry, client), limit))
        except NotPossibleHere as reason:
            if offline is False:
                raise
            print(f"{reason} Shown instead: what was recorded.")
    rows = [row for row in rows if text.lower() in row["name"].lower()]
    return pd.DataFrame(rows[:limit], columns=_AZURE_COLUMNS)


def compare(names: Sequence[str]) -> "DataFrame":
    """Return model cards side by side, one row a model, computed from their architectures.

    Columns: tier, parameters, embedding_share (of the parameters), context (tokens), f16_bytes,
    kv_cache_bytes (at 4,096 tokens, 2 bytes a value), licence, must_be_accepted, languages.
    """
    import pandas as pd

    def row(name: str) -> dict:
        model = card(name)
        parameters = count_parameters(model.architecture)
        return {
            "model": model.title,
            "tier": tier(model.parameters),
            "parameters": parameters,
            "embedding_share": breakdown(model.architecture)["embedding"] / parameters,
            "context": model.context,
            "f16_bytes": 2 * parameters,
            "kv_cache_bytes": kv_cache_bytes(model.architecture, 4096),
            "licence": model.licence,
            "must_be_accepted": model.licence_must_be_accepted,
            "languages": ", ".join(model.languages),
        }

    return pd.DataFrame([row(name) for name in names]).set_index("model")


_PROVENANCE = ["how", "date", "source"]
_HUB_COLUMNS = ["repository", "parameters", "licence", "task", *_PROVENANCE]
_AZURE_COLUMNS = [
    *("name", "registry", "version", "task", "licence", "context", "file_bytes"),
    *_PROVENANCE,
]


def _recorded(name: str) -> list[dict]:
    snapshot = json.loads(data_path("snapshots", f"{name}.json").read_text("utf-8"))
    return [row | {"how": "recorded", "date": snapshot["date"]} for row in snapshot["models"]]


def _published(row: dict, source: str) -> dict:
    return row | {"how": "published", "date": date.today().isoformat(), "source": source}


def _ask_hub(
    text: str, task: str, max_parameters: float, licence: str | None, most: int
) -> Iterator[dict]:
    """Give what the Hub lists, most downloaded first, of models that say their size."""
    from huggingface_hub import HfApi

    # The Hub filters by whole billions, so that what comes back is filtered again.
    at_most = None if max_parameters == inf else f"max:{ceil(max_parameters / 1e9)}B"
    with hub.explained("its list of models"):
        for model in HfApi(endpoint=hub.endpoint()).list_models(
            search=text or None,
            pipeline_tag=task,
            num_parameters=at_most,
            filter=f"license:{licence}" if licence else None,
            sort="downloads",
            limit=most,
            expand=["pipeline_tag", "safetensors", "tags"],
        ):
            if model.safetensors:
                licences = [tag for tag in model.tags or () if tag.startswith("license:")]
                row = {
                    "repository": str(model.id),
                    "parameters": int(model.safetensors.total),
                    "licence": licences[0].removeprefix("license:") if licences else None,
                    "task": model.pipeline_tag,
                }
                yield _published(row, "Hugging Face Hub")


def _ask_azure(text: str, registry: str, client: "MLClient | None") -> Iterator[dict]:
    """Give the models of a registry; its listing has only names, so each is asked for."""
    try:
        from azure.ai.ml import MLClient
        from azure.identity import DefaultAzureCredential
    except ImportError:
        raise NotPossibleHere(
            "The Azure catalogue needs two libraries that are not installed: run "
            "`pip install azure-ai-ml azure-identity`, then `az login`."
        ) from None
    try:
        client = client or MLClient(
            DefaultAzureCredential(), registry_name=registry, enable_telemetry=False
        )
        # As text: azure-ai-ml 1.35 would send the Python name of its enumeration.
        for listed in client.models.list(list_view_type="ActiveOnly"):
            if text.lower() in listed.name.lower():
                model = client.models.get(listed.name, label="latest")
                context = model.tags.get("textContextWindow")
                row = {
                    "name": model.name,
                    "registry": registry,
                    "version": model.version,
                    "task": model.tags.get("task"),
                    "licence": (model.tags.get("license") or "").lower() or None,
                    "context": int(context) if context else None,
                    "file_bytes": None,
                }
                yield _published(row, "Azure AI Foundry")
    except Exception as problem:  # Microsoft's client raises whatever a strange answer leads to
        raise NotPossibleHere(
            f"The Azure catalogue did not answer as it should ({first_line(problem)}); if you are "
            f"not signed in, run `az login`."
        ) from problem
