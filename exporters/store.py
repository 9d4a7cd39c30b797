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

from .bucket import bucket_at
from .spool import spool_files
from .storage import FolderStorage, make_private

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

        Raises:
            ValueError: if it is an address, but not of a store.
        """
        said = os.fspath(location or os.environ.get("TURNLEDGER_STORE") or DEFAULT_STORE)
        if (bucket := bucket_at(said)) is not None:
            return cls(bucket, _spool(bucket.identity), _spill(bucket.identity))
        root = Path(said).expanduser().absolute()
        return cls(FolderStorage(root), root / "spool", _spill(str(root)))

    @property
    def location(self) -> str:
        """Where it is, as people write it."""
        return self.storage.location

    @property
    def address(self) -> str:
        """What ``at`` finds it by again, in any process."""
        return self.storage.address

    @property
    def is_remote(self) -> bool:
        """Whether its files stand elsewhere than its spool, which may be gone when the process is."""
        return not isinstance(self.storage, FolderStorage)

    def is_there(self) -> bool:
        """Tell whether there is a store, or spans on this machine that are to go there.

        Raises:
            OSError: if that cannot be told.
        """
        return any(spool_files(folder) for folder in self.spools) or self.storage.is_there()

    def guard_spool(self) -> None:
        """See that the spool is in a folder of this user's alone, where others can write beside it.

        Raises:
            OSError: if it is not.
        """
        if self.spool.parent == self.spill.parent:
            make_private(self.spool.parent)

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


def _spool(location: str) -> Path:
    """Return where this machine keeps the spans that are to go to a place elsewhere."""
    said = os.environ.get("TURNLEDGER_SPOOL")
    if said:
        return Path(said).expanduser().absolute() / _name(location)
    state = _state_folder()
    if state is None:  # there is no home to write to, as where functions run as a service
        temporary = _spill(location)
        return temporary.with_name(f"{temporary.name}-spool")
    return state / "turnledger" / _name(location)


def _state_folder() -> Path | None:
    """Return the user's folder for what programs keep, None where it cannot be written to."""
    try:
        folder = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    except RuntimeError:  # the user has no home
        return None
    there = next((path for path in (folder, *folder.parents) if os.access(path, os.F_OK)), folder)
    return folder if folder.is_absolute() and os.access(there, os.W_OK | os.X_OK) else None


def _spill(location: str) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"turnledger-{user}" / _name(location)


def _name(location: str) -> str:
    return hashlib.blake2b(location.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
