"""Spans as the exporter is given them, for the tests of rows and files."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind
from turnledger.exporters.rows import span_row
from turnledger.instrument import attributes as keys

NOON_NS = 1_795_435_200 * 10**9 + 123_456_789  # 2026-11-23 12:00:00.123456789 UTC
NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
RESOURCE = Resource({keys.SERVICE_NAME: "shop"})


def span(attributes: dict[str, Any] | None = None, *, start_ns: int | None = NOON_NS, **more: Any) -> ReadableSpan:
    """Return an ended span of a quarter of a second."""
    end = None if start_ns is None else start_ns + 250_000_000
    said = {"name": "chat m", "kind": SpanKind.CLIENT, "resource": RESOURCE, **more}
    context = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0x00F067AA0BA902B7, is_remote=False)
    return ReadableSpan(context=context, attributes=attributes or {}, start_time=start_ns, end_time=end, **said)


def row(attributes: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return the row of such a span."""
    return span_row(span(attributes, **more))
