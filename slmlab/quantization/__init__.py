"""One model file into another: convert, quantise, and predict what will come out."""

from slmlab.quantization.convert import (
    DTYPES,
    convert_from_huggingface,
    huggingface_form,
    to_huggingface,
)
from slmlab.quantization.quantizing import Quantized, quantize
from slmlab.quantization.rules import QUANTIZATIONS, tensor_types
from slmlab.quantization.sizes import PublishedSizes, file_bytes, published_sizes

__all__ = [
    "DTYPES",
    "QUANTIZATIONS",
    "PublishedSizes",
    "Quantized",
    "convert_from_huggingface",
    "file_bytes",
    "huggingface_form",
    "published_sizes",
    "quantize",
    "tensor_types",
    "to_huggingface",
]
