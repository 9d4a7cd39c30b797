"""One HTTP attempt in flight: the one lifecycle that sync, async and streamed calls of every client share.

``begin`` → (``first chunk``, ``chunk`` ...) → ``finish``. On the application's thread only references and times are
taken; ``finish`` hands the capture to the background worker, once, whatever happens.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry.trace import Span, SpanKind, set_span_in_context

from . import context, health
from .exchange import Exchange

if TYPE_CHECKING:
    from .documents import Match
    from .runtime import Runtime

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of a body kept for extraction; what comes after is counted as cut."""

_RETRY_WINDOW_NS: Final = 600 * 10**9
"""A same request this long after a failed one is its next attempt, not a new call."""

_RETRYABLE: Final = frozenset({408, 409, 425, 429})

RawHeaders = Iterable[tuple[bytes, bytes]]
Key = tuple[str, int, str | None]
"""What two attempts of one call share: URL, body, conversation."""


class Attempts:
    """A failed attempt that may be followed by another of the same call, in the same thread or task."""

    __slots__ = ("call_id", "count", "key", "when_ns")

    def __init__(self, key: Key, call_id: str, count: int, when_ns: int) -> None:
        self.key, self.call_id, self.count, self.when_ns = key, call_id, count, when_ns


_failed: contextvars.ContextVar[Attempts | None] = contextvars.ContextVar("turnledger_failed_attempt", default=None)
_in_flight: contextvars.ContextVar[str | None] = contextvars.ContextVar("turnledger_in_flight", default=None)


class Capture:
    """References and times of one HTTP attempt, until the worker makes an Exchange of them."""

    __slots__ = (
        "_token",
        "attempt_index",
        "body",
        "call_id",
        "chunks",
        "closed_early",
        "conversation",
        "cut",
        "decode",
        "ended_ns",
        "error_type",
        "finished",
        "first_chunk_ns",
        "match",
        "method",
        "request_body",
        "request_headers",
        "response_headers",
        "runtime",
        "size",
        "span",
        "started_clock",
        "started_ns",
        "status_code",
        "url",
    )

    def __init__(  # noqa: PLR0913  the parts of a request
        self,
        runtime: Runtime,
        match: Match,
        method: str,
        url: str,
        headers: RawHeaders,
        body: bytes,
    ) -> None:
        self.runtime, self.match = runtime, match
        self.method, self.url, self.request_headers, self.request_body = method, url, headers, body
        self.conversation = context.current()
        self.status_code: int | None = None
        self.response_headers: RawHeaders = ()
        self.body: bytes | None = None
        self.chunks: list[bytes] = []
        self.size = 0
        self.cut = False
        self.decode: Callable[[bytes], bytes] | None = None
        self.error_type: str | None = None
        self.closed_early = False
        self.finished = False
        self.first_chunk_ns: int | None = None
        self.ended_ns: int | None = None
        self._token: Any = None
        self.started_ns = time.time_ns()
        self.started_clock = time.perf_counter_ns()
        self.span: Span = runtime.tracer.start_span("call", kind=SpanKind.CLIENT, start_time=self.started_ns)
        self.call_id, self.attempt_index = self._place_in_call()

    def _place_in_call(self) -> tuple[str, int]:
        """Return the call's id and this attempt's index: 0, or the next one after a failed try of the same request."""
        before = _failed.get()
        if before is not None and before.key == self._key() and self.started_clock - before.when_ns < _RETRY_WINDOW_NS:
            return before.call_id, before.count
        return format(self.span.get_span_context().span_id, "016x"), 0

    def _key(self) -> Key:
        # The same request in another conversation is a call of its own, not a retry.
        return self.url, hash(self.request_body), self.conversation.id if self.conversation else None

    def enter(self) -> None:
        """Mark the request as in flight; make its span the parent of HTTP spans where these are wanted."""
        flight = _in_flight.set(self.url)
        span = otel_context.attach(set_span_in_context(self.span)) if self.runtime.nests_spans else None
        self._token = (flight, span)

    def leave(self) -> None:
        """Undo ``enter`` in the same thread or task."""
        flight, span = self._token
        if span is not None:
            otel_context.detach(span)
        _in_flight.reset(flight)
        self._token = None

    def now_ns(self) -> int:
        """Return the time since the start by a clock that never goes back, as Unix nanoseconds."""
        return self.started_ns + time.perf_counter_ns() - self.started_clock

    def respond(self, status_code: int, headers: RawHeaders) -> None:
        """Take the response's head, and remember a failed try for the one that may follow."""
        self.status_code, self.response_headers = status_code, headers
        self._remember(failed=status_code in _RETRYABLE or status_code >= 500)  # noqa: PLR2004  server errors

    def fail(self, error: BaseException) -> None:
        """Take the exception that ended the request, and hand over."""
        self.error_type = type(error).__name__
        self._remember(failed=isinstance(error, Exception))
        self.finish()

    def _remember(self, *, failed: bool) -> None:
        if failed:
            _failed.set(Attempts(self._key(), self.call_id, self.attempt_index + 1, time.perf_counter_ns()))
        elif _failed.get() is not None:
            _failed.set(None)

    def chunk(self, data: bytes) -> None:
        """Take one chunk of a stream as it passes."""
        if self.first_chunk_ns is None:
            self.first_chunk_ns = self.now_ns()
        self.size += len(data)
        if self.size <= MAX_BODY:
            self.chunks.append(data)
        else:
            self.cut = True

    def finish(self) -> None:
        """Hand the capture to the worker; only the first call does anything."""
        if self.finished:
            return
        self.finished = True
        self.ended_ns = self.now_ns()
        self.runtime.worker.submit(self)

    def exchange(self) -> Exchange:
        """Return what crossed the wire. Runs on the worker: decoding a compressed stream takes time."""
        body = self.body if self.body is not None else b"".join(self.chunks)
        self.chunks = []  # a response object that lives on must not keep its body alive through us
        if self.decode is not None:
            try:
                body = self.decode(body)
            except Exception as error:  # noqa: BLE001  a stream cut inside its compression
                health.failed("capture.decode", error)
                body = b""
        return Exchange.build(
            method=self.method,
            url=self.url,
            request_headers=_texts(self.request_headers),
            request_body=self.request_body[:MAX_BODY],
            status_code=self.status_code,
            response_headers=_texts(self.response_headers),
            response_body=body[:MAX_BODY],
            started_ns=self.started_ns,
            ended_ns=self.ended_ns,
            first_chunk_ns=self.first_chunk_ns,
            error_type=self.error_type,
            closed_early=self.closed_early,
            body_cut=self.cut or len(body) > MAX_BODY or len(self.request_body) > MAX_BODY,
        )


def in_flight(url: str) -> bool:
    """Tell whether this very request is being captured further up: a client that wraps a client is one attempt."""
    return _in_flight.get() == url


def _texts(headers: RawHeaders) -> Iterable[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
