"""A log of who did what with which model, in which no line can be changed unseen.

Each line carries a seal: an HMAC-SHA256, with a key that the log's readers do not have, over the
line and the seal before it. A changed, removed or inserted line breaks the chain. Removing the last
lines does not, so the number of lines and the last seal, the **head**, are kept in a file aside,
sealed as well. Whoever can delete both files, or put both back to an earlier state, goes unseen
here: against that, keep a head elsewhere and give it to `verify`. Whoever can check a seal has the
key, and could write one.
"""

import hmac
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from slmlab.errors import AuditBroken, UsageError
from slmlab.files import from_json, locked, whole

ACTIONS = ("register", "run", "read")
_LONGEST = 100
"""Characters of a name: what is longer is none, and could be somebody's prompt."""

_MODEL = re.compile(r"([0-9a-f]{64})?")


@dataclass(frozen=True)
class Entry:
    """One line: who was allowed, or refused (`allowed` is False), what with which model, and when.

    `model` is the digest of a model's files, or empty; `when` is UTC, to the second.
    """

    number: int
    when: str
    who: str
    what: str
    model: str
    allowed: bool
    seal: str


@dataclass(frozen=True)
class Head:
    """Where a log ends: how many lines and bytes it has, and the last line's seal."""

    count: int
    size: int
    seal: str


_START = Head(0, 0, "")


class AuditLog:
    """A log in a file of one JSON object a line; `key` is at least 16 bytes that few may know."""

    def __init__(self, path: Path, key: bytes) -> None:
        if len(key) < 16:
            raise UsageError("An audit log needs a key of at least 16 bytes; take 32 random ones.")
        self.path = Path(path)
        self.key = key
        self._head_path = self.path.with_name(f"{self.path.name}.head")

    def append(self, who: str, what: str, model: str = "", allowed: bool = True) -> Entry:
        """Write a line to the disk and return it; `what` is one of `ACTIONS`.

        `model` is a SHA-256 as 64 hexadecimal digits, or empty. Raises `UsageError` for anything
        else, and for a name that is none, so that no prompt gets in; and `AuditBroken` where the
        log is shorter than its head says.
        """
        if what not in ACTIONS:
            raise UsageError(f"An audit log knows no action {what!r}, only {', '.join(ACTIONS)}.")
        if len(who) > _LONGEST or not who.isprintable() or not _MODEL.fullmatch(model):
            raise UsageError("An audit log holds short names and models' digests, no texts.")
        with locked(self.path):
            head = self._settled()
            when = datetime.now(UTC).isoformat(timespec="seconds")
            entry = Entry(head.count + 1, when, who, what, model, allowed, "")
            entry = Entry(**asdict(entry) | {"seal": self._seal(entry, head.seal)})
            line = f"{json.dumps(asdict(entry))}\n".encode()
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            self._keep(Head(entry.number, head.size + len(line), entry.seal))
        return entry

    def entries(self) -> list[Entry]:
        """Return all lines, checked as `verify` checks them."""
        return self._checked()[0]

    def verify(self, kept: Head | None = None) -> Head:
        """Check every line and return the log's head.

        `kept` is a head that was put elsewhere earlier: the log must still contain it. Raises
        `AuditBroken` with the first line that is not as it was written.
        """
        entries, last = self._checked()
        if kept and not _reaches(entries, kept):
            raise AuditBroken(
                f"{self.path.name} is not the log whose head was kept: it was put back to an "
                f"earlier state, or begun anew, after line {kept.count} had been written."
            )
        return last

    def _checked(self) -> tuple[list[Entry], Head]:
        """Return all entries, and where they end, once each is as it was written."""
        head = self._head()
        entries, last = [], _START
        for entry, size in self._read():
            self._check(entry, last)
            last = Head(entry.number, last.size + size, entry.seal)
            entries.append(entry)
        if last.count < head.count:
            raise AuditBroken(f"{self.path.name} ends too early: {_missing(last, head)}.")
        if not _reaches(entries, head):
            raise AuditBroken(f"{self.path.name} and its head belong to different logs.")
        return entries, last

    def _check(self, entry: Entry, last: Head) -> None:
        if entry.number != last.count + 1:
            raise AuditBroken(
                f"{self.path.name}: after line {last.count} comes number {entry.number}; a line "
                f"was removed or put in."
            )
        if entry.seal != self._seal(entry, last.seal):
            raise AuditBroken(f"{self.path.name}: line {entry.number} is not as it was written.")

    def _read(self, after: Head = _START) -> Iterator[tuple[Entry, int]]:
        """Yield the entries after a head, each with its size; an unfinished line is no entry."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(after.size)
            for number, line in enumerate(file, after.count + 1):
                if line.endswith(b"\n"):
                    yield self._entry(line, number), len(line)

    def _entry(self, line: bytes, number: int) -> Entry:
        try:
            entry = Entry(**from_json(line))
        except (ValueError, TypeError):
            entry = None
        if entry is None or line != f"{json.dumps(asdict(entry))}\n".encode():
            raise AuditBroken(f"{self.path.name}: line {number} is not as it was written.")
        return entry

    def _settled(self) -> Head:
        """Return the head, after what a power cut left beyond it: a whole line, or part of one."""
        head = self._head()
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < head.size:
            raise AuditBroken(
                f"{self.path.name} ends too early: it has {size} bytes and had {head.size}."
            )
        if size > head.size:
            for entry, length in self._read(head):
                self._check(entry, head)
                head = Head(entry.number, head.size + length, entry.seal)
            os.truncate(self.path, head.size)
        return head

    def _head(self) -> Head:
        if not self._head_path.exists():
            if self.path.exists() and self.path.stat().st_size:
                raise AuditBroken(f"{self.path.name} has lost its head, {self._head_path.name}.")
            return _START
        try:
            written = from_json(self._head_path.read_bytes())
            head = Head(**written["head"])
            sealed = written["seal"] == self._seal(head)
        except (ValueError, TypeError, KeyError):
            sealed = False
        if not sealed:
            raise AuditBroken(f"{self._head_path.name} is not as it was written.")
        return head

    def _keep(self, head: Head) -> None:
        with whole(self._head_path) as aside:
            aside.write_text(json.dumps({"head": asdict(head), "seal": self._seal(head)}), "utf-8")

    def _seal(self, sealed: Entry | Head, before: str = "") -> str:
        fields = asdict(sealed)
        if isinstance(sealed, Entry):
            del fields["seal"]
        message = json.dumps([type(sealed).__name__, before, fields]).encode()
        return hmac.digest(self.key, message, "sha256").hex()


def _reaches(entries: list[Entry], head: Head) -> bool:
    """Return whether the entries contain the one that a head names as the last."""
    seals = ["", *(entry.seal for entry in entries)]
    return head.count < len(seals) and seals[head.count] == head.seal


def _missing(last: Head, head: Head) -> str:
    lines = "line is" if head.count - last.count == 1 else "lines are"
    return f"{head.count - last.count} {lines} missing after line {last.count}"
