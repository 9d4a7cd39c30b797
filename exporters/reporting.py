"""What a process has to say of its own work, as a span among the others: what it lost, how far it was behind."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson

from ..instrument import attributes as keys
from ..instrument import health
from .batches import rows_table
from .schema import SCHEMA_VERSION

if TYPE_CHECKING:
    import pyarrow as pa

REPORT: Final = "turnledger.health"
"""Name of these spans. Their ``attributes`` are JSON: ``counts`` since the last, ``highs`` since the beginning."""

ORDINARY: Final = frozenset({"spool.rolled_spans", "extract.not_a_call"})
"""Counts that say nothing is wrong."""


class HealthReport:
    """Says what has been counted since it was last asked."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, as in a forked child."""
        self._told: dict[str, int] = {}
        self._highest: dict[str, float] = {}
        self._since = datetime.now(UTC)

    def batch(self) -> pa.RecordBatch | None:
        """Return a span with what is new, None where there is nothing to say."""
        counts, highs = health.snapshot(), health.highs()
        fresh = {kind: count - self._told.get(kind, 0) for kind, count in counts.items()}
        fresh = {kind: count for kind, count in fresh.items() if count}
        if not fresh.keys() - ORDINARY and highs == self._highest:
            return None
        now = datetime.now(UTC)
        row = {
            "schema_version": SCHEMA_VERSION,
            "span_id": secrets.token_hex(8),
            "trace_id": secrets.token_hex(16),
            "name": REPORT,
            "kind": "INTERNAL",
            "scope": keys.SCOPE,
            "started_at": self._since,
            "ended_at": now,
            "span_status": "UNSET",
            "attributes": orjson.dumps({"counts": fresh, "highs": highs}).decode(),
        }
        self._told, self._highest, self._since = counts, highs, now
        return rows_table([row]).to_batches()[0]
