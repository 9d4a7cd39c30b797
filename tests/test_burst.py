"""Many spans at once: from many processes, and faster than the disk takes them. All are there, once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import turnledger
from sizes import sized
from turnledger.exporters.rolling import recover
from turnledger.exporters.snapshot import list_files, snapshot
from turnledger.exporters.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

APP = Path(__file__).with_name("exporting_app.py")
WRITERS = 8
GROWTH_MIB = 400
"""Bound of the memory that a burst takes: what is held, twice while it is written, and one spool as it is rolled."""


def start(store: Path, temporary: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that exports spans."""
    return subprocess.Popen(
        [sys.executable, APP, str(store), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )


def ends(app: subprocess.Popen[str]) -> tuple[int, int, int]:
    """Return what a process said at its end: growth of memory in MiB, spans spilled, spans lost."""
    said, _ = app.communicate(timeout=1800)
    assert app.returncode == 0
    growth, spilled, lost = map(int, said.split())
    return growth, spilled, lost


def response_ids(store: Store) -> Iterator[pa.Array]:
    """Yield the response ids of a store, file by file."""
    found = snapshot(store)
    assert found.listing.problems == []
    for file in found.listing.files:
        with store.storage.open(file.name) as opened:
            yield from pa.parquet.read_table(opened, columns=["response_id"]).column(0).chunks
    for batch in found.spooled:
        yield batch.column("response_id")


def counted(store: Store) -> Counter[int]:
    """Return how many response ids there are, by how often each is there."""
    found = pa.chunked_array(list(response_ids(store)), type=pa.string()).drop_null()
    return Counter(pc.value_counts(found).field("counts").to_pylist())


def test_eight_processes_write_one_store_while_it_is_read(tmp_path: Path):
    count = sized(1_500, 50_000)
    (tmp_path / "temporary").mkdir()
    folder = tmp_path / "store"
    folder.mkdir()
    store = Store.at(folder)
    apps = [start(folder, tmp_path / "temporary", f"w{number}", count) for number in range(WRITERS)]
    seen = 0
    while any(app.poll() is None for app in apps):
        found = counted(store)
        assert set(found) <= {1}  # never twice
        assert found[1] >= seen  # never less
        seen = found[1]
    for app in apps:
        assert ends(app)[1:] == (0, 0)
    assert counted(store) == {1: WRITERS * count}
    recover(store)
    assert counted(store) == {1: WRITERS * count}
    with turnledger.open(folder) as ledger:
        assert ledger.sql("select count(distinct response_id) from spans").item() == WRITERS * count


def test_a_burst_that_the_disk_cannot_follow(tmp_path: Path, monkeypatch):
    count = sized(60_000, 1_000_000)
    (tmp_path / "temporary").mkdir()
    folder = tmp_path / "store"
    app = start(folder, tmp_path / "temporary", "b", count, sized(4_000_000, 20_000_000))
    growth, spilled, lost = ends(app)
    assert lost == 0
    assert spilled > 0
    assert growth < GROWTH_MIB, f"the process has grown by {growth} MiB"
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    store = Store.at(folder)
    assert counted(store) == {1: count}
    recover(store)
    assert counted(store) == {1: count}
    assert [list(path.iterdir()) for path in store.spools if path.is_dir()] == [[], []]
    assert len(list_files(store.storage).files) > 0
