"""The `slmlab` command: each subcommand is a thin call into a room of the package.

JSON goes to standard output as one value, with plain numbers in bytes, seconds and tokens per
second; progress and remarks go to standard error. Exit codes: 0 done, 1 a check failed, 2 wrong
usage, 3 not possible on this machine.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import slmlab
from slmlab.errors import SlmlabError, UsageError
from slmlab.show import quantity


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code = options.command(options) or 0
        sys.stdout.flush()
        return code
    except SlmlabError as problem:
        print(f"slmlab: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("slmlab: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slmlab", description="Measure small language models on this machine."
    )
    parser.add_argument("--version", action="version", version=f"slmlab {slmlab.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Any, help: str, json: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(command=command)
        if json:
            added.add_argument("--json", action="store_true", help="print JSON")
        return added

    add("doctor", _doctor, "Say what each lab will do on this machine, why, and for how long.")
    add("models", _models, "List the model cards.")

    fetch = add("fetch", _fetch, "Bring a verified model file here; its path comes last.", False)
    fetch.add_argument("model", metavar="MODEL", help="a name from `slmlab models`")
    fetch.add_argument(
        "--accept-license", action="store_true", help="you have read and accept its licence"
    )

    inspect = add("inspect", _inspect, "Say what is inside a GGUF model file.")
    inspect.add_argument("file", metavar="FILE", type=Path)

    estimate = add("estimate", _estimate, "Estimate size, memory and speed before a download.")
    estimate.add_argument("model", metavar="MODEL", help="a name from `slmlab models`")
    estimate.add_argument("--quant", metavar="TYPE", required=True, help="such as Q4_0")
    estimate.add_argument("--context", metavar="N", type=int, default=2048, help="tokens")

    quantize = add("quantize", _quantize, "Quantise a GGUF file or a Hugging Face directory.")
    quantize.add_argument("source", metavar="SOURCE", type=Path)
    quantize.add_argument("types", metavar="TYPE", nargs="+", help="such as Q4_0 Q8_0")
    quantize.add_argument("--out", metavar="DIR", type=Path, required=True)

    measure = add("measure", _measure, "Measure a model file; without options, its size alone.")
    measure.add_argument("file", metavar="FILE", type=Path)
    measure.add_argument(
        "--perplexity", metavar="TEXT", help="on a text file, or on our own: prose, code"
    )
    measure.add_argument("--chunks", metavar="N", type=int, default=20, help="of the text")
    measure.add_argument("--context", metavar="N", type=int, default=512, help="tokens a chunk")
    measure.add_argument(
        "--against", metavar="BASE", type=Path, help="divergence from the file it was made from"
    )
    measure.add_argument("--speed", action="store_true", help="of reading and of writing")
    measure.add_argument("--memory", action="store_true", help="peak of a separate process")

    engines = add("engines", _engines, "Say which engines and environments run here, or why not.")
    install = engines.add_subparsers(metavar="[install NAME]").add_parser(
        "install", help="make an environment; its path comes last"
    )
    install.set_defaults(command=_install)
    install.add_argument("name", metavar="NAME", help="such as olive")

    serve = add("serve", _serve, "Serve a model on 127.0.0.1 until Ctrl-C.", False)
    serve.add_argument("engine", metavar="ENGINE", help="llama_cpp, ollama, vllm or foundry_local")
    serve.add_argument("model", metavar="MODEL", help="a name from `slmlab models`, or a file")
    serve.add_argument("--port", metavar="N", type=int, help="(default: a free one)")

    run = add("run", _run, "Execute labs and write a report; its path comes last.", False)
    run.add_argument("labs", metavar="LAB", nargs="*", help="such as 03 (default: all)")
    run.add_argument("--profile", metavar="P", default="quick", help="quick, standard or full")
    run.add_argument("--out", metavar="DIR", type=Path, default=Path("build/report"))

    verify = add("verify", _verify, "Prove every question in a fresh kernel.", False)
    verify.add_argument("labs", metavar="LAB", nargs="*", help="such as 03 (default: all)")
    verify.add_argument(
        "--solved", action="store_true", help="also execute each lab with the solutions filled in"
    )

    add("progress", _progress, "Show which questions have been answered.")
    return parser


def _doctor(options: argparse.Namespace) -> None:
    from slmlab import doctor

    if options.json:
        return _json(doctor.report())
    facts = doctor.look()
    checks = doctor.doctor(facts)
    _remark(facts.pace)
    _table(
        ("lab", "here", ">minutes", "why"),
        [(check.lab, check.status, f"{check.minutes:.1f}", check.why) for check in checks],
    )


def _models(options: argparse.Namespace) -> None:
    from slmlab import tiers

    cards = tiers.cards().values()
    if options.json:
        return _json([_card(card) for card in cards])
    _table(
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


def _card(card: Any) -> dict[str, Any]:
    from slmlab import tiers

    names = ("name", "title", "family", "parameters", "context", "licence", "languages")
    return {
        **{name: getattr(card, name) for name in names},
        "tier": tiers.tier(card.parameters),
        "licence_must_be_accepted": card.licence_must_be_accepted,
        "repository": card.repository,
        "source": card.source,
        "note": card.note,
    }


def _fetch(options: argparse.Namespace) -> None:
    from slmlab.acquisition import fetch

    found = fetch(options.model, accept_licence=options.accept_license)
    _remark(f"{quantity(found.bytes, 'bytes')}, licence {found.licence}, from {found.source}")
    print(found.path)


def _inspect(options: argparse.Namespace) -> None:
    from slmlab import gguf

    found = asdict(gguf.inspect(options.file))
    if options.json:
        return _json(found)
    types = ", ".join(f"{count} {type}" for type, count in found["tensor_types"].items())
    template = found["chat_template"]
    _pairs(
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


def _estimate(options: argparse.Namespace) -> None:
    from slmlab import tiers
    from slmlab.measurement import estimate

    found = estimate(tiers.card(options.model), options.quant, options.context)
    if options.json:
        return _json(asdict(found))
    _pairs(
        ("file", quantity(found.file_bytes, "bytes")),
        ("peak memory", quantity(found.peak_memory_bytes, "bytes")),
        ("decode speed", quantity(found.decode_tokens_per_second, "tokens/s")),
    )


def _quantize(options: argparse.Namespace) -> None:
    from slmlab.quantization import quantize

    made = quantize(options.source, options.types, options.out)
    if options.json:
        return _json({"files": [asdict(file) for file in made]})
    _table(
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


def _measure(options: argparse.Namespace) -> None:
    from slmlab import gguf

    inspected = gguf.inspect(options.file)
    found: dict[str, Any] = {}
    if options.perplexity:
        found |= _perplexity(options)
    if options.against:
        found |= _divergence(options)
    if options.speed:
        found |= _speed(options.file)
    if options.memory:
        found |= _memory(options.file)
    if not found:
        found = {
            "file_bytes": inspected.file_bytes,
            "bits_per_weight": inspected.bits_per_weight,
        }
        _remark("ask for more with --perplexity, --against, --speed and --memory")
    if options.json:
        return _json(found)
    _pairs(*(_humane(name, value) for name, value in found.items()))


def _humane(key: str, value: float) -> tuple[str, str]:
    """Return the words for a JSON key and its number with the unit that the key names."""
    for ending, unit in (("_bytes", "bytes"), ("_tokens_per_second", "tokens/s")):
        if key.endswith(ending):
            return key.removesuffix(ending).replace("_", " "), quantity(value, unit)
    return key.replace("_", " "), quantity(value)


def _perplexity(options: argparse.Namespace) -> dict[str, float]:
    from slmlab import measurement

    _remark(f"perplexity: reading {options.chunks} chunks of {options.context} tokens ...")
    found = measurement.perplexity(
        options.file, _text(options.perplexity), options.chunks, options.context
    )
    return {"perplexity": found.value, "perplexity_stderr": found.stderr}


def _divergence(options: argparse.Namespace) -> dict[str, float]:
    from slmlab import measurement

    _remark(f"divergence: reading {options.chunks} chunks with both models ...")
    found = measurement.kl_divergence(
        options.file,
        options.against,
        _text(options.perplexity or "prose"),
        options.chunks,
        options.context,
    )
    return {
        "kl_divergence_mean": found.mean,
        "kl_divergence_stderr": found.stderr,
        "kl_divergence_median": found.median,
        "kl_divergence_percentile_99": found.percentile_99,
        "same_top_token": found.same_top_token,
    }


def _speed(file: Path) -> dict[str, float]:
    from slmlab import measurement

    _remark("speed: one run to warm up, then five ...")
    found = measurement.speed(file)
    return {
        "prompt_tokens_per_second": found.prompt_tokens_per_second,
        "prompt_spread_tokens_per_second": found.prompt_spread,
        "decode_tokens_per_second": found.decode_tokens_per_second,
        "decode_spread_tokens_per_second": found.decode_spread,
        "seconds_to_first_token": found.seconds_to_first_token,
        "threads": found.threads,
    }


def _memory(file: Path) -> dict[str, int]:
    from slmlab import measurement

    _remark("memory: running the model in a process of its own ...")
    return {"peak_memory_bytes": measurement.peak_memory(file)}


def _text(named: str) -> str:
    """Return the text of a file, or one of the course's own texts."""
    from slmlab import measurement

    path = Path(named)
    try:
        return path.read_text("utf-8") if path.is_file() else measurement.text(named)
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8; give a text file.") from None


