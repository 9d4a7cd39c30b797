"""What may go wrong with the bytes of a body: changes by name, each made with a generator of random numbers."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any, Final

Change = Callable[[random.Random, bytes, bytes], bytes]

_NUMBER: Final = re.compile(rb"(?<![\w.-])-?\d+(?:\.\d+)?(?![\w.])")
_NUMBERS: Final = (
    *(b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"18446744073709551616", b"1e400"),
    *(b"-1", b"-0", b"0.5", b"1e15", b"1E-400", b"NaN", b"Infinity", b"1" * 400, b"1" * 5000, b"07", b'"12"', b"true"),
)
_ODD: Final[tuple[Any, ...]] = (
    *(None, True, -1, 1.5, 2**63, 2**64, -(2**70), 10**30),
    *("", " ", "x", "\x00", "\ud800", "\udfff\ud800", "12", "1e999"),
    *([], {}, [[]], [None], [{}], {"": None}, {"a": {"b": [1, "c"]}}, [1] * 40, ["x"] * 700, {"type": []}, "é" * 300),
    *("y" * 70_000, {str(number): number for number in range(600)}, [{"text": "z", "type": 5}], {"\ud800": 1}),
)
_INVALID: Final = (b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80", b"\xef\xbb\xbf")
_ENDS: Final = (
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n"),
    *(b"\ndata: ", b"\ndata:\n\n", b"\nevent:\n", b"\n: \n", b"\nid\n"),
)


def place_in(rng: random.Random, data: bytes) -> int:
    return rng.randrange(len(data) + 1)


def _slice(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = place_in(rng, data)
    return start, min(len(data), start + rng.choice((1, 3, 20, 400, 5000)))


def _inserted(data: bytes, place: int, what: bytes) -> bytes:
    return data[:place] + what + data[place:]


def flip(rng: random.Random, data: bytes, _: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 2, 8)) if data else 0):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def _double(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start, end = _slice(rng, data)
    return data[:end] + data[start:end] * rng.choice((1, 1, 2, 60)) + data[end:]


def _delete(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start, end = _slice(rng, data)
    return data[:start] + data[end:]


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: place_in(rng, data)] + other[place_in(rng, other) :]


def _surrogate(rng: random.Random, data: bytes, _: bytes) -> bytes:
    quotes = [found.end() for found in re.finditer(b'"', data)] or [0]
    return _inserted(
        data, rng.choice(quotes), rng.choice((rb"\ud800", rb"\udfff", rb"\u0000", rb"\ud83d\ud83d", b"\\"))
    )


def _number(rng: random.Random, data: bytes, _: bytes) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return data + rng.choice(_NUMBERS)
    chosen = rng.choice(found)
    return data[: chosen.start()] + rng.choice(_NUMBERS) + data[chosen.end() :]


def _nest(rng: random.Random, data: bytes, _: bytes) -> bytes:
    depth = rng.choice((40, 60, 900, 1100, 100_000))
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'{"content":[', b"]}")))
    deep = opening * depth + b"1" + closing * (depth if rng.random() < 0.7 else 0)
    values = [found.end() for found in re.finditer(b":", data)]
    if not values or rng.random() < 0.2:
        return deep
    place = rng.choice(values)
    return _inserted(data, place, deep + b',"b":')


def _in_documents(change: Callable[[random.Random, Any], Any]) -> Change:
    """Return a change of one JSON document in a body: the whole of it, or one line's of a stream."""

    def changed(rng: random.Random, data: bytes, _: bytes) -> bytes:
        lines = data.split(b"\n")
        held = [place for place, line in enumerate(lines) if b"{" in line]
        for before, text, after in [
            ([], data, []),
            *((lines[:place], lines[place], lines[place + 1 :]) for place in rng.sample(held, min(3, len(held)))),
        ]:
            head, brace, tail = text.partition(b"{")
            try:
                document = json.loads(brace + tail)
            except (ValueError, RecursionError):
                continue
            return b"\n".join([*before, head + json.dumps(change(rng, document)).encode(), *after])
        return data

    return changed


def _holders(node: Any) -> list[tuple[Any, Any]]:
    """Return where every value of a document stands: what holds it, and under which key."""
    found: list[tuple[Any, Any]] = []
    left = [node]
    while left:
        holder = left.pop()
        places = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        found += [(holder, key) for key in places]
        left += [holder[key] for key in places if isinstance(holder[key], dict | list)]
    return found


def _wrong_type(rng: random.Random, document: Any) -> Any:
    for holder, key in rng.sample(found := _holders(document), min(len(found), rng.choice((1, 1, 4)))):
        holder[key] = rng.choice(_ODD)
    return document


def _wrong_key(rng: random.Random, document: Any) -> Any:
    held = [(holder, key) for holder, key in _holders(document) if isinstance(holder, dict)]
    for holder, key in rng.sample(held, min(1, len(held))):
        name = rng.choice(("", "x" * 3000, "a b c", "\ud800", "é\x00", f"made_id_{rng.random()}", "usage", "id"))
        holder[name] = holder.pop(key)
    return document


def _wrapped(_: random.Random, document: Any) -> Any:
    return [document, document]


def _lines(rng: random.Random, data: bytes, _: bytes) -> bytes:
    lines = data.split(b"\n")
    rng.shuffle(lines)
    return b"\n".join(lines[: rng.randrange(len(lines) + 1)] if rng.random() < 0.5 else lines)


CHANGES: Final[dict[str, Change]] = {
    "cut": lambda rng, data, _: data[: place_in(rng, data)],
    "bits flipped": flip,
    "slice doubled": _double,
    "slice deleted": _delete,
    "spliced with another": _splice,
    "another instead": lambda _rng, _data, other: other,
    "NULs": lambda rng, data, _: _inserted(data, place_in(rng, data), b"\0" * rng.choice((1, 9))),
    "invalid UTF-8": lambda rng, data, _: _inserted(data, place_in(rng, data), rng.choice(_INVALID)),
    "lone surrogate": _surrogate,
    "line broken": lambda rng, data, _: _inserted(data, place_in(rng, data), rng.choice(_ENDS)),
    "lines shuffled": _lines,
    "odd number": _number,
    "deep": _nest,
    "wrong type": _in_documents(_wrong_type),
    "wrong key": _in_documents(_wrong_key),
    "wrapped in a list": _in_documents(_wrapped),
    "nothing": lambda _rng, _data, _other: b"",
    "random bytes": lambda rng, data, _: rng.randbytes(len(data)),
}
WEIGHTS: Final = [5 if name in ("wrong type", "odd number", "cut", "line broken") else 2 for name in CHANGES]
