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
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import slmlab
from slmlab.errors import NotPossibleHere, SlmlabError, UsageError
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
    except OSError as problem:
        if problem.filename is None:
            raise
        print(f"slmlab: {_unusable(problem)}", file=sys.stderr)
        return NotPossibleHere.exit_code


def _unusable(problem: OSError) -> str:
    return (
        f"{problem.filename} cannot be used ({problem.strerror}): make room or get access there, "
        f"or name another."
    )


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

    doctor = add(
        "doctor", _doctor, "Say what each lab will do on this machine, why, and for how long."
    )
    doctor.add_argument(
        "--against", metavar="DIR", type=Path, help="compare with what `slmlab run` took"
    )
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

    sweep = add("sweep", _sweep, "Measure what a plan asks for; what is finished is not repeated.")
    sweep.add_argument("plan", metavar="PLAN", type=Path, help="a file in TOML")
    sweep.add_argument(
        "--out", metavar="DIR", type=Path, help="of the results (default: build/sweeps/PLAN)"
    )
    where = sweep.add_mutually_exclusive_group()
    where.add_argument("--processes", metavar="N", type=int, default=1, help="tasks at once")
    where.add_argument("--ray", metavar="ADDRESS", help="of a Ray cluster, or auto")

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

    mirror = add("mirror", _mirror, "Serve models as the Hub does, until Ctrl-C.", False)
    _add_models(mirror, "a name from `slmlab models`, DIR, or OWNER/NAME=DIR")
    mirror.add_argument("--address", metavar="A", default="127.0.0.1", help="to listen on")
    mirror.add_argument("--port", metavar="N", type=int, default=0, help="(default: a free one)")

    pack = add("pack", _pack, "Write a hand-out that installs without a network.", False)
    pack.add_argument("--out", metavar="DIR", type=Path, required=True, help="new or empty")
    _add_models(pack, "names from `slmlab models` (default: the course's)", "--models")
    pack.add_argument(
        *("--licence-text", "--license-text"),
        metavar="MODEL=FILE",
        nargs="+",
        default=(),
        type=_named_file,
        help="the text of a licence that has to be handed on with its model",
    )
    pack.add_argument(
        "--platforms", metavar="P", nargs="+", default=(), help="as macos-arm64 (default: this one)"
    )
    pack.add_argument(
        "--pythons", metavar="V", nargs="+", default=(), help="as 3.12 (default: this one)"
    )
    pack.add_argument("--archive", action="store_true", help="write DIR.zip, not a folder")

    run = add("run", _run, "Execute labs and write a report; its path comes last.", False)
    run.add_argument("labs", metavar="LAB", nargs="*", help="such as 03 (default: all)")
    run.add_argument("--profile", metavar="P", default="quick", help="quick, standard or full")
    run.add_argument("--out", metavar="DIR", type=Path, default=Path("build/report"))

    book = add("book", _book, "Build the course as a site; its first page comes last.", False)
    book.add_argument("labs", metavar="LAB", nargs="*", help="such as 03 (default: all)")
    book.add_argument(
        "--report",
        metavar="DIR",
        type=Path,
        default=Path("build/report"),
        help="where `slmlab run` put them; what is missing or older is executed",
    )
    book.add_argument("--out", metavar="DIR", type=Path, default=Path("build/book"))
    book.add_argument(
        "--repository", metavar="URL", default="", help="of this course, for launch buttons"
    )

    verify = add("verify", _verify, "Prove every question in a fresh kernel.", False)
    verify.add_argument("labs", metavar="LAB", nargs="*", help="such as 03 (default: all)")
    verify.add_argument(
        "--solved", action="store_true", help="also execute each lab with the solutions filled in"
    )

    progress = add("progress", _progress, "Show which questions have been answered.")
    progress.add_argument(
        "--merge",
        metavar="FILE",
        nargs="+",
        help="of a room: its progress files, each FILE, LABEL=FILE or a folder of them",
    )
    progress.add_argument("--out", metavar="PAGE", type=Path, help="write what was merged as HTML")
    progress.add_argument("--anonymous", action="store_true", help="give learners numbers")

    handout = add("handout", _handout, "Write labs for learners, solved, and with notes.", False)
    handout.add_argument("labs", metavar="LAB", nargs="*", help="such as 03 (default: all)")
    handout.add_argument("--out", metavar="DIR", type=Path, required=True, help="new or empty")
    handout.add_argument(
        "--executed", metavar="DIR", type=Path, help="of `slmlab run`: its numbers, for the notes"
    )

    cache = add("cache", _cache, "Say what is kept in the cache, how large, and when last used.")
    prune = cache.add_subparsers(metavar="[prune]").add_parser(
        "prune", help="remove what was used longest ago, and nothing that is in use"
    )
    prune.set_defaults(command=_prune)
    prune.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    what = prune.add_mutually_exclusive_group()
    what.add_argument("names", metavar="NAME", nargs="*", default=[], help="from `slmlab cache`")
    what.add_argument("--to", metavar="SIZE", help="such as 20GB (default: $SLMLAB_CACHE_LIMIT)")
    what.add_argument("--all", action="store_true", help="everything")

    reset = add("reset", _reset, "Give a lab back as the course has it; yours is kept.", False)
    reset.add_argument("lab", metavar="LAB", help="such as 03")

    nbgrader = add("nbgrader", _nbgrader, "Write labs as a course that nbgrader marks.", False)
    nbgrader.add_argument("labs", metavar="LAB", nargs="*", help="such as 03 (default: all)")
    nbgrader.add_argument("--out", metavar="DIR", type=Path, required=True, help="new or empty")
    return parser


