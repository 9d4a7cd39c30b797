"""Where things are in a store: a folder with ``spans/date=YYYY-MM-DD/*.parquet``, ``spool/`` and ``meta/``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFAULT_STORE: Final = "turnledger-data"
UNKNOWN_DATE: Final = "1970-01-01"
"""Partition of spans whose time is unknown (imported recordings); their ``started_at`` is NULL."""


@dataclass(frozen=True, slots=True)
class Store:
    """Paths of one store. Creating the object touches no disk."""

    root: Path

    @classmethod
    def at(cls, location: str | os.PathLike[str] | None = None) -> Store:
        """Return the store at ``location``, else at ``TURNLEDGER_STORE``, else at ``./turnledger-data``."""
        return cls(Path(location or os.environ.get("TURNLEDGER_STORE") or DEFAULT_STORE).expanduser().absolute())

    @property
    def spans(self) -> Path:
        """Folder of the day partitions."""
        return self.root / "spans"

    @property
    def meta(self) -> Path:
        """Folder of the store's own small files."""
        return self.root / "meta"

    def day(self, date: str) -> Path:
        """Return the folder of one day, ``date`` being ``YYYY-MM-DD``."""
        return self.spans / f"date={date}"
