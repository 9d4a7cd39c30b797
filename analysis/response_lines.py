"""The lines of a file of responses that an application has kept, each as the exchange it was, as far as it says so.

A line is an object with these fields, under these names or others; all but ``response`` may be missing or null:

- ``response``: the response's body, as an object, a list of a stream's events, or the text of it (JSON or events)
- ``request``: the request's body, likewise
- ``headers``: the response's headers, as an object or as pairs
- ``provider``: id or name of its document, or its host
- ``model``: where the response does not say it
- ``conversation_id``, ``message_id``, ``user_id``: the application's own
- ``timestamp``: when it was, in ISO 8601 (without a zone it is UTC) or as seconds or milliseconds since 1970
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

from ..instrument.capture import MAX_BODY
from ..instrument.exchange import Exchange
from ..instrument.har_entry import EARLIEST, moment_of
from ..instrument.http_objects import pairs
from ..instrument.redact import MAX_IDENTIFIER
from ..instrument.spans import as_json
from ..instrument.wire import decode_body, loads
from .unpacking import CHUNK, MAX_DEPTH, MAX_VALUES, OVERFULL, OVERLONG, is_overlong, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from .unpacking import Progress, Source

_TEXTS: Final = ("provider", "model", "conversation_id", "message_id", "user_id")
FIELDS: Final = ("response", "request", "headers", "timestamp", *_TEXTS)
MAX_LINE: Final = MAX_BODY
"""Bytes of a line: what capture keeps of a response."""
TOO_LONG: Final = f"a line over {MAX_LINE >> 20} MiB"

_NUMBER: Final = re.compile(r"\d{9,19}(?:\.\d{1,9})?")
_SECONDS_END: Final = 10**11
"""Larger numbers are milliseconds, then microseconds and nanoseconds: seconds reach this in the year 5138."""
_UNITS_NS: Final = (10**9, 10**6, 10**3, 1)
_EARLIEST_S: Final = int(EARLIEST.timestamp())
_LAST_NS: Final = 253_402_300_800 * 10**9  # the year 10000


class SkippedError(ValueError):
    """A line that is not taken; says why, and nothing of what stands in it."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a line says.

    Attributes:
        exchange: the response, and what is known of its request.
        documents: the JSON documents of the response.
        names: the fields that are texts: provider, model and the application's own ids.
    """

    exchange: Exchange
    documents: tuple[Any, ...]
    names: Mapping[str, str]


def read_lines(path: Path, progress: Progress | None = None) -> Iterator[tuple[int, bytes | None]]:
    """Yield the lines of a file, plain or gzip, that are not empty, with their numbers from 1; None for one too long.

    Raises:
        UnreadableError: where it cannot be read, or not be read on: what came before has been yielded.
    """
    with opened(path, "file of JSON lines", progress) as source:
        is_first = True
        for number, line in enumerate(_lines(source), 1):
            if is_first and line is not None and line.startswith(b"["):
                raise ValueError("it is one JSON array: write an object a line, as jq -c '.[]' does")
            if line != b"":
                is_first = False
                yield number, line


def _lines(source: Source) -> Iterator[bytes | None]:
    held: list[bytes] = []
    size = 0
    while chunk := source.read(CHUNK):
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            size += len(end)
            yield b"".join((*held, end)).strip() if size <= MAX_LINE else None
            held, size = [], 0
        size += len(rest)
        if size <= MAX_LINE:
            held.append(rest)
        else:
            held.clear()  # read on to its end, without keeping it
    if size:
        yield b"".join(held).strip() if size <= MAX_LINE else None


def parse_line(text: bytes | None, fields: Mapping[str, str]) -> Line:
    """Return what a line says.

    Args:
        text: the line, None for one that was too long to be read.
        fields: our names of fields to those of the file, where they differ.

    Raises:
        SkippedError: if it is no such line.
    """
    line = _object(text)
    values = {name: line.get(fields.get(name, name)) for name in FIELDS}
    said = {name: value for name, value in values.items() if value not in (None, "")}
    if "response" not in said:
        raise SkippedError(f"nothing under {fields.get('response', 'response')!r}")
    body, documents = _body(said["response"], "response")
    exchange = Exchange.build(
        method="",
        url="",
        request_body=_body(said["request"], "request")[0] if "request" in said else None,
        response_headers=_headers(said.get("headers")),
        response_body=body,
        started_ns=moment_ns(said["timestamp"]) if "timestamp" in said else None,
    )
    return Line(exchange, documents, {name: _text(said[name], name) for name in _TEXTS if name in said})


def _object(text: bytes | None) -> dict[str, Any]:
    """Return the object that a line is."""
    if text is None:
        raise SkippedError(TOO_LONG)
    if text.count(b",") > MAX_VALUES:
        raise SkippedError(OVERFULL)
    try:
        found = loads(text)
    except ValueError as error:
        raise SkippedError("no JSON") from error
    if not isinstance(found, dict):
        raise SkippedError("no JSON object")
    _not_too_deep(found)
    return cast("dict[str, Any]", found)


def _body(value: Any, name: str) -> tuple[bytes, tuple[Any, ...]]:
    """Return a body's bytes and its JSON documents; text that holds the JSON text of a text is read once more."""
    body = _encoded(value)
    documents = decode_body(body).documents
    if len(documents) == 1 and isinstance(documents[0], str):
        body = _encoded(documents[0])
        documents = decode_body(body).documents
    if not any(isinstance(document, dict) for document in documents):
        raise SkippedError(f"a {name} that is no JSON object and no stream of them")
    _not_too_deep(documents)
    return body, documents


