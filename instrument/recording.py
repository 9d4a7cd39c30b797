"""From what was captured to a span: its name and attributes, and the span itself. Runs on the worker."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, get_current_span

from . import attributes as keys
from . import health, spans
from .facts import extract_matched
from .threads import Known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.util.types import AttributeValue

    from .capture import Capture
    from .context import Conversation
    from .digests import Thread
    from .facts import CallFacts
    from .threads import ThreadIndex, Threads

_SCOPE: Final = InstrumentationScope(keys.SCOPE)
STITCHED: Final = "stitched"
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class _OwnIds(IdGenerator):
    """Ids that no two processes share, also where the application gives Python's shared generator a seed.

    A generator of our own, not the system's: asking the system lets go of the interpreter, and the application's thread
    would wait until it gets it back.
    """

    def __init__(self) -> None:
        self._random = random.Random()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._random.seed)

    def generate_span_id(self) -> int:
        """Return 64 random bits, not all zero."""
        return self._random.getrandbits(64) or 1

    def generate_trace_id(self) -> int:
        """Return 128 random bits, not all zero."""
        return self._random.getrandbits(128) or 1


IDS: Final = _OwnIds()


class Frame(NamedTuple):
    """When and where a span stands; ``parent`` is the context in which it began."""

    span_id: int
    parent: Context
    started_ns: int
    ended_ns: int | None


class Described(NamedTuple):
    """What a span says."""

    name: str
    attributes: dict[str, AttributeValue]


def describe(facts: CallFacts, said: Conversation | None, *, content: bool) -> Described:
    """Return the name and attributes of a call's span."""
    attributes = spans.call_attributes(facts)
    attributes.update(spans.conversation_attributes(facts, said))
    if content:
        attributes.update(spans.content_attributes(facts))
    return Described(spans.span_name(facts), attributes)


def describe_capture(capture: Capture, threads: Threads, *, content: bool) -> Described | None:
    """Return what the span of an HTTP attempt says, also where extraction fails; None if it is no provider call."""
    try:
        facts = extract_matched(capture.exchange(), capture.match, threads.key())
        if facts is None:
            return None
        described = describe(facts, capture.conversation, content=content)
        if facts.thread is not None:
            _stitch(facts.thread, described.attributes, format(capture.place.call_id, "016x"), threads.index)
    except Exception as error:  # noqa: BLE001  what was seen so far is still a row
        health.failed("extract", error)
        capture.failed_step = capture.failed_step or "extract"
        described = _what_is_sure(capture)
    attributes = described.attributes
    if capture.failed_step is not None:
        attributes[keys.FAILED_STEP] = capture.failed_step
        attributes.setdefault(keys.ERROR_TYPE, f"{keys.SCOPE}.{capture.failed_step}")
    attributes[keys.CALL_ID] = format(capture.place.call_id, "016x")
    attributes[keys.ATTEMPT_INDEX] = capture.place.number
    return described


def _stitch(thread: Thread, attributes: dict[str, AttributeValue], call_id: str, index: ThreadIndex) -> None:
    """Say which call this one continues by its messages, and in which conversation, if nothing else says that."""
    said = attributes.get(keys.USER_ID)
    user = said if isinstance(said, str) else None
    found = index.continued(thread, user)
    if found is not None:
        attributes[keys.PARENT_CALL_ID] = found.call_id
        attributes[keys.PARENT_CANDIDATES] = found.candidates
        if keys.CONVERSATION_ID not in attributes and keys.PREVIOUS_RESPONSE_ID not in attributes:
            attributes[keys.CONVERSATION_ID] = found.conversation
            attributes[keys.CONVERSATION_SOURCE] = STITCHED
    conversation = str(attributes.get(keys.CONVERSATION_ID, call_id))
    index.answered(thread, Known(call_id, conversation, user))


def describe_returned(facts: CallFacts, said: Conversation, span_id: int, *, content: bool) -> Described:
    """Return what the span of a call says that was read from what a function returned or yielded."""
    described = describe(facts, said, content=content)
    if not facts.is_stream:  # what was returned whole may have come in pieces
        described.attributes.pop(keys.IS_STREAM, None)
    call: dict[str, AttributeValue] = {
        keys.SEEN: "returned",
        keys.CALL_ID: format(span_id, "016x"),
        keys.ATTEMPT_INDEX: 0,
    }
    described.attributes.update(call)
    return described


def _what_is_sure(capture: Capture) -> Described:
    """Return what is known of an attempt without reading its bodies."""
    surface, said = capture.match.surface, capture.conversation
    found: dict[str, AttributeValue | None] = {
        keys.PROVIDER: capture.match.document.id,
        keys.PROVIDER_NAME: capture.match.document.otel_name,
        keys.SURFACE: surface.name,
        keys.OPERATION_NAME: surface.operation,
        keys.STATUS_CODE: capture.status_code,
        keys.ERROR_TYPE: capture.error_type,
        keys.CONVERSATION_ID: said.id if said else None,
        keys.CONVERSATION_SOURCE: "app" if said and said.id else None,
        keys.USER_ID: said.user if said else None,
        keys.OBSERVATION: said.observation if said else None,
    }
    return Described(surface.operation, {key: value for key, value in found.items() if value is not None})


def ended_span(described: Described, frame: Frame, resource: Resource) -> ReadableSpan:
    """Return a span that began and ended as ``frame`` says, a child of what was current then."""
    parent = get_current_span(frame.parent).get_span_context()
    trace_id = parent.trace_id if parent.is_valid else IDS.generate_trace_id()
    return ReadableSpan(
        name=described.name,
        context=SpanContext(trace_id, frame.span_id, is_remote=False, trace_flags=_SAMPLED),
        parent=parent if parent.is_valid else None,
        resource=resource,
        attributes=described.attributes,
        kind=SpanKind.CLIENT,
        instrumentation_scope=_SCOPE,
        status=status_of(described.attributes),
        start_time=frame.started_ns,
        end_time=frame.ended_ns,
    )


def status_of(attributes: Mapping[str, AttributeValue]) -> Status:
    """Return the status of a span with these attributes."""
    return Status(StatusCode.ERROR if keys.ERROR_TYPE in attributes else StatusCode.UNSET)
