"""One model file into smaller ones, with llama.cpp."""

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from slmlab import gguf
from slmlab.acquisition import trust
from slmlab.environments.guarded import finish, last_words
from slmlab.errors import InvalidModelFile, QuantizationError
from slmlab.files import cache_path, kept_as, locked, sha256, whole
from slmlab.machine import check_memory, usable_threads
from slmlab.quantization import llama_quantize
from slmlab.quantization.convert import as_gguf
from slmlab.quantization.disk import blame_disk, prepare
from slmlab.quantization.rules import QUANTIZATIONS, known, tensor_types, wanted_types

_TYPE_AT_END = re.compile(rf"[.-](BF16|{'|'.join(QUANTIZATIONS)})$", re.IGNORECASE)


@dataclass(frozen=True)
class Quantized:
    """A quantised file and what became of its tensors.

    `seconds` is 0.0 where the file was there already (`reused`). `fell_back` counts the tensors
    that got another type than the recipe means for them, such as `{"Q4_K -> Q5_0": 150}`.
    """

    type: str
    path: Path
    bytes: int
    seconds: float
    reused: bool
    bits_per_weight: float
    fell_back: dict[str, int]


def quantize(source: Path, types: Sequence[str], out: Path | None = None) -> list[Quantized]:
    """Quantise a GGUF file, or a Hugging Face directory, to each of `types`.

    Files go to the folder `out`, or to the cache. A file that the same llama.cpp made from the
    same source is used again, in the cache also one of another name: each names the SHA-256 of its
    source in its metadata. Raises `UsageError` for an unknown type, `InvalidModelFile` for a source
    that is no model, `NoRoom` on a full disk, `NotPossibleHere` where memory is too small, and
    `QuantizationError` where llama.cpp refuses.
    """
    types = [known(type) for type in types]
    source = as_gguf(Path(source))
    header = gguf.read_header(source)
    digest = sha256(source)
    folder = Path(out) if out else cache_path("quantized", digest[:16])
    stem = _TYPE_AT_END.sub("", source.stem)
    made = []
    for type in types:
        path = folder / f"{stem}-{type}.gguf"
        if not out:
            path = kept_as(path, f"-{type}.gguf")
        if path.exists() and path.samefile(source):
            raise QuantizationError(
                f"{path.name} would overwrite the file it is made from; give another folder."
            )
        made_from = f"{digest} {type} {version('llama-cpp-python')}"
        seconds = 0.0
        if not (reused := _says_made_from(path) == made_from):
            _foresee(source, header, type, path)
            with locked(path):
                if not (reused := _says_made_from(path) == made_from):
                    seconds = _make(source, type, path, made_from)
                    if trust.is_trusted(source):
                        trust.trust(trust.mark(path))
        made.append(_described(type, path, seconds, reused))
    return made


def _foresee(source: Path, header: gguf.Header, type: str, path: Path) -> None:
    """Check the disk for the file, and memory for each tensor in float32 and quantised."""
    types = tensor_types(((tensor.name, tensor.shape) for tensor in header.tensors), type)
    sizes = [gguf.tensor_bytes(types[tensor.name], tensor.shape) for tensor in header.tensors]
    prepare(path, 0 if path.exists() else header.data_offset + sum(sizes))
    held = (4 * tensor.elements + size for tensor, size in zip(header.tensors, sizes, strict=True))
    check_memory(max(held, default=0), f"Quantising {source.name}")


def _says_made_from(path: Path) -> object:
    try:
        return gguf.read_header(path).metadata.get(llama_quantize.MADE_FROM)
    except InvalidModelFile:
        return None


def _make(source: Path, type: str, path: Path, made_from: str) -> float:
    """Write the file, whole or not at all, and return the seconds it took."""
    with whole(path) as aside:
        seconds = _run(source, aside, type, made_from)
        gguf.read_header(aside)
    return seconds


def _run(source: Path, target: Path, type: str, made_from: str) -> float:
    # -P, for the script's own folder is no place to look for modules.
    command = [sys.executable, "-P", llama_quantize.__file__]
    child = finish([*command, source, target, type, str(usable_threads()), made_from])
    if child.returncode:
        blame_disk(target)
        said = last_words(child.returncode, child.stderr)
        reason = said.rpartition("failed to quantize: ")[2].rstrip(".")
        raise QuantizationError(
            f"llama.cpp could not quantise {source.name} to {type}: {reason}; "
            f"look at the file with: slmlab inspect"
        )
    return float(child.stdout)


def _described(type: str, path: Path, seconds: float, reused: bool) -> Quantized:
    found = gguf.inspect(path)
    tensors = gguf.read_header(path).tensors
    wanted = wanted_types(((tensor.name, tensor.shape) for tensor in tensors), type)
    fell_back = Counter(
        f"{wanted[tensor.name]} -> {tensor.type}"
        for tensor in tensors
        if wanted.get(tensor.name, tensor.type) != tensor.type
    )
    return Quantized(
        type, path, found.file_bytes, seconds, reused, found.bits_per_weight, dict(fell_back)
    )
