"""Call facts: everything one exchange says of a provider call. A pure function of the exchange and the documents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qs, unquote, urlsplit

from . import identifiers as ids
from .digests import DigestKey, Thread, thread_of
from .messages import is_tool_result
from .metadata import raw_metadata, without_earlier_messages
from .paths import find
from .redact import ContentRules, skeleton
from .usage import Usage, read_usage
from .wire import Body, decode_body, decode_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .documents import Match, Registry
    from .exchange import Exchange, Headers
    from .message_rules import MessageRules
    from .paths import Path
    from .surfaces import Location, StreamRules, Surface

HTTP_ERROR: Final = 400
_WRAPPED: Final = re.compile(r":https?:.*$|^[\w.]+#")
_BILLING_NAME: Final = re.compile(r"(?=.{1,64}$)[\w./:+&()-]+(?: [\w./:+&()-]+){0,3}")
"""A name of a company, region or mode: up to four words of one line."""
STREAM_CLOSED_EARLY: Final = "stream_closed_early"


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What one HTTP attempt of a provider call says; None is unknown. Times stay on the exchange."""

    exchange: Exchange
    provider: str
    provider_name: str
    surface: str
    operation: str
    server_address: str
    request_model: str | None
    response_model: str | None
    response_id: str | None
    previous_response_id: str | None
    request_id: str | None
    conversation_id: str | None
    session_id: str | None
    user_id: str | None
    finish_reasons: tuple[str, ...]
    service_tier: str | None
    billing: Mapping[str, str]
    error_type: str | None
    created_at: float | None
    is_stream: bool
    identifiers: Mapping[str, list[str]]
    usage: Usage
    raw_usage: Any
    message_count: int | None
    continues_turn: bool | None
    raw_metadata: Mapping[str, Any]
    thread: Thread | None


class Reading:
    """One exchange taken apart: its documents, and a look-up of locations in them."""

    def __init__(self, exchange: Exchange, match: Match, body: Body, request: Any) -> None:
        self.exchange, self.surface, self.captures = exchange, match.surface, match.captures
        self.rules: ContentRules = match.surface.rules
        self.body, self.request = body, request
        self.documents: tuple[Any, ...] = tuple(unwrapped(self.body.documents, match.surface.stream))
        self.url = urlsplit(exchange.url)

    def values(self, locations: Iterable[Location]) -> Iterator[Any]:
        """Yield every non-null value at the locations, in their order."""
        for location in locations:
            yield from self._at(location)

    def first_text(self, field: str) -> str | None:
        """Return a field's first value as text, if it may be kept."""
        return next(iter(self.texts(field)), None)

    def last_text(self, field: str) -> str | None:
        """Return a field's last value: what a stream settled on."""
        return next(reversed(self.texts(field)), None)

    def texts(self, field: str) -> list[str]:
        """Return a field's values as texts that may be kept, in order, each once."""
        found: dict[str, None] = {}
        for value in self.values(self.surface.fields.get(field, ())):
            text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
            if isinstance(text, str) and ids.is_identifier(text, self.rules):
                found[text] = None
        return list(found)

    def _at(self, location: Location) -> Iterator[Any]:
        source, path = location.source, location.path
        if source == "response.body":
            for document in self.documents:
                yield from (value for value in find(document, path) if value is not None)
        elif source == "response.last":
            for document in reversed(self.documents):
                if settled := [value for value in find(document, path) if value is not None]:
                    yield from settled
                    return
        elif source == "response.sole":
            every = {value for item in self.documents for value in find(item, path) if _is_text(value)}
            yield from every if len(every) == 1 else ()
        elif source == "request.body":
            yield from (value for value in find(self.request, path) if value is not None)
        elif source == "response.header":
            yield from _header(self.exchange.response_headers, path)
        elif source == "request.header":
            yield from _header(self.exchange.request_headers, path)
        elif source == "url":
            yield from filter(None, (unquote(self.captures.get(path[0]) or ""),))
        else:
            yield from parse_qs(self.url.query).get(path[0], [])


