"""What is inside a model file: a reader for the header of GGUF, versions 2 and 3.

A header names the model, its vocabulary and each tensor's type, shape and place. Nothing in a
file is believed before it is checked against the file's real length, so that a damaged or hostile
file ends in one sentence and never in a crash or a full memory. The layout is that of
llama.cpp's `ggml/src/gguf.cpp`.
"""

import mmap
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from slmlab.errors import InvalidModelFile

# Number in the file, name, weights in a block, bytes of a block (ggml.h and ggml-common.h).
_GGML_TYPES = (
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 40),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
)
_TYPE_NAMES = {number: name for number, name, _, _ in _GGML_TYPES}

TYPES: dict[str, tuple[int, int]] = {name: (n, size) for _, name, n, size in _GGML_TYPES}
"""Each tensor type: how many weights make a block, and how many bytes a block takes."""

_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")

# Far above any real model (the largest vocabularies take under 20 MiB); bounds time and memory.
_LONGEST_HEADER = 64 * 2**20
_MOST_ENTRIES = 2**16


class Array(Sequence):
    """A list in the metadata, such as the vocabulary; decoded only when it is first looked into."""

    def __init__(self, kind: int, count: int, raw: bytes) -> None:
        self._kind, self._count, self._raw = kind, count, raw

    @cached_property
    def _values(self) -> tuple:
        if self._kind != _STRING:
            return struct.unpack(f"<{self._count}{_NUMBERS[self._kind]}", self._raw)
        reader = _Reader(self._raw, "")
        return tuple(reader.string() for _ in range(self._count))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int | slice) -> object:
        return self._values[index]

    def __iter__(self) -> Iterator:
        return iter(self._values)

    def __repr__(self) -> str:
        return f"<{self._count} values>"


