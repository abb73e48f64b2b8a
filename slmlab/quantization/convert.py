"""Between the two forms a model is passed on in: a Hugging Face directory and a GGUF file."""

import hashlib
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from slmlab import gguf
from slmlab.acquisition.llama_cpp_source import source_tree
from slmlab.errors import QuantizationError
from slmlab.files import cache_path, locked, sha256, whole
from slmlab.quantization.disk import prepare


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
    out = cache_path("converted", folder, f"{source.name}.gguf")
    return out if out.exists() else convert_from_huggingface(source, out)


def convert_from_huggingface(directory: Path, out: Path) -> Path:
    """Convert a Hugging Face directory to the GGUF file `out` and return its path.

    Weights keep 16 bits: BF16 where the directory has BF16, F16 otherwise; norms become F32. It
    is llama.cpp's own converter that runs, in a process, at the version of the runtime. Raises
    `QuantizationError` with the converter's reason.
    """
    directory, out = Path(directory), Path(out)
    if not (directory / "config.json").is_file():
        raise QuantizationError(
            f"{directory} has no config.json; give a Hugging Face model directory or a GGUF file."
        )
    prepare(out, sum(file.stat().st_size for file in directory.glob("*.safetensors")))
    converter = source_tree() / "convert_hf_to_gguf.py"
    # Its own gguf package must come before the one from PyPI, which may be older.
    environment = os.environ | {"PYTHONPATH": str(converter.parent / "gguf-py")}
    print(f"Converting {directory.name} with llama.cpp's converter.", file=sys.stderr)
    with locked(out), whole(out) as aside:
        command = [sys.executable, converter, directory, "--outfile", aside]
        child = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace"
        )
        if child.returncode:
            reason = (child.stderr.strip().splitlines() or ["it was stopped"])[-1]
            reason = reason.removeprefix("ERROR:hf-to-gguf:")
            raise QuantizationError(f"{directory.name} could not be converted to GGUF: {reason}")
        gguf.read_header(aside)
    return out


def to_huggingface(path: Path, directory: Path) -> Path:
    """Write a GGUF file as a Hugging Face directory and return the directory.

    Quantised weights are dequantised to 16 bits (BF16 if the file holds BF16, F16 otherwise), so
    the directory is as good as the file and no better. `directory` must be new or empty. Raises
    `QuantizationError` where transformers does not know the architecture.
    """
    path, directory = Path(path), Path(directory)
    header = gguf.read_header(path)
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir())):
        raise QuantizationError(f"{directory} is there already; give a new or empty folder.")
    prepare(directory, 2 * sum(tensor.elements for tensor in header.tensors))
    with TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as aside:
        has_bf16 = any(tensor.type == "BF16" for tensor in header.tensors)
        _save(path, Path(aside) / "model", "bfloat16" if has_bf16 else "float16")
        if directory.is_dir():
            directory.rmdir()  # Windows replaces no folder, not even an empty one
        (Path(aside) / "model").replace(directory)
    return directory


def _save(path: Path, folder: Path, dtype: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    known = {"gguf_file": path.name, "local_files_only": True}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, **known, dtype=dtype, quantization_config=GgufConfig(dequantize=True)
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **known)
    except (ValueError, NotImplementedError, KeyError) as problem:
        raise QuantizationError(
            f"transformers could not read {path.name}: {str(problem).splitlines()[0]}"
        ) from problem
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
