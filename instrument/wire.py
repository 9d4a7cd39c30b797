"""From body bytes to JSON documents: one for a plain response, one per event for a stream.

Streams are recognised by what they look like, since recordings and proxies often carry a wrong content type.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from .eventstream import Frame, is_event_stream, read_frames
from .paths import find

_SSE_START: Final = re.compile(rb"\s*(?:data:|event:|id:|retry:|:)")
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"
_HUGE_NUMBER: Final = re.compile(rb"(?:^|[\s:,\[-])\d{19,}(?:$|[\s,\]}])")
_JSON_TYPE: Final = "application/json"
END_OF_STREAM: Final = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Body:
    """A decoded body.

    Attributes:
        documents: the JSON documents, in order; empty where the body is not JSON.
        is_stream: whether they came as events (SSE, JSON lines, a streamed JSON array or binary frames).
        ended: whether the stream's own end mark was seen (``[DONE]``).
        malformed: events or lines that could not be read.
        event_names: the name of each document's event, where events have names (empty text where one has none).
    """

    documents: tuple[Any, ...]
    is_stream: bool = False
    ended: bool = False
    malformed: int = 0
    event_names: tuple[str, ...] = ()


def loads(data: bytes) -> Any:
    """Parse JSON, also where it holds NaN, as some servers send; whole numbers of any size stay exact.

    Raises:
        ValueError: if it is not JSON or nested too deeply to be read.
    """
    # The fast parser silently turns whole numbers beyond 64 bits into floats: such a text goes to the exact one.
    if _HUGE_NUMBER.search(data) is None:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def decode_body(body: bytes) -> Body:
    """Return the JSON documents of a response body; it never raises, whatever the bytes are."""
    body = body.removeprefix(_BOM)
    if _SSE_START.match(body):
        return _decode_sse(body)
    if is_event_stream(body):
        return _decode_frames(body)
    text = body.strip()
    if not text:
        return Body(())
    try:
        document = loads(text)
    except ValueError:
        return _decode_lines(text)
    if isinstance(document, list):
        items = cast("list[Any]", document)
        if items and all(isinstance(item, dict) for item in items):
            return Body(tuple(items), is_stream=True)
    return Body((cast("Any", document),))


def _decode_sse(body: bytes) -> Body:
    """Decode server-sent events as https://html.spec.whatwg.org/multipage/server-sent-events.html says."""
    documents: list[Any] = []
    names: list[str] = []
    malformed, ended = 0, False
    name = b""
    data: list[bytes] = []
    # The empty line added at the end dispatches an event that the stream was cut behind: what was seen is kept.
    for line in [*_LINE_END.split(body), b""]:
        if not line:
            if data:
                payload = b"\n".join(data)
                if payload.strip() == END_OF_STREAM:
                    ended = True
                else:
                    try:
                        documents.append(loads(payload))
                        names.append(name.decode("utf-8", "replace"))
                    except ValueError:
                        malformed += 1
            name, data = b"", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Body(tuple(documents), is_stream=True, ended=ended, malformed=malformed, event_names=tuple(names))


def _decode_frames(body: bytes) -> Body:
    """Decode binary frames: an event is ``{its type: its payload}``, as the provider's own SDK hands it out.

    Payloads that are not JSON are the parts of one inner body, such as a model's own stream.
    """
    frames, malformed = read_frames(body)
    documents: list[Any] = []
    names: list[str] = []
    parts: list[bytes] = []
    for frame in frames:
        if frame.headers.get(":content-type", _JSON_TYPE) != _JSON_TYPE:
            parts.append(frame.payload)
            continue
        try:
            documents.append(_frame_document(frame))
            names.append(frame.headers.get(":event-type", ""))
        except ValueError:
            malformed += 1
    joined = b"".join(parts)
    inner = Body((), malformed=1) if is_event_stream(joined) else decode_body(joined)
    return Body(
        (*documents, *inner.documents),
        is_stream=True,
        ended=inner.ended,
        malformed=malformed + inner.malformed,
        event_names=(*names, *inner.event_names),
    )


def _frame_document(frame: Frame) -> dict[str, Any]:
    """Return the document of a frame: an event of a model's own inside of a ``bytes`` field stands for itself.

    Raises:
        ValueError: if its payload is not JSON.
    """
    headers = frame.headers
    kind, name = headers.get(":message-type"), headers.get(":event-type", "event")
    if kind == "error":
        return {"error_code": headers.get(":error-code"), "error_message": headers.get(":error-message")}
    payload: Any = loads(frame.payload) if frame.payload else None
    if kind == "exception":
        exception = headers.get(":exception-type", kind)
        return {"exception_type": exception, exception: payload}
    for inner in find(payload, ("bytes",)):
        try:
            document = loads(base64.b64decode(inner))
        except (TypeError, ValueError):
            continue  # text, not an event
        if isinstance(document, dict):
            return cast("dict[str, Any]", document)
    return {name: payload}


def _decode_lines(text: bytes) -> Body:
    """Decode JSON lines, or what can be read of a cut JSON array with one element a line."""
    documents: list[Any] = []
    malformed = 0
    for raw in text.splitlines():
        line = raw.strip()
        if not line:
            continue
        try:
            documents.append(loads(line))
        except ValueError:
            malformed += 1
    if not any(isinstance(document, dict) for document in documents):
        return Body((), malformed=1)
    return Body(tuple(documents), is_stream=True, malformed=malformed)


def decode_request(body: bytes) -> Any:
    """Return the JSON document of a request body, None where it is not JSON (form data, audio)."""
    if body[:1] not in b"{[ \t\r\n" or not body:
        return None
    try:
        return loads(body)
    except ValueError:
        return None