@dataclass(frozen=True)
class Tensor:
    """One tensor as the header describes it.

    `shape` is in GGUF's order, the length of a row first; `offset` counts from the start of the
    file, and `bytes` is the length of the data there.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    bytes: int

    @property
    def elements(self) -> int:
        """How many numbers the tensor holds."""
        return prod(self.shape)


@dataclass(frozen=True)
class Header:
    """Everything a GGUF file says before its tensor data starts at `data_offset`."""

    version: int
    metadata: Mapping[str, bool | int | float | str | Array] = field(repr=False)
    tensors: tuple[Tensor, ...] = field(repr=False)
    data_offset: int
    file_bytes: int


@dataclass(frozen=True)
class Inspection:
    """What a model file is; `None` where the file does not say.

    `parameters` counts every number in every tensor, `bits_per_weight` is the size of the tensor
    data divided by it, and `tensor_types` counts tensors by type.
    """

    name: str | None
    architecture: str
    parameters: int
    bits_per_weight: float
    tensor_types: dict[str, int]
    file_bytes: int
    context: int | None
    layers: int | None
    tokenizer: str | None
    vocabulary: int | None
    chat_template: str | None


def tensor_bytes(type: str, shape: Sequence[int]) -> int:
    """Return the bytes a tensor of this type and shape takes; its rows must be whole blocks."""
    weights, size = TYPES[type]
    return prod(shape) // weights * size


def read_header(path: Path) -> Header:
    """Read the header of a GGUF file, and check that its tensor data fits the file.

    Raises `InvalidModelFile` if the file is missing, damaged or not GGUF.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise InvalidModelFile(f"{path.name} is empty; fetch or make it again.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return parse_header(data, path.name)
    except (OSError, ValueError) as problem:  # a ValueError where the path itself is impossible
        reason = getattr(problem, "strerror", None) or problem
        raise InvalidModelFile(
            f"{path} cannot be read ({reason}); give the path of a GGUF file."
        ) from None


def parse_header(data: bytes | mmap.mmap, name: str) -> Header:
    """Read a header from the bytes of a whole file; `name` is what errors call it."""
    reader = _Reader(data, name)
    version = reader.opening()
    tensor_count, pair_count = reader.count("tensors"), reader.count("metadata entries")
    metadata = reader.metadata(pair_count)
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        reader.fail(f"its alignment is {alignment!r}, which is no power of two")
    infos = [reader.tensor_info() for _ in range(tensor_count)]
    data_offset = -(-reader.position // alignment) * alignment
    tensors = tuple(
        Tensor(name, type, shape, data_offset + offset, tensor_bytes(type, shape))
        for name, type, shape, offset in infos
    )
    _check_places(reader, tensors, alignment)
    return Header(version, MappingProxyType(metadata), tensors, data_offset, len(data))


def inspect(path: Path) -> Inspection:
    """Say what a GGUF file is, from its header alone.

    Raises `InvalidModelFile` if the file is damaged, names no architecture or holds no tensors.
    """
    header = read_header(path)
    architecture = _text(header, "general.architecture")
    if not architecture or not header.tensors:
        missing = "tensors" if architecture else "architecture"
        raise InvalidModelFile(f"{Path(path).name} names no {missing}, so it is not a model.")
    parameters = sum(tensor.elements for tensor in header.tensors)
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    return Inspection(
        name=_text(header, "general.name"),
        architecture=architecture,
        parameters=parameters,
        bits_per_weight=8 * sum(tensor.bytes for tensor in header.tensors) / parameters,
        tensor_types=dict(Counter(tensor.type for tensor in header.tensors).most_common()),
        file_bytes=header.file_bytes,
        context=_whole_number(header, f"{architecture}.context_length"),
        layers=_whole_number(header, f"{architecture}.block_count"),
        tokenizer=_text(header, "tokenizer.ggml.model"),
        vocabulary=len(tokens) if isinstance(tokens, Array) else None,
        chat_template=_text(header, "tokenizer.chat_template"),
    )


def read_tensor(path: Path, name: str) -> bytes:
    """Return one tensor's data as it stands in the file: its blocks, row after row.

    Raises `InvalidModelFile` if the file is damaged or has no tensor of that name.
    """
    for tensor in read_header(path).tensors:
        if tensor.name == name:
            with Path(path).open("rb") as file:
                file.seek(tensor.offset)
                return file.read(tensor.bytes)
    raise InvalidModelFile(f"{Path(path).name} has no tensor named {name!r}.")


def _text(header: Header, key: str) -> str | None:
    value = header.metadata.get(key)
    return value if isinstance(value, str) else None


def _whole_number(header: Header, key: str) -> int | None:
    value = header.metadata.get(key)
    return value if type(value) is int else None


def _check_places(reader: "_Reader", tensors: Sequence[Tensor], alignment: int) -> None:
    if len({tensor.name for tensor in tensors}) < len(tensors):
        reader.fail("two of its tensors have the same name")
    by_place = sorted(tensors, key=lambda tensor: tensor.offset)
    for tensor in by_place:
        if tensor.offset % alignment:
            reader.fail(f"its tensor {tensor.name!r} is not aligned to {alignment} bytes")
        if tensor.offset + tensor.bytes > len(reader.data):
            reader.fail(f"the data of its tensor {tensor.name!r} ends beyond the end of the file")
    for before, after in pairwise(by_place):
        if before.offset + before.bytes > after.offset:
            reader.fail(f"its tensors {before.name!r} and {after.name!r} overlap")


class _Reader:
    """Reads a header from its start; every step checks that the bytes are there."""

    def __init__(self, data: bytes | mmap.mmap, name: str) -> None:
        self.data, self.name, self.position = data, name, 0
        self.end = min(len(data), _LONGEST_HEADER)

    def fail(self, reason: str) -> NoReturn:
        raise InvalidModelFile(
            f"{self.name} is not a usable model file: {reason}; fetch or make it again."
        )

    def take(self, length: int) -> int:
        """Step over `length` bytes and return where they start."""
        start = self.position
        if length > self.end - start:
            self.fail(f"a field at byte {start} is longer than what is left of the header")
        self.position = start + length
        return start

    def number(self, form: str) -> int | float | bool:
        form = "<" + form
        return struct.unpack_from(form, self.data, self.take(struct.calcsize(form)))[0]

    def string(self) -> str:
        length = self.number("Q")
        start = self.take(length)
        return self.data[start : start + length].decode("utf-8", errors="replace")

    def opening(self) -> int:
        """Check the magic bytes and return the version."""
        if self.data[:4] != b"GGUF":
            self.fail("it does not begin with the letters GGUF")
        self.take(4)
        version = self.number("I")
        if version not in (2, 3):
            self.fail(f"its GGUF version is {version}, and only 2 and 3 are known")
        return version

    def count(self, what: str) -> int:
        count = self.number("Q")
        if count > _MOST_ENTRIES:
            self.fail(f"it claims to hold {count} {what}")
        return count

    def metadata(self, count: int) -> dict[str, bool | int | float | str | Array]:
        pairs = {}
        for _ in range(count):
            key = self.string()
            if key in pairs:
                self.fail(f"its metadata names {key!r} twice")
            pairs[key] = self.value(self.number("I"))
        return pairs

    def value(self, kind: int) -> bool | int | float | str | Array:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array(self.number("I"), self.number("Q"))
        return self.fail(f"its metadata holds a value of the unknown kind {kind}")

    def array(self, kind: int, count: int) -> Array:
        start = self.position
        if kind in _NUMBERS:
            self.take(count * struct.calcsize("<" + _NUMBERS[kind]))
        elif kind == _STRING:
            self.skip_strings(count)
        else:
            self.fail(f"its metadata holds a list of the unknown or nested kind {kind}")
        return Array(kind, count, self.data[start : self.position])

    def skip_strings(self, count: int) -> None:
        """Step over strings: the one long loop of a header, a vocabulary of 49,152 and more."""
        if count * _LENGTH.size > self.end - self.position:
            self.fail(f"a list at byte {self.position} is longer than what is left of the header")
        data, last, length_at = self.data, self.end - _LENGTH.size, _LENGTH.unpack_from
        position = self.position
        for _ in range(count):
            if position > last:
                self.fail("a list of strings ends beyond the end of the header")
            position += _LENGTH.size + length_at(data, position)[0]
        self.take(position - self.position)

    def tensor_info(self) -> tuple[str, str, tuple[int, ...], int]:
        name = self.string()
        dimensions = self.number("I")
        if dimensions > 4:
            self.fail(f"its tensor {name!r} has {dimensions} dimensions, and four is the most")
        shape = tuple(self.number("Q") for _ in range(dimensions))
        number, offset = self.number("I"), self.number("Q")
        if number not in _TYPE_NAMES:
            self.fail(f"its tensor {name!r} is of the unknown type {number}")
        type = _TYPE_NAMES[number]
        weights, _ = TYPES[type]
        if prod(shape) == 0 or (weights > 1 and (not shape or shape[0] % weights)):
            self.fail(f"its tensor {name!r} of type {type} has the impossible shape {shape}")
        return name, type, shape, offset
