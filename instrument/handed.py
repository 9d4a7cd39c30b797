"""What an application hands in to be read, as an exchange: an object, a text, a recording, and what came beside it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

from .exchange import Exchange, clean_headers
from .har_entry import is_har_entry, to_exchange
from .http_objects import exchange_of, http_response_behind, pairs
from .objects import to_json
from .spans import as_json
from .wire import decode_body

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEADER_KEYS: Final = ("headers", "response_headers", "HTTPHeaders")
_HEADERS_INSIDE: Final = (("ResponseMetadata", "HTTPHeaders"), ("sdkHttpResponse", "headers"))
_EXPECTED: Final = "an SDK's object, a dict, JSON, an HTTP response, a HAR entry or a list of events"
_STATUS_KEYS: Final = ("status_code", "HTTPStatusCode")


@dataclass(slots=True)
class Handed:
    """What was handed in.

    Attributes:
        exchange: as much of an exchange as is known; without URL it is that of an object or a text.
        extra: what was said beside it that is no header.
        request_ids: ids of the request that an SDK keeps beside its object.
        is_alone: whether there is nothing but the response's own document.
    """

    exchange: Exchange
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    request_ids: list[Any] = field(default_factory=list[Any])
    is_alone: bool = True


def handed_in(response: object, metadata: object = None) -> Handed:
    """Return a response at hand, and what came beside it, as an exchange as far as it is known.

    Raises:
        TypeError: if one of them is of no kind that can be read.
    """
    behind = http_response_behind(response)
    request_ids = [getattr(response, "_request_id", None)]  # public in SDKs, despite the underscore
    if behind is not None:
        handed = Handed(exchange_of(behind), {}, request_ids, is_alone=False)
    elif is_har_entry(response):
        handed = Handed(_har_exchange(cast("dict[str, Any]", response)), {}, request_ids, is_alone=False)
    else:
        exchange = _exchange(response)
        handed = Handed(exchange, {}, request_ids, is_alone=not exchange.response_headers)
    if metadata is not None:
        _note_metadata(handed, metadata)
    return handed


def _har_exchange(entry: dict[str, Any]) -> Exchange:
    try:
        return to_exchange(entry)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TypeError(f"the HAR entry cannot be read: {type(error).__name__}: {error}") from error


def _exchange(response: object) -> Exchange:
    """Return the exchange of which only the response is known, with the headers that some SDKs keep in or beside it."""
    headers: list[tuple[str, str]] = []
    if isinstance(response, str | bytes | bytearray):
        body = response.encode("utf-8", "replace") if isinstance(response, str) else bytes(response)
        if not any(isinstance(document, dict) for document in decode_body(body).documents):
            raise TypeError("the response is text: expected a JSON object or a stream of them")
    else:
        beside = pairs(getattr(response, "headers", None))
        data = getattr(response, "data", None) if beside is not None else None
        document = to_json(response if data is None else data)
        items = cast("list[Any]", document) if isinstance(document, list) else [document]
        if not items or not all(isinstance(item, dict) for item in items):
            raise TypeError(f"the response is of type {type(response).__name__}: expected {_EXPECTED}")
        headers = [*(beside or ()), *(pair for item in items for pair in _headers_inside(item))]
        body = as_json(document).encode("utf-8", "replace")
    return Exchange.build(method="", url="", response_headers=headers, response_body=body)


def _headers_inside(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Take the response's headers out of a document into which an SDK has put them."""
    for key, inner in _HEADERS_INSIDE:
        carrier: Any = document.get(key)
        if isinstance(carrier, dict):
            fields = cast("dict[str, Any]", carrier)
            document[key] = {name: value for name, value in fields.items() if name != inner}
            return pairs(fields.get(inner)) or []
    return []


def _note(handed: Handed, headers: Iterable[tuple[str, str]]) -> None:
    joined = (*handed.exchange.response_headers, *clean_headers(headers))
    handed.exchange = replace(handed.exchange, response_headers=joined)


def _note_metadata(handed: Handed, metadata: object) -> None:
    """Take in what came beside the response: headers, and what is none."""
    handed.is_alone = False
    behind = http_response_behind(metadata)
    carrier = behind if behind is not None else metadata
    headers = pairs(getattr(carrier, "headers", None))
    if headers is None and not isinstance(metadata, dict):
        headers = pairs(metadata)
    if headers is not None:
        _note(handed, headers)
        return
    said = to_json(cast("object", metadata))
    if not isinstance(said, dict):
        raise TypeError("the metadata is neither a mapping nor an object with headers")
    for name, value in cast("dict[str, Any]", said).items():
        if name in _HEADER_KEYS and (inner := pairs(value)) is not None:
            _note(handed, inner)
        elif name in _STATUS_KEYS and isinstance(value, int):
            handed.exchange = replace(handed.exchange, status_code=value)
        elif isinstance(value, str) and "_" not in name:
            _note(handed, [(name, value)])
        else:
            handed.extra[name] = value
