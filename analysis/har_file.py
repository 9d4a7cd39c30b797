"""The entries of a HAR file, one after the other: whatever its size, one entry is in memory at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import ijson
from ijson.common import ObjectBuilder

from .unpacking import MAX_VALUES, OVERFULL, Progress, Source, bounded, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_ENTRY: Final = 256 << 20
"""Bytes of one entry: two bodies of 64 MiB, and room. The parser holds a text as a whole before it can be looked at."""
_ENTRIES: Final[list[str | None]] = [None, "log", "entries"]
_OPEN: Final = ("start_map", "start_array")
_CLOSE: Final = ("end_map", "end_array")


def read_entries(path: Path, progress: Progress | None = None) -> Iterator[dict[str, Any]]:
    """Yield the entries of a HAR file, plain or gzip.

    Args:
        path: the file.
        progress: told how far it is read.

    Raises:
        UnreadableError: where it cannot be read, or not be read on: what came before has been yielded.
    """
    with opened(path, "HAR file", progress) as source:
        try:
            yield from _entries(_Metered(source))
        except SystemError as error:  # how the parser's C code tells of a number with more digits than Python reads
            raise ValueError("a number with too many digits") from error
        except ijson.JSONError as error:
            raise ValueError(str(error)) from error


class _Metered:
    """A file of which no single thing may be too large."""

    def __init__(self, inner: Source) -> None:
        self._inner, self._read, self._entry = inner, 0, 0

    def begin(self, entry: int) -> None:
        """Tell that something new begins: an entry, or what stands before it."""
        self._read, self._entry = 0, entry

    def read(self, size: int = -1) -> bytes:
        # In larger pieces the larger the thing is: the parser begins a text anew with each, a quadratic matter.
        data = piece = self._inner.read(size)
        if self._read // 4 > size:
            pieces = [data]
            while piece and sum(map(len, pieces)) < self._read // 4:
                piece = self._inner.read(size)
                pieces.append(piece)
            data = b"".join(pieces)
        self._read += len(data)
        if self._read > MAX_ENTRY:
            limit = f"entry {self._entry}, or what stands before it, is over {MAX_ENTRY >> 20} MiB"
            raise ValueError(f"{limit}: take it out, or record without the bodies of files")
        return data


def _entries(source: _Metered) -> Iterator[dict[str, Any]]:
    """Yield what stands at ``log.entries[]``; the parser's own look-up by path does not bound the depth."""
    place, entry, found = _Place(), None, False
    depth = count = values = 0
    for event, value in ijson.basic_parse(source):
        if entry is None:
            source.begin(count)
            if place.open != _ENTRIES or event == "end_array":
                place.follow(event, value)
                found = found or place.open == _ENTRIES
                continue
            if event != "start_map":
                raise ValueError("log.entries holds something other than objects")
            entry, values = ObjectBuilder(), 0
        entry.event(event, value)
        values += 1
        if values > MAX_VALUES:
            raise ValueError(f"entry {count} holds {OVERFULL}: take it out")
        depth = bounded(depth + (event in _OPEN) - (event in _CLOSE))
        if depth == 0:
            yield cast("dict[str, Any]", entry.value)
            entry, count = None, count + 1
    if not found:
        raise ValueError("it has no log.entries")


class _Place:
    """Where in the document the parser is: the keys under which the open objects and lists stand."""

    def __init__(self) -> None:
        self.open: list[str | None] = []
        self._key: str | None = None

    def follow(self, event: str, value: Any) -> None:
        if event == "map_key":
            self._key = value
        elif event in _OPEN:
            self.open.append(self._key)
            self._key = None
            bounded(len(self.open))
        elif event in _CLOSE:
            self.open.pop()
            self._key = None
