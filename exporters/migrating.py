"""Migration: files of older versions of the columns are rewritten with today's, one by one, while reading goes on.

Nothing waits for it: every older file is read as a current one. It can be stopped after any file, and begun again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .compacting import recovered
from .footers import footer_of, not_ours
from .rewriting import GRACE_S, OutdatedError, Removed, remove_replaced, rewrite, upkeep
from .schema import SCHEMA_VERSION
from .snapshot import list_files
from .store import day_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .store import Store


@dataclass
class MigrateReport:
    """What a migration has done.

    Attributes:
        files: how many count in the store.
        migrated: how many were of an older version, and have been rewritten.
        rows: spans in them.
        removed: replaced files whose time had come, and what dead writers had left.
        left: a line for each file that was left alone, since it is damaged or of a newer version.
    """

    files: int = 0
    migrated: int = 0
    rows: int = 0
    removed: Removed = field(default_factory=Removed)
    left: list[str] = field(default_factory=list[str])


def migrate(
    store: Store,
    *,
    grace_s: float = GRACE_S,
    progress: Callable[[int, int], object] = lambda _done, _of: None,
) -> MigrateReport:
    """Rewrite every file of an older version, those included that come of spools the dead have left.

    Args:
        store: the store.
        grace_s: how long replaced files stay for readers that listed the store before; 0 only where nobody reads.
        progress: told how many of the files are done, out of how many.

    Raises:
        StoreBusyError: if another upkeep is at work on the store.
        OSError: if it cannot be read or written; what is done by then stays done.
    """
    report = MigrateReport()
    with upkeep(store):
        report.left += recovered(store)
        names = [file.name for file in list_files(store.storage).certain().files]
        report.files = len(names)
        for done, name in enumerate(names):
            progress(done, len(names))
            _migrate_file(store, name, report)
        progress(len(names), len(names))
        report.removed = remove_replaced(store, grace_s)
    return report


def _migrate_file(store: Store, name: str, report: MigrateReport) -> None:
    try:
        footer = footer_of(store.storage, name)
        if (refusal := not_ours(footer)) is None and footer.version == SCHEMA_VERSION:
            return
    except FileNotFoundError:  # another upkeep has replaced it, with today's columns
        return
    except ValueError as error:
        refusal = str(error)
    if refusal is not None:
        report.left.append(f"{store.storage.path(name)}: left as it is, {refusal}")
        return
    try:
        done = rewrite(store, day_of(name), [name])
    except OutdatedError:
        return
    report.left += done.left
    if done.name is not None:
        report.migrated += 1
        report.rows += done.rows_after
