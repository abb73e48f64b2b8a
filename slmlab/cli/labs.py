"""The labs on this machine: `doctor`, `run`, `book`, `verify`."""

import tempfile
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path

from slmlab.cli.arguments import Work, add_json, add_labs
from slmlab.cli.cache import remark_excess
from slmlab.cli.printing import print_json, print_table, remark


def doctor(parser: ArgumentParser) -> Work:
    """Say what each lab will do on this machine, why, and for how long."""
    add_json(parser)
    parser.add_argument(
        "--against", metavar="DIR", type=Path, help="compare with what `slmlab run` took"
    )
    return _doctor


def _doctor(options: Namespace) -> int | None:
    from slmlab import doctor

    if options.against:
        return _against(options)
    remark_excess()
    if options.json:
        return print_json(doctor.report())
    facts = doctor.look()
    checks = doctor.doctor(facts)
    remark(str(facts))
    print_table(
        ("lab", "here", ">minutes", "why"),
        [(check.lab, check.status, check.minutes_in_words, check.why) for check in checks],
    )


def _against(options: Namespace) -> int:
    from slmlab import doctor

    found = doctor.against(options.against, doctor.doctor())
    if options.json:
        close = sum(one.is_close for one in found)
        print_json({"labs": [asdict(one) for one in found], "close": close})
    else:
        print_table(
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


def run(parser: ArgumentParser) -> Work:
    """Execute labs and write a report; its path comes last."""
    add_labs(parser)
    parser.add_argument("--profile", metavar="P", default="quick", help="quick, standard or full")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("build/report"))
    return _run


def _run(options: Namespace) -> int:
    from slmlab.notebooks.labs import find_labs
    from slmlab.notebooks.report import write_report
    from slmlab.notebooks.run import exit_code, run

    runs = run(find_labs(options.labs), options.out, options.profile)
    print(write_report(runs, options.out, options.profile))
    return exit_code(runs)


def book(parser: ArgumentParser) -> Work:
    """Build the course as a site; its first page comes last."""
    add_labs(parser)
    parser.add_argument(
        "--report",
        metavar="DIR",
        type=Path,
        default=Path("build/report"),
        help="where `slmlab run` put them; what is missing or older is executed",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("build/book"))
    parser.add_argument(
        "--repository", metavar="URL", default="", help="of this course, for launch buttons"
    )
    return _book


def _book(options: Namespace) -> None:
    from slmlab.notebooks.book import write_book
    from slmlab.notebooks.labs import find_labs

    print(write_book(find_labs(options.labs), options.report, options.out, options.repository))


def verify(parser: ArgumentParser) -> Work:
    """Prove every question in a fresh kernel."""
    add_labs(parser)
    parser.add_argument(
        "--solved", action="store_true", help="also execute each lab with the solutions filled in"
    )
    return _verify


def _verify(options: Namespace) -> int:
    from slmlab.notebooks.labs import find_labs
    from slmlab.notebooks.verify import verify, verify_solved

    labs = find_labs(options.labs)
    remark("proving each question in a kernel of its own ...")
    proofs = verify(labs)
    with tempfile.TemporaryDirectory(prefix="slmlab-solved-") as folder:
        for lab in labs if options.solved else ():
            remark(f"{lab.name}: executing with the solutions ...")
            proofs.append(verify_solved(lab, Path(folder, lab.path.name)))
    print_table(
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
