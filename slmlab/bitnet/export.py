"""From the trained model to a GGUF file that llama.cpp runs."""

from pathlib import Path

import gguf
import numpy as np

from slmlab.bitnet import corpus
from slmlab.bitnet.model import CONTEXT, NORM_EPSILON, ROPE_BASE, Model
from slmlab.bitnet.ternary import BitLinear, rounded_weights
from slmlab.errors import UsageError
from slmlab.files import whole
from slmlab.tiers import Architecture

TYPES = ("F16", "TQ2_0", "TQ1_0")


def final_weights(model: Model) -> dict[str, np.ndarray]:
    """Return what the model multiplies by, by tensor name: float32, ternary matrices rounded."""
    weights = {name: weight.detach() for name, weight in model.state_dict().items()}
    for name, layer in model.named_modules():
        if isinstance(layer, BitLinear) and layer.ternary:
            weights[f"{name}.weight"] = rounded_weights(layer.weight.detach())
    return {name: weight.numpy() for name, weight in weights.items()}


def export(model: Model, path: Path, type: str = "F16") -> Path:
    """Write the model and its tokenizer as a GGUF file of llama.cpp's architecture "llama".

    The linear layers get `type`; the embedding stays F16 and the norms F32. Raises `UsageError`
    for another type than `TYPES`, and for a ternary type with a model that is not ternary.
    """
    if type not in TYPES:
        raise UsageError(f"Choose one of {', '.join(TYPES)}; {type!r} is not among them.")
    if type != "F16" and not model.ternary:
        raise UsageError(
            f"{type} holds three values and this model has many; export it as F16 and quantise "
            f"that with: slmlab quantize"
        )
    path = Path(path)
    with whole(path) as aside:
        writer = gguf.GGUFWriter(aside, model.architecture.kind)
        _describe(writer, model.architecture, path.stem)
        _add_tokenizer(writer)
        for name, weight in final_weights(model).items():
            _add_tensor(writer, name, weight, type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return path


def _describe(writer: gguf.GGUFWriter, a: Architecture, name: str) -> None:
    writer.add_name(name)
    writer.add_context_length(CONTEXT)
    writer.add_vocab_size(a.vocabulary)
    writer.add_embedding_length(a.hidden)
    writer.add_block_count(a.layers)
    writer.add_feed_forward_length(a.feed_forward)
    writer.add_head_count(a.heads)
    writer.add_head_count_kv(a.kv_heads)
    writer.add_rope_dimension_count(a.head_size)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokenizer = corpus.tokenizer()
    end = tokenizer.token_to_id(corpus.END)
    words = [tokenizer.id_to_token(id) for id in range(tokenizer.get_vocab_size())]
    kinds = [gguf.TokenType.NORMAL] * len(words)
    kinds[end] = gguf.TokenType.CONTROL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    writer.add_token_merges(corpus.merges())
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)


def _add_tensor(writer: gguf.GGUFWriter, name: str, weight: np.ndarray, type: str) -> None:
    if weight.ndim == 1:
        writer.add_tensor(name, weight.astype(np.float32))
    elif type == "F16" or name == "token_embd.weight":
        writer.add_tensor(name, weight.astype(np.float16))
    else:
        kind = gguf.GGMLQuantizationType[type]
        writer.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)


def stored_weights(path: Path) -> dict[str, np.ndarray]:
    """Return every tensor of a GGUF file as float32 values, by name, as an engine unpacks them."""
    return {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        for tensor in gguf.GGUFReader(path).tensors
    }
