"""Files of a day rewritten as one that replaces them: what compaction, migration and erasure are made of.

Why nothing is lost or doubled meanwhile stands in ``snapshot``. A row keeps its ``schema_version``, which says what the
version that recorded it knew to record; the file's own version says how the file is laid out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from typing import IO, TYPE_CHECKING, Final, Literal, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from .footers import Footer, damage_as_value_error, footer_of, not_ours, replacing
from .locks import released_in_children, try_lock
from .rolling import write_table
from .schema import SCHEMA_VERSION, SPAN_SCHEMA
from .snapshot import PARQUET, is_rewritten, list_files, name_of, number_of, stem_of
from .storage import FolderStorage, make_folder
from .store import META, SPANS, day_folder, day_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from .snapshot import Listing
    from .storage import Found, Storage
    from .store import Store

GRACE_S: Final = 3600.0
"""How long a replaced file stays: no reader may take longer from listing a store to the end of its last query."""

LOCK_FILE: Final = f"{META}/upkeep.lock"
_LITTER_S: Final = 86_400.0
"""What a writer has left unfinished for this long, it will not finish."""

_EMPTY_S: Final = 30 * 86_400.0
"""So long a file without spans stays, for a spool that may still turn up of those it replaces."""

_ORDER: Final[tuple[tuple[str, Literal["ascending"]], ...]] = (
    ("started_at", "ascending"),
    ("call_id", "ascending"),
    ("attempt_index", "ascending"),
    ("span_id", "ascending"),
)


Read = TypeVar("Read")


class StoreBusyError(OSError):
    """Another upkeep is at work on the store."""


class OutdatedError(Exception):
    """Files are not as they were listed: another upkeep has been at work. List them again."""


class Rewritten(NamedTuple):
    """What became of files.

    Attributes:
        name: the new file; None where none was written.
        files: how many it replaces.
        rows_before: spans in these.
        rows_after: spans in the new one. It is there without any, too: it keeps the old ones from coming back.
        left: a line for each file that was left alone, since it cannot be read, or was written by a newer version.
    """

    name: str | None
    files: int
    rows_before: int
    rows_after: int
    left: list[str]


def rewrite(
    store: Store, day: str, files: Sequence[str], change: Callable[[pa.Table], pa.Table] | None = None
) -> Rewritten:
    """Write the spans of files as one, sorted by time, that replaces them. All of them are in memory meanwhile.

    Args:
        store: the store.
        day: the day of all the files.
        files: their names; they are removed by ``remove_replaced``, later.
        change: makes of all their spans, with today's columns, those to be written; where it returns the very table it
            was given, nothing is written. Without it one file of today's version is left as it is.

    Raises:
        OutdatedError: if other files count now; nothing is written then.
        OSError: if a file cannot be read or written for now; nothing is written then.
    """
    place = _begin(store, day, files)
    sources, left = _readable(place.storage, files, _source)
    before = pa.concat_tables([SPAN_SCHEMA.empty_table(), *(source.spans for source in sources.values())])
    after = before if change is None else change(before)
    worth = len(sources) > 1 or any(source.footer.version < SCHEMA_VERSION for source in sources.values())
    if not sources or (not worth if change is None else after is before):
        return Rewritten(None, 0, before.num_rows, before.num_rows, left)
    footers = {name: source.footer for name, source in sources.items()}
    new = _replace(place, footers, after, changes=change is not None)
    return Rewritten(new, len(sources), before.num_rows, after.num_rows, left)


def drop(store: Store, day: str, files: Sequence[str]) -> Rewritten:
    """Write a file without spans that replaces files of a day; of these only what they say of themselves is read.

    Args:
        store: the store.
        day: the day of all the files.
        files: their names; they are removed by ``remove_replaced``, later.

    Raises:
        OutdatedError: if other files count now; nothing is written then.
        OSError: if a file cannot be read or written for now; nothing is written then.
    """
    place = _begin(store, day, files)
    footers, left = _readable(place.storage, files, footer_of)
    rows = sum(footer.rows for footer in footers.values())
    if not rows:
        return Rewritten(None, 0, 0, 0, left)
    new = _replace(place, footers, SPAN_SCHEMA.empty_table(), changes=True)
    return Rewritten(new, len(footers), rows, 0, left)


class _Place(NamedTuple):
    """The day of a store where files are to be replaced, and the files that were there at the beginning."""

    storage: Storage
    day: str
    known: set[str]


def _begin(store: Store, day: str, files: Sequence[str]) -> _Place:
    place = _Place(store.storage, day, _names(store.storage, day))
    if not _counts(store.storage, *files):
        raise OutdatedError
    return place


def _replace(place: _Place, footers: Mapping[str, Footer], spans: pa.Table, *, changes: bool) -> str:
    """Write spans as a file that replaces others, if these count until it is there; returns its name."""
    storage, day, known = place
    stems = {stem for name, footer in footers.items() for stem in (stem_of(name), *footer.replaces)}
    table = spans.select(SPAN_SCHEMA.names).cast(replacing(SPAN_SCHEMA, stems)).sort_by(list(_ORDER))

    def write(file: IO[bytes]) -> None:
        write_table(table, file)
        now = _names(storage, day)
        if not (footers.keys() <= now and {name for name in now if is_rewritten(name)} <= known):
            raise OutdatedError

    number = 1 + max(map(number_of, known), default=0)
    new = name_of(day, f"{number:08d}-{int(not changes)}{secrets.token_hex(4)}-r")  # of two, the one that changes
    storage.publish(new, write)
    if not _counts(storage, new):
        raise OutdatedError
    return new


def _counts(storage: Storage, *names: str) -> bool:
    """Tell whether files of one day count."""
    folder = names[0].rpartition("/")[0] if names else SPANS
    return set(names) <= {file.name for file in list_files(storage, folder).certain().files}


def _names(storage: Storage, day: str) -> set[str]:
    return {file.name for file in storage.walk(day_folder(day)) if file.name.endswith(PARQUET)}


class _Source(NamedTuple):
    footer: Footer
    spans: pa.Table


def _readable(
    storage: Storage, files: Sequence[str], read: Callable[[Storage, str], Read]
) -> tuple[dict[str, Read], list[str]]:
    """Return what is read of files, and a line for each that is to be left as it is."""
    found: dict[str, Read] = {}
    left: list[str] = []
    for name in files:
        try:
            found[name] = read(storage, name)
        except FileNotFoundError:
            raise OutdatedError from None
        except ValueError as error:
            left.append(f"{storage.path(name)}: left as it is, {error}")
    return found, left


def _source(storage: Storage, name: str) -> _Source:
    """Return the spans of a file with today's columns, NULL where it lacks them.

    Raises:
        OSError: if it cannot be read for now.
        ValueError: if it is damaged, or not to be rewritten.
    """
    footer = footer_of(storage, name)
    if (refusal := not_ours(footer)) is not None:
        raise ValueError(refusal)
    with storage.open(name) as file, damage_as_value_error():
        table = pq.ParquetFile(file).read()
    return _Source(footer, _with_columns(table))


def _with_columns(table: pa.Table) -> pa.Table:
    there = set(table.column_names)
    if lacking := [name for name in SPAN_SCHEMA.names if name not in there and not SPAN_SCHEMA.field(name).nullable]:
        raise ValueError(f"it lacks the columns {', '.join(lacking)}")
    united = pa.concat_tables([SPAN_SCHEMA.empty_table(), table], promote_options="permissive")
    return united.select(SPAN_SCHEMA.names).cast(SPAN_SCHEMA)


class Removed(NamedTuple):
    """How many files were removed, and how many bytes they had."""

    files: int = 0
    size: int = 0


def remove_replaced(
    store: Store, grace_s: float = GRACE_S, *, day: str | None = None, litter_s: float = _LITTER_S
) -> Removed:
    """Remove files that have been replaced for a while, and what dead writers have left unfinished.

    Args:
        store: the store.
        grace_s: how long a replaced file stays, for readers that have listed the store before.
        day: look at this day only, and at nothing unfinished.
        litter_s: for how long nobody has written to a file that is unfinished for good.

    Raises:
        OSError: if a file cannot be removed, or it is uncertain what counts.
    """
    storage, now = store.storage, time.time()
    listing = list_files(storage, SPANS if day is None else day_folder(day)).certain()
    litter = storage.litter() if day is None else ()
    due = [file for file in listing.replaced if now - listing.replaced_at[file.name] >= grace_s]
    due += [file for file in litter if now - file.modified >= litter_s]
    due += [file for file in listing.files if now - file.modified >= _EMPTY_S and _is_done(storage, listing, file)]
    for file in due:
        storage.remove(file.name)
    return Removed(len(due), sum(file.size for file in due))


def _is_done(storage: Storage, listing: Listing, file: Found) -> bool:
    """Tell whether a file only says that others do not count, and all of these are gone."""
    if not is_rewritten(file.name) or (footer := footer_of(storage, file.name)).rows:
        return False
    there = {stem_of(other.name) for other in listing.replaced if day_of(other.name) == day_of(file.name)}
    return not there.intersection(footer.replaces)


@contextlib.contextmanager
def upkeep(store: Store, wait_s: float = 60.0) -> Generator[None]:
    """Keep other upkeeps off a store meanwhile, where its place has locks; where it has none ``snapshot`` says why not.

    Args:
        store: the store.
        wait_s: how long to wait for another one to end.

    Raises:
        StoreBusyError: if it has not ended by then.
        OSError: if the lock's file cannot be made.
    """
    if not isinstance(store.storage, FolderStorage):
        yield
        return
    root = store.storage.root
    make_folder(root / META, below=root)
    descriptor = os.open(root / LOCK_FILE, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with released_in_children(descriptor):
        deadline = time.monotonic() + wait_s
        while not _taken(descriptor):
            if time.monotonic() >= deadline:
                raise StoreBusyError(
                    errno.EBUSY,
                    "another upkeep (compact, migrate, prune, erase) is at work: try again later",
                    str(root),
                )
            time.sleep(0.05)
        yield


def _taken(descriptor: int) -> bool:
    try:
        return try_lock(descriptor)
    except OSError:  # a file system without locks
        return True
