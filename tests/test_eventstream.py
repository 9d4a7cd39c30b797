"""Binary event streams: what was sent comes back, whatever happens to the bytes on their way."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st
from turnledger.instrument.documents import load_documents
from turnledger.instrument.eventstream import is_event_stream, read_frames
from turnledger.instrument.exchange import Exchange
from turnledger.instrument.facts import extract
from turnledger.instrument.wire import decode_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from turnledger.instrument.facts import CallFacts

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_VALUE = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXT | st.lists(_TEXT, max_size=3)
_PAYLOAD = st.dictionaries(_TEXT.filter(lambda key: key != "bytes"), _VALUE, max_size=4)
_PART = ((":event-type", "PayloadPart"), (":content-type", "application/octet-stream"), (":message-type", "event"))
_EVENTS = st.lists(st.tuples(st.sampled_from(["messageStart", "contentBlockDelta", "metadata"]), _PAYLOAD), max_size=5)


def header(name: str, value: str) -> bytes:
    """Return one header of type text."""
    raw = value.encode()
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(raw)) + raw


def frame(payload: bytes, *headers: tuple[str, str], other: bytes = b"") -> bytes:
    """Return a frame; ``other`` are headers of other types."""
    head = other + b"".join(header(name, value) for name, value in headers)
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return body + struct.pack(">I", zlib.crc32(body))


def event(name: str, payload: Any) -> bytes:
    """Return the frame of an event, its headers in the order in which they are sent."""
    headers = ((":event-type", name), (":content-type", "application/json"), (":message-type", "event"))
    return frame(json.dumps(payload, ensure_ascii=False).encode(), *headers)


def chunk(document: Any) -> bytes:
    """Return the frame of a model's own event."""
    return event("chunk", {"bytes": base64.b64encode(json.dumps(document).encode()).decode(), "p": "abc"})


def stream(events: Iterable[tuple[str, Any]]) -> bytes:
    """Return the frames of named events."""
    return b"".join(event(name, payload) for name, payload in events)


@given(_EVENTS)
def test_events_come_back_as_sent(events: list[tuple[str, Any]]):
    found = decode_body(stream(events))
    assert list(found.documents) == [{name: payload} for name, payload in events]
    assert list(found.event_names) == [name for name, _ in events]
    assert (found.is_stream, found.malformed) == (bool(events), 0)


@given(_EVENTS)
def test_frames_are_what_the_sdk_reads(events: list[tuple[str, Any]]):
    buffer = EventStreamBuffer()
    buffer.add_data(stream(events))
    theirs = [(dict(message.headers), message.payload) for message in buffer]
    assert [(dict(own.headers), own.payload) for own in read_frames(stream(events))[0]] == theirs


@given(st.lists(st.tuples(st.just("metadata"), _PAYLOAD), min_size=1, max_size=4), st.data())
def test_a_cut_stream_keeps_what_came_before(events: list[tuple[str, Any]], data: st.DataObject):
    frames = [event(name, payload) for name, payload in events]
    body = b"".join(frames)
    cut = data.draw(st.integers(len(frames[0]), len(body)))
    whole = next(count for count in range(len(frames), -1, -1) if len(b"".join(frames[:count])) <= cut)
    found, malformed = read_frames(body[:cut])
    assert len(found) >= whole
    assert malformed == (cut != len(b"".join(frames[:whole])))


@given(st.binary(max_size=300) | st.builds(lambda events, junk: stream(events) + junk, _EVENTS, st.binary(max_size=60)))
def test_reading_never_raises(body: bytes):
    is_event_stream(body)
    read_frames(body)
    decode_body(body)


@given(_EVENTS.filter(bool), st.data())
def test_a_changed_byte_costs_no_other_frame(events: list[tuple[str, Any]], data: st.DataObject):
    frames = [event(name, payload) for name, payload in events]
    which = data.draw(st.integers(0, len(frames) - 1))
    place = data.draw(st.integers(12, len(frames[which]) - 1))  # behind the lengths
    bad = bytearray(frames[which])
    bad[place] ^= data.draw(st.integers(1, 255))
    good = [frame for index, frame in enumerate(frames) if index != which]
    found = decode_body(b"".join([*frames[:which], bytes(bad), *frames[which + 1 :]]))
    assert found.documents == decode_body(b"".join(good)).documents
    assert found.malformed == 1


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.booleans())
def test_lengths_are_not_believed(total: int, headers: int, checksum_fits: bool):
    prelude = struct.pack(">II", total, headers)
    body = prelude + struct.pack(">I", zlib.crc32(prelude) if checksum_fits else 0) + b"\x00" * 40
    frames, malformed = read_frames(event("metadata", {"a": 1}) + body)
    assert len(frames) == 1
    assert malformed


@given(st.binary(max_size=60))
def test_headers_of_any_bytes_raise_nothing(other: bytes):
    frames, malformed = read_frames(frame(b"{}", other=other))
    assert len(frames) + malformed == 1


