"""Whatever a catalogue answers becomes rows and files, or a sentence that says why not."""

import hashlib
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import httpx2
import requests
from azure.ai.ml import MLClient
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import RequestsTransport
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory
from mutating import BETWEEN_REQUESTS

from slmlab.acquisition import catalogues, hub
from slmlab.errors import SlmlabError
from slmlab.tiers import card

_SCRATCH = tempfile.TemporaryDirectory(prefix="slmlab-fuzz-")
_HOME = Path(_SCRATCH.name)
_FOLDER = _HOME / "models" / "incoming"
_FOLDER.mkdir(parents=True)
_CONTENT = b"a"
_DIGEST = hashlib.sha256(b"a").hexdigest()
_MODEL = replace(
    card("smollm2-135m-instruct"),
    gguf_repository="someone/tiny",
    gguf_file="tiny.gguf",
    sha256=_DIGEST,
)


class _Hub(httpx2.BaseTransport):
    """Answers every question with the same bytes, and a file with its content."""

    said = b""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        said = _CONTENT if "/resolve/" in request.url.path else self.said
        return httpx2.Response(200, content=said, request=request)


class _Azure(requests.adapters.BaseAdapter):
    """Answers with the first part of the input when models are listed, their versions, one version.

    An input of fewer parts ends with the same again. Where the registry is, is always said well.
    """

    said = b""
    registry = json.dumps(
        {
            "registryName": "azureml",
            "primaryRegionResourceProviderUri": "https://registry.invalid/",
            "subscriptionId": "0",
            "resourceGroup": "group",
            "registryFqdns": {},
        }
    ).encode()

    def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        response = requests.Response()
        response.status_code, response.request, response.url = 200, request, request.url
        response.headers["Content-Type"] = "application/json"
        response.raw = io.BytesIO(self._answer(request.path_url))
        return response

    def close(self) -> None:
        pass

    def _answer(self, path: str) -> bytes:
        if "registrymanagement" in path:
            return self.registry
        parts = self.said.split(BETWEEN_REQUESTS)
        asked = ("/versions" in path) + ("/versions/" in path)
        return parts[min(asked, len(parts) - 1)]


class _SignedIn:
    def get_token(self, *_: object, **__: object) -> AccessToken:
        return AccessToken("token", 2**40)


_HUB = _Hub()
_AZURE = _Azure()
_SESSION = requests.Session()
_SESSION.mount("https://", _AZURE)
_CLIENT = MLClient(
    _SignedIn(),
    registry_name="azureml",
    transport=RequestsTransport(session=_SESSION, session_owner=False),
    enable_telemetry=False,
)


def one_input(data: bytes) -> None:
    """Search, and download a file, where the Hub or the Azure catalogue says `data`."""
    _HUB.said = _AZURE.said = data
    set_client_factory(lambda: httpx2.Client(transport=_HUB))
    try:
        with (
            mock.patch.dict("os.environ", HF_ENDPOINT="http://127.0.0.1:9"),
            mock.patch("time.sleep"),
        ):
            _asked(lambda: catalogues.search_models(limit=3, offline=False))
            _asked(_download)
            _asked(lambda: catalogues.azure_models(limit=3, offline=False, client=_CLIENT))
    finally:
        set_client_factory(default_client_factory)


def _asked(ask) -> None:
    try:
        ask()
    except SlmlabError as refused:
        assert "\n" not in str(refused)


def _download() -> None:
    try:
        arrival = hub.download(_MODEL, _FOLDER, offline=False)
        assert arrival.path.is_relative_to(_FOLDER)
    finally:
        for path in sorted(_HOME.rglob("*"), reverse=True):
            assert path in (_FOLDER, _FOLDER.parent) or path.is_relative_to(_FOLDER)
            if path not in (_FOLDER, _FOLDER.parent):
                path.rmdir() if path.is_dir() else path.unlink()


_LFS = {"size": 1, "sha256": _DIGEST, "pointerSize": 120}
_FILE = {"rfilename": "tiny.gguf", "size": 1, "blobId": "0" * 40, "lfs": _LFS}
_ABOUT = {
    "id": "someone/tiny",
    "sha": "1" * 40,
    "pipeline_tag": "text-generation",
    "tags": ["license:mit", "en"],
    "safetensors": {"parameters": {"F32": 5}, "total": 5},
    "siblings": [_FILE],
}
_IN_REGISTRY = "azureml://registries/azureml/models/Phi-4/versions/7"
_TAGS = {"task": "chat-completion", "license": "MIT", "textContextWindow": "16384"}
_VERSION = {"id": _IN_REGISTRY, "name": "7", "properties": {"tags": _TAGS, "flavors": {}}}
_LISTED = {"id": "Phi-4", "name": "Phi-4", "properties": {"latestVersion": "7"}}
_AZURE_SAYS = [{"value": [_LISTED]}, {"value": [_VERSION]}, _VERSION]
SEEDS = [
    BETWEEN_REQUESTS.join(json.dumps(part).encode() for part in _AZURE_SAYS),
    json.dumps(_ABOUT).encode(),
    json.dumps([_ABOUT, _ABOUT | {"id": "someone/other"}]).encode(),
    json.dumps({"error": "Repository not found"}).encode(),
    b"<html>no such page</html>",
]