def _encoded(value: Any) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else as_json(value).encode("utf-8", "replace")


def _headers(value: Any) -> list[tuple[str, str]]:
    if value is None:
        return []
    try:
        found = loads(value.encode("utf-8", "replace")) if isinstance(value, str) else value
    except ValueError as error:
        raise SkippedError("headers that cannot be read") from error
    if isinstance(found, list):
        items = cast("list[Any]", found)
        found = [tuple(cast("list[Any]", item)) if isinstance(item, list) else item for item in items]
        if items and all(isinstance(item, dict) for item in items):  # as HAR has them
            found = [(item.get("name"), item.get("value")) for item in cast("list[dict[str, Any]]", items)]
    headers = pairs(cast("object", found))
    if headers is None:
        raise SkippedError("headers that cannot be read")
    if is_overlong(None, headers):
        raise SkippedError(OVERLONG)
    return headers


def _text(value: Any, name: str) -> str:
    """Return an id or a name as text: databases count, and some exports write whole numbers as 7.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.isprintable() or len(text) > MAX_IDENTIFIER:
        raise SkippedError(f"a {name} that cannot be kept")
    return text


def moment_ns(value: Any) -> int | None:
    """Return a timestamp as Unix nanoseconds, None for the date that databases and recorders write for none.

    Raises:
        SkippedError: if it is no timestamp.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = Decimal(value)
    found: int | None = None
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and _EARLIEST_S <= value < _LAST_NS:
        unit_ns = next(unit for unit in _UNITS_NS if value * unit < _SECONDS_END * 10**9 or unit == 1)
        found = int(Decimal(str(value)) * unit_ns)
    elif isinstance(value, str) and (moment := moment_of(value.strip())) is not None:
        found = round(moment.timestamp() * 1_000_000) * 1000
    if found is None or found >= _LAST_NS:
        raise SkippedError("a timestamp that cannot be read")
    return found if found > _EARLIEST_S * 10**9 else None


def _not_too_deep(value: Any) -> None:
    """Refuse what is nested too deeply.

    Raises:
        SkippedError: if it is.
    """
    level: list[Any] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise SkippedError(f"nested more than {MAX_DEPTH} deep")
        level = [child for node in level for child in _children(node) if isinstance(child, dict | list)]


def _children(node: Any) -> Iterable[Any]:
    return cast("dict[str, Any]", node).values() if isinstance(node, dict) else node
