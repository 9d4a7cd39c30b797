"""What counts in a store at one moment: each span exactly once, whoever writes, rolls or rewrites meanwhile.

A spool becomes one file a day of the same stem. A file may be rewritten, together with others of its day, as one whose
name ends in ``-r.parquet`` and begins with a number higher than those of the day's rewritten files so far. Its metadata
(``turnledger.replaces``) names for ever every stem whose spans it holds: its sources and all that these have replaced.
What a complete file replaces does not count any more, whether or not it is still there.

Why every span counts once. A span's holders (spool, file, rewritten file, rewritten again ...) are a chain in which
each appears complete before the one before it is removed, and names all before it; of those that are seen, the last
counts and no other. One of them is always seen: the spool is removed only after its file is there, and spools are read
before files are listed; a file is removed only a while after a later one appeared (``rewriting.GRACE_S``), which is
longer than a listing takes, and than whoever has listed it goes on to read it. A death leaves a chain as it is: nothing
appears incomplete, nothing is removed too soon, and a spool that should have been removed is in the names of its chain.

Two that rewrite at once exclude each other by a lock. Where a place has no locks, both may rewrite the same file: then
two rewritten files name it, and neither the other. The one with the higher number counts, of one number the first by
name, which is one that changes spans rather than one that puts them together; the other one does not, so that its
sources do, but for those the first names. Whoever rewrites later sees both,
takes a higher number and names the one that counts: the other can never count again. That one's sources are removed
only a while after it appeared, and before a rewritten file appears the day is listed once more: this relies on no file
taking longer than that to appear.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from .footers import footer_of
from .spool import SpoolReading, read_spool, spool_files
from .storage import UnavailableError
from .store import SPANS, UNKNOWN_DATE, day_folder, day_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from .storage import Found, Storage
    from .store import Store

PARQUET: Final = ".parquet"
REWRITTEN: Final = f"-r{PARQUET}"
"""Ending of files that replace others: only of these is the metadata read to tell what counts."""


@dataclass
class Listing:
    """The Parquet files of a store.

    Attributes:
        files: those that count, in order of days and names.
        replaced: those still there that do not, as a newer file holds their spans.
        replaced_at: by the name of a replaced file, the Unix time since when readers pass it over.
        names: of each day, the stems whose spans are in a file that counts.
        problems: a line for each that cannot be read or was refused.
        failures: errors of the place itself, which may pass: until then it is uncertain what counts.
    """

    files: list[Found] = field(default_factory=list["Found"])
    replaced: list[Found] = field(default_factory=list["Found"])
    replaced_at: dict[str, float] = field(default_factory=dict[str, float])
    names: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    problems: list[str] = field(default_factory=list[str])
    failures: list[OSError] = field(default_factory=list[OSError])

    def has(self, day: str, stem: str) -> bool:
        """Tell whether the spans of a day that a spool of this stem held are in a file."""
        return stem in self.names.get(day, ())

    def certain(self) -> Listing:
        """Return the listing itself, for those who write by what it says.

        Raises:
            OSError: if it is uncertain what counts.
        """
        if self.failures:
            raise self.failures[0]
        return self


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
    days: dict[str, list[Found]] = {}
    for file in storage.walk(folder):
        if file.refused is not None:
            listing.problems.append(f"{storage.path(file.name)}: left out, {file.refused}")
        elif file.name.endswith(PARQUET):
            days.setdefault(day_of(file.name), []).append(file)
    for day, files in days.items():
        rewritten = _replacements(storage, files, listing)
        gone = _gone(rewritten)
        for file in files:
            stem = stem_of(file.name)
            if stem in gone:
                listing.replaced.append(file)
                listing.replaced_at[file.name] = gone[stem]
            elif not is_rewritten(file.name) or file.name in rewritten:
                listing.files.append(file)
        listing.names[day] = gone.keys() | {stem_of(file.name) for file in files}
    return listing


class _Replacing(NamedTuple):
    modified: float
    stems: list[str]


def _replacements(storage: Storage, files: Iterable[Found], listing: Listing) -> dict[str, _Replacing]:
    """Return the rewritten files of a day by their names, and tell a listing of those that cannot be read."""
    found: dict[str, _Replacing] = {}
    for file in files:
        if not is_rewritten(file.name):
            continue
        try:
            found[file.name] = _Replacing(file.modified, footer_of(storage, file.name).replaces)
        except FileNotFoundError:  # removed since: a later one names what it named
            continue
        except UnavailableError:  # of this file and of all others: what counts cannot be told
            raise
        except (OSError, ValueError) as error:
            listing.problems.append(unreadable(storage.path(file.name), error))
            if isinstance(error, OSError):
                listing.failures.append(error)
    return found


def _gone(rewritten: Mapping[str, _Replacing]) -> dict[str, float]:
    """Return the stems of a day that do not count, each with the time since when."""
    gone: dict[str, float] = {}
    for name in sorted(rewritten, key=lambda name: (-number_of(name), name)):
        modified, stems = rewritten[name]
        stem = stem_of(name)
        shared = gone.keys() & set(stems)
        if stem in gone:  # until it was replaced itself, it was this one that counted
            gone.update({one: min(gone[one], modified) for one in shared})
        elif shared:  # of two that replace the same, the later one
            gone[stem] = max(gone[one] for one in shared)
        else:
            gone.update(dict.fromkeys(stems, modified))
    return gone


def is_rewritten(name: str) -> bool:
    """Tell whether a file was made of others."""
    return name.endswith(REWRITTEN)


def number_of(name: str) -> int:
    """Return the number of a rewritten file, 0 of any other."""
    number = stem_of(name).partition("-")[0]
    return int(number) if is_rewritten(name) and number.isascii() and number.isdecimal() else 0


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
