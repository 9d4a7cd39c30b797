"""Where things are in a store: ``spans/date=YYYY-MM-DD/*.parquet``, ``meta/``, ``spool/`` for what is to be Parquet.

A store is a folder, or a prefix of an object store (``s3://bucket/ledger``). The spool is always on this machine: a
record is appended to it in microseconds, which no object store can do.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .storage import FolderStorage

if TYPE_CHECKING:
    from .storage import Storage

DEFAULT_STORE: Final = "turnledger-data"
SPANS: Final = "spans"
META: Final = "meta"
UNKNOWN_DATE: Final = "1970-01-01"
"""Partition of spans whose time is unknown (imported recordings); their ``started_at`` is NULL."""


@dataclass(frozen=True, slots=True)
class Store:
    """One store. Creating the object touches no disk.

    Attributes:
        storage: the place of its files.
        spool: folder of this machine with the spans that are not Parquet yet, one file a process.
        spill: folder for spans that the spool cannot take for now.
    """

    storage: Storage
    spool: Path
    spill: Path

    @classmethod
    def at(cls, location: str | os.PathLike[str] | None = None) -> Store:
        """Return the store at ``location``, else at ``TURNLEDGER_STORE``, else at ``./turnledger-data``.

        Args:
            location: a folder, or ``s3://``, ``gs://`` or ``az://`` with bucket and prefix.
        """
        said = os.fspath(location or os.environ.get("TURNLEDGER_STORE") or DEFAULT_STORE)
        root = Path(said).expanduser().absolute()
        return cls(FolderStorage(root), root / "spool", _spill(str(root)))

    @property
    def location(self) -> str:
        """Where it is, as people write it."""
        return self.storage.location

    @property
    def spools(self) -> tuple[Path, Path]:
        """The folders of this machine that may hold spans of the store."""
        return self.spool, self.spill

    @property
    def root(self) -> Path:
        """The folder of a store that is one."""
        return Path(self.location)


def day_folder(date: str) -> str:
    """Return the folder of one day, ``date`` being ``YYYY-MM-DD``."""
    return f"{SPANS}/date={date}"


def day_of(name: str) -> str:
    """Return the day of a file of spans."""
    return name.removeprefix(f"{SPANS}/date=").partition("/")[0]


def _spill(location: str) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    store = hashlib.blake2b(location.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"turnledger-{user}" / store
