"""Olive's workflows: plain dictionaries, as `olive run --config` reads them from a JSON file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slmlab.errors import UsageError
from slmlab.files import data_path
from slmlab.machine import usable_threads

INSIDE = Path(__file__).with_name("inside.py")
"""What Olive imports into its own environment: data and the loader of a small model."""

TEXT = data_path("texts", "prose.txt")

EXPORT = {"type": "ModelBuilder", "precision": "fp32"}
"""The pass that writes a Hugging Face directory as an ONNX graph for ONNX Runtime GenAI."""

_BLOCKS = {"type": "OnnxBlockWiseRtnQuantization", "accuracy_level": 4}

QUANTIZERS: dict[str, dict[str, Any]] = {
    "INT8 dynamic": {
        "type": "OnnxDynamicQuantization",
        "precision": "int8",
        "quant_preprocess": False,
    },
    "INT8 static": {
        "type": "OnnxStaticQuantization",
        "precision": "int8",
        "activation_type": "int8",
        "op_types_to_quantize": ["MatMul"],
        "calibrate_method": "MinMax",
        "quant_format": "QDQ",
        "quant_preprocess": False,
        "data_config": "calibration",
    },
    "INT8 in blocks": _BLOCKS | {"bits": 8, "block_size": 32},
    "INT4 in blocks": _BLOCKS | {"bits": 4, "block_size": 32},
    "INT4 in blocks of 128": _BLOCKS | {"bits": 4, "block_size": 128},
}
"""The passes that quantise an exported graph, under the names the lab gives them."""

_NAME_OUTPUT = {
    "type": "GraphSurgeries",
    "surgeries": [
        {
            "surgeon": "RenameOutputs",
            "old_names": ["logits_Q4", "logits_Q8"],
            "new_names": ["logits", "logits"],
        }
    ],
}
"""Gives the output its name back, which `OnnxBlockWiseRtnQuantization` changes."""

_SEARCHED = {
    "OnnxDynamicQuantization": ("per_channel", "reduce_range"),
    "OnnxStaticQuantization": ("per_channel", "reduce_range"),
}
"""Settings that a search varies by itself where a pass leaves them out."""

_CALIBRATION = {"first": 100, "chunks": 4, "length": 128}
_LATENCY = {"warmup_num": 1, "repeat_test_num": 3}


def optimizing(source: Path, quantizer: str | None = None) -> dict[str, Any]:
    """Return the workflow that exports a Hugging Face directory and quantises the graph.

    `quantizer` is a name in `QUANTIZERS`; without one the graph is only exported.
    """
    passes = {"export": EXPORT}
    if quantizer:
        passes["quantise"] = _known(quantizer)
        if passes["quantise"]["type"] == "OnnxBlockWiseRtnQuantization":
            passes["name"] = _NAME_OUTPUT
    return _on(source) | {"passes": passes, "data_configs": [_prose(source, "calibration")]}


def searching(
    exported: Path, source: Path, quantizers: Sequence[str], chunks: int
) -> dict[str, Any]:
    """Return the workflow that tries each quantizer on an exported graph, and evaluates them all.

    Olive's evaluator measures the bytes on disk, the latency of 128 tokens and of one token after
    128, and perplexity on the same tokens and positions as `measurement.perplexity`: `chunks`
    chunks of 512 tokens. The exported graph itself is evaluated as well.

    It starts from the graph and not from `source`, the Hugging Face directory, because a search
    in Olive 0.13 fails where two variants have their first step in common.
    """
    return {
        "input_model": {
            "type": "ONNXModel",
            "model_path": str(exported),
            "onnx_file_name": "model.onnx",
        },
        "passes": {
            "quantise": [_settled(_known(quantizer)) for quantizer in quantizers],
            "name": [_NAME_OUTPUT],
        },
        "search_strategy": {"execution_order": "joint", "sampler": "sequential"},
        "data_configs": [
            _prose(source, "calibration"),
            _prose(source, "scored", first=0, chunks=chunks, length=512),
            _random(source, "prompt", "TransformersPromptDummyDataContainer", 128, 0),
            _random(source, "token", "TransformersTokenDummyDataContainer", 1, 128),
        ],
        "evaluators": {
            "ours": {
                "type": "OnnxEvaluator",
                "metrics": [
                    _metric("size", "size_on_disk", "bytes"),
                    _metric("prompt", "latency", "avg", metric_config=_LATENCY),
                    _metric("token", "latency", "avg", metric_config=_LATENCY, priority=2),
                    _metric("scored", "accuracy", "perplexity", priority=1),
                ],
            }
        },
        "evaluator": "ours",
    }


def fusing(source: Path) -> dict[str, Any]:
    """Return the workflow that exports two layers as PyTorch describes them, and fuses the graph.

    Three passes: the plain export, ONNX Script's general clean-up, and the fusions that ONNX
    Runtime knows for decoders of this kind (it has them under the name of Qwen 3).
    """
    return {
        "input_model": {
            "type": "PyTorchModel",
            "model_path": str(source),
            "model_script": str(INSIDE),
            "model_loader": "load_two_layers",
            "dummy_inputs_func": "sixteen_tokens",
            "io_config": {
                "input_names": ["input_ids"],
                "output_names": ["logits"],
                "dynamic_shapes": {"input_ids": {"0": "batch", "1": "tokens"}},
            },
        },
        "passes": {
            "export": {"type": "OnnxConversion", "use_dynamo_exporter": True, "optimize": False},
            "clean": {"type": "OnnxPeepholeOptimizer"},
            "fuse": {"type": "OrtTransformersOptimization", "model_type": "qwen3", "opt_level": 0},
        },
    }


def _on(source: Path) -> dict[str, Any]:
    return {"input_model": {"type": "HfModel", "model_path": str(source)}}


def _known(quantizer: str) -> dict[str, Any]:
    if quantizer not in QUANTIZERS:
        raise UsageError(f"There is no quantizer {quantizer!r}; choose {', '.join(QUANTIZERS)}.")
    return QUANTIZERS[quantizer]


def _settled(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a pass of which a search tries one variant only."""
    return settings | dict.fromkeys(_SEARCHED.get(settings["type"], ()), "DEFAULT_VALUE")


def _prose(source: Path, name: str, **which: int) -> dict[str, Any]:
    """Describe chunks of our text to Olive; by default those that calibration reads.

    Calibration must not see what perplexity is measured on, so it starts 100 chunks of 128 tokens
    into the text.
    """
    params = {"model_path": str(source), "text": str(TEXT), **(which or _CALIBRATION)}
    return {
        "name": name,
        "type": "DataContainer",
        "user_script": str(INSIDE),
        "load_dataset_config": {"type": "chunks_of_text", **params},
        "post_process_data_config": {"type": "text_generation_post_process"},
    }


def _random(source: Path, name: str, container: str, tokens: int, past: int) -> dict[str, Any]:
    params = {"model_name": str(source), "seq_len": tokens, "past_seq_len": past}
    return {"name": name, "type": container, "load_dataset_config": params}


def _metric(name: str, type: str, sub_type: str, **more: Any) -> dict[str, Any]:
    metric = {"name": name, "type": type}
    if type != "size_on_disk":
        threads = {"session_options": {"intra_op_num_threads": usable_threads()}}
        metric["data_config"] = name
        metric["user_config"] = {"inference_settings": {"onnx": threads}}
    return metric | {"sub_types": [{"name": sub_type, "higher_is_better": False, **more}]}
