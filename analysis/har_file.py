"""The entries of a HAR file, one after the other: whatever its size, one entry is in memory at a time."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Protocol, cast

import ijson
from ijson.common import ObjectBuilder

Progress = Callable[[Path, int, int], None]
"""Called with the file, the bytes read of it and its size."""

_GZIP: Final = b"\x1f\x8b"
_CHUNK: Final = 1 << 16
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_ENTRIES: Final[list[str | None]] = [None, "log", "entries"]
_MAX_DEPTH: Final = 200
"""Deeper nesting is an attack or an accident; bodies are strings in a HAR, so that their depth does not count."""
_OPEN: Final = ("start_map", "start_array")
_CLOSE: Final = ("end_map", "end_array")


class _Source(Protocol):
    def read(self, size: int = -1) -> bytes: ...


class HarError(Exception):
    """A file that is not, or from some point on no longer, a readable HAR recording; says why in one line."""


def read_entries(path: Path, progress: Progress | None = None) -> Iterator[dict[str, Any]]:
    """Yield the entries of a HAR file, plain or gzip.

    Args:
        path: the file.
        progress: told how far it is read.

    Raises:
        HarError: where it cannot be read, or not be read on: what came before has been yielded.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as raw:
            counting = _Counting(raw, lambda read: progress(path, read, size) if progress else None)
            packed = raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            yield from _entries(_WithoutMark(_Unpacked(counting) if packed else counting))
    except FileNotFoundError as error:
        raise HarError("no such file") from error
    except SystemError as error:  # how the parser's C code tells of a number with more digits than Python reads
        raise HarError("not a readable HAR file (a number with too many digits)") from error
    except (OSError, EOFError, zlib.error, ijson.JSONError, ValueError) as error:
        # The parser quotes what it stumbled over, from the second line on: that may be content or a credential.
        said = str(error).partition("\n")[0].strip()
        raise HarError(f"not a readable HAR file ({said})" if said else "not a readable HAR file") from error


class _Counting:
    """A file that tells how far it has been read."""

    def __init__(self, raw: IO[bytes], told: Callable[[int], None]) -> None:
        self._raw, self._told = raw, told

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size)
        self._told(self._raw.tell())
        return data


class _Unpacked:
    """The content of a gzip file, all of it that can be read: what stands before a cut is handed out first."""

    def __init__(self, packed: _Source) -> None:
        self._packed, self._inflater, self._left = packed, _inflater(), b""

    def read(self, size: int = -1) -> bytes:
        while size != 0:
            if self._inflater.eof:
                self._left = (self._inflater.unused_data + self._packed.read(_CHUNK)).lstrip(b"\0")
                if not self._left:
                    return b""
                if not self._left.startswith(_GZIP):
                    raise ValueError("something else follows the compressed data")
                self._inflater = _inflater()
            self._left = self._left or self._packed.read(_CHUNK)
            if not self._left:
                raise EOFError("the compressed data is cut off")
            data = self._inflater.decompress(self._left, _CHUNK)
            self._left = self._inflater.unconsumed_tail
            if data:
                return data
        return b""


def _inflater() -> Any:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with gzip's header and checksum


class _WithoutMark:
    """A file without the byte order mark that some recorders begin it with."""

    def __init__(self, inner: _Source) -> None:
        self._inner, self._begun = inner, False

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size)
        if data and not self._begun:
            self._begun = True
            return data.removeprefix(_BYTE_ORDER_MARK) or self._inner.read(size)
        return data


def _entries(source: _WithoutMark) -> Iterator[dict[str, Any]]:
    """Yield what stands at ``log.entries[]``; the parser's own look-up by path does not bound the depth."""
    place, entry, depth, found = _Place(), None, 0, False
    for event, value in ijson.basic_parse(source):
        if entry is None and (place.open != _ENTRIES or event == "end_array"):
            place.follow(event, value)
            found = found or place.open == _ENTRIES
            continue
        if entry is None:
            if event != "start_map":
                raise ValueError("log.entries holds something other than objects")
            entry = ObjectBuilder()
        entry.event(event, value)
        depth = _bounded(depth + (event in _OPEN) - (event in _CLOSE))
        if depth == 0:
            yield cast("dict[str, Any]", entry.value)
            entry = None
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
            _bounded(len(self.open))
        elif event in _CLOSE:
            self.open.pop()
            self._key = None


def _bounded(depth: int) -> int:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    return depth
