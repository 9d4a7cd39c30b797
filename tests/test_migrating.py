"""Stores of every version of the columns: read as today's, rewritten as today's, whenever that is interrupted."""

from __future__ import annotations

import random
import shutil
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import turnledger
from dying import dying
from hypothesis import settings
from turnledger.exporters.compacting import compact
from turnledger.exporters.footers import footer_of
from turnledger.exporters.migrating import migrate
from turnledger.exporters.rewriting import upkeep
from turnledger.exporters.schema import SCHEMA_VERSION
from turnledger.exporters.snapshot import list_files, snapshot
from turnledger.exporters.spool import spool_files
from turnledger.exporters.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable


STORES = Path(__file__).parent / "stores"
TORTURE = settings.get_current_profile_name() == "torture"
PROVIDERS_1 = [("anthropic", 4), ("deepseek", 2), ("openai", 4), ("openrouter", 2)]
PROVIDERS_2 = [("anthropic", 4), ("deepseek", 4), ("openai", 4), ("openrouter", 3)]
GOLDEN: dict[str, dict[str, Any]] = {
    "v1": {
        "providers": PROVIDERS_1,
        "tokens": (19_704, 650, 0),
        "cost": Decimal("0.070346510000000000"),
        "without_cost": 1,
        "conversations": [("call", 11, 11), ("provider", 1, 1)],
        "turns": 12,
        "messages": (0, None),
        "versions": [(1, 12)],
        "problems": (),
    },
    "v2": {
        "providers": PROVIDERS_2,
        "tokens": (20_128, 716, 0),
        "cost": Decimal("0.070415530000000000"),
        "without_cost": 1,
        "conversations": [("call", 12, 12), ("provider", 1, 1), ("stitched", 1, 2)],
        "turns": 14,
        "messages": (39, 20_844),
        "versions": [(2, 15)],
        "problems": (),
    },
    "v3": {
        "providers": PROVIDERS_2,
        "tokens": (20_140, 717, 0),
        "cost": Decimal("0.070415530000000000"),
        "without_cost": 2,
        "conversations": [("call", 12, 12), ("provider", 1, 1), ("stitched", 1, 2)],
        "turns": 14,
        "messages": (40, 20_857),
        "versions": [(3, 15)],
        "problems": (),
    },
}


def figures(store: Store) -> dict[str, Any]:
    """Return what the models say of a store."""
    with turnledger.open(store.root) as ledger:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return ledger.sql(query).rows()

        return {
            "providers": rows("select provider, count(*) from calls group by 1 order by 1"),
            "tokens": rows(
                "select sum(input_tokens)::int, sum(output_tokens)::int, count(*) - count(distinct call_id) from calls"
            )[0],
            "cost": rows("select sum(cost_usd) from calls")[0][0],
            "without_cost": rows("select count(*) from calls where cost_usd is null")[0][0],
            "conversations": rows(
                "select conversation_source, count(*), sum(calls)::int from conversations group by 1 order by 1"
            ),
            "turns": rows("select count(*) from turns")[0][0],
            "messages": rows("select count(*), sum(tokens)::int from messages")[0],
            "versions": rows("select schema_version, count(*) from spans group by 1 order by 1"),
            "problems": ledger.problems,
        }


def spans(store: Store) -> list[dict[str, Any]]:
    """Return every span of a store with all that is known of it, in order of their ids."""
    with turnledger.open(store.root) as ledger:
        return ledger.sql("select * from spans order by span_id, source").to_dicts()


def table_of(store: Store, name: str) -> pa.Table:
    """Return what is in a file."""
    with store.storage.open(name) as file:
        return pq.ParquetFile(file).read()


def versions(store: Store) -> set[int]:
    """Return the versions of the files that count."""
    return {footer_of(store.storage, file.name).version for file in list_files(store.storage).files}


@pytest.fixture(params=sorted(GOLDEN))
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, dict[str, Any]]:
    """A copy of each golden store, with what is known of it."""
    shutil.copytree(STORES / request.param, tmp_path / "store")
    return Store.at(tmp_path / "store"), GOLDEN[request.param]


def test_there_is_a_golden_store_of_every_version():
    assert sorted(path.name for path in STORES.iterdir() if path.is_dir()) == [
        f"v{version + 1}" for version in range(SCHEMA_VERSION)
    ]
    for version in range(1, SCHEMA_VERSION + 1):
        assert versions(Store.at(STORES / f"v{version}")) == {version}


def test_a_store_of_any_version_is_read_as_one_of_today(golden: tuple[Store, dict[str, Any]]):
    store, known = golden
    assert figures(store) == known


@pytest.mark.parametrize("keep", [migrate, compact], ids=["migrate", "compact"])
def test_an_upkeep_changes_no_figure_and_no_span(golden: tuple[Store, dict[str, Any]], keep: Callable[..., object]):
    store, known = golden
    before = spans(store)
    keep(store)
    assert figures(store) == known
    keep(store, grace_s=0)
    assert figures(store) == known
    assert spans(store) == before


def test_after_a_migration_every_file_is_of_today(golden: tuple[Store, dict[str, Any]]):
    store, known = golden
    older = versions(store) != {SCHEMA_VERSION}
    spooled = [path for folder in store.spools for path in spool_files(folder)]
    report = migrate(store, grace_s=0)
    assert versions(store) == {SCHEMA_VERSION}
    assert list_files(store.storage).replaced == []
    assert [path for folder in store.spools for path in spool_files(folder)] == []
    rows = sum(count for _, count in known["providers"])
    written = 9 if spooled else 6  # what was in a spool becomes a file of its day first
    assert (report.migrated, report.rows) == ((written, rows) if older else (0, 0))
    assert report.left == []


