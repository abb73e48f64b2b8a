"""Arguments that several commands take."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

Work = Callable[[Namespace], int | None]
"""What a command does with its options; it returns the exit code, None for 0."""


def add_json(parser: ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_labs(parser: ArgumentParser) -> None:
    """Add any number of labs, for `find_labs`."""
    parser.add_argument("labs", metavar="LAB", nargs="*", help="such as 03 (default: all)")


def add_models(parser: ArgumentParser, help: str, name: str = "models") -> None:
    """Add one or more models that are handed on, and `--accept-license`."""
    parser.add_argument(name, metavar="MODEL", nargs="+", help=help)
    parser.add_argument(
        "--accept-license", action="store_true", help="you have read and accept their licences"
    )
