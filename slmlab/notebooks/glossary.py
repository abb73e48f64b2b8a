"""The glossary of the site: links to a term from its first use in each lab, and back."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

_ENTRY = re.compile(r"^(?P<names>(?:[^\s`#].*\n)+)(?P<definition>(?:[ ]+\S.*\n)+)", re.M)

_NO_PROSE = r"""
    ^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)
  | ^\#.*?$
  | (?P<ticks>`+).*?(?<!`)(?P=ticks)(?!`)
  | !?\[[^\]]*\]\([^)]*\)
  | </?[a-zA-Z][^>]*>
  | https?://\S+
  | \$\$.*?\$\$ | \$[^$\n]+\$
"""
"""Code, headings, links and pictures, HTML, addresses and formulas, where no link may stand."""


def terms(glossary: str) -> dict[str, str]:
    """Return every name in the text of a glossary, with the first name of its entry."""
    entries = [entry["names"].splitlines() for entry in _ENTRY.finditer(glossary)]
    return {name: names[0] for names in entries for name in names}


def link(notebook: "NotebookNode", terms: Mapping[str, str]) -> set[str]:
    """Link the first use of each term in a notebook's prose to its entry; return those entries.

    A term is found in its plural and at the start of a sentence, too; where several begin at one
    place, the longest counts.
    """
    entries = {spelling: entry for name, entry in terms.items() for spelling in _spellings(name)}
    pattern = _pattern(entries)
    linked: set[str] = set()

    def replace(found: re.Match[str]) -> str:
        entry = entries.get(" ".join((found["term"] or "").split()))
        if entry is None or entry in linked:
            return found[0]
        linked.add(entry)
        return f"{{term}}`{found[0]} <{entry}>`"

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = pattern.sub(replace, cell.source)
    return linked


def with_first_uses(glossary: str, labs: Mapping[str, str]) -> str:
    """Return the text of a glossary whose entries end with the lab that uses them first.

    `labs` names that lab by its file without the ending, for each entry that a lab uses.
    """

    def extend(entry: re.Match[str]) -> str:
        lab = labs.get(entry["names"].splitlines()[0])
        needed = f"  First needed in {{doc}}`lab {lab[:2]} <labs/{lab}>`.\n" if lab else ""
        return entry[0] + needed

    return _ENTRY.sub(extend, glossary)


def _spellings(name: str) -> set[str]:
    return {name, name[0].upper() + name[1:]}


def _pattern(spellings: Mapping[str, str]) -> re.Pattern[str]:
    longest_first = sorted(spellings, key=len, reverse=True)
    words = "|".join(r"\s+".join(map(re.escape, name.split())) for name in longest_first)
    term = rf"(?<![\w-])(?P<term>{words})(?:e?s)?(?![\w-])"
    return re.compile(f"{_NO_PROSE} | {term}", re.MULTILINE | re.DOTALL | re.VERBOSE)
