"""A model file of any bytes is read, or refused in a sentence."""

import struct
import tempfile
from pathlib import Path

from slmlab import gguf
from slmlab.engines import llama_cpp
from slmlab.errors import InvalidModelFile

_SCRATCH = tempfile.TemporaryDirectory(prefix="slmlab-fuzz-")
_FILE = Path(_SCRATCH.name, "toy.gguf")


def one_input(data: bytes) -> None:
    """Read a header and look at all that is in it."""
    _FILE.write_bytes(data)
    try:
        header = gguf.read_header(_FILE)
        gguf.inspect(_FILE)
        llama_cpp._cache_bytes(header, 2048, "Q8_0")
    except InvalidModelFile as refused:
        assert "\n" not in str(refused)
        return
    for value in header.metadata.values():
        if isinstance(value, gguf.Array):
            assert len(list(value)) == len(value)
    assert all(tensor.offset + tensor.bytes <= len(data) for tensor in header.tensors)


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def _seed(pairs: list[tuple[str, bytes]], tensors: list[tuple[str, int, tuple]]) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    head += b"".join(_text(key) + value for key, value in pairs)
    offset = 0
    for name, number, shape in tensors:
        head += _text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", number, offset)
        offset += 128
    return head + bytes(-len(head) % 32) + bytes(offset)


_PAIRS = [
    ("general.architecture", struct.pack("<I", 8) + _text("llama")),
    ("general.alignment", struct.pack("<II", 4, 32)),
    ("llama.block_count", struct.pack("<II", 4, 1)),
    ("llama.rope.freq_base", struct.pack("<If", 6, 1e4)),
    ("tokenizer.ggml.model", struct.pack("<I", 8) + _text("gpt2")),
    ("tokenizer.ggml.tokens", struct.pack("<IIQ", 9, 8, 2) + _text("a") + _text("b")),
    ("tokenizer.ggml.token_type", struct.pack("<IIQii", 9, 5, 2, 1, 1)),
    ("tokenizer.ggml.add_bos_token", struct.pack("<I?", 7, True)),
]
_TENSORS = [("token_embd.weight", 2, (32, 2)), ("output_norm.weight", 0, (32,))]
SEEDS = [_seed(_PAIRS, _TENSORS), _seed([], []), _seed(_PAIRS[:1], _TENSORS[1:])]
