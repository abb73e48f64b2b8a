"""How commands print: results to standard output, remarks to standard error."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def print_json(value: Any) -> None:
    """Print plain data as JSON; what JSON does not know, such as a path, as a string."""
    print(json.dumps(value, indent=1, default=str))


def print_pairs(*pairs: tuple[str, Any]) -> None:
    """Print names and values, one pair a line; None is a dash."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"{name:<{width}}  {'-' if value is None else value}")


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print aligned columns; those whose heading starts with `>` stand to the right."""
    lines = [[name.lstrip(">") for name in header], *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            cell.rjust(width) if name.startswith(">") else cell.ljust(width)
            for cell, width, name in zip(line, widths, header, strict=True)
        )
        print("  ".join(cells).rstrip())


def remark(line: str) -> None:
    """Print a line to standard error at once."""
    print(line, file=sys.stderr, flush=True)
