"""Make prose.txt and code.txt again; README.md says from what and how."""

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

CHAPTERS = (
    "the-debian-project",
    "case-study",
    "existing-setup",
    "installation",
    "packaging-system",
    "solving-problems",
    "unix-services",
    "workstation",
    "security",
    "debian-packaging",
    "conclusion",
    "derivative-distributions",
    "short-remedial-course",
)
MODULES = ("bisect", "contextlib", "fractions", "heapq", "queue", "textwrap")

XHTML = "{http://www.w3.org/1999/xhtml}"
HEADINGS = {f"{XHTML}h{level}" for level in range(1, 7)}
LISTINGS = {f"{XHTML}pre", f"{XHTML}table"}
ASIDES = {"sidebar", "example", "informalexample", "figure", "table", "toc"}
LISTS = {"itemizedlist", "orderedlist", "variablelist"}


def prose(book: Path) -> str:
    """Return the chosen chapters as headings and paragraphs, a blank line between them."""
    contents = re.findall(r'href="([a-z][\w.-]+)\.html"', (book / "index.html").read_text("utf-8"))
    chapter, blocks = "", []
    for page in dict.fromkeys(contents):
        chapter = chapter if page.startswith("sect.") else page
        if chapter in CHAPTERS:
            blocks += paragraphs(ElementTree.parse(book / f"{page}.html").getroot())
    return "\n\n".join(blocks) + "\n"


def paragraphs(element: ElementTree.Element) -> Iterator[str]:
    """Give the headings and the running text inside an element: no asides, lists or listings.

    A paragraph that ends in a colon announces what is left out, and goes with it.
    """
    for child in element:
        kind = child.get("class")
        if child.tag in HEADINGS:
            yield re.sub(r"^(Chapter |Appendix )?\w+\.([\d.]+)?\s+", "", words(child))
        elif kind == "para":
            if (text := words(child)) and not text.endswith(":"):
                yield text
        elif kind not in ASIDES | LISTS and child.tag not in LISTINGS:
            yield from paragraphs(child)


def words(element: ElementTree.Element) -> str:
    """Return an element's text in one line, without listings and bare web addresses."""
    return " ".join("".join(pieces(element)).split())


def pieces(element: ElementTree.Element) -> Iterator[str]:
    """Give an element's text piece by piece."""
    yield element.text or ""
    for child in element:
        if child.get("class") != "url" and child.tag not in LISTINGS:
            yield from pieces(child)
        yield child.tail or ""


def code(library: Path) -> str:
    """Return the chosen modules of the standard library, one after the other."""
    return "\n\n".join((library / f"{name}.py").read_text("utf-8") for name in MODULES)


if __name__ == "__main__":
    make, source = {"prose": prose, "code": code}[sys.argv[1]], Path(sys.argv[2])
    target = Path(__file__).with_name(f"{sys.argv[1]}.txt")
    target.write_text(make(source), encoding="utf-8", newline="\n")
