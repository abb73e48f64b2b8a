"""Which type each tensor gets when a model is quantised: llama.cpp's rules, fall-backs included.

They follow `src/llama-quant.cpp` of llama.cpp at the commit inside llama-cpp-python 0.3.36, for
dense models of fewer than 80 layers, without an importance matrix. A label such as Q4_K_M is a
recipe: it mixes tensor types, and a row that is not a whole number of blocks long makes llama.cpp
fall back to a type with smaller blocks.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from slmlab.errors import UsageError
from slmlab.gguf import TYPES

Shaped = tuple[str, tuple[int, ...]]
Shapes = Mapping[str, tuple[int, ...]]

QUANTIZATIONS: dict[str, str] = {
    "F16": "F16",
    "Q8_0": "Q8_0",
    "Q6_K": "Q6_K",
    "Q5_1": "Q5_1",
    "Q5_0": "Q5_0",
    "Q5_K_M": "Q5_K",
    "Q4_0": "Q4_0",
    "Q4_1": "Q4_1",
    "Q4_K_M": "Q4_K",
    "Q3_K_M": "Q3_K",
    "Q2_K": "Q2_K",
    "TQ2_0": "TQ2_0",
    "TQ1_0": "TQ1_0",
}
"""Each quantisation we offer, and the tensor type that most of its tensors are meant to get."""

_FALL_BACK = {
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "TQ1_0": "Q4_0",
    "TQ2_0": "Q4_0",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
_VALUES = ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight")
_NEVER_QUANTISED = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "position_embd",
    "token_types",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "time_mix_",
    "attn_rel_b.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
)


def known(quant: str) -> str:
    """Return the quantisation's name in capitals; `UsageError` gives the nearest names."""
    if quant.upper() in QUANTIZATIONS:
        return quant.upper()
    near = get_close_matches(quant.upper(), QUANTIZATIONS, n=3, cutoff=0.4) or QUANTIZATIONS
    raise UsageError(f"There is no quantisation {quant!r}; perhaps you mean {', '.join(near)}.")


def tensor_types(tensors: Iterable[Shaped], quant: str) -> dict[str, str]:
    """Return the type each tensor has in the quantised file.

    `tensors` are names and shapes, the length of a row first. Tensors that are never quantised
    (norms, biases, rotary factors) count as F32, as llama.cpp's converter writes them.
    """
    shapes = dict(tensors)
    wanted = wanted_types(shapes.items(), quant)
    return {
        name: _fitting(wanted[name], shape[0]) if name in wanted else "F32"
        for name, shape in shapes.items()
    }


def wanted_types(tensors: Iterable[Shaped], quant: str) -> dict[str, str]:
    """Return the type that the recipe means for each tensor it quantises, whatever its shape."""
    quant = known(quant)
    default = QUANTIZATIONS[quant]
    shapes = {name: shape for name, shape in tensors if _is_quantised(name, shape)}
    if default == "F16":
        return dict.fromkeys(shapes, "F16")
    values = sorted((name for name in shapes if name.endswith(_VALUES)), key=_layer)
    layers = 1 + max((_layer(name) for name in shapes), default=0)
    types = {}
    for name, shape in shapes.items():
        if name == "output.weight" or (
            name == "token_embd.weight" and "output.weight" not in shapes
        ):
            types[name] = _output_type(default, shape[0])
        elif name == "token_embd.weight":
            types[name] = "Q4_K" if default in ("TQ1_0", "TQ2_0") else default
        elif name in values:
            types[name] = _value_type(quant, values.index(name), len(values), shapes)
        elif "ffn_down" in name:
            types[name] = _down_type(quant, _layer(name), layers)
        elif "attn_output.weight" in name:
            types[name] = {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K"}.get(quant, default)
        else:
            types[name] = default
    return types


def _is_quantised(name: str, shape: tuple[int, ...]) -> bool:
    is_matrix = any(length > 1 for length in shape[1:])
    kept = any(part in name for part in _NEVER_QUANTISED)
    return is_matrix and name.endswith("weight") and not kept


def _fitting(type: str, row: int) -> str:
    """Return the type, or what llama.cpp falls back to where blocks do not fill the row."""
    for candidate in (type, _FALL_BACK.get(type, type)):
        if row % TYPES[candidate][0] == 0:
            return candidate
    return "F16"


def _output_type(default: str, row: int) -> str:
    """The output layer, and an embedding that is also the output layer, keep more bits."""
    return "Q8_0" if default == "Q8_0" or row % TYPES[default][0] else "Q6_K"


def _value_type(quant: str, index: int, count: int, shapes: Shapes) -> str:
    if quant == "Q2_K":
        return "Q4_K" if _queries_per_key(shapes) >= 4 else "Q3_K"
    if quant == "Q3_K_M":
        return "Q5_K" if index < 2 else "Q4_K"
    return _with_more_bits(quant, index, count)


def _down_type(quant: str, layer: int, layers: int) -> str:
    if quant == "Q2_K":
        return "Q3_K"
    if quant == "Q3_K_M":
        return "Q5_K" if layer < layers // 16 else "Q4_K"
    return _with_more_bits(quant, layer, layers)


def _with_more_bits(quant: str, index: int, count: int) -> str:
    """The M recipes give the first and the last eighth, and every third between, more bits."""
    more = index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2
    return "Q6_K" if more and quant in ("Q4_K_M", "Q5_K_M") else QUANTIZATIONS[quant]


def _queries_per_key(shapes: Shapes) -> int:
    """How many query heads share one key head (grouped-query attention), from the shapes."""
    if "blk.0.attn_qkv.weight" in shapes:
        queries = shapes["blk.0.attn_output.weight"][0]
        return queries // ((shapes["blk.0.attn_qkv.weight"][1] - queries) // 2)
    if "blk.0.attn_k.weight" in shapes:
        return shapes["blk.0.attn_q.weight"][1] // shapes["blk.0.attn_k.weight"][1]
    return 1


def _layer(name: str) -> int:
    """The number in `blk.7.attn_v.weight`; -1 for a tensor outside the layers."""
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "blk" and parts[1].isdigit() else -1
