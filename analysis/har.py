"""Importing HAR recordings: streamed entry by entry, through the very same extraction as live traffic.

An entry's span id comes from its own bytes, so that importing a recording again, renamed or grown, adds nothing twice.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import duckdb
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from ..exporters.keys import digest_key
from ..exporters.rows import span_row
from ..exporters.writing import SpanWriter
from ..instrument import attributes as keys
from ..instrument import spans
from ..instrument.documents import Registry, load_documents
from ..instrument.facts import CallFacts, extract
from ..instrument.har_entry import to_exchange
from .files import parquet_list, stored_spans
from .har_file import HarError, Progress, read_entries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..exporters.store import Store
    from ..instrument.digests import DigestKey

NOT_A_CALL: Final = "not a provider call"


@dataclass
class ImportReport:
    """What became of one file: entries taken, already there, skipped by reason, and why it could not be read on."""

    path: Path
    taken: int = 0
    duplicates: int = 0
    skipped: Counter[str] = field(default_factory=Counter[str])
    error: str | None = None


def import_har(
    paths: Sequence[Path], store: Store, *, progress: Progress | None = None, registry: Registry | None = None
) -> list[ImportReport]:
    """Import HAR files (plain or gzip) into a store.

    Args:
        paths: the files.
        store: where the calls go.
        progress: told how far the current file is read.
        registry: provider documents; default the shipped ones.

    Returns:
        A report a file; a file that breaks off keeps what was read before, and has ``error`` set.

    Raises:
        OSError: if the store cannot be written.
        KeyFileError: if the store's key file holds something else.
    """
    known = _known_span_ids(store)
    writer = SpanWriter(store)
    reader = _Reader(registry or load_documents(), digest_key(store))
    reports = [_import_file(path, writer, known, reader, progress) for path in paths]
    writer.close()
    return reports


class _Reader(NamedTuple):
    """What turns an exchange into facts."""

    registry: Registry
    key: DigestKey


def _import_file(
    path: Path, writer: SpanWriter, known: set[str], reader: _Reader, progress: Progress | None
) -> ImportReport:
    report = ImportReport(path)
    copies: Counter[str] = Counter()
    try:
        for index, entry in enumerate(read_entries(path, progress)):
            digest = hashlib.blake2b(_canonical(entry), digest_size=16).hexdigest()
            # The same bytes twice in one file are two calls that happened to be alike.
            span_id = hashlib.blake2b(f"{digest}#{copies[digest]}".encode(), digest_size=8).hexdigest()
            copies[digest] += 1
            if span_id in known:
                report.duplicates += 1
                continue
            reason = _import_entry(entry, f"{path.name}#{index}", span_id, digest, writer, reader)
            if reason is None:
                report.taken += 1
                known.add(span_id)
            else:
                report.skipped[reason] += 1
    except HarError as error:
        report.error = str(error)
    return report


def _canonical(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, default=_number, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else str(value)


def _import_entry(  # noqa: PLR0913  an entry, who it is, where it goes
    entry: dict[str, Any], source: str, span_id: str, digest: str, writer: SpanWriter, reader: _Reader
) -> str | None:
    """Write one entry's row; returns why it was skipped, or None."""
    try:
        exchange = to_exchange(entry)
    except (AttributeError, KeyError, TypeError, ValueError):
        return "malformed entry"
    facts = extract(exchange, reader.registry, reader.key)
    if facts is None:
        host = reader.registry.of_host(urlsplit(exchange.url).netloc)
        return f"another endpoint of {host.id}" if host else NOT_A_CALL
    writer.add(span_row(_span(facts, source, span_id, digest)))
    return None


def _span(facts: CallFacts, source: str, span_id: str, digest: str) -> ReadableSpan:
    """Return the span of imported facts: what a live call would have become, with ids from the entry's bytes."""
    exchange = facts.exchange
    started = exchange.started_ns
    if started is None and facts.created_at is not None:
        started = int(facts.created_at) * 10**9
    extra: dict[str, Any] = {keys.SOURCE: source, keys.CALL_ID: span_id, keys.ATTEMPT_INDEX: 0}
    if started is None:
        extra[keys.TIME_UNKNOWN] = True
    return ReadableSpan(
        name=spans.span_name(facts),
        context=SpanContext(int(digest, 16), int(span_id, 16), is_remote=False, trace_flags=TraceFlags(1)),
        resource=Resource({keys.SERVICE_NAME: "import"}),
        attributes={**spans.call_attributes(facts), **spans.conversation_attributes(facts, None), **extra},
        kind=SpanKind.CLIENT,
        instrumentation_scope=InstrumentationScope(keys.SCOPE),
        status=Status(StatusCode.ERROR if facts.error_type else StatusCode.UNSET),
        start_time=started or 0,
        end_time=exchange.ended_ns or started or 0,
    )


def _known_span_ids(store: Store) -> set[str]:
    """Return the span ids of everything imported into the store before."""
    with duckdb.connect() as connection:
        files = stored_spans(store, connection).files
        if not files:
            return set()
        query = f"select span_id from {parquet_list(files)} where source is not null"
        return {str(row[0]) for row in connection.execute(query).fetchall()}
