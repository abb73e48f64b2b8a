"""Reading what `uv pip compile` locks: a package on each line, with the hashes of its files."""

import re
from dataclasses import dataclass
from pathlib import Path

_PIN = re.compile(
    r"(?P<name>[\w.-]+)==(?P<version>[^\s;]+)( ; (?P<marker>.+?))?(?P<hashes>( --hash=\S+)*)"
)


@dataclass(frozen=True)
class Pin:
    """A line of a lock: one version of a package, the marker of where it applies, its hashes."""

    name: str
    version: str
    marker: str | None
    hashes: str

    def __str__(self) -> str:
        """Give it as pip reads it, for any machine: without the marker."""
        return f"{self.name}=={self.version}{self.hashes}"


def pins(lock: Path) -> list[Pin]:
    """Return the lines of a lock."""
    text = lock.read_text("utf-8").replace("\\\n", "")
    lines = [" ".join(line.split()) for line in text.splitlines() if line[:1] not in ("", "#")]
    return [Pin(**_PIN.fullmatch(line).groupdict()) for line in lines]
