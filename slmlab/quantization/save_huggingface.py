"""The process that writes a GGUF file as a Hugging Face directory, started by `convert`.

transformers draws progress bars and leaves much memory taken; in a process of its own neither
reaches the learner's kernel. The reason of a failure is the last line on stderr.
"""

import sys
from pathlib import Path

from slmlab.errors import first_line


def main(source: str, folder: str, dtype: str) -> str | None:
    """Write the model and its tokenizer; return why transformers could not, or None."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    path = Path(source)
    known = {"gguf_file": path.name, "local_files_only": True}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, **known, dtype=dtype, quantization_config=GgufConfig(dequantize=True)
        )
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **known)
    except (ValueError, NotImplementedError, KeyError) as problem:
        return first_line(problem)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
