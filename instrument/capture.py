"""One HTTP attempt in flight: the one lifecycle that sync, async and streamed calls of every client share.

``Capture(...)`` → ``enter`` → (``respond`` | ``fail``) → ``leave`` → (``chunk`` ...) → ``finish``. On the
application's thread only references and times are taken; ``finish`` hands the capture to the background worker, once,
whatever happens.
"""

from __future__ import annotations

import contextvars
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from opentelemetry import context as otel_context
from opentelemetry.trace import set_span_in_context

from . import attempts, context, health
from .attempts import Key, Place, RawHeaders
from .exchange import Exchange, clean_url
from .headers import of_response
from .redact import without_secrets
from .spans import as_json
from .wire import decode_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .documents import Match
    from .runtime import Runtime

MAX_HANDING_OUT: Final = 64 * 1024
"""Bytes of a response that hands out credentials: it is read on the application's thread, and has a few thousand."""

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of a body kept for extraction; what comes after is counted as cut."""

_in_flight: contextvars.ContextVar[Sequence[object]] = contextvars.ContextVar("turnledger_in_flight", default=())
"""The address of the request that is being captured further up: one, or none."""


class Sent(NamedTuple):
    """A request as the client has it; ``url`` becomes text on the worker, ``body`` is None where it is a stream."""

    method: str
    url: object
    headers: RawHeaders
    body: bytes | str | None


class TextHeaders:
    """Headers that a client keeps as a mapping of texts, as raw pairs: made when they are asked for."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Mapping[Any, Any] | None) -> None:
        self._headers = headers

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield names and values."""
        for name, value in (self._headers or {}).items():
            yield _raw(name), _raw(value)


def whole_body(body: object) -> bytes | str | None:
    """Return a request's body, None where it is the application's stream: that is never read by us."""
    if body is None:
        return b""
    if isinstance(body, bytes | str):
        return body
    # The application may change these.
    return bytes(cast("bytearray", body)) if isinstance(body, bytearray | memoryview) else None


def bounded_body(pieces: Iterable[bytes]) -> bytes:
    """Return a body as it is decoded piece by piece, no more of it than tells that it is too large to be kept."""
    taken: list[bytes] = []
    size = 0
    for piece in pieces:
        taken.append(piece)
        size += len(piece)
        if size > MAX_BODY:
            break
    return b"".join(taken)[: MAX_BODY + 1]


class Capture:
    """References and times of one HTTP attempt, until the worker makes an Exchange of them."""

    # Defaults stand on the class: most captures never set most of them.
    status_code: int | None = None
    response_headers: RawHeaders = ()
    body: bytes | None = None
    size = 0
    cut = False
    decode: Callable[[bytes], bytes] | None = None
    error_type: str | None = None
    closed_early = False
    finished = False
    failed_step: str | None = None
    first_chunk_ns: int | None = None
    ended_ns: int | None = None
    _token: Any = None

    def __init__(self, runtime: Runtime, match: Match, sent: Sent) -> None:
        self.runtime, self.match, self.sent = runtime, match, sent
        self.conversation = context.current()
        if self.conversation is not None:
            self.conversation.mark_exchange()
        self.chunks: list[bytes] = []
        self.parent = otel_context.get_current()
        self.started_ns = time.time_ns()
        self.started_clock = time.perf_counter_ns()
        self.span, self.span_id = runtime.begin_span(self.parent, self.started_ns)
        self.place = (
            attempts.place(self._key(), sent.headers, self.span_id) if attempts.any_failed() else Place(self.span_id, 0)
        )

    def _key(self) -> Key:
        body = self.sent.body
        # The same request in another conversation is a call of its own, not a retry.
        conversation = self.conversation.id if self.conversation else None
        return Key(hash(str(self.sent.url)), None if body is None else hash(body), conversation)

    def enter(self) -> None:
        """Mark the request as in flight; make its span the parent of HTTP spans where these are wanted."""
        span = otel_context.attach(set_span_in_context(self.span)) if self.span is not None else None
        url = [self.sent.url]
        self._token = (_in_flight.set(url), url, span)

    def leave(self) -> None:
        """Undo ``enter`` in the same thread or task."""
        if self._token is None:
            return
        flight, url, span = self._token
        self._token = None
        url.clear()  # tasks that began meanwhile, such as a connection's, have a copy of the context and may live long
        _in_flight.reset(flight)
        if span is not None:
            otel_context.detach(span)

    def now_ns(self) -> int:
        """Return the time since the start by a clock that never goes back, as Unix nanoseconds."""
        return self.started_ns + time.perf_counter_ns() - self.started_clock

    def respond(self, status_code: int, headers: RawHeaders) -> None:
        """Take the response's head, and remember a failed try for the one that may follow."""
        self.status_code, self.response_headers = status_code, headers
        if attempts.is_retryable(status_code):
            attempts.failed(self._key(), self.sent.headers, self.place, headers)
        elif attempts.is_redirect(status_code):
            there = attempts.redirected(str(self.sent.url), headers)
            attempts.failed(self._key()._replace(url_hash=hash(there)), (), self.place)
        else:
            attempts.succeeded()

    def fail(self, error: BaseException) -> None:
        """Take the exception that ended the request, and hand over."""
        self.leave()  # before it is handed over: it refers to the context, and so to the address, until then
        self.error_type = type(error).__name__
        if isinstance(error, Exception):
            attempts.failed(self._key(), self.sent.headers, self.place, self.response_headers)
        else:
            attempts.succeeded()  # cancelled: nobody tries again
        self.finish()

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
        if not self.finished:
            self._hand_over()

    def abandon(self, step: str) -> None:
        """Hand over what is there after a failure of ours at ``step``: no attempt is ever without its row."""
        if not self.finished:
            self.failed_step = step
            self._hand_over()

    def _hand_over(self) -> None:
        self.finished = True
        self.ended_ns = self.now_ns()
        self._let_go_of_credentials()
        self.runtime.worker.submit(self)

    def _let_go_of_credentials(self) -> None:
        """Keep nothing that is secret in what waits for the worker, and nothing of the client's own."""
        method, url, headers, body = self.sent
        try:
            text = str(url)
            if "?" in text or "@" in text or "#" in text:  # else it is a host and a path only
                text = clean_url(text)
            self.sent = Sent(method, text, self.runtime.registry.request_headers.of_request(headers), body)
            self.response_headers = of_response(self.response_headers)
            if self.match.surface.hands_out:
                self._take_credentials_out()
        except Exception as error:  # noqa: BLE001  headers and URL are the client's: what they do when read, we cannot know
            health.failed("capture.clean", error)
            self.sent, self.response_headers = Sent(method, "", (), body), ()
            if self.match.surface.hands_out:
                self.body, self.chunks = b"", []

    def _take_credentials_out(self) -> None:
        """Keep of a response that hands out credentials its other fields; nothing where it is not a small JSON."""
        body = self._decoded_body()
        self.body, self.decode = b"", None
        documents = decode_body(body).documents if len(body) <= MAX_HANDING_OUT else ()
        if len(documents) == 1:
            self.body = as_json(without_secrets(documents[0], self.match.surface.rules)).encode()

    @property
    def weight(self) -> int:
        """Bytes that this keeps alive until it is handled."""
        return len(self.sent.body or b"") + (self.size if self.body is None else len(self.body))

    def leave_out_bodies(self) -> None:
        """Let go of the bodies, too large to be waited for: identifiers of headers, times and status stay."""
        self.sent, self.body, self.chunks, self.cut = self.sent._replace(body=None), b"", [], True

    def _decoded_body(self) -> bytes:
        body = self.body if self.body is not None else b"".join(self.chunks)
        self.chunks = []  # a response object that lives on must not keep its body alive through us
        if self.decode is not None:
            try:
                return self.decode(body)
            except Exception as error:  # noqa: BLE001  a stream cut inside its compression
                health.failed("capture.decode", error)
                return b""
        return body

    def exchange(self) -> Exchange:
        """Return what crossed the wire. Runs on the worker: decoding a compressed stream takes time."""
        body, sent = self._decoded_body(), self.sent
        asked = sent.body.encode("utf-8", "replace") if isinstance(sent.body, str) else sent.body
        return Exchange.build(
            method=sent.method,
            url=str(sent.url),
            request_headers=_texts(sent.headers),
            request_body=None if asked is None else asked[:MAX_BODY],
            status_code=self.status_code,
            response_headers=_texts(self.response_headers),
            response_body=body[:MAX_BODY],
            started_ns=self.started_ns,
            ended_ns=self.ended_ns,
            first_chunk_ns=self.first_chunk_ns,
            error_type=self.error_type,
            closed_early=self.closed_early,
            body_cut=self.cut or len(body) > MAX_BODY or len(asked or b"") > MAX_BODY,
        )


def in_flight(url: object) -> bool:
    """Tell whether this very request is being captured further up: a client that wraps a client is one attempt."""
    return any(str(captured) == str(url) for captured in _in_flight.get())


def _raw(text: object) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("latin-1", "replace")


def _texts(headers: RawHeaders) -> Iterable[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
