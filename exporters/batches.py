"""Columns and rows to Arrow: one value that does not fit its column costs itself, never the others."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from ..instrument import health
from .rows import converted, span_columns
from .schema import SPAN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from .rows import Columns, Row

_log = logging.getLogger("turnledger")
_MISFITS: Final[tuple[type[Exception], ...]] = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""What Arrow raises for a value that is not of its column's type."""


def span_batches(spans: Sequence[ReadableSpan]) -> list[pa.RecordBatch]:
    """Return ended spans as batches: one, unless their texts are too large to stand together."""
    if not spans:
        return []
    try:
        return [_batch(span_columns(spans))]
    except _MISFITS:
        # More than 2 GiB of text in one column.
        if len(spans) == 1:
            raise
        half = len(spans) // 2
        return [*span_batches(spans[:half]), *span_batches(spans[half:])]


def rows_table(rows: Sequence[Row]) -> pa.Table:
    """Return rows as a table with the columns of the schema; what a row lacks is NULL."""
    return pa.Table.from_batches(
        [_batch({name: [row.get(name) for row in rows] for name in SPAN_SCHEMA.names})], SPAN_SCHEMA
    )


def _batch(columns: Columns) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [_array(columns, name, kind) for name, kind in zip(SPAN_SCHEMA.names, SPAN_SCHEMA.types, strict=True)],
        schema=SPAN_SCHEMA,
    )


def _array(columns: Columns, name: str, kind: pa.DataType) -> pa.Array[Any]:
    values = columns[name]
    with contextlib.suppress(*_MISFITS):
        return pa.array(values, type=kind)
    values = [_fitting(value, name, kind, columns["span_id"][at]) for at, value in enumerate(values)]
    return pa.array(values, type=kind)


def _fitting(value: Any, name: str, kind: pa.DataType, span_id: object) -> Any:
    """Return a value as its column takes it, None where that cannot be: it is counted then."""
    fitting = converted(name, value)
    try:
        pa.array([fitting], type=kind)
    except _MISFITS:
        fitting = None
    if fitting is None and value is not None:
        health.count("store.dropped_values")
        _log.warning("turnledger: a value of column %s of span %s does not fit and is left out", name, span_id)
    return fitting
