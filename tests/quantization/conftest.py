"""SmolLM2 in every quantisation, made once and deleted afterwards (1.4 GB)."""

from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest

from slmlab.quantization import QUANTIZATIONS, Quantized, quantize


@pytest.fixture(scope="session")
def every_type(f16) -> Iterator[list[Quantized]]:
    with TemporaryDirectory() as folder:
        yield quantize(f16, list(QUANTIZATIONS), folder)
