"""Engines and servers: `engines`, `serve`, `mirror`."""

import sys
import time
from argparse import ArgumentParser, Namespace
from contextlib import suppress

from slmlab.cli.arguments import Work, add_json, add_models
from slmlab.cli.printing import print_json, print_pairs, print_table, remark


def engines(parser: ArgumentParser) -> Work:
    """Say which engines and environments run here, or why not."""
    add_json(parser)
    install = parser.add_subparsers(metavar="[install NAME]").add_parser(
        "install", help="make an environment; its path comes last"
    )
    install.set_defaults(command=_install)
    install.add_argument("name", metavar="NAME", help="such as olive")
    return _engines


def _engines(options: Namespace) -> None:
    from slmlab import engines

    rows = engines.overview()
    if options.json:
        return print_json({"engines": rows})
    print_table(
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


def _install(options: Namespace) -> None:
    from slmlab import environments

    print(environments.ensure(options.name).path)


def serve(parser: ArgumentParser) -> Work:
    """Serve a model on 127.0.0.1 until Ctrl-C."""
    parser.add_argument("engine", metavar="ENGINE", help="llama_cpp, ollama, vllm or foundry_local")
    parser.add_argument("model", metavar="MODEL", help="a name from `slmlab models`, or a file")
    parser.add_argument("--port", metavar="N", type=int, help="(default: a free one)")
    return _serve


def _serve(options: Namespace) -> None:
    from slmlab import deployment

    remark(f"starting {options.engine} ...")
    with deployment.serve(options.engine, options.model, options.port) as server:
        what = f"{server.name} {server.version}{' (stand-in)' if server.stand_in else ''}"
        print_pairs(
            ("server", what),
            ("address", server.base_url),
            ("model", server.model),
            ("API key", server.api_key),
        )
        sys.stdout.flush()
        remark("Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            server.join()


def mirror(parser: ArgumentParser) -> Work:
    """Serve models as the Hub does, until Ctrl-C."""
    add_models(parser, "a name from `slmlab models`, DIR, or OWNER/NAME=DIR")
    parser.add_argument("--address", metavar="A", default="127.0.0.1", help="to listen on")
    parser.add_argument("--port", metavar="N", type=int, default=0, help="(default: a free one)")
    return _mirror


def _mirror(options: Namespace) -> None:
    from slmlab.acquisition import mirror
    from slmlab.acquisition.handing_on import chosen

    files = chosen(options.models, options.accept_license)
    with mirror.serve(files, host=options.address, port=options.port) as server:
        for repository in server.repositories.values():
            remark(f"serving {repository.name}, revision {repository.revision}")
        remark("on each learner's machine, before Python or Jupyter starts")
        remark(f'(in PowerShell: $env:HF_ENDPOINT = "{server.address}"):')
        print(f"export HF_ENDPOINT={server.address}", flush=True)
        if options.address == "127.0.0.1":
            remark("only this machine can reach it; for a room, name its address with --address")
        remark("Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
