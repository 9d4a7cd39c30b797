"""Fixtures all tests share: a loopback server, and capture into memory."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

# Test files are loaded by path, not as a package; this is how they reach their helpers.
sys.path.insert(0, str(Path(__file__).parent))

import turnledger
from stub_server import StubServer
from turnledger.exporters.reporting import REPORT
from turnledger.exporters.rows import span_row
from turnledger.exporters.snapshot import snapshot
from turnledger.exporters.store import Store
from turnledger.instrument import health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# No test depends on how fast the machine is. `make test` tries the same examples every time, so that it says something
# about the change at hand; `make torture` goes looking for new ones.
settings.register_profile("same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("torture", settings.get_profile("same"), derandomize=False, max_examples=1000)
settings.load_profile("same")


class Recorder:
    """Switches capture on and off, and hands out the rows it made."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.hosts: dict[str, str] = {}

    def on(self, **options: Any) -> Any:
        """Switch capture on, for ``hosts`` too."""
        self.exporter = InMemorySpanExporter()
        return turnledger.instrument(exporter=self.exporter, hosts=self.hosts, **options)

    def off(self) -> None:
        """Switch capture off."""
        turnledger.uninstrument()

    def rows(self) -> list[dict[str, Any]]:
        """Return every row so far by start time, and start anew."""
        assert turnledger.flush(10)
        spans = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        self.exporter.clear()
        return [span_row(span) for span in spans]

    def row(self) -> dict[str, Any]:
        """Return the only row there is."""
        rows = self.rows()
        assert len(rows) == 1, [(row["name"], row["attempt_index"], row["error_type"]) for row in rows]
        return rows[0]

    def same_with_and_without(self, call: Callable[[], Any]) -> tuple[Any, list[dict[str, Any]]]:
        """Run ``call`` plain and captured; assert that it returns the same, and return that with the rows."""
        self.off()
        plain = call()
        self.on()
        try:
            captured = call()
            rows = self.rows()
        finally:
            self.off()
        assert captured == plain
        return captured, rows


@pytest.fixture
def stub() -> Iterator[StubServer]:
    """A loopback server of its own for every test."""
    server = StubServer()
    yield server
    server.close()


@pytest.fixture
def capture(stub: StubServer) -> Iterator[Recorder]:
    """Capture that is off at first; the stub counts as ``openai`` until a test says otherwise."""
    health.reset()
    found = Recorder()
    found.hosts = {stub.host: "openai"}
    yield found
    turnledger.uninstrument()
    health.reset()


@pytest.fixture
def stored() -> Callable[[Path], list[dict[str, Any]]]:
    """Return the rows of a store by start time, read from its files of Parquet and its spools."""

    def read(root: Path) -> list[dict[str, Any]]:
        store = Store.at(root)
        found = snapshot(store)
        tables = [pq.ParquetFile(store.storage.path(file.name)).read() for file in found.listing.files]
        rows = [row for part in (*tables, *found.spooled) for row in part.to_pylist()]
        rows = [row for row in rows if row["name"] != REPORT]
        return sorted(rows, key=lambda row: (row["started_at"] is None, row["started_at"]))

    return read


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store that is not there yet."""
    made = Store.at(tmp_path / "store")
    yield made
    shutil.rmtree(made.spill, ignore_errors=True)


@pytest.fixture
def recorder(capture: Recorder) -> Recorder:
    """Capture that is on."""
    capture.on()
    return capture
