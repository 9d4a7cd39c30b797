"""Files of any size, plain or gzip, read piece by piece, within limits that honest files do not come near."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Protocol

from ..instrument.capture import MAX_BODY

Progress = Callable[[Path, int, int], None]
"""Called with the file, the bytes read of it and its size."""

CHUNK: Final = 1 << 16
MAX_UNPACKED: Final = 64 << 30
"""Bytes that one file unpacks to: more is a bomb, or a file that should be split."""
MAX_RATIO: Final = 1000
"""Times a packed byte may unpack to: gzip's utmost is 1032, and recorded JSON rarely comes to 50."""
RATIO_FROM: Final = 64 << 20
"""Unpacked bytes from which the ratio counts: what is smaller does no harm."""
MAX_DEPTH: Final = 200
"""Deeper nesting is an attack or an accident; what stands in a text of JSON does not count to the text's own depth."""
MAX_VALUES: Final = 5_000_000
"""Values in one entry, body or line, counted by commas where it is text: each takes far more memory than bytes.
A large answer, such as embeddings of 2048 texts, has three million."""
OVERSIZED: Final = f"a body over {MAX_BODY >> 20} MiB"
"""Why a call is skipped whose request or response is larger than what capture keeps of one."""
MAX_HEAD: Final = 1 << 20
"""Bytes of a request's or response's address and headers: the most that servers and clients take, commonly far less."""
OVERLONG: Final = f"a head over {MAX_HEAD >> 20} MiB"
OVERFULL: Final = f"more than {MAX_VALUES} values"

_BETWEEN: Final = len(": \r\n")
_GZIP: Final = b"\x1f\x8b"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Source(Protocol):
    """What can be read piece by piece."""

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most ``size``; none at the end."""
        ...


class UnreadableError(Exception):
    """A file that cannot be read, or not be read on from some point; says why in one line."""


@contextmanager
def opened(path: Path, kind: str, progress: Progress | None = None) -> Generator[Source]:
    """Open a file, plain or gzip, without its byte order mark.

    Args:
        path: the file.
        kind: what it should be, for errors.
        progress: told how far it is read.

    Raises:
        UnreadableError: where it cannot be opened, unpacked or, by what is raised inside, understood.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as raw:
            counting = _Counting(raw, lambda read: progress(path, read, size) if progress else None)
            packed = raw.read(len(_GZIP)) == _GZIP
            raw.seek(0)
            yield _WithoutMark(_Unpacked(counting) if packed else counting)
    except FileNotFoundError as error:
        raise UnreadableError("no such file") from error
    except (OSError, EOFError, zlib.error, ValueError) as error:
        # What was stumbled over may be quoted from the second line on: that may be content or a credential.
        said = str(error).partition("\n")[0].strip()
        raise UnreadableError(f"not a readable {kind} ({said})" if said else f"not a readable {kind}") from error


def bounded(depth: int) -> int:
    """Return a depth of nesting.

    Raises:
        ValueError: if it is over the limit.
    """
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    return depth


def is_overlong(address: object, headers: Iterable[tuple[object, object]]) -> bool:
    """Tell whether a head is over the limit: an absurd address, absurd headers, or absurdly many."""
    size = len(address) if isinstance(address, str) else 0
    for name, value in headers:
        size += sum(len(text) for text in (name, value) if isinstance(text, str)) + _BETWEEN
    return size > MAX_HEAD


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

    def __init__(self, packed: Source) -> None:
        self._packed, self._inflater, self._left = packed, _inflater(), b""
        self._taken = self._given = 0

    def read(self, size: int = -1) -> bytes:
        while size != 0:
            if self._inflater.eof:
                self._left = (self._inflater.unused_data + self._more()).lstrip(b"\0")
                if not self._left:
                    return b""
                if not self._left.startswith(_GZIP):
                    raise ValueError("something else follows the compressed data")
                self._inflater = _inflater()
            self._left = self._left or self._more()
            if not self._left:
                raise EOFError("the compressed data is cut off")
            data = self._inflater.decompress(self._left, CHUNK)
            self._left = self._inflater.unconsumed_tail
            self._give(len(data))
            if data:
                return data
        return b""

    def _more(self) -> bytes:
        data = self._packed.read(CHUNK)
        self._taken += len(data)
        return data

    def _give(self, size: int) -> None:
        self._given += size
        if self._given > MAX_UNPACKED:
            raise ValueError(f"it unpacks to more than {MAX_UNPACKED >> 30} GiB: split it into smaller files")
        if self._given > max(RATIO_FROM, MAX_RATIO * self._taken):
            times = f"it unpacks to more than {MAX_RATIO} times its size, as archive bombs do"
            raise ValueError(f"{times}: unpack it yourself if it is none")


def _inflater() -> Any:
    return zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with gzip's header and checksum


class _WithoutMark:
    """A file without the byte order mark that some programs begin it with."""

    def __init__(self, inner: Source) -> None:
        self._inner, self._begun = inner, False

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(size)
        if data and not self._begun:
            self._begun = True
            return data.removeprefix(_BYTE_ORDER_MARK) or self._inner.read(size)
        return data
