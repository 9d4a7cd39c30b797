"""From bytes to documents: nothing is raised whatever the bytes are, and streams come back as sent."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnledger.instrument.documents import load_documents
from turnledger.instrument.redact import skeleton
from turnledger.instrument.spans import as_json
from turnledger.instrument.wire import decode_body, decode_request, loads

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_OBJECT = st.dictionaries(_TEXT, _JSON, max_size=4)
_PIECES = st.sampled_from(
    [
        b"data:",
        b"data: ",
        b"event: x",
        b"\n",
        b"\r",
        b"\r\n",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"a":1',
        b"[DONE]",
        b":",
        b"\xff",
        b"\x00",
    ]
)


@given(st.binary(max_size=400) | st.lists(_PIECES, max_size=30).map(b"".join))
def test_decoding_never_raises(body: bytes):
    decode_body(body)
    decode_request(body)


@given(
    st.lists(st.tuples(_OBJECT, st.sampled_from(["", "message", "response.created"])), min_size=1, max_size=6),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_events_come_back_as_sent(sent, end: bytes, indented: bool, done: bool, bom: bool):
    body = b"\xef\xbb\xbf" if bom else b""
    for document, name in sent:
        body += b": a comment" + end
        if name:
            body += b"event: " + name.encode() + end
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2 if indented else None)
        body += b"".join(b"data: " + line + end for line in text.split(b"\n")) + end
    body += (b"data: [DONE]" + end + end) if done else b""
    found = decode_body(body)
    assert list(found.documents) == [document for document, _ in sent]
    assert list(found.event_names) == [name for _, name in sent]
    assert (found.is_stream, found.ended, found.malformed) == (True, done, 0)


@given(st.lists(_OBJECT, min_size=2, max_size=5))
def test_json_lines_and_streamed_arrays(sent):
    lines = decode_body(b"\n".join(orjson.dumps(document) for document in sent))
    array = decode_body(orjson.dumps(sent))
    assert list(lines.documents) == list(array.documents) == sent
    assert lines.is_stream
    assert array.is_stream


@given(st.lists(_OBJECT, min_size=1, max_size=5), st.data())
def test_a_cut_stream_keeps_the_events_before_the_cut(sent, data):
    events = [b"data: " + orjson.dumps(document) + b"\n\n" for document in sent]
    body = b"".join(events)
    cut = data.draw(st.integers(6, len(body)))
    whole = 0
    while whole < len(events) and len(b"".join(events[: whole + 1])) <= cut:
        whole += 1
    assert list(decode_body(body[:cut]).documents)[:whole] == sent[:whole]


@pytest.mark.parametrize("body", [b"", b"   \n", b"\xef\xbb\xbf"])
def test_an_empty_body_has_no_documents(body: bytes):
    assert decode_body(body).documents == ()


def test_broken_events_are_counted():
    found = decode_body(b'data: {"a": 1}\n\ndata: {"b": \n\ndata: {"c": 3}\n\n')
    assert list(found.documents) == [{"a": 1}, {"c": 3}]
    assert found.malformed == 1


def test_the_last_event_needs_no_empty_line():
    assert decode_body(b'data: {"a": 1}').documents == ({"a": 1},)


@given(st.integers(-(2**200), 2**200), st.sampled_from([b"%d", b"[%d]", b"[1,%d]", b'{"a":%d}', b'{"a": %d , "b": 1}']))
def test_whole_numbers_stay_exact(number: int, text: bytes):
    found: Any = loads(text % number)
    while not isinstance(found, int):
        found = found["a"] if isinstance(found, dict) else found[-1]
    assert found == number


def test_huge_numbers_reach_the_row_as_they_were():
    found = decode_body(b'{"id": 340282366920938463463374607431768211456, "text": "12345678901234567890"}').documents[0]
    assert orjson.loads(as_json({"text": found["text"]})) == {"text": "12345678901234567890"}
    assert as_json(found["id"]) == "340282366920938463463374607431768211456"
    rules = load_documents().documents["openai"].surfaces[0].rules
    assert skeleton({"x": found["id"]}, rules) == {"x": 2**128}
    assert skeleton({"arguments": {"x": 2**128}}, rules) == {"arguments": "<45 bytes>"}


def test_not_a_number_is_read():
    assert decode_body(b'{"a": NaN}').documents[0]["a"] != 0


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_absurd_depth_does_not_raise(opening: bytes):
    decode_body(opening * 200_000)
    decode_body(b"data: " + opening * 200_000 + b"\n\n")
    decode_request(opening * 200_000)


def test_requests_that_are_not_json():
    assert decode_request(b"--boundary\r\ncontent-disposition: form-data") is None
    assert decode_request(b"") is None
    assert decode_request(b'{"model": "m"}') == {"model": "m"}
