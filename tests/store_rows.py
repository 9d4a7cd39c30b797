"""Rows of a store as tests write them: every column there is, said or NULL."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from turnledger.exporters.schema import SCHEMA_VERSION, SPAN_SCHEMA
from turnledger.exporters.store import Store
from turnledger.exporters.writing import SpanWriter

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NOON: Final = datetime(2026, 11, 1, 12, tzinfo=UTC)
_numbers = itertools.count(1)


def call_row(**said: Any) -> dict[str, Any]:
    """Return the row of a call of one attempt: a priced model, ten tokens in and five out, unless said otherwise."""
    number = next(_numbers)
    span_id = said.get("span_id", f"{number:016x}")
    row: dict[str, Any] = dict.fromkeys(SPAN_SCHEMA.names)
    row |= {
        "schema_version": SCHEMA_VERSION,
        "span_id": span_id,
        "trace_id": f"{number:032x}",
        "name": "chat",
        "call_id": span_id,
        "attempt_index": 0,
        "provider": "openai",
        "surface": "chat.completions",
        "operation": "chat",
        "request_model": "gpt-4o",
        "response_model": "gpt-4o-2024-08-06",
        "status_code": 200,
        "finish_reasons": ["stop"],
        "started_at": NOON + timedelta(seconds=number),
        "input_tokens": 10,
        "output_tokens": 5,
    }
    row |= said
    if row["started_at"] is not None and row["ended_at"] is None:
        row["ended_at"] = row["started_at"] + timedelta(seconds=2)
        row["duration_ms"] = 2000.0
    return row


def write_store(folder: Path, rows: Iterable[dict[str, Any]]) -> Store:
    """Write rows as a store and return it."""
    store = Store.at(folder)
    writer = SpanWriter(store)
    for row in rows:
        writer.add(row)
    writer.close()
    store.root.mkdir(parents=True, exist_ok=True)
    return store
