"""How DuckDB reads a store that is in an object store: through the store's own client, and only the files listed.

DuckDB needs no extension for it, so nothing is downloaded, and a query can reach nothing else of the bucket.
"""

from __future__ import annotations

import io
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from fsspec import AbstractFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from ..exporters.bucket import BucketStorage
    from ..exporters.storage import Found


_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)


class ListedFiles(AbstractFileSystem):
    """Some files of a bucket, for reading, under the addresses that ``BucketStorage.path`` returns.

    Files of a store never change: what is said of one is what it was when it was listed, and each is opened once,
    however many threads read it.
    """

    cachable = False

    def __init__(self, storage: BucketStorage, files: Iterable[Found]) -> None:
        super().__init__()
        self.protocol = storage.scheme
        self._storage = storage
        self._files = {storage.path(file.name): file for file in files}
        self._opened: dict[str, pa.NativeFile] = {}

    def glob(self, path: str, **_options: Any) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the path: no character in it stands for others."""
        return [path]

    def info(self, path: str, **_options: Any) -> dict[str, Any]:
        """Return what is known of a file."""
        return {"name": path, "size": self._found(path).size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """Return that a file was last changed long ago.

        Of a file just changed DuckDB trusts nothing that it has read, and asks anew for every view.
        """
        self._found(path)
        return _LONG_AGO

    def open(self, path: str, mode: str = "rb", **_options: Any) -> io.RawIOBase:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Open a file for reading."""
        if mode != "rb":
            raise PermissionError(f"{path} is only read here")
        found = self._found(path)
        opened = self._opened.get(path)
        if opened is None:
            opened = self._opened[path] = self._storage.open_native(found.name)
        return _Reader(opened, found.size)

    def _found(self, path: str) -> Found:
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(f"{path} is no file of this store") from None


class _Reader(io.RawIOBase):
    """A file with a position for each thread.

    DuckDB sets the position and reads in two steps, on several threads at once; with one position for all of them,
    some would read what others asked for.
    """

    def __init__(self, file: pa.NativeFile, size: int) -> None:
        super().__init__()
        self._file: Any = file  # what is known of its type lacks the arguments of read_at
        self._size, self._place = size, threading.local()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return getattr(self._place, "at", 0)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._place.at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self._size}[whence]
        return self._place.at

    def read(self, size: int = -1, /) -> bytes:
        at = self.tell()
        left = max(0, self._size - at)
        data: bytes = self._file.read_at(left if size < 0 else min(size, left), at)
        self._place.at = at + len(data)
        return data
