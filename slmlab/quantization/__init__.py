"""One model file into another: convert, quantise, and predict what will come out."""

from slmlab.quantization.convert import convert_from_huggingface, to_huggingface
from slmlab.quantization.quantizing import Quantized, quantize
from slmlab.quantization.rules import QUANTIZATIONS, tensor_types
from slmlab.quantization.sizes import file_bytes

__all__ = [
    "QUANTIZATIONS",
    "Quantized",
    "convert_from_huggingface",
    "file_bytes",
    "quantize",
    "tensor_types",
    "to_huggingface",
]
