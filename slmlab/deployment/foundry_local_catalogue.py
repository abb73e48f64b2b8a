"""A catalogue of our own for Foundry Local, on 127.0.0.1, with the models that we put there.

The runtime's web service serves only models that a catalogue lists. Whose catalogue is a setting
of the runtime, so a device that is never online can have its own.
"""

import json
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from slmlab.errors import UsageError

PATH = "/asset-gallery/v1.0/models"
"""What the address of a catalogue must end with."""

_MARK = "inference_model.json"
_ID = re.compile(r"([a-z0-9][a-z0-9._-]*):([0-9]+)")


@contextmanager
def catalogue(model_ids: Iterable[str]) -> Iterator[str]:
    """Give, during the block, the URL of a catalogue that lists these models (`name:version`)."""
    page = json.dumps({"value": [_entry(model_id) for model_id in model_ids]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200 if self.path == PATH else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{PATH}"
        finally:
            server.shutdown()


def deliver(model: Path, model_id: str, runtime_folder: Path) -> Path:
    """Lay a model's folder where the runtime keeps what it has downloaded, and return that place.

    The files are linked where the system permits it, and copied elsewhere.
    """
    name, version = id_parts(model_id)
    place = runtime_folder / "models" / "slmlab" / f"{name}-{version}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for file in filter(Path.is_file, model.iterdir()):
        _link(file.absolute(), place / file.name)
    (place / _MARK).write_text(json.dumps({"Name": model_id}), "utf-8")
    return place


def id_parts(model_id: str) -> tuple[str, str]:
    """Return the name and the version that an id, `name:version`, consists of.

    Raises `UsageError` for anything else: the name becomes that of a folder.
    """
    found = _ID.fullmatch(model_id)
    if not found:
        raise UsageError(
            f"{model_id!r} is no id for a model; it reads name:version, the name with a-z, 0-9, "
            f"'.', '_' and '-', and the version a whole number."
        )
    return found[1], found[2]


def _entry(model_id: str) -> dict:
    name, version = id_parts(model_id)
    asset = f"azureml://registries/slmlab/models/{name}/versions/{version}"
    runs_on = {"modelType": "ONNX", "device": "cpu", "executionProvider": "CPUExecutionProvider"}
    return {
        "assetId": asset,
        "entityId": asset,
        "annotations": {
            "tags": {"alias": name, "task": "chat-completion"},
            "systemCatalogData": {
                "publisher": "slmlab",
                "displayName": name,
                "deploymentOptions": ["Foundry Local on Devices"],
            },
        },
        "properties": {
            "id": model_id,
            "name": name,
            "version": int(version),
            "variantInfo": {"parents": [{"assetId": asset}], "variantMetadata": runs_on},
        },
    }


def _link(source: Path, target: Path) -> None:
    with suppress(OSError):
        target.symlink_to(source)
    if not target.exists():
        shutil.copyfile(source, target)
