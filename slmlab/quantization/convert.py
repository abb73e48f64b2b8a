"""Between the two forms a model is passed on in: a Hugging Face directory and a GGUF file."""

import hashlib
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

from slmlab import gguf
from slmlab.acquisition.llama_cpp_source import source_tree
from slmlab.environments.guarded import finish, last_words
from slmlab.errors import QuantizationError, UsageError
from slmlab.files import (
    cache_path,
    check_room,
    kept_as,
    locked,
    made_once,
    sha256,
    weight_bytes,
    whole,
    whole_folder,
)
from slmlab.machine import check_memory
from slmlab.quantization.disk import blame_disk, prepare

DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""What the weights of a Hugging Face directory can be, with the bytes of one."""


def as_gguf(source: Path) -> Path:
    """Return the source as a GGUF file: itself, or what a Hugging Face directory converts to.

    A conversion is kept in the cache, under the directory's contents and the converter's version,
    and used again.
    """
    if not source.is_dir():
        return source
    files = sorted(file for file in source.iterdir() if file.is_file())
    contents = "".join(f"{file.name} {sha256(file)}\n" for file in files)
    key = hashlib.sha256(contents.encode()).hexdigest()[:16]
    folder = f"{key}-{version('llama-cpp-python')}"
    out = kept_as(cache_path("converted", folder, f"{source.name}.gguf"), ".gguf")
    return made_once(out, lambda out: _convert(source, out))


def convert_from_huggingface(directory: Path, out: Path) -> Path:
    """Convert a Hugging Face directory to the GGUF file `out` and return its path.

    Weights keep 16 bits: BF16 where the directory has BF16, F16 otherwise; norms become F32. It
    is llama.cpp's own converter that runs, in a process, at the version of the runtime. Raises
    `QuantizationError` with the converter's reason.
    """
    out = Path(out)
    with locked(out):
        _convert(Path(directory), out)
    return out


def _convert(directory: Path, out: Path) -> None:
    """Convert, with the lock of `out` held."""
    if not (directory / "config.json").is_file():
        raise QuantizationError(
            f"{directory} has no config.json; give a Hugging Face model directory or a GGUF file."
        )
    check_room(weight_bytes(directory), out.parent, out.name)
    converter = source_tree() / "convert_hf_to_gguf.py"
    # Its own gguf package must come before the one from PyPI, which may be older.
    environment = os.environ | {"PYTHONPATH": str(converter.parent / "gguf-py")}
    print(f"Converting {directory.name} with llama.cpp's converter.", file=sys.stderr)
    with whole(out) as aside:
        child = finish([sys.executable, converter, directory, "--outfile", aside], environment)
        if child.returncode:
            blame_disk(out, child.stderr)
            reason = last_words(child.returncode, child.stderr).removeprefix("ERROR:hf-to-gguf:")
            raise QuantizationError(f"{directory.name} could not be converted to GGUF: {reason}")
        gguf.read_header(aside)


def huggingface_form(source: Path, dtype: str) -> Path:
    """Return a GGUF file's Hugging Face directory with weights of `dtype`, made once and kept.

    It stays in the cache, under the file's contents and the version of transformers. `dtype` and
    the errors are those of `to_huggingface`.
    """
    source = Path(source)
    gguf.read_header(source)
    made_by = f"{sha256(source)[:16]}-transformers-{version('transformers')}"
    ending = f"-{dtype}"
    directory = kept_as(cache_path("huggingface", made_by, f"{source.stem}{ending}"), ending)
    return made_once(directory, lambda directory: to_huggingface(source, directory, dtype))


def to_huggingface(path: Path, directory: Path, dtype: str | None = None) -> Path:
    """Write a GGUF file as a Hugging Face directory and return the directory.

    Quantised weights are dequantised to `dtype`, one of `DTYPES`; by default to 16 bits (BF16 if
    the file holds BF16, F16 otherwise). The directory is as good as the file and no better.
    `directory` must be new or empty. Raises `UsageError` for another dtype,
    `QuantizationError` where transformers does not know the architecture, and `NotPossibleHere`
    where memory is too small for file and weights together.
    """
    path, directory = Path(path), Path(directory)
    header = gguf.read_header(path)
    if dtype is None:
        has_bf16 = any(tensor.type == "BF16" for tensor in header.tensors)
        dtype = "bfloat16" if has_bf16 else "float16"
    if dtype not in DTYPES:
        raise UsageError(f"There are no weights of {dtype!r}; choose {', '.join(DTYPES)}.")
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        raise QuantizationError(f"{directory} is there already; give a new or empty folder.")
    sizes = [tensor.elements for tensor in header.tensors]
    weights = DTYPES[dtype] * sum(sizes)
    expanded = 8 * max(sizes, default=0)  # transformers holds a tensor in float32 twice
    check_memory(path.stat().st_size + weights + expanded, f"Converting {path.name}")
    prepare(directory, weights)
    with whole_folder(directory) as aside:
        _save(path, aside, dtype)
        if header.metadata.get("tokenizer.ggml.pre") == "smollm":
            _split_digits(aside / "tokenizer.json")
    return directory


def _save(path: Path, folder: Path, dtype: str) -> None:
    print(f"Converting {path.name} to a Hugging Face directory in {dtype}.", file=sys.stderr)
    command = [sys.executable, "-m", "slmlab.quantization.save_huggingface"]
    child = finish([*command, path.resolve(), folder, dtype])
    if child.returncode:
        blame_disk(folder, child.stderr)
        reason = last_words(child.returncode, child.stderr)
        raise QuantizationError(f"transformers could not read {path.name}: {reason}")


def _split_digits(tokenizer: Path) -> None:
    """Make every digit a token of its own, as SmolLM2 was trained.

    GGUF only names this rule, and transformers does not know the name.
    """
    rules = json.loads(tokenizer.read_text("utf-8"))
    digits = {"type": "Digits", "individual_digits": True}
    steps = [digits, rules["pre_tokenizer"]]
    rules["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    tokenizer.write_text(json.dumps(rules, ensure_ascii=False), "utf-8")
