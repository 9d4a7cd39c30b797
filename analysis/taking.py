"""What importers share: the account of a file, what a store has already, and the rows of imported calls."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

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
from .files import parquet_list, stored_spans

if TYPE_CHECKING:
    from pathlib import Path

    from ..exporters.store import Store
    from ..instrument.context import Conversation
    from ..instrument.facts import CallFacts


@dataclass
class ImportReport:
    """What became of one file: calls taken, already there, skipped by reason, and why it could not be read on.

    ``places`` says where a reason was met first, where the file has lines.
    """

    path: Path
    taken: int = 0
    duplicates: int = 0
    skipped: Counter[str] = field(default_factory=Counter[str])
    places: dict[str, str] = field(default_factory=dict[str, str])
    error: str | None = None

    def skip(self, reason: str, place: str | None = None) -> None:
        """Count something that was skipped."""
        self.skipped[reason] += 1
        if place is not None:
            self.places.setdefault(reason, place)


class Taker:
    """Takes imported calls into a store, each once.

    Args:
        store: where they go.
        registry: provider documents; default the shipped ones.

    Raises:
        KeyFileError: if the store's key file holds something else.
    """

    def __init__(self, store: Store, registry: Registry | None = None) -> None:
        self.registry, self.key = registry or load_documents(), digest_key(store)
        self._store, self._writer = store, SpanWriter(store)
        self._known = self._read("select span_id from stored where source is not null")

    def has(self, span_id: str) -> bool:
        """Tell whether a call was imported before."""
        return (span_id,) in self._known

    def add(self, facts: CallFacts, name: CallName, said: Conversation | None = None, **extra: Any) -> None:
        """Write a call's row.

        Args:
            facts: what is known of it.
            name: who it is.
            said: what the application says of its conversation.
            extra: span attributes that take the place of those of the facts.

        Raises:
            OSError: if the store cannot be written.
        """
        self._writer.add(span_row(_span(facts, name, said, extra)))
        self._known.add((name.span_id,))

    def close(self) -> None:
        """Write what was taken.

        Raises:
            OSError: if the store cannot be written.
        """
        self._writer.close()

    def captured_responses(self) -> set[tuple[Any, ...]]:
        """Return id, model, input and output tokens of every response that was recorded live."""
        return self._read(
            "select distinct response_id, response_model, input_tokens, output_tokens from stored "
            "where source is null and response_id is not null and coalesce(input_tokens, output_tokens) is not null"
        )

    def _read(self, query: str) -> set[tuple[Any, ...]]:
        with duckdb.connect() as connection:
            stored = stored_spans(self._store, connection)
            connection.register("spooled", stored.spooled)
            both = [f"from {parquet_list(stored.files)}"] if stored.files else []
            relation = " union all by name ".join([*both, "from spooled"])
            return set(connection.execute(f"with stored as ({relation}) {query}").fetchall())


@dataclass(frozen=True, slots=True)
class CallName:
    """Who an imported call is: where it stood, and ids made of its own bytes so that it is the same one every time."""

    source: str
    span_id: str
    trace_id: str

    @classmethod
    def of(cls, source: str, content: bytes, copies: Counter[str] | None = None) -> CallName:
        """Return the name of a call.

        Args:
            source: file and place.
            content: what makes it this call.
            copies: how often each was in the file so far, where the same bytes are two calls that happened to be alike.
        """
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        copy = copies[digest] if copies is not None else 0
        if copies is not None:
            copies[digest] += 1
        return cls(source, hashlib.blake2b(f"{digest}#{copy}".encode(), digest_size=8).hexdigest(), digest)


def canonical_json(value: Any) -> bytes:
    """Return the bytes that are equal for equal JSON, however it was written."""
    return json.dumps(value, sort_keys=True, default=_number, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else str(value)


def _span(facts: CallFacts, name: CallName, said: Conversation | None, extra: dict[str, Any]) -> ReadableSpan:
    """Return the span of imported facts: what a live call would have become, with ids from its own bytes."""
    exchange = facts.exchange
    started = exchange.started_ns
    if started is None and facts.created_at is not None:
        started = int(facts.created_at) * 10**9
    place: dict[str, Any] = {keys.SOURCE: name.source, keys.CALL_ID: name.span_id, keys.ATTEMPT_INDEX: 0}
    if started is None:
        place[keys.TIME_UNKNOWN] = True
    return ReadableSpan(
        name=spans.span_name(facts),
        context=SpanContext(int(name.trace_id, 16), int(name.span_id, 16), is_remote=False, trace_flags=TraceFlags(1)),
        resource=Resource({keys.SERVICE_NAME: "import"}),
        attributes={**spans.call_attributes(facts), **spans.conversation_attributes(facts, said), **place, **extra},
        kind=SpanKind.CLIENT,
        instrumentation_scope=InstrumentationScope(keys.SCOPE),
        status=Status(StatusCode.ERROR if facts.error_type else StatusCode.UNSET),
        start_time=started or 0,
        end_time=exchange.ended_ns,
    )
