"""Reading a Range header, in which a client asks for a part of a file (RFC 9110, section 14)."""

import re

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def asked(header: str, size: int) -> tuple[int, int]:
    """Return the first and the last byte that a `Range` asks for of a file of `size` bytes.

    That is all of it where the header is no valid range or names several, or the file is empty.
    Where `first >= size > 0`, nothing of what it asks for is there, which is answered with 416.
    """
    found = _RANGE.fullmatch(header.strip())
    if not found or not any(found.groups()) or not size:
        return 0, size - 1
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size - 1
    if last and int(last) < int(first):
        return 0, size - 1
    return int(first), min(int(last or size), size - 1)
