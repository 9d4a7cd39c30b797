"""Which surface a response at hand is of, where nobody watched the call: by its provider, else by its shape alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from .documents import Match, Registry
from .facts import Reading, named_identifiers
from .shapes import ResponseShapes, has, json_names, marks_of
from .spans import as_json
from .usage import Usage, read_usage
from .wire import decode_body, decode_request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .documents import ProviderDocument
    from .exchange import Exchange


class Recognised(NamedTuple):
    """A response, the surface it is read by, and what that surface makes of it."""

    match: Match
    reading: Reading
    usage: Usage

    @property
    def is_response(self) -> bool:
        """Whether it says anything that a provider's answer says: an id, usage or an error."""
        said = (self.reading.first_text("response_id"), self.reading.first_text("error_type"))
        return self.usage.raw is not None or any(said)


class Recogniser:
    """Finds the surface of responses without a URL.

    Args:
        registry: the provider documents.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._shapes: dict[str | None, ResponseShapes] = {}

    def recognised(self, exchange: Exchange, document: ProviderDocument | None = None) -> Recognised | None:
        """Return a response with its surface, None if there is none whose shape it has.

        Args:
            exchange: the response, as far as it is known.
            document: its provider's; the surface then is the one of its shape, else the one that names most of what is
                there. Without it only the shape can tell.
        """
        if document is None or not urlsplit(exchange.url).path:
            shapes = self._shapes_of(document)
            for spell in (_as_written, _respelt):
                spelt = spell(exchange)
                match = shapes.recognised(decode_body(spelt.response_body).documents)
                found = read_by(spelt, match) if match is not None else None
                if found is not None and (document is None or _is_asked(found)):
                    return found
        if document is None:
            return None
        matches = _matches(document, urlsplit(exchange.url).path)
        found = [item for spelt in (exchange, _respelt(exchange)) for item in _read(spelt, matches)]
        return max(found, key=_fit, default=None)

    def _shapes_of(self, document: ProviderDocument | None) -> ResponseShapes:
        name = document.id if document is not None else None
        if name not in self._shapes:
            self._shapes[name] = ResponseShapes(self._registry if document is None else Registry([document]))
        return self._shapes[name]


def read_by(exchange: Exchange, match: Match) -> Recognised:
    """Return a response as a surface reads it, whether it has that shape or not."""
    return _read(exchange, [match])[0]


def _read(exchange: Exchange, matches: Iterable[Match]) -> list[Recognised]:
    body, request = decode_body(exchange.response_body), decode_request(exchange.request_body or b"")
    readings = [(match, Reading(exchange, match, body, request)) for match in matches]
    headers = exchange.response_headers
    return [
        Recognised(match, reading, read_usage(reading.documents, match.surface.usage, headers))
        for match, reading in readings
    ]


def _matches(document: ProviderDocument, path: str) -> list[Match]:
    """Return the surfaces of a path, where one is known and fits, else all of them."""
    fitting = [(surface, found) for surface in document.surfaces if (found := surface.path.fullmatch(path))]
    return [Match(document, surface, found.groupdict()) for surface, found in fitting] or [
        Match(document, surface, {}) for surface in document.surfaces
    ]


def _fit(item: Recognised) -> tuple[bool, int, bool, int, bool]:
    """Return how much of the response a surface knows.

    Whether it counts anything, and how many totals are missing then (an embedding has no output); whether the request
    is one of its requests; how much it names; whether there is an answer where its answers are.
    """
    usage, surface = item.usage, item.match.surface
    totals = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    missing = sum(count is None and name in surface.usage.counts for name, count in totals.items())
    counts = (*totals.values(), usage.cache_read_tokens, usage.reasoning_tokens)
    counted = sum(count is not None for count in counts) + len(usage.details)
    fields = {item.reading.first_text(name) for name in surface.fields} - {None}
    marks = sum(has(item.reading.documents, path) for path in marks_of(surface))
    named = len(named_identifiers(item.reading))
    is_counted = surface.is_billed and counted > 0
    known = counted + len(fields) + marks + named
    return is_counted, -missing if is_counted else 0, _is_asked(item), known, _is_answered(item)


def _is_asked(item: Recognised) -> bool:
    """Tell whether the request, where it is known, has its messages where the surface's requests have them."""
    at = item.match.surface.messages.at
    return item.reading.request is None or not at or any(has([item.reading.request], path) for path in at)


def _is_answered(item: Recognised) -> bool:
    """Tell whether the response has messages where the surface's responses have them."""
    rules = item.match.surface.messages
    places = [*rules.whole, *((*choice, *answer) for choice in rules.choices for answer in rules.answer)]
    return any(has(item.reading.documents, place) for place in places)


def _as_written(exchange: Exchange) -> Exchange:
    return exchange


def _respelt(exchange: Exchange) -> Exchange:
    """Return an exchange with the names of its response in camel case: Python and protobuf spell with underscores."""
    documents = decode_body(exchange.response_body).documents
    plain = documents[0] if len(documents) == 1 else list(documents)
    return replace(exchange, response_body=as_json(json_names(plain)).encode("utf-8", "replace"))
