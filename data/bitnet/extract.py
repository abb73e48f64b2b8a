"""Make bible.txt.xz and ../texts/verses.txt again; README.md says from what and how."""

import lzma
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
REFERENCE = re.compile(r"^(\w+?\d+):\d+ ", re.ASCII)
LEARNT = 0.95


def plain(verses: list[str]) -> str:
    """Return one verse a line without its reference, a blank line between two chapters."""
    chapter, lines = "", []
    for verse in verses:
        reference = REFERENCE.match(verse)
        if chapter and reference[1] != chapter:
            lines.append("")
        chapter = reference[1]
        lines.append(verse[reference.end() :])
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = plain(sys.stdin.read().splitlines()).encode("ascii")
    cut = text.index(b"\n\n", int(len(text) * LEARNT)) + 2
    packed = lzma.compress(text[:cut], preset=9 | lzma.PRESET_EXTREME)
    (HERE / "bible.txt.xz").write_bytes(packed)
    (HERE.parent / "texts" / "verses.txt").write_bytes(text[cut:])
