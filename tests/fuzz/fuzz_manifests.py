"""Files that somebody else may have written are read, or refused in a sentence.

The manifests of a registry, a learner's progress and measurements, the record beside a model, and
an executed lab.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from unittest import mock

from slmlab import doctor
from slmlab.acquisition import fetching
from slmlab.deployment import registry
from slmlab.errors import SlmlabError
from slmlab.lessons import progress
from slmlab.measurement import keeping
from slmlab.tiers import card
from slmlab.workshop import merging

_SCRATCH = tempfile.TemporaryDirectory(prefix="slmlab-fuzz-")
_HOME = Path(_SCRATCH.name)
_INSIDE = _HOME / "inside"
_PROGRESS = _INSIDE / "progress.json"
_MODEL = card("smollm2-135m-instruct")
_COURSE = {"01_tiers": ["tiers.q1"]}
_MANIFEST = _HOME / "central" / "models" / "toy" / "1.json"
_DIGEST = hashlib.sha256(b"a").hexdigest()
for _folder in (_INSIDE, _MANIFEST.parent, _HOME / "central" / "chunks"):
    _folder.mkdir(parents=True)
(_HOME / "central" / "chunks" / _DIGEST).write_text("a")


def one_input(data: bytes) -> None:
    """Give the bytes to every reader, under the name that it looks for."""
    _synchronise(data)
    with mock.patch.dict("os.environ", SLMLAB_PROGRESS=str(_PROGRESS)):
        _read(data)


def _read(data: bytes) -> None:
    for name in ("progress.json", "measurements.jsonl", "model.json"):
        (_INSIDE / name).write_bytes(data)
    assert all(entry["attempts"] is not None for entry in progress.read().values())
    keeping.kept()
    assert fetching._cached(_MODEL, _INSIDE) is None
    assert isinstance(doctor._minutes(_PROGRESS), float | int | None)
    try:
        room = merging.merge([str(_PROGRESS)], _COURSE)
        json.dumps(merging.as_data(room), default=str)
    except SlmlabError as refused:
        assert "\n" not in str(refused)


def _synchronise(data: bytes) -> None:
    """Bring a version here that somebody's manifest describes; its digest is made to be right."""
    _MANIFEST.write_bytes(_with_digest(data))
    device = _HOME / "device"
    try:
        registry.Registry(device, (_HOME / "central").as_uri()).synchronise("toy")
    except SlmlabError as refused:
        assert "\n" not in str(refused)
    assert {path.name for path in _HOME.iterdir()} <= {"central", "device", "inside"}
    for top, folders, files in os.walk(device, topdown=False):
        for name in files:
            Path(top, name).unlink()
        for name in folders:
            Path(top, name).rmdir()


def _with_digest(data: bytes) -> bytes:
    try:
        manifest = json.loads(data)
        files = [
            registry.StoredFile(file["path"], [registry.Chunk(**one) for one in file["chunks"]])
            for file in manifest["files"]
        ]
        return json.dumps(manifest | {"digest": registry._digest(files)}).encode()
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return data


def _manifest(*paths: str) -> bytes:
    files = [registry.StoredFile(path, (registry.Chunk(_DIGEST, 1),)) for path in paths]
    return json.dumps(asdict(registry.Version("toy", 1, tuple(files)))).encode()


_ANSWER = {"outcome": "correct", "attempts": 2, "last": "2026-11-22T10:00:00+00:00"}
_NUMBER = {"subject": "a", "quantity": "b", "value": 1.5, "unit": "s", "how": "measured"}
_RECORD = {"name": "a", "file": "a.gguf", "bytes": 1, "sha256": _DIGEST, "source": "b"}
_EXECUTED = {"exception": None, "duration": 65.5, "parameters": {"profile": "quick"}}
SEEDS = [
    _manifest("config.json", "sub/a.bin"),
    _manifest("a", "a/b"),
    json.dumps({"tiers.q1": _ANSWER, "tiers.q9": _ANSWER}).encode(),
    json.dumps(
        {"lab": "01_tiers", "measurement": _NUMBER | {"machine": "m", "date": "2026-11-22"}}
    ).encode(),
    json.dumps(_RECORD | {"licence": "c"}).encode(),
    json.dumps({"metadata": {"papermill": _EXECUTED}, "cells": []}).encode(),
]
