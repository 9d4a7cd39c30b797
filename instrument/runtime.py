"""Switching capture on and off: the tracer provider, the worker, the seams, and the way from a capture to a span."""

from __future__ import annotations

import atexit
import os
import threading
import time
from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Span, SpanKind

from . import attributes as keys
from . import health
from .capture import Capture
from .documents import load_documents
from .leaving import before_leaving
from .recording import IDS, Described, Frame, describe_capture, describe_returned, ended_span, status_of
from .returned import ResponseReader, Returned
from .seams import install, remove
from .terminating import TERMINATION_S, before_termination
from .threads import Threads
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter

    ContentKeeper = Callable[[str, str], str | None]

FLUSH_INTERVAL_S: Final = 0.05
"""With the worker's pause, and what it takes to write, an ended call is in the spool after 200 ms."""

_EXIT_TIMEOUT_S: Final = 10.0
_CONTENT_VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_EXPORTER_GROUP: Final = "opentelemetry_traces_exporter"

_lock = threading.Lock()
_runtime: Runtime | None = None
_decided = False
"""Whether capture was switched on or off, or that failed: what a decorator finds then is not its to change."""


class _ToWorker(SpanProcessor):
    """Collects ended spans for the worker's next batch, so that no application thread ever writes a file."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Do nothing: a span is recorded when it ends."""

    def on_end(self, span: ReadableSpan) -> None:
        """Pass the ended span to the worker; one that the worker itself ended goes straight to its batch."""
        worker = self._runtime.worker
        if worker.is_handling():
            worker.collect(span)
        else:
            worker.submit(span)