def test_headers_of_every_type_are_stepped_over():
    sizes = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
    other = b"".join(b"\x01a" + bytes([kind]) + b"\xff" * size for kind, size in sizes.items())
    other += b"\x01b\x06\x00\x03\xff\xff\xff"
    frames, malformed = read_frames(frame(b"{}", (":event-type", "x"), other=other))
    assert ([dict(found.headers) for found in frames], malformed) == ([{":event-type": "x"}], 0)


def test_a_model_s_own_events_stand_for_themselves():
    sent = [{"type": "message_start", "message": {"id": "msg_1"}}, {"type": "message_stop"}]
    found = decode_body(b"".join(map(chunk, sent)))
    assert list(found.documents) == sent
    assert found.event_names == ("chunk", "chunk")


@pytest.mark.parametrize("text", [b"Hello", b'"Hello"', b"\xff\xfe"])
def test_bytes_that_are_no_event_stay_where_they_are(text: bytes):
    payload = {"bytes": base64.b64encode(text).decode(), "attribution": {"citations": []}}
    assert decode_body(event("chunk", payload)).documents == ({"chunk": payload},)


def test_exceptions_and_errors_say_what_they_are():
    exception = frame(
        b'{"message": "Too many tokens"}',
        (":exception-type", "throttlingException"),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    )
    error = frame(
        b"", (":message-type", "error"), (":error-code", "InternalError"), (":error-message", "Something broke")
    )
    assert decode_body(event("messageStart", {"role": "assistant"}) + exception + error).documents == (
        {"messageStart": {"role": "assistant"}},
        {"exception_type": "throttlingException", "throttlingException": {"message": "Too many tokens"}},
        {"error_code": "InternalError", "error_message": "Something broke"},
    )


def test_a_stream_in_parts_is_put_together():
    inner = b'data: {"token": {"id": 1}}\n\ndata: {"details": {"generated_tokens": 2}}\n\ndata: [DONE]\n\n'
    found = decode_body(b"".join(frame(inner[at : at + 7], *_PART) for at in range(0, len(inner), 7)))
    assert found.documents == ({"token": {"id": 1}}, {"details": {"generated_tokens": 2}})
    assert (found.is_stream, found.ended, found.malformed) == (True, True, 0)


def test_streams_within_streams_are_not_followed():
    body = event("metadata", {})
    for _ in range(3):
        body = frame(body, *_PART)
    assert decode_body(body).malformed == 1


@pytest.mark.parametrize("mangle", [lambda body: body.decode("utf-8", "replace"), lambda body: body.decode("latin-1")])
def test_binary_that_was_decoded_as_text_still_tells_its_events(mangle: Any):
    sent = [("messageStart", {"role": "assistant"}), ("metadata", {"usage": {"inputTokens": 8, "note": "{"}})]
    found = decode_body(mangle(stream(sent)).encode())
    assert list(found.documents) == [{name: payload} for name, payload in sent]
    assert found.malformed


def test_nothing_else_looks_like_frames():
    for body in (b"", b"{}", b"[]", b"data: {}\n\n", b"\x00" * 64, b'{"a": ":event-type\\u0007\\u0000"}', b"event: x"):
        assert not is_event_stream(body)


def test_a_long_hostile_text_takes_no_long_time():
    body = b":event-type\x07\x00\x01x" * 100_000 + b"{" * 100_000
    assert read_frames(body)[0] == []


URL = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m-1/converse-stream"


def stream_facts(body: bytes, *, closed_early: bool = False) -> CallFacts:
    """Return the facts of a streamed answer."""
    found = extract(
        Exchange.build(
            method="POST",
            url=URL,
            request_body=b'{"messages": []}',
            status_code=200,
            response_headers=[("x-amzn-requestid", "r-1")],
            response_body=body,
            closed_early=closed_early,
        ),
        load_documents(),
    )
    assert found
    return found


USAGE = {"usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}}


def test_a_stream_that_fails_names_its_exception():
    exception = frame(
        b'{"message": "wait"}', (":exception-type", "throttlingException"), (":message-type", "exception")
    )
    found = stream_facts(event("messageStart", {"role": "assistant"}) + exception, closed_early=True)
    assert (found.error_type, found.is_stream, found.usage.input_tokens) == ("throttlingException", True, None)


def test_a_stream_is_over_with_its_last_event():
    start, end = event("messageStart", {"role": "assistant"}), event("metadata", USAGE)
    assert stream_facts(start + end, closed_early=True).error_type is None
    cut = stream_facts(start + end[:-5], closed_early=True)
    assert (cut.error_type, cut.usage.input_tokens) == ("stream_closed_early", None)
    assert cut.raw_metadata["malformed_events"] == 1
    whole = stream_facts(start + end)
    assert (whole.usage.input_tokens, whole.usage.output_tokens, whole.request_id) == (5, 7, "r-1")