def test_migrating_again_changes_nothing(golden: tuple[Store, dict[str, Any]]):
    store, _ = golden
    migrate(store, grace_s=0)
    files = list_files(store.storage).files
    report = migrate(store, grace_s=0)
    assert (report.migrated, report.rows, report.removed.files) == (0, 0, 0)
    assert list_files(store.storage).files == files


def test_a_row_keeps_the_version_that_recorded_it(tmp_path: Path):
    shutil.copytree(STORES / "v1", tmp_path / "store")
    store = Store.at(tmp_path / "store")
    migrate(store)
    tables = [table_of(store, file.name) for file in list_files(store.storage).files]
    assert {value for table in tables for value in table["schema_version"].to_pylist()} == {1}
    assert {value for table in tables for value in table["request_digest"].to_pylist()} == {None}


def test_a_migration_goes_on_where_it_was_killed(tmp_path: Path):
    shutil.copytree(STORES / "v1", tmp_path / "whole")
    touches = dying("migrate", tmp_path / "whole")
    known = GOLDEN["v1"]
    shutil.copytree(STORES / "v1", tmp_path / "store")
    store = Store.at(tmp_path / "store")
    chosen = random.Random(7).sample(range(1, touches), 5)
    for before in range(1, touches) if TORTURE else sorted(chosen):
        shutil.rmtree(store.root)
        shutil.copytree(STORES / "v1", store.root)
        assert dying("migrate", store.root, before) < 0
        assert figures(store) == known, before
        assert dying("migrate", store.root) > 0
        assert (figures(store), versions(store)) == (known, {SCHEMA_VERSION}), before


def test_a_migration_killed_again_and_again_comes_to_an_end(tmp_path: Path):
    shutil.copytree(STORES / "v1", tmp_path / "store")
    store = Store.at(tmp_path / "store")
    touches = dying("migrate", shutil.copytree(STORES / "v1", tmp_path / "whole"))
    assert dying("migrate", store.root, touches // 3) < 0
    assert dying("migrate", store.root, touches // 3) < 0
    assert figures(store) == GOLDEN["v1"]
    assert dying("migrate", store.root) > 0
    assert figures(store) == GOLDEN["v1"]
    assert versions(store) == {SCHEMA_VERSION}


def test_a_spool_of_an_older_process_is_read_and_becomes_parquet(tmp_path: Path):
    shutil.copytree(STORES / "v2", tmp_path / "store")
    store = Store.at(tmp_path / "store")
    found = snapshot(store)
    assert sum(batch.num_rows for batch in found.spooled) == 3
    assert [(reading.torn, reading.damaged) for reading in found.spools.values()] == [(0, 0)]
    before = spans(store)
    migrate(store)
    assert snapshot(store).spooled == []
    assert spans(store) == before


# --- what a newer turnledger has written


def newer(store: Store) -> str:
    """Make one file of a store look as a newer version would write it; returns its name."""
    name = list_files(store.storage).files[0].name
    table = table_of(store, name)
    table = table.append_column("colour_of_the_call", pa.array(["blue"] * table.num_rows))
    schema = table.schema.with_metadata({"turnledger.schema_version": str(SCHEMA_VERSION + 1)})
    store.storage.publish(name, lambda file: pq.write_table(table.cast(schema), file))
    return name


def test_files_of_a_newer_version_are_read_as_far_as_known_and_left_alone(tmp_path: Path):
    store = Store.at(shutil.copytree(STORES / "v1", tmp_path / "store"))
    name = newer(store)
    content = Path(store.storage.path(name)).read_bytes()
    why = f"written by a newer turnledger (version {SCHEMA_VERSION + 1} of the columns): upgrade"
    line = f"{store.storage.path(name)}: read as far as it is known here, {why}"
    assert figures(store) == {**GOLDEN["v1"], "problems": (line,)}
    for report in (migrate(store, grace_s=0), compact(store, grace_s=0)):
        assert report.left == [f"{store.storage.path(name)}: left as it is, {why}"]
    assert Path(store.storage.path(name)).read_bytes() == content
    assert figures(store) == {**GOLDEN["v1"], "problems": (line,)}


def test_a_damaged_file_is_left_alone(tmp_path: Path):
    store = Store.at(shutil.copytree(STORES / "v1", tmp_path / "store"))
    name = list_files(store.storage).files[0].name
    Path(store.storage.path(name)).write_bytes(b"PAR1 is how it begins, but it is none")
    report = migrate(store, grace_s=0)
    assert report.migrated == 5
    assert [line.partition(": ")[0] for line in report.left] == [store.storage.path(name)]
    assert Path(store.storage.path(name)).read_bytes().startswith(b"PAR1 is")


def test_two_upkeeps_of_a_store_exclude_each_other(tmp_path: Path):
    store = Store.at(shutil.copytree(STORES / "v1", tmp_path / "store"))
    with upkeep(store), pytest.raises(OSError, match="try again later"), upkeep(store, wait_s=0):
        pass
    with upkeep(store, wait_s=0):
        pass
