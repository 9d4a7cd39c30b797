"""An upkeep that is killed before its n-th touch of the file system; without n it only counts them.

Run as a script: ``dying.py compact|migrate|prune|prune-keep|erase|remove STORE [N]``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from turnledger.exporters.compacting import compact
from turnledger.exporters.erasing import erase
from turnledger.exporters.mentions import Mention
from turnledger.exporters.migrating import migrate
from turnledger.exporters.pruning import prune
from turnledger.exporters.rewriting import remove_replaced
from turnledger.exporters.snapshot import list_files, snapshot
from turnledger.exporters.store import Store

if TYPE_CHECKING:
    from pathlib import Path

_TOUCHES = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.scandir", "os.listdir", "os.truncate"}


def dying(what: str, store: Path, before: int | None = None) -> int:
    """Run an upkeep in a process of its own; returns its touches, or -9 if it was killed."""
    done = subprocess.run(
        [sys.executable, __file__, what, str(store), *([] if before is None else [str(before)])],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return int(done.stdout) if done.returncode == 0 else done.returncode


def _spans_of(store: Store, user: str) -> set[str]:
    found = snapshot(store)
    tables = [pa.Table.from_batches([batch]) for batch in found.spooled]
    for file in list_files(store.storage).files:
        with store.storage.open(file.name) as opened:
            tables.append(pq.ParquetFile(opened).read())
    return {row["span_id"] for table in tables for row in table.to_pylist() if row["user_id"] == user}


def _main(what: str, location: str, before: int) -> int:
    touches = 0
    inside = False

    def count(event: str, _arguments: object) -> None:
        nonlocal touches
        if inside and event in _TOUCHES:
            touches += 1
            if touches == before:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    store = Store.at(location)
    inside = True
    if what == "compact":
        compact(store, grace_s=0)
    elif what == "migrate":
        migrate(store, grace_s=0)
    elif what.startswith("prune"):
        prune(store, date(2026, 11, 2), keep_costs=what == "prune-keep")
    elif what == "erase":
        erase(store, Mention("alice@example.com"), lambda: _spans_of(store, "alice@example.com"))
    else:
        remove_replaced(store, 0)
    inside = False
    return touches


if __name__ == "__main__":
    print(_main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else -1))  # noqa: T201