def _header(headers: Headers, path: Path) -> Iterator[str]:
    """Yield the values of a header, or those that are the one asked for."""
    yield from (value for name, value in headers if name == path[0] and value in (path[1:] or (value,)))


def unwrapped(documents: Iterable[Any], rules: StreamRules) -> Iterator[Any]:
    """Yield what every document's envelope holds, where it has one, and the document itself."""
    for document in documents:
        for path in rules.unwrap:
            yield from (inner for inner in find(document, path) if isinstance(inner, dict))
        yield document


def extract(exchange: Exchange, registry: Registry, key: DigestKey | None = None) -> CallFacts | None:
    """Return the facts of an exchange, or None if no provider document describes it; digests only with a key."""
    exchange = exchange.with_request_headers(registry.request_headers.keeps)
    url = urlsplit(exchange.url)
    match = registry.match(exchange.method, url.netloc, url.path)
    return None if match is None else extract_matched(exchange, match, key)


def extract_matched(exchange: Exchange, match: Match, key: DigestKey | None = None) -> CallFacts | None:
    """Return the facts of an exchange by the first surface of its path whose shape it has, or None if it has none's."""
    body, request = decode_body(exchange.response_body), decode_request(exchange.request_body or b"")
    candidate: Match | None = match
    while candidate is not None:
        reading = Reading(exchange, candidate, body, request)
        usage = read_usage(reading.documents, candidate.surface.usage, exchange.response_headers)
        if _is_call(reading, candidate, usage):
            return facts_of(reading, candidate, usage, key)
        candidate = candidate.otherwise
    return None


def facts_of(reading: Reading, match: Match, usage: Usage, key: DigestKey | None = None) -> CallFacts:
    """Return the facts of an exchange by the surface of the match, whether it has that shape or not."""
    exchange, surface = reading.exchange, match.surface
    new_request, messages = without_earlier_messages(reading.request, surface.messages)
    thread = _thread(reading, messages, key)
    reading.request = new_request  # what earlier calls sent stands in their records: storage must not be quadratic
    return CallFacts(
        exchange=exchange,
        provider=match.document.id,
        provider_name=match.document.otel_name,
        surface=surface.name,
        operation=surface.operation,
        server_address=reading.url.hostname or "",
        request_model=reading.first_text("request_model"),
        response_model=_response_model(reading),
        response_id=reading.first_text("response_id"),
        previous_response_id=reading.first_text("previous_response_id"),
        request_id=reading.first_text("request_id"),
        conversation_id=reading.first_text("conversation"),
        session_id=reading.first_text("session"),
        user_id=reading.first_text("user"),
        finish_reasons=tuple(reading.texts("finish_reasons")),
        service_tier=reading.last_text("service_tier"),
        billing=_billing(reading),
        error_type=_error_type(reading),
        created_at=_created_at(reading),
        is_stream=_is_stream(reading),
        identifiers=_identifiers(reading),
        # Work that another request was billed for is not counted again: its figures stay in the raw usage.
        # A sum of which a part was cut off is none.
        usage=usage if surface.is_billed and not (_is_sum(surface) and exchange.body_cut) else Usage(),
        # Usage comes off the wire like all else: numbers and enum values stay as they were, prose does not.
        raw_usage=skeleton(usage.raw, surface.rules),
        message_count=len(messages) or None,
        # A request that runs no model begins no turn.
        continues_turn=_continues_turn(messages, surface.messages) if surface.is_billed else True,
        raw_metadata=raw_metadata(exchange, new_request, reading.body, surface.rules),
        thread=thread,
    )


def _is_sum(surface: Surface) -> bool:
    return surface.usage.merge == "sum"


def _response_model(reading: Reading) -> str | None:
    """Return the model that answered; of several whose usage is one sum, none: no price is that of all."""
    several = _is_sum(reading.surface) and len(set(reading.texts("response_model"))) > 1
    return None if several else reading.last_text("response_model")


