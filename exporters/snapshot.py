"""What counts in a store at one moment: each span exactly once, whoever writes, rolls or compacts meanwhile.

A Parquet file that was made of others names them in its metadata (``turnledger.replaces``); what a complete file
replaces does not count any more, whether or not it is still there. A spool becomes one file a day of the same stem;
its spans of a day do not count where that file is there, or replaced. Since a spool is removed only after its files
are there, and a file only a while after the one that replaces it, reading the spools first and listing the files then
finds every span once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .spool import SpoolReading, read_spool, spool_files
from .store import SPANS, UNKNOWN_DATE, day_folder, day_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .storage import Found, Storage
    from .store import Store

PARQUET: Final = ".parquet"
REWRITTEN: Final = f"-r{PARQUET}"
"""Ending of files that replace others: only of these is the metadata read to tell what counts."""
_REPLACES: Final = b"turnledger.replaces"


@dataclass
class Listing:
    """The Parquet files of a store.

    Attributes:
        files: those that count, in order of days and names.
        replaced: those still there that do not, as a newer file holds their spans.
        names: of each day, the stems whose spans are in a file that counts.
        problems: a line for each that cannot be read or was refused.
    """

    files: list[Found] = field(default_factory=list["Found"])
    replaced: list[Found] = field(default_factory=list["Found"])
    names: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    problems: list[str] = field(default_factory=list[str])

    def has(self, day: str, stem: str) -> bool:
        """Tell whether the spans of a day that a spool of this stem held are in a file."""
        return stem in self.names.get(day, ())


@dataclass
class Snapshot:
    """What counts in a store.

    Attributes:
        listing: its Parquet files.
        spooled: spans that are in none of them, as batches; their schema is that of the process that wrote them.
        spools: the spools with what was found in each.
    """

    listing: Listing
    spooled: list[pa.RecordBatch]
    spools: Mapping[Path, SpoolReading]


def snapshot(store: Store) -> Snapshot:
    """Return what counts in a store now. Nothing is changed by it.

    Raises:
        OSError: if the store cannot be listed.
    """
    spools = {path: reading for path in _all_spools(store) if (reading := _reading(path)) is not None}
    listing = list_files(store.storage)
    spooled = [
        part
        for path, reading in spools.items()
        for day, part in by_day(reading.batches)
        if not listing.has(day, path.stem)
    ]
    return Snapshot(listing, spooled, spools)


def _all_spools(store: Store) -> list[Path]:
    return [path for folder in store.spools for path in spool_files(folder)]


def _reading(path: Path) -> SpoolReading | None:
    try:
        return read_spool(path.read_bytes())
    except FileNotFoundError:  # became Parquet since the folder was listed
        return None


def list_files(storage: Storage, folder: str = SPANS) -> Listing:
    """Return the files of spans, those that count and those that do not.

    Args:
        storage: the store's files.
        folder: look only below this one.
    """
    listing = Listing()
    found: list[Found] = []
    replaced: dict[str, set[str]] = {}
    for file in storage.walk(folder):
        if file.refused is not None:
            listing.problems.append(f"{storage.path(file.name)}: left out, {file.refused}")
            continue
        if not file.name.endswith(PARQUET):
            continue
        found.append(file)
        if file.name.endswith(REWRITTEN):
            try:
                replaced.setdefault(day_of(file.name), set()).update(replaces(storage, file.name))
            except (OSError, pa.ArrowException, ValueError) as error:
                listing.problems.append(unreadable(storage.path(file.name), error))
                found.pop()
    for file in found:
        day, stem = day_of(file.name), stem_of(file.name)
        (listing.replaced if stem in replaced.get(day, ()) else listing.files).append(file)
        listing.names.setdefault(day, set()).add(stem)
    for day, stems in replaced.items():
        listing.names.setdefault(day, set()).update(stems)
    return listing


def replaces(storage: Storage, name: str) -> list[str]:
    """Return the stems of the files, of the same day, that a file has replaced.

    Raises:
        OSError, pyarrow.ArrowException: if it cannot be read.
    """
    with storage.open(name) as file:
        metadata = pq.read_metadata(file).metadata or {}
    return [str(stem) for stem in orjson.loads(metadata.get(_REPLACES, b"[]"))]


def replacing(schema: pa.Schema, stems: Iterable[str]) -> pa.Schema:
    """Return a schema whose file replaces others."""
    return schema.with_metadata({**(schema.metadata or {}), _REPLACES: orjson.dumps(sorted(stems))})


def unreadable(path: str, error: Exception) -> str:
    """Return the line that says of a file that it cannot be read."""
    return f"{path}: left out, it is not readable Parquet ({' '.join(str(error).split())[:120]})"


def stem_of(name: str) -> str:
    """Return a file's name without folder and ending."""
    return name.rpartition("/")[2].removesuffix(PARQUET)


def by_day(batches: Iterable[pa.RecordBatch]) -> list[tuple[str, pa.RecordBatch]]:
    """Return spans by the day they began, each batch by itself, in their order."""
    parts: list[tuple[str, pa.RecordBatch]] = []
    for batch in batches:
        days = batch.column("started_at").cast(pa.date32())
        for day in days.unique().to_pylist():
            chosen = batch if len(days.unique()) == 1 else batch.filter(_is(days, day))
            parts.append((UNKNOWN_DATE if day is None else day.isoformat(), chosen))
    return parts


def _is(days: pa.Array[Any], day: object) -> pa.Array[Any]:
    return days.is_null() if day is None else pc.equal(days, pa.scalar(day, pa.date32()))  # NULL is not chosen


def name_of(day: str, stem: str) -> str:
    """Return the name of a file of spans."""
    return f"{day_folder(day)}/{stem}{PARQUET}"
