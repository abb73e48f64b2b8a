"""Numbers of model files: `measure`, `sweep`."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.cli.arguments import Work, add_json
from slmlab.cli.printing import print_json, print_pairs, print_table, remark
from slmlab.measurement.words import quantity

if TYPE_CHECKING:
    from slmlab.sweeping import SweepRow


def measure(parser: ArgumentParser) -> Work:
    """Measure a model file; without options, its size alone."""
    add_json(parser)
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument(
        "--perplexity", metavar="TEXT", help="on a text file, or on our own: prose, code"
    )
    parser.add_argument("--chunks", metavar="N", type=int, default=20, help="of the text")
    parser.add_argument("--context", metavar="N", type=int, default=512, help="tokens a chunk")
    parser.add_argument(
        "--against", metavar="BASE", type=Path, help="divergence from the file it was made from"
    )
    parser.add_argument("--speed", action="store_true", help="of reading and of writing")
    parser.add_argument("--memory", action="store_true", help="peak of a separate process")
    return _measure


def _measure(options: Namespace) -> None:
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
        remark("ask for more with --perplexity, --against, --speed and --memory")
    if options.json:
        return print_json(found)
    print_pairs(*(_humane(name, value) for name, value in found.items()))


def _perplexity(options: Namespace) -> dict[str, float]:
    from slmlab import measurement

    remark(f"perplexity: reading {options.chunks} chunks of {options.context} tokens ...")
    text = _text(options.perplexity)
    found = measurement.perplexity(options.file, text, options.chunks, options.context)
    return found.as_data()


def _divergence(options: Namespace) -> dict[str, float]:
    from slmlab import measurement

    remark(f"divergence: reading {options.chunks} chunks with both models ...")
    text = _text(options.perplexity or "prose")
    found = measurement.kl_divergence(
        options.file, options.against, text, options.chunks, options.context
    )
    return found.as_data()


def _speed(file: Path) -> dict[str, float]:
    from slmlab import measurement

    remark("speed: one run to warm up, then five ...")
    return measurement.speed(file).as_data()


def _memory(file: Path) -> dict[str, int]:
    from slmlab import measurement

    remark("memory: running the model in a process of its own ...")
    return {"peak_memory_bytes": measurement.peak_memory(file)}


def _text(named: str) -> str:
    """Return the text of a file, or one of the course's own texts."""
    from slmlab import measurement

    path = Path(named)
    return measurement.text_file(path) if path.is_file() else measurement.text(named)


def _humane(key: str, value: float) -> tuple[str, str]:
    """Return the words for a JSON key and its number with the unit that the key names."""
    for ending, unit in (("_bytes", "bytes"), ("_tokens_per_second", "tokens/s")):
        if key.endswith(ending):
            return key.removesuffix(ending).replace("_", " "), quantity(value, unit)
    return key.replace("_", " "), quantity(value)


def sweep(parser: ArgumentParser) -> Work:
    """Measure what a plan asks for; what is finished is not repeated."""
    add_json(parser)
    parser.add_argument("plan", metavar="PLAN", type=Path, help="a file in TOML")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="of the results (default: build/sweeps/PLAN)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--processes", metavar="N", type=int, default=1, help="tasks at once")
    where.add_argument("--ray", metavar="ADDRESS", help="of a Ray cluster, or auto")
    return _sweep


def _sweep(options: Namespace) -> int:
    from slmlab import sweeping

    out = options.out or Path("build", "sweeps", options.plan.stem)
    plan = sweeping.read_plan(options.plan)
    found = sweeping.sweep(plan, out, processes=options.processes, ray=options.ray, tell=remark)
    differing = sweeping.disagreements(found.finished)
    if options.json:
        print_json({"results": out, **sweeping.as_data(found)})
    else:
        _sweep_table(sweeping.summary(found.finished))
        for one in found.failed:
            print(f"{one.task} failed: {one.failure}")
        for sentence in differing:
            print(sentence)
        remark(f"the results are in {out}")
    return int(bool(found.failed or differing))


def _sweep_table(rows: Iterable["SweepRow"]) -> None:
    print_table(
        ("what", "quantity", ">value", "text", "machine"),
        [
            (
                row.number.subject,
                row.number.quantity,
                quantity(row.number.value, row.number.unit, row.number.spread),
                row.number.conditions.get("text", "-"),
                row.where,
            )
            for row in rows
        ],
    )