def _thread(reading: Reading, messages: Sequence[Any], key: DigestKey | None) -> Thread | None:
    """Return where the call stands by its messages; what runs no model continues nothing."""
    rules = reading.surface.messages
    if key is None or not reading.surface.is_billed:
        return None
    earlier = [
        cast("list[Any]", value)
        for path in rules.history
        for value in find(reading.request, path)
        if isinstance(value, list)
    ]
    failed = (reading.exchange.status_code or 0) >= HTTP_ERROR
    documents = () if failed else reading.documents
    body = reading.exchange.request_body or b""
    return thread_of(body, reading.request, [*(earlier[0] if earlier else ()), *messages], documents, rules, key)


def _is_call(reading: Reading, match: Match, usage: Usage) -> bool:
    """Tell whether the exchange is of the surface's shape: its path alone may be another application's too."""
    needed = reading.surface.requires
    if match.is_known_host:  # an answer tells whose it is, which the host has told; a failed request has none
        needed = tuple(location for location in needed if not location.source.startswith("response."))
    if reading.exchange.request_body is None:
        # What the request lacks cannot be told: a known host is believed, any other has to answer like a provider.
        if needed and not match.is_known_host and (usage.raw is None or reading.first_text("response_id") is None):
            return False
        needed = tuple(location for location in needed if location.source != "request.body")
    return all(next(reading.values([location]), None) is not None for location in needed)


def named_identifiers(reading: Reading) -> ids.Identifiers:
    """Return the identifiers that the surface names."""
    named: ids.Identifiers = {}
    for name, locations in reading.surface.identifiers.items():
        ids.add(named, name, reading.values(locations), reading.rules)
    return named


def _identifiers(reading: Reading) -> ids.Identifiers:
    named = named_identifiers(reading)
    found = [
        *ids.sweep(reading.body.documents, "response", reading.rules),
        *ids.sweep([reading.request], "request", reading.rules),
        *ids.sweep_headers(reading.exchange.response_headers, "response.header"),
        *ids.sweep_headers(reading.exchange.request_headers, "request.header"),
    ]
    return {**named, **ids.undocumented(found, named, reading.rules)}


def _billing(reading: Reading) -> dict[str, str]:
    """Return what the price of the call depends on, by the surface's names: of several values the last."""
    found: dict[str, str] = {}
    for name, locations in reading.surface.billing.items():
        for value in reading.values(locations):
            if isinstance(value, str) and _BILLING_NAME.fullmatch(value):
                found[name] = value
    return found


def _created_at(reading: Reading) -> float | None:
    """Return when the provider says it answered (Unix seconds), for recordings that have no time of their own."""
    for value in reading.values(reading.surface.fields.get("created_at", ())):
        if isinstance(value, int | float) and not isinstance(value, bool) and 10**9 < value < 10**10:
            return float(value)
    return None


def _error_type(reading: Reading) -> str | None:
    exchange = reading.exchange
    if exchange.error_type:
        return exchange.error_type
    said = reading.first_text("error_type")
    if said:  # some wrap the name: "Name:http://…", "name.space#Name"
        said = _WRAPPED.sub("", said) or said
    if exchange.status_code is not None and exchange.status_code >= HTTP_ERROR:
        return said or str(exchange.status_code)
    if said is None and exchange.closed_early and not _ended(reading):
        return STREAM_CLOSED_EARLY
    return said


def _ended(reading: Reading) -> bool:
    """Tell whether the stream said it was over before it was closed."""
    rules = reading.surface.stream
    types = {value for document in reading.body.documents for value in find(document, ("type",)) if _is_text(value)}
    return (
        reading.body.ended
        or not rules.done_types.isdisjoint(types | set(reading.body.event_names))
        or any(value for path in rules.done_paths for doc in reading.body.documents for value in find(doc, path))
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_stream(reading: Reading) -> bool:
    asked = isinstance(reading.request, dict) and cast("dict[str, Any]", reading.request).get("stream") is True
    failed = (reading.exchange.status_code or 0) >= HTTP_ERROR
    return reading.surface.stream.always or asked or (reading.body.is_stream and not failed)


def _continues_turn(messages: Sequence[Any], rules: MessageRules) -> bool | None:
    """Tell whether the last message sent is a tool's result, so that this call goes on with the turn before."""
    if not messages:
        return None
    return is_tool_result(messages[-1], rules)