class Runtime:
    """What ``instrument`` set up. Everything captured goes through ``worker`` to ``exporter``."""

    def __init__(
        self,
        exporter: SpanExporter | None,
        tracer_provider: Any = None,
        *,
        hosts: Mapping[str, str] | None = None,
        http_spans: bool = False,
        capture_content: bool | ContentKeeper = False,
    ) -> None:
        self.registry = load_documents(hosts)
        self._responses = ResponseReader(self.registry)
        self._threads = Threads(getattr(exporter, "digest_key", None))
        self.exporter = exporter
        self.capture_content = bool(capture_content)
        self._keep_content = capture_content if callable(capture_content) else None
        # Only where other spans nest under ours, or another pipeline owns them, must a span live while its call does:
        # on the application's thread nothing is cheaper than no span.
        self._live_spans = http_spans or tracer_provider is not None
        prompt = getattr(exporter, "durability", "batch") != "batch"
        self.worker = Worker(self._handle, self._export, 0.0 if prompt else FLUSH_INTERVAL_S)
        self.provider = tracer_provider or self._own_provider()
        self.tracer = self.provider.get_tracer(keys.SCOPE)
        self._resource: Resource = getattr(self.provider, "resource", None) or Resource.create()

    def _own_provider(self) -> TracerProvider:
        # Limits of the application's environment would cut raw metadata in the middle: the books have none.
        unlimited = SpanLimits(
            max_attributes=SpanLimits.UNSET,
            max_span_attributes=SpanLimits.UNSET,
            max_attribute_length=SpanLimits.UNSET,
            max_span_attribute_length=SpanLimits.UNSET,
        )
        provider = TracerProvider(sampler=ALWAYS_ON, id_generator=IDS, span_limits=unlimited, shutdown_on_exit=False)
        provider.add_span_processor(_ToWorker(self))
        return provider

    def _handle(self, item: Capture | Returned | ReadableSpan) -> None:
        if isinstance(item, Capture):
            self._record(item)
        elif isinstance(item, Returned):
            self._record_returned(item)
        else:
            self.worker.collect(item)

    def begin_span(self, parent: Context, started_ns: int) -> tuple[Span | None, int]:
        """Return the span of a call that begins now, None where it is made when the call has ended, and its id."""
        if not self._live_spans:
            return None, IDS.generate_span_id()
        span = self.tracer.start_span("call", context=parent, kind=SpanKind.CLIENT, start_time=started_ns)
        return span, span.get_span_context().span_id

    def _record(self, capture: Capture) -> None:
        described = describe_capture(capture, self._threads, content=self.capture_content)
        if described is None:
            health.count("extract.not_a_call")
            if capture.span is None:
                return
            described = Described(f"HTTP {capture.sent.method}", {})  # others have it for their parent
        self._hand_content_on(described)
        response_id = described.attributes.get(keys.RESPONSE_ID)
        if isinstance(response_id, str):
            self._responses.is_new(response_id)
        frame = Frame(capture.span_id, capture.parent, capture.started_ns, capture.ended_ns)
        self._emit(described, frame, capture.span)

    def may_be_response(self, result: object, *, is_event: bool) -> bool:
        """Tell, without reading anything, whether what an observed function returns or yields may be a response."""
        return self._responses.may_be_response(result, is_event=is_event)

    def look_at(self, returned: Returned) -> None:
        """Record the call behind what an observed function returned, if it is a response."""
        self.worker.submit(returned)

    def _record_returned(self, returned: Returned) -> None:
        try:
            facts = self._responses.read(returned)
        except Exception as error:  # noqa: BLE001  objects are the application's: what they do when read, we cannot know
            health.failed("returned.read", error)
            return
        if facts is None or facts.response_id is None or not self._responses.is_new(facts.response_id):
            return
        span, span_id = self.begin_span(returned.parent, returned.started_ns)
        described = describe_returned(facts, returned.conversation, span_id, content=self.capture_content)
        self._hand_content_on(described)
        self._emit(described, Frame(span_id, returned.parent, returned.started_ns, returned.ended_ns), span)

    def _hand_content_on(self, described: Described) -> None:
        """Have the application's own function keep the content, or say what is to be kept here."""
        content = described.attributes.get(keys.CONTENT)
        if self._keep_content is None or not isinstance(content, str):
            return
        del described.attributes[keys.CONTENT]
        try:
            kept = self._keep_content(content, str(described.attributes.get(keys.CALL_ID, "")))
        except Exception as error:  # noqa: BLE001  it is the application's, and nothing is kept in the clear for it
            health.failed("content.callable", error)
            return
        if kept is not None:
            described.attributes[keys.CONTENT] = kept

    def _emit(self, described: Described, frame: Frame, span: Span | None) -> None:
        if span is None:
            self.worker.collect(ended_span(described, frame, self._resource))
            return
        span.update_name(described.name)
        span.set_attributes(described.attributes)
        span.set_status(status_of(described.attributes))
        span.end(frame.ended_ns)

    def _export(self, batch: Sequence[ReadableSpan]) -> None:
        if self.exporter is None:
            return
        health.high("worker.lag_ms", (time.time_ns() - min(span.end_time or 0 for span in batch)) // 1_000_000)
        result = self.exporter.export(batch)
        if result.name != "SUCCESS":
            health.count("export.failed_spans", len(batch))

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything captured so far is written; returns whether that was done in time."""
        deadline = time.monotonic() + timeout_s
        done = self.worker.flush(timeout_s)
        if self.exporter is None:
            return done
        return self.exporter.force_flush(max(0, int((deadline - time.monotonic()) * 1000))) and done

    def flush_last(self) -> None:
        """Write what is left of a process that ends at once; a call that ends meanwhile returns when it is written."""
        self.worker.write_at_once(TERMINATION_S)
        if (write_at_once := getattr(self.exporter, "write_at_once", None)) is not None:
            write_at_once()
        self.flush(TERMINATION_S)

    def close(self) -> None:
        """Write what is left and stop the worker."""
        self.worker.stop(_EXIT_TIMEOUT_S)
        if self.exporter is not None:
            self.exporter.shutdown()


def instrument(  # noqa: PLR0913  the options of the public API, all of them named
    store: str | os.PathLike[str] | None = None,
    *,
    tracer_provider: Any = None,
    exporter: SpanExporter | None = None,
    hosts: Mapping[str, str] | None = None,
    http_spans: bool = False,
    capture_content: bool | ContentKeeper | None = None,
    durability: str = "batch",
    flush_on_sigterm: bool = True,
) -> Runtime:
    """Record every provider call of this process from now on. Calling it again changes nothing.

    Args:
        store: the ledger: a folder, or an address such as ``s3://bucket/prefix``; default ``TURNLEDGER_STORE``, else
            ``./turnledger-data``.
        tracer_provider: join this OpenTelemetry pipeline instead of turnledger's own always-on one; nothing is
            written to ``store`` then.
        exporter: where turnledger's own pipeline sends spans instead of the store.
        hosts: further hosts (``name`` or ``name:port``) and the provider document they belong to.
        http_spans: also switch on OpenTelemetry's httpx and httpx2 instrumentation, its spans nested under ours.
        capture_content: record prompts and answers; default is the environment variable
            ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT``, else no. A function is called for each call, in the
            background, with the content as JSON text and the call's id, and returns what to store (encrypted, say), or
            None to store nothing, as where it has put it elsewhere. Where it raises, nothing is stored.
        durability: ``"batch"``: an ended call is in the store's spool within 200 ms; ``"span"``: when the call returns;
            ``"disk"``: and the disk has it. The last two make each call wait for that, 50 ms at most.
        flush_on_sigterm: where the application does not handle SIGTERM, write what is left before it ends the process
            (within a second); for this the process gets a handler, if this is called on its main thread.

    Raises:
        ValueError: if ``hosts`` names a provider that has no document, there is no such ``durability``, or ``store`` is
            an address, but not of a store.
    """
    global _runtime, _decided  # noqa: PLW0603  capture is a state of the process
    with _lock:
        _decided = True
        if _runtime is not None:
            return _runtime
        if capture_content is None:
            capture_content = os.environ.get(_CONTENT_VARIABLE, "").strip().lower() in ("1", "true", "yes")
        if tracer_provider is None and exporter is None:
            exporter = _store_exporter(store, durability)
        runtime = Runtime(
            exporter, tracer_provider, hosts=hosts, http_spans=http_spans, capture_content=capture_content
        )
        install(runtime, http_spans=http_spans)
        atexit.register(runtime.close)
        before_leaving(partial(runtime.flush, _EXIT_TIMEOUT_S))
        if flush_on_sigterm:
            before_termination(runtime.flush_last)
        _runtime = runtime
        return runtime


def uninstrument() -> None:
    """Stop recording, restore every patched method exactly, and write what is left."""
    global _runtime, _decided  # noqa: PLW0603
    with _lock:
        _decided = True
        runtime, _runtime = _runtime, None
        if runtime is not None:
            remove()
            atexit.unregister(runtime.close)
            before_leaving(None)
            before_termination(None)
            runtime.close()


def instrument_on_first_use() -> None:
    """Switch capture on with its defaults, unless the application has switched it on or off, or this failed before."""
    if not _decided:
        instrument()


def flush(timeout_s: float = 30.0) -> bool:
    """Wait until every call that has ended is written to the store.

    Returns:
        Whether that was done within ``timeout_s`` seconds; True if nothing is instrumented.
    """
    runtime = _runtime
    return True if runtime is None else runtime.flush(timeout_s)


def active_runtime() -> Runtime | None:
    """Return the runtime of this process, or None while capture is off."""
    return _runtime


def _store_exporter(store: str | os.PathLike[str] | None, durability: str) -> SpanExporter:
    """Return the store's exporter through its entry point: capture does not depend on how spans are stored."""
    found = next(iter(entry_points(group=_EXPORTER_GROUP, name="turnledger")), None)
    if found is None:
        raise RuntimeError(
            "turnledger is not installed as a package: its exporter's entry point is missing; run pip install"
        )
    return found.load()(store, durability=durability)
