"""A model file of a few kilobytes that llama.cpp loads, or one that it crashes on."""

from pathlib import Path

WIDTH = 64


def toy(path: Path, types: dict | None = None, vocabulary: str = "gpt2", **told) -> Path:
    """Write a Llama of one layer; `told` is metadata, in place of what makes the model sound."""
    import gguf as writing
    import numpy as np

    about = {
        "block_count": 1,
        "context_length": 128,
        "embedding_length": WIDTH,
        "feed_forward_length": WIDTH,
        "attention.head_count": 4,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    writer = writing.GGUFWriter(path, "llama")
    for key, value in (about | told).items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"llama.{key}", value)
    words = [chr(33 + number) for number in range(WIDTH)]
    writer.add_tokenizer_model(vocabulary)
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_merges([f"{words[0]} {words[1]}"])
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes = {f"blk.0.{name}.weight": (WIDTH, WIDTH) for name in square}
    shapes |= {f"blk.0.{name}.weight": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
    shapes |= {"token_embd.weight": (WIDTH, WIDTH), "output_norm.weight": (WIDTH,)}
    for name, shape in shapes.items():
        writer.add_tensor(name, np.full(shape, 0.1).astype((types or {}).get(name, "float32")))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