def _engines(options: argparse.Namespace) -> None:
    from slmlab import engines

    rows = engines.overview()
    if options.json:
        return _json({"engines": rows})
    _table(
        ("engine", "runs", "version", "precisions", "why not"),
        [
            (
                row["name"],
                "yes" if row["runs"] else "no",
                row["version"] or "-",
                ", ".join(row["precisions"]) or "-",
                row["why_not"] or "-",
            )
            for row in rows
        ],
    )


def _install(options: argparse.Namespace) -> None:
    from slmlab import environments

    print(environments.ensure(options.name).path)


def _serve(options: argparse.Namespace) -> None:
    from slmlab.deployment import serve

    _remark(f"starting {options.engine} ...")
    with serve(options.engine, options.model, options.port) as server:
        what = f"{server.name} {server.version}{' (stand-in)' if server.stand_in else ''}"
        _pairs(
            ("server", what),
            ("address", server.base_url),
            ("model", server.model),
            ("API key", server.api_key),
        )
        sys.stdout.flush()
        _remark("Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            server.join()


def _run(options: argparse.Namespace) -> int:
    from slmlab.notebooks.labs import find_labs
    from slmlab.notebooks.report import write_report
    from slmlab.notebooks.run import exit_code, run

    runs = run(find_labs(options.labs), options.out, options.profile)
    print(write_report(runs, options.out, options.profile))
    return exit_code(runs)


def _verify(options: argparse.Namespace) -> int:
    from slmlab.notebooks.labs import find_labs
    from slmlab.notebooks.verify import verify, verify_solved

    labs = find_labs(options.labs)
    _remark("proving each question in a kernel of its own ...")
    proofs = verify(labs)
    with tempfile.TemporaryDirectory(prefix="slmlab-solved-") as folder:
        for lab in labs if options.solved else ():
            _remark(f"{lab.name}: executing with the solutions ...")
            proofs.append(verify_solved(lab, Path(folder, lab.path.name)))
    _table(
        ("question", ">wrong answers", "verdict"),
        [
            (proof.subject, proof.wrong_answers or "-", "NOT proven" if proof.faults else "proven")
            for proof in proofs
        ],
    )
    for proof in proofs:
        for fault in proof.faults:
            print(f"{proof.subject}: {fault}")
    return int(any(proof.faults for proof in proofs))


def _progress(options: argparse.Namespace) -> None:
    from slmlab.lessons import progress, questions
    from slmlab.notebooks.labs import find_labs

    blank = {"outcome": "not attempted", "attempts": 0, "last": None}
    kept = progress.read()
    found = {
        question.title: kept.get(question.title, blank)
        for lab in find_labs()
        for question in questions(lab.unit)
    }
    if options.json:
        return _json(found)
    _table(
        ("question", "outcome", ">attempts", "last"),
        [
            (title, entry["outcome"], entry["attempts"], entry["last"] or "-")
            for title, entry in found.items()
        ],
    )
    done = sum(entry["outcome"] == "correct" for entry in found.values())
    _remark(f"{done} of {len(found)} correct; kept in {progress.progress_file()}")


def _json(value: Any) -> None:
    print(json.dumps(value, indent=1, default=str))


def _remark(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _pairs(*pairs: tuple[str, Any]) -> None:
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"{name:<{width}}  {'-' if value is None else value}")


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print aligned columns; those whose heading starts with `>` stand to the right."""
    lines = [[name.lstrip(">") for name in header], *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            cell.rjust(width) if name.startswith(">") else cell.ljust(width)
            for cell, width, name in zip(line, widths, header, strict=True)
        )
        print("  ".join(cells).rstrip())
