"""Hostile inputs from good ones: bytes overwritten, and values of JSON replaced by strange ones."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

BETWEEN_REQUESTS = b"\n---\n"
_DEEP = b"[" * 5000 + b"]" * 5000
_STRANGE = [
    *(None, True, 0, -1, 1, 2**31, 2**64, 10**400, 0.5, 1e-320, 1e308),
    *(float("nan"), float("inf"), float("-inf")),
    *("", " ", "a", "x" * 300, "../../x", "/x", "C:\\x", "con", "a\0b", "\ud800", "-5m", "inf"),
    *([], {}, [[]], [{}], {"": {}}, ["a", 1, None], "DEEP"),
]
_JUNK = [
    *(b"\0", b"\xff", b"\n", b"\r\n", b"{", b"[", b'"', b":", b",", b"%2e%2e/", b"../", b"%00"),
    *(bytes(8), b"\xff" * 8, b"\0\0\0\0\0\0\0\x80", b"\x01\0\0\0\0\0\0\0"),
]


def mutated(seeds: list[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield the seeds, and then `count` inputs that are always the same for the same `seed`."""
    yield from seeds
    chance = Random(seed)
    for _ in range(count):
        data = chance.choice(seeds)
        for _ in range(chance.randint(1, 3)):
            data = mutate(data, chance)
        yield data


def mutate(data: bytes, chance: Random) -> bytes:
    """Return the input with one thing changed: where it holds JSON, mostly a value of that."""
    if chance.random() < 0.7:
        try:
            return _with_strange_value(data, chance)
        except (ValueError, RecursionError):
            pass
    return _with_junk(data, chance)


def _with_strange_value(data: bytes, chance: Random) -> bytes:
    """Change one value of the JSON of one request; raise `ValueError` where there is none."""
    requests = data.split(BETWEEN_REQUESTS)
    place = chance.randrange(len(requests))
    head, gap, body = requests[place].rpartition(b"\n\n")
    changed = json.dumps(_changed(json.loads(body), chance)).encode()
    requests[place] = head + gap + changed.replace(b'"DEEP"', _DEEP)
    return BETWEEN_REQUESTS.join(requests)


def _changed(value: Any, chance: Random) -> Any:
    """Return the value with one thing inside replaced, left out or given another name."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.1:
        return chance.choice(_STRANGE)
    changed = value.copy()
    key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
    action = chance.random()
    if action < 0.1:
        del changed[key]
    elif action < 0.2 and isinstance(value, dict):
        changed[str(chance.choice(_STRANGE))] = changed.pop(key)
    else:
        changed[key] = _changed(value[key], chance)
    return changed


def _with_junk(data: bytes, chance: Random) -> bytes:
    at, junk = chance.randint(0, len(data)), chance.choice(_JUNK)
    kind = chance.randrange(4)
    if kind == 0:
        return data[:at] + junk + data[at:]
    if kind == 1:
        return data[:at] + junk + data[at + len(junk) :]
    if kind == 2:
        return data[:at] + data[at + chance.randint(1, 20) :]
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
