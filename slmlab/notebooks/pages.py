"""Checking pages of a site: every link inside leads somewhere, every picture is told in words."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

FEWEST_WORDS = 4
"""Of a text alternative: fewer cannot say what a picture shows."""

_FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src"}


@dataclass
class _Page(HTMLParser):
    """What a page links to, what it fetches, where it can be led to, and its pictures.

    A picture is where it comes from, and its text alternative.
    """

    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    pictures: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.anchors |= {attributes[name] for name in ("id", "name") if name in attributes}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if _FETCHED.get(tag) in attributes:
            self.fetched.append(attributes[_FETCHED[tag]])
        if tag == "img":
            self.pictures.append((attributes.get("src", ""), attributes.get("alt", "")))


def faults(site: Path) -> list[str]:
    """Return what is wrong with the pages of a site, as sentences; none means that it holds.

    A link inside must lead to a file, and its `#` to a place there; a picture must have a text
    alternative of `FEWEST_WORDS` or more, which is not the name of its file; and whatever a page
    fetches must be in the site. What lies in `_static` are parts of pages, and not looked at: of a
    picture there, such as a logo, any words will do.
    """
    paths = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    pages = {path.resolve(): _read(path) for path in sorted(paths)}
    return [
        f"{path.relative_to(site.resolve())}: {fault}"
        for path, page in pages.items()
        for fault in _faults(path, page, pages)
    ]


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text("utf-8"))
    return page


def _faults(path: Path, page: _Page, pages: dict[Path, _Page]) -> list[str]:
    found = [
        f"the words {alternative[:80]!r} do not say what a picture shows."
        for source, alternative in page.pictures
        if not _is_told(source, alternative)
    ]
    for target in page.fetched:
        if urlsplit(target).netloc:
            found.append(f"it fetches {target}.")
    for target in dict.fromkeys(page.links + page.fetched):
        if not _leads_somewhere(target, path, pages):
            found.append(f"{target} leads nowhere.")
    return found


def _is_told(source: str, alternative: str) -> bool:
    """Whether words say what a picture shows; docutils puts its address where it has none."""
    place = PurePosixPath(urlsplit(source).path)
    if "_static" in place.parts:
        return bool(alternative.strip())
    return len(alternative.split()) >= FEWEST_WORDS and not alternative.endswith(place.name)


def _leads_somewhere(target: str, path: Path, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return True
    there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not there.is_file():
        return False
    named = pages[there].anchors if there in pages else set()
    return not parts.fragment or unquote(parts.fragment) in named
