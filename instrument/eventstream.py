"""The frames of binary event streams: what they carry, whatever was lost of them.

A frame is 4 bytes of its length, 4 of its headers' length, 4 of a checksum of these; headers, payload; 4 of a checksum
of all. Framing only: what payloads hold is read in ``wire``. https://smithy.io/2.0/ has the specification.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PRELUDE: Final = struct.Struct(">III")
_CHECKSUM: Final = struct.Struct(">I")
_LENGTH: Final = struct.Struct(">H")
_SMALLEST: Final = _PRELUDE.size + _CHECKSUM.size
_BYTES, _TEXT = 6, 7
_FIXED_SIZES: Final[Mapping[int, int]] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Sizes of header values by type: true, false, integers of 1 to 8 bytes, a time, a UUID."""

_LOOK: Final = re.compile(rb":(?:message|event|exception)-type\x07\x00")
_LOOKED_AT: Final = 1024
_NAME: Final = re.compile(r":(event|exception)-type\x07\x00.([A-Za-z][\w-]*)")
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: its text headers (``:message-type``, ``:event-type`` …) and its payload."""

    headers: Mapping[str, str]
    payload: bytes


def is_event_stream(body: bytes) -> bool:
    """Tell by its first bytes whether a body is frames, or was before someone decoded it as text."""
    return _prelude(body, 0) is not None or _LOOK.search(body[:_LOOKED_AT]) is not None


def read_frames(body: bytes) -> tuple[list[Frame], int]:
    """Return the frames of a body and how many could not be read; it never raises, whatever the bytes are.

    A frame with a wrong checksum is left out. Where the lengths themselves are wrong nothing says where the next frame
    begins: events are then looked for by the name that stands before them, as in binary that was decoded as text.
    """
    frames: list[Frame] = []
    malformed, at = 0, 0
    while at < len(body):
        sizes = _prelude(body, at)
        if sizes is None:
            return [*frames, *_salvaged(body[at:])], malformed + 1
        total, headers_size = sizes
        frame = _frame(body[at : at + total], headers_size) if at + total <= len(body) else None
        if frame is None:
            malformed += 1
        else:
            frames.append(frame)
        at += total
    return frames, malformed


def _prelude(body: bytes, at: int) -> tuple[int, int] | None:
    """Return the lengths of a frame and of its headers, None where no frame begins."""
    if at + _PRELUDE.size > len(body):
        return None
    total, headers_size, checksum = _PRELUDE.unpack_from(body, at)
    if total < _SMALLEST + headers_size or checksum != crc32(body[at : at + _PRELUDE.size - _CHECKSUM.size]):
        return None
    return total, headers_size


def _frame(data: bytes, headers_size: int) -> Frame | None:
    end = len(data) - _CHECKSUM.size
    if _CHECKSUM.unpack_from(data, end)[0] != crc32(data[:end]):
        return None
    payload_at = _PRELUDE.size + headers_size
    headers = _headers(data[_PRELUDE.size : payload_at])
    return None if headers is None else Frame(headers, data[payload_at:end])


def _headers(data: bytes) -> dict[str, str] | None:
    """Return the headers that are texts; None where they do not add up."""
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            name_end = at + 1 + data[at]
            name, kind, at = data[at + 1 : name_end], data[name_end], name_end + 1
            if kind in (_BYTES, _TEXT):
                size = _LENGTH.unpack_from(data, at)[0]
                at += _LENGTH.size
            else:
                size = _FIXED_SIZES[kind]
            if kind == _TEXT:
                found[name.decode("utf-8", "replace")] = data[at : at + size].decode("utf-8", "replace")
            at += size
    except (IndexError, KeyError, struct.error):
        return None
    return found if at == len(data) else None


def _salvaged(data: bytes) -> Iterator[Frame]:
    """Yield the JSON events that can still be told apart: each begins behind the name of its type.

    JSON holds no control characters as they are, so that nothing within a payload looks like such a name.
    """
    text = data.decode("utf-8", "replace")
    names = list(_NAME.finditer(text))
    for index, name in enumerate(names):
        begin = text.find("{", name.end(), names[index + 1].start() if index + 1 < len(names) else len(text))
        if begin < 0:
            continue
        try:
            _, stop = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError):
            continue
        kind = name[1]
        headers = {":message-type": kind, f":{kind}-type": name[2]}
        yield Frame(headers, text[begin:stop].encode("utf-8", "replace"))
