"""Model cards and model files: `models`, `fetch`, `inspect`, `estimate`, `quantize`."""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path

from slmlab.cli.arguments import Work, add_json
from slmlab.cli.cache import remark_excess
from slmlab.cli.printing import print_json, print_pairs, print_table, remark
from slmlab.measurement.words import quantity


def models(parser: ArgumentParser) -> Work:
    """List the model cards."""
    add_json(parser)
    return _models


def _models(options: Namespace) -> None:
    from slmlab import tiers

    cards = tiers.cards().values()
    if options.json:
        return print_json([card.as_data() for card in cards])
    print_table(
        ("model", ">parameters", "tier", ">context", "licence"),
        [
            (
                card.name,
                f"{card.parameters:,}",
                tiers.tier(card.parameters) or "-",
                f"{card.context:,}",
                card.licence + (" (to be accepted)" if card.licence_must_be_accepted else ""),
            )
            for card in cards
        ],
    )


def fetch(parser: ArgumentParser) -> Work:
    """Bring a verified model file here; its path comes last."""
    parser.add_argument("model", metavar="MODEL", help="a name from `slmlab models`")
    parser.add_argument(
        "--accept-license", action="store_true", help="you have read and accept its licence"
    )
    return _fetch


def _fetch(options: Namespace) -> None:
    from slmlab import acquisition

    found = acquisition.fetch(options.model, accept_licence=options.accept_license)
    remark(f"{quantity(found.bytes, 'bytes')}, licence {found.licence}, from {found.source}")
    remark_excess()
    print(found.path)


def inspect(parser: ArgumentParser) -> Work:
    """Say what is inside a GGUF model file."""
    add_json(parser)
    parser.add_argument("file", metavar="FILE", type=Path)
    return _inspect


def _inspect(options: Namespace) -> None:
    from slmlab import gguf

    found = asdict(gguf.inspect(options.file))
    if options.json:
        return print_json(found)
    types = ", ".join(f"{count} {type}" for type, count in found["tensor_types"].items())
    template = found["chat_template"]
    print_pairs(
        ("name", found["name"]),
        ("architecture", found["architecture"]),
        ("parameters", quantity(found["parameters"])),
        ("file", quantity(found["file_bytes"], "bytes")),
        ("bits per weight", quantity(found["bits_per_weight"])),
        ("tensors", types),
        ("layers", found["layers"]),
        ("context", found["context"] and f"{found['context']:,} tokens"),
        ("tokenizer", found["tokenizer"]),
        ("vocabulary", found["vocabulary"] and f"{found['vocabulary']:,} tokens"),
        ("chat template", template and f"{len(template):,} characters"),
    )


def estimate(parser: ArgumentParser) -> Work:
    """Estimate size, memory and speed before a download."""
    add_json(parser)
    parser.add_argument("model", metavar="MODEL", help="a name from `slmlab models`")
    parser.add_argument("--quant", metavar="TYPE", required=True, help="such as Q4_0")
    parser.add_argument("--context", metavar="N", type=int, default=2048, help="tokens")
    return _estimate


def _estimate(options: Namespace) -> None:
    from slmlab import measurement, tiers

    found = measurement.estimate(tiers.card(options.model), options.quant, options.context)
    if options.json:
        return print_json(asdict(found))
    print_pairs(
        ("file", quantity(found.file_bytes, "bytes")),
        ("peak memory", quantity(found.peak_memory_bytes, "bytes")),
        ("decode speed", quantity(found.decode_tokens_per_second, "tokens/s")),
    )


def quantize(parser: ArgumentParser) -> Work:
    """Quantise a GGUF file or a Hugging Face directory."""
    add_json(parser)
    parser.add_argument("source", metavar="SOURCE", type=Path)
    parser.add_argument("types", metavar="TYPE", nargs="+", help="such as Q4_0 Q8_0")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    return _quantize


def _quantize(options: Namespace) -> None:
    from slmlab import quantization

    made = quantization.quantize(options.source, options.types, options.out)
    remark_excess()
    if options.json:
        return print_json({"files": [asdict(file) for file in made]})
    print_table(
        ("type", ">size", ">bits per weight", ">seconds", "fell back", "file"),
        [
            (
                file.type,
                quantity(file.bytes, "bytes"),
                f"{file.bits_per_weight:.3f}",
                "reused" if file.reused else f"{file.seconds:.1f}",
                ", ".join(f"{count} {what}" for what, count in file.fell_back.items()) or "-",
                file.path,
            )
            for file in made
        ],
    )