def _add_models(command: argparse.ArgumentParser, help: str, name: str = "models") -> None:
    command.add_argument(name, metavar="MODEL", nargs="+", help=help)
    command.add_argument(
        "--accept-license", action="store_true", help="you have read and accept their licences"
    )


def _named_file(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not (name and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form MODEL=FILE")
    return name, Path(path)


def _doctor(options: argparse.Namespace) -> int | None:
    from slmlab import doctor

    if options.against:
        return _against(options)
    _remark_excess()
    if options.json:
        return _json(doctor.report())
    facts = doctor.look()
    checks = doctor.doctor(facts)
    _remark(str(facts))
    _table(
        ("lab", "here", ">minutes", "why"),
        [(check.lab, check.status, check.minutes_in_words, check.why) for check in checks],
    )


def _against(options: argparse.Namespace) -> int:
    from slmlab import doctor

    found = doctor.against(options.against, doctor.doctor())
    if options.json:
        close = sum(one.is_close for one in found)
        _json({"labs": [asdict(one) for one in found], "close": close})
    else:
        _table(
            ("lab", ">estimated minutes", ">measured", f"within {100 * doctor.CLOSE:.0f} %"),
            [
                (
                    one.lab,
                    f"{one.estimated:.1f}",
                    f"{one.measured:.1f}",
                    "yes" if one.is_close else "no",
                )
                for one in found
            ],
        )
    return int(not doctor.is_reliable(found))


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
    _remark_excess()
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
    _remark_excess()
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
    return measurement.text_file(path) if path.is_file() else measurement.text(named)


def _sweep(options: argparse.Namespace) -> int:
    from slmlab import sweeping

    out = options.out or Path("build", "sweeps", options.plan.stem)
    plan = sweeping.read_plan(options.plan)
    found = sweeping.sweep(plan, out, processes=options.processes, ray=options.ray, tell=_remark)
    differing = sweeping.disagreements(found.finished)
    if options.json:
        _json(
            {
                "results": out,
                "finished": len(found.finished),
                "done_before": found.done_before,
                "failed": [
                    asdict(one.task) | {"id": one.task.id, "why": one.failure}
                    for one in found.failed
                ],
                "disagreements": differing,
                "rows": [
                    asdict(row.task) | asdict(row.number) | {"machines": row.machines}
                    for row in sweeping.summary(found.finished)
                ],
            }
        )
    else:
        _sweep_table(sweeping.summary(found.finished))
        for sentence in [
            *(f"{one.task} failed: {one.failure}" for one in found.failed),
            *differing,
        ]:
            print(sentence)
        _remark(f"the results are in {out}")
    return int(bool(found.failed or differing))


def _sweep_table(rows: Iterable[Any]) -> None:
    _table(
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


def _mirror(options: argparse.Namespace) -> None:
    from slmlab.acquisition import mirror
    from slmlab.acquisition.handing_on import chosen

    files = chosen(options.models, options.accept_license)
    with mirror.serve(files, host=options.address, port=options.port) as server:
        for repository in server.repositories.values():
            _remark(f"serving {repository.name}, revision {repository.revision}")
        _remark("on each learner's machine, before Python or Jupyter starts")
        _remark(f'(in PowerShell: $env:HF_ENDPOINT = "{server.address}"):')
        print(f"export HF_ENDPOINT={server.address}", flush=True)
        if options.address == "127.0.0.1":
            _remark("only this machine can reach it; for a room, name its address with --address")
        _remark("Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


def _pack(options: argparse.Namespace) -> None:
    from slmlab import tiers
    from slmlab.workshop import packing

    made = packing.pack(
        options.out,
        options.models or [tiers.DEFAULT_MODEL],
        options.platforms,
        options.pythons,
        options.archive,
        options.accept_license,
        dict(options.licence_text),
    )
    for remark in made.remarks:
        _remark(remark)
    _remark(f"{quantity(made.bytes, 'bytes')} in {len(made.parts)} parts; README.txt says more")
    print(made.path)


def _run(options: argparse.Namespace) -> int:
    from slmlab.notebooks.labs import find_labs
    from slmlab.notebooks.report import write_report
    from slmlab.notebooks.run import exit_code, run

    runs = run(find_labs(options.labs), options.out, options.profile)
    print(write_report(runs, options.out, options.profile))
    return exit_code(runs)


def _book(options: argparse.Namespace) -> None:
    from slmlab.notebooks.book import write_book
    from slmlab.notebooks.labs import find_labs

    print(write_book(find_labs(options.labs), options.report, options.out, options.repository))


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


def _progress(options: argparse.Namespace) -> int | None:
    if options.merge:
        return _merged(options)
    if options.out or options.anonymous:
        raise UsageError("--out and --anonymous go with --merge; name the files to merge.")
    return _own_progress(options)


def _merged(options: argparse.Namespace) -> int:
    from slmlab.notebooks.labs import course
    from slmlab.workshop import merging

    room = merging.merge(options.merge, course())
    for sentence in room.left_out:
        _remark(sentence)
    shown = merging.without_names(room) if options.anonymous else room
    if options.out:
        merging.write_page(shown, options.out)
    if options.json:
        _json(merging.as_data(shown))
    elif options.out:
        print(options.out)
    else:
        _table(
            ("learner", "last answer", ">correct"),
            [
                (one.label, one.where or "-", f"{one.correct(room.titles)} of {len(room.titles)}")
                for one in shown.learners
            ],
        )
        stopping = [f"{tally.question} ({tally.incorrect})" for tally in shown.stopping()]
        _remark(f"stops people: {', '.join(stopping) or 'no question'}")
    return int(bool(room.left_out))


def _own_progress(options: argparse.Namespace) -> None:
    from slmlab.lessons import progress
    from slmlab.notebooks.labs import course

    blank = {"outcome": "not attempted", "attempts": 0, "last": None}
    kept = progress.read()
    found = {title: kept.get(title, blank) for titles in course().values() for title in titles}
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


def _handout(options: argparse.Namespace) -> None:
    from slmlab.notebooks.labs import find_labs
    from slmlab.workshop.handout import hand_out

    hand_out(find_labs(options.labs), options.out, options.executed)
    _remark(f"learner, solutions and instructor are in {options.out}")
    print(options.out)


def _nbgrader(options: argparse.Namespace) -> None:
    from slmlab.notebooks.labs import find_labs
    from slmlab.workshop.grading import nbgrader_course

    nbgrader_course(find_labs(options.labs), options.out)
    print(options.out)


def _reset(options: argparse.Namespace) -> None:
    from slmlab.workshop.resetting import reset

    done = reset(options.lab)
    if not done.changed:
        _remark(f"{done.lab.stem} is as the course has it; there is nothing to do")
    elif done.kept:
        _remark(f"yours is kept as {done.kept}")
    if done.changed:
        _remark("where it is open in JupyterLab: File, Reload Notebook from Disk")
    print(done.lab)


def _cache(options: argparse.Namespace) -> None:
    from slmlab import cache
    from slmlab.files import cache_path

    items, limit = cache.items(), cache.limit()
    kinds = Counter()
    for item in items:
        kinds[item.kind] += item.bytes
    if options.json:
        return _json(
            {
                "path": str(cache_path()),
                "bytes": kinds.total(),
                "limit_bytes": limit,
                "kinds": kinds,
                "items": [asdict(item) | {"last_used": _time(item.last_used)} for item in items],
            }
        )
    _table(
        ("item", ">size", "last used", "in use by process"),
        [
            (
                item.name,
                quantity(item.bytes, "bytes"),
                "left behind" if item.leftover else _time(item.last_used),
                ", ".join(map(str, item.used_by)) or "-",
            )
            for item in items
        ],
    )
    for kind, held in kinds.most_common():
        _remark(f"{kind}: {quantity(held, 'bytes')}")
    _remark(f"{cache_path()} holds {quantity(kinds.total(), 'bytes')}, {_limited(limit)}")


def _limited(limit: int | None) -> str:
    if limit is None:
        return "and SLMLAB_CACHE_LIMIT sets no limit"
    return f"and may hold {quantity(limit, 'bytes')}: `slmlab cache prune` keeps to that"


def _remark_excess() -> None:
    """Say where the cache is over its limit; where that cannot be told, nothing else fails."""
    from slmlab import cache

    try:
        excess = cache.excess()
    except (SlmlabError, OSError) as problem:
        return _remark(f"the cache's size cannot be told: {problem}")
    if excess:
        _remark(
            f"the cache is {quantity(excess, 'bytes')} over SLMLAB_CACHE_LIMIT: `slmlab cache "
            f"prune` makes room"
        )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _prune(options: argparse.Namespace) -> int:
    from slmlab import cache

    if options.names or options.all:
        limit = None
        done = cache.remove(options.names or [item.name for item in cache.items()])
    else:
        limit = cache.size(options.to) if options.to else cache.limit()
        if limit is None:
            raise UsageError("Say what to remove: --to SIZE, --all, or names from `slmlab cache`.")
        done = cache.prune(limit)
    for item in done.in_use:
        _remark(f"{item.name} is in use and stays: end what uses it, such as a notebook")
    removed = sum(item.bytes for item in done.removed)
    if options.json:
        _json(
            {
                "removed": [item.name for item in done.removed],
                "in_use": [item.name for item in done.in_use],
                "removed_bytes": removed,
                "bytes": done.bytes_left,
            }
        )
    else:
        for item in done.removed:
            print(item.name)
        _remark(f"{quantity(removed, 'bytes')} freed, {quantity(done.bytes_left, 'bytes')} left")
    return int(bool(done.in_use) if limit is None else done.bytes_left > limit)


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
